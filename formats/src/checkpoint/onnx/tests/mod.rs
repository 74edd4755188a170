//! Parameters of tiny graphs, and what is said about graphs without them.

mod errors;
mod external;
mod files;
mod quantized;

use half::{bf16, f16};
use quantized::{q, with_ints};

use super::sample::Attribute::{self, Float, Int, Ints, Tensor};
use super::sample::{Graph, Message, code, floats, header, int8, node, raw, small};
use super::*;
use crate::checkpoint::DType;

fn open(graph: &Graph) -> Result<Onnx, CheckpointError> {
    Onnx::parse(Bytes::copy_of(&graph.file()), "model.onnx")
}

/// Name, dimensions and values of each parameter.
fn parameters(onnx: &Onnx) -> Vec<(&str, Vec<usize>, Vec<f32>)> {
    let values = |(index, info): (usize, &TensorInfo)| {
        let mut out = vec![f32::NAN; info.n_rows() * info.row_len()];
        onnx.read_rows(index, 0, &mut out).unwrap();
        // Each row by itself is the same.
        for (row, expected) in out.chunks(info.row_len()).enumerate() {
            let mut alone = vec![f32::NAN; info.row_len()];
            onnx.read_rows(index, row, &mut alone).unwrap();
            assert_eq!(alone, expected, "{info:?} row {row}");
        }
        out
    };
    let all = onnx.infos.iter().enumerate();
    all.map(|(i, info)| (info.name.as_str(), info.dims.clone(), values((i, info)))).collect()
}

/// Checks that a graph has just this parameter.
fn assert_only(graph: Graph, name: &str, dims: &[usize], values: &[f32]) {
    let onnx = open(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(parameters(&onnx), [(name, dims.to_vec(), values.to_vec())]);
}

#[test]
fn tensors_keep_their_names_and_types() {
    let (x, y) = (f16::from_f32(1.5), bf16::from_f32(-2.0));
    let packed: Vec<u8> = [0.5f32, 7.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let scalar = |name, dtype, field, n| header(name, &[], code(dtype)).varint(field, n);
    let tensors = vec![
        floats("a.weight", &[2], &[1.0, -2.0]),
        raw("b.half", &[1], 10, &x.to_le_bytes()),
        raw("c.bhalf", &[1], 16, &y.to_le_bytes()),
        raw("d.position_ids", &[1, 2], 7, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        header("e.packed", &[2], 1).bytes(4, &packed),
        header("f.apart", &[2], 1).float(4, 0.25).float(4, 3.0),
        // Half floats among integers are their bits.
        scalar("g.half", DType::F16, 5, x.to_bits().into()),
        scalar("h.int", DType::I32, 5, (-3i64) as u64),
        scalar("i.long", DType::I64, 7, 1 << 40),
        scalar("j.bool", DType::Bool, 5, 1),
        raw("k.double", &[], 11, &0.1f64.to_le_bytes()),
        raw("l.empty", &[0, 4], 1, &[]),
        floats("cls_token", &[1, 2], &[5.0, 6.0]),
        // Constants of the computation.
        floats("val_12", &[2], &[0.0, 0.0]),
        floats("onnx::Mul_3", &[2], &[0.0, 0.0]),
        floats("/a/Constant_output_0", &[2], &[0.0, 0.0]),
        floats("scalar", &[], &[1.0]),
        raw("new_ones", &[2], 9, &[1, 1]),
    ];
    let onnx = open(&Graph::new(tensors, vec![])).unwrap();
    let expected: [(&str, DType, &[usize], &[f32]); 13] = [
        ("a.weight", DType::F32, &[2], &[1.0, -2.0]),
        ("b.half", DType::F16, &[1], &[1.5]),
        ("c.bhalf", DType::BF16, &[1], &[-2.0]),
        ("cls_token", DType::F32, &[1, 2], &[5.0, 6.0]),
        ("d.position_ids", DType::I64, &[1, 2], &[0.0, 1.0]),
        ("e.packed", DType::F32, &[2], &[0.5, 7.0]),
        ("f.apart", DType::F32, &[2], &[0.25, 3.0]),
        ("g.half", DType::F16, &[], &[1.5]),
        ("h.int", DType::I32, &[], &[-3.0]),
        ("i.long", DType::I64, &[], &[1_099_511_627_776.0]),
        ("j.bool", DType::Bool, &[], &[1.0]),
        ("k.double", DType::F64, &[], &[0.1]),
        ("l.empty", DType::F32, &[0, 4], &[]),
    ];
    let found = parameters(&onnx);
    assert_eq!(found.len(), expected.len());
    for ((name, dtype, dims, values), (i, found)) in
        expected.into_iter().zip(found.iter().enumerate())
    {
        assert_eq!(*found, (name, dims.to_vec(), values.to_vec()));
        assert_eq!(onnx.tensors()[i].dtype, dtype);
        assert_eq!(onnx.find(name), Some(i));
        assert_eq!(onnx.raw(i).unwrap().len(), values.len() * dtype.block_bytes());
    }
    assert_eq!(onnx.find("val_12"), None);
}

/// `[2, 3]` as `MatMul` has it: two inputs, three outputs.
const IN_OUT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
const OUT_IN: [f32; 6] = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];

#[test]
fn nameless_matrices_belong_to_the_module_of_their_node() {
    let matrix = || floats("onnx::MatMul_7", &[2, 3], &IN_OUT);
    let product = |name| node("MatMul", name, &["x", "onnx::MatMul_7"], &["y"]);
    let graph = Graph::new(
        vec![matrix()],
        vec![product("/distilbert/transformer/layer.0/attention/q_lin/MatMul")],
    );
    let name = "distilbert.transformer.layer.0.attention.q_lin.weight";
    let onnx = open(&graph).unwrap();
    assert!(matches!(onnx.raw(0), Err(CheckpointError::NotInOrder { .. })));
    assert_only(graph, name, &[3, 2], &OUT_IN);

    // Turned once more before it is used, it lies there as models have it.
    let turned = node("Transpose", "", &["onnx::MatMul_7"], &["t"]).with("perm", Ints(&[1, 0]));
    let graph = Graph::new(
        vec![matrix()],
        vec![turned, node("MatMul", "/a/b/MatMul_2", &["x", "t"], &["y"])],
    );
    assert_only(graph, "a.b.weight", &[2, 3], &IN_OUT);

    let scopes = "['', 'a', 'a.b', 'linear']";
    let noted = product("node_MatMul_3").noted("pkg.torch.onnx.name_scopes", scopes);
    assert_only(Graph::new(vec![matrix()], vec![noted]), "a.b.weight", &[3, 2], &OUT_IN);

    // The bias tells.
    let bias = floats("a.b.bias", &[3], &[7.0, 8.0, 9.0]);
    let add = node("Add", "node_linear", &["y", "a.b.bias"], &["z"]);
    let graph = Graph::new(vec![matrix(), bias], vec![product("node_MatMul_3"), add]);
    let onnx = open(&graph).unwrap();
    let names: Vec<_> = onnx.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a.b.bias", "a.b.weight"]);
}

#[test]
fn a_matrix_that_is_used_again_is_one_parameter() {
    let same = |name: &str| floats(name, &[2, 3], &IN_OUT);
    let product = |name, weight| node("MatMul", name, &["x", weight], &["y"]);
    let graph = Graph::new(
        vec![same("m"), same("n")],
        vec![
            product("/a/q/MatMul", "m"),
            product("/a/q/MatMul_1", "m"),
            product("/a/q/MatMul_2", "n"),
        ],
    );
    assert_only(graph, "a.q.weight", &[3, 2], &OUT_IN);
    // Of a module that is used again, the scope is counted; another is another.
    let other = floats("o", &[2, 3], &OUT_IN);
    let graph = Graph::new(
        vec![same("m"), same("n"), other],
        vec![
            product("/a/q/MatMul", "m"),
            product("/a/q_1/MatMul", "n"),
            product("/a/q_2/MatMul", "o"),
        ],
    );
    let onnx = open(&graph).unwrap();
    let names: Vec<_> = onnx.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a.q.weight", "a.q_2.weight"]);
    // A matrix that is tied to a table, and turned for the product.
    let tied = floats("head.weight", &[3, 2], &OUT_IN);
    let graph = Graph::new(vec![tied, same("m")], vec![product("/head/MatMul", "m")]);
    assert_only(graph, "head.weight", &[3, 2], &OUT_IN);
    // The table says by which module it is looked up.
    let scopes = "['', 'a', 'a.wte', 'embedding']";
    let gather = node("Gather", "node_embedding", &["head.weight", "ids"], &["e"]);
    let tied = floats("head.weight", &[3, 2], &OUT_IN);
    let graph = Graph::new(vec![tied], vec![gather.noted("pkg.torch.onnx.name_scopes", scopes)]);
    let onnx = open(&graph).unwrap();
    let names: Vec<_> = onnx.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a.wte.weight", "head.weight"]);
    // A name of another module for the same parameter.
    let graph = Graph::new(
        vec![floats("a.weight", &[2], &[1.0, 2.0])],
        vec![node("Identity", "", &["a.weight"], &["b.weight"])],
    );
    let onnx = open(&graph).unwrap();
    assert_eq!(parameters(&onnx)[1], ("b.weight", vec![2], vec![1.0, 2.0]));
}

#[test]
fn general_products_say_how_their_matrix_lies() {
    let tensors = || {
        vec![
            floats("onnx::Gemm_1", &[2, 3], &IN_OUT),
            floats("onnx::Gemm_2", &[3], &[7.0, 8.0, 9.0]),
        ]
    };
    let gemm = || node("Gemm", "/head/Gemm", &["x", "onnx::Gemm_1", "onnx::Gemm_2"], &["y"]);
    for (gemm, dims, values) in [
        (gemm(), [3, 2], OUT_IN),
        (gemm().with("transB", Int(1)).with("alpha", Float(1.0)), [2, 3], IN_OUT),
    ] {
        let onnx = open(&Graph::new(tensors(), vec![gemm])).unwrap();
        assert_eq!(parameters(&onnx)[0], ("head.bias", vec![3], vec![7.0, 8.0, 9.0]));
        assert_eq!(parameters(&onnx)[1], ("head.weight", dims.to_vec(), values.to_vec()));
    }
    // What keeps its name keeps its form: GPT-2 has its matrices so.
    let named = floats("h.0.c_attn.weight", &[2, 3], &IN_OUT);
    let gemm = node("Gemm", "/h.0/c_attn/Gemm", &["x", "h.0.c_attn.weight"], &["y"]);
    assert_only(Graph::new(vec![named], vec![gemm]), "h.0.c_attn.weight", &[2, 3], &IN_OUT);
}

#[test]
fn branches_see_the_tensors_around_them() {
    let names: Vec<_> =
        Onnx::parse(Bytes::copy_of(&small()), "small").unwrap().infos.into_iter().collect();
    let names: Vec<_> = names.iter().map(|info| (info.name.as_str(), &info.dims[..])).collect();
    let expected: [(&str, &[usize]); 5] = [
        ("decoder.out.weight", &[2, 2]),
        ("layer.0.k.weight", &[2, 15]),
        ("layer.0.q.weight", &[2, 3]),
        ("norm.weight", &[3]),
        ("table.weight", &[2, 3]),
    ];
    assert_eq!(names, expected);
}

#[test]
fn constants_of_nodes_are_tensors() {
    let value = floats("", &[2, 3], &IN_OUT);
    let nodes = vec![
        node("Constant", "/a/Constant", &[], &["c"]).with("value", Tensor(value)),
        node("MatMul", "/a/MatMul", &["x", "c"], &["y"]),
    ];
    assert_only(Graph::new(vec![], nodes), "a.weight", &[3, 2], &OUT_IN);
}

#[test]
fn a_table_of_positions_in_two_parts_is_one() {
    let tensors = vec![
        floats("onnx::Concat_1", &[1, 1, 2], &[1.0, 2.0]),
        floats("onnx::Reshape_2", &[1, 2, 2], &[3.0, 4.0, 5.0, 6.0]),
    ];
    let concat = |axis| {
        node("Concat", "/vit/embeddings/Concat_6", &["onnx::Concat_1", "f"], &["p"])
            .with("axis", Int(axis))
    };
    let nodes = |axis| {
        vec![
            node("Reshape", "", &["onnx::Reshape_2", "shape"], &["r"]),
            node("Transpose", "", &["r"], &["t"]).with("perm", Ints(&[0, 3, 1, 2])),
            node("Resize", "", &["t", "", "", "size"], &["s"]),
            node("Reshape", "", &["s", "shape"], &["f"]),
            concat(axis),
        ]
    };
    let expected = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let graph = Graph::new(tensors.clone(), nodes(1));
    assert_only(graph.clone(), "vit.embeddings.position_embeddings", &[1, 3, 2], &expected);
    let onnx = open(&graph).unwrap();
    let mut rows = [0.0; 4];
    onnx.read_rows(0, 1, &mut rows).unwrap();
    assert_eq!(rows, expected[2..]);
    assert!(onnx.raw(0).is_err());
    assert!(open(&Graph::new(tensors, nodes(2))).is_err());
}

#[test]
fn an_encoder_and_its_decoder_are_one_model() {
    let part = |names: &[&str]| {
        let tensors = names.iter().map(|name| floats(name, &[1], &[name.len() as f32])).collect();
        open(&Graph::new(tensors, vec![])).unwrap()
    };
    for (encoder, decoder, expected) in [
        (
            &["enc.block.0.w", "enc.norm.w"][..],
            &["m.decoder.block.0.w", "m.shared.w", "m.lm_head.w"][..],
            &["decoder.block.0.w", "encoder.block.0.w", "encoder.norm.w", "lm_head.w", "shared.w"]
                [..],
        ),
        (
            &["layers.0.w", "norm.w"],
            &["model.decoder.layers.0.w", "final_logits.b"],
            &[
                "final_logits.b",
                "model.decoder.layers.0.w",
                "model.encoder.layers.0.w",
                "model.encoder.norm.w",
            ],
        ),
        (
            &["encoder.block.0.w", "encoder.norm.w"],
            &["block.0.w", "norm.w"],
            &["decoder.block.0.w", "decoder.norm.w", "encoder.block.0.w", "encoder.norm.w"],
        ),
    ] {
        let joined = Onnx::joined(part(encoder), part(decoder));
        let found = parameters(&joined);
        let names: Vec<_> = found.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, expected);
        // Each has its own numbers: the length of its name in its part.
        let all: Vec<_> = encoder.iter().chain(decoder).map(|name| name.len() as f32).collect();
        let mut sizes: Vec<f32> = found.iter().map(|(.., values)| values[0]).collect();
        let mut all = all;
        sizes.sort_by(f32::total_cmp);
        all.sort_by(f32::total_cmp);
        assert_eq!(sizes, all);
    }
}

#[test]
fn the_content_tells_a_model() {
    assert!(is_onnx(&small()));
    for start in [&b""[..], b"\x08", b"\x08\x08", b"GGUF", b"\x08\x08\x00", b"\x12\x08"] {
        assert!(!is_onnx(start));
    }
}
