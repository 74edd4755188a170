//! What cannot be recovered is named: the node, and why.

use super::*;

fn message(tensors: Vec<Message>, nodes: Vec<Message>) -> String {
    match open(&Graph::new(tensors, nodes)) {
        Ok(onnx) => panic!("{:?} was found", onnx.infos),
        Err(error) => error.to_string(),
    }
}

fn matrix() -> Message {
    floats("onnx::MatMul_7", &[2, 3], &IN_OUT)
}

fn product(name: &str) -> Message {
    node("MatMul", name, &["x", "onnx::MatMul_7"], &["y"])
}

#[test]
fn weights_without_a_place_in_the_model() {
    let nodes = vec![product("node_MatMul_3")];
    let error = message(vec![matrix()], nodes);
    for part in ["model.onnx", "\"node_MatMul_3\" (\"MatMul\")", "which module", "torch.onnx"] {
        assert!(error.contains(part), "{error}");
    }
    // A node without a name is called by what it makes.
    assert!(message(vec![matrix()], vec![product("")]).contains("node \"y\" (\"MatMul\")"));
    assert!(message(vec![], vec![]).contains("none of its tensors has the name"));

    let other = floats("onnx::MatMul_8", &[2, 3], &OUT_IN);
    let second = node("MatMul", "/a/q/MatMul_1", &["x", "onnx::MatMul_8"], &["y"]);
    let error = message(vec![matrix(), other], vec![product("/a/q/MatMul"), second]);
    assert!(
        error.contains("\"/a/q/MatMul_1\"") && error.contains("\"a.q.weight\" other numbers"),
        "{error}"
    );

    let fused =
        node("Attention", "Attention_0", &["x", "onnx::MatMul_7"], &["y"]).of("com.microsoft");
    let error = message(vec![matrix()], vec![fused]);
    assert!(error.contains("form of its own") && error.contains("without optimizing"), "{error}");
    let recurrent = node("LSTM", "/rnn/LSTM", &["x", "onnx::MatMul_7"], &["y"]);
    assert!(message(vec![matrix()], vec![recurrent]).contains("/rnn/LSTM"));

    let gemm = node("Gemm", "/a/Gemm", &["x", "onnx::MatMul_7"], &["y"]).with("alpha", Float(0.5));
    assert!(message(vec![matrix()], vec![gemm]).contains("alpha is not 1"));
    let experts = floats("onnx::MatMul_7", &[2, 2, 2], &[0.0; 8]);
    assert!(message(vec![experts], vec![product("/a/MatMul")]).contains("no matrix"));
}

#[test]
fn weights_whose_numbers_are_not_known() {
    let integer = node("MatMulInteger", "/a/q/MatMul_quant", &["xq", "w", "xz"], &["y"]);
    let error = message(vec![q("w")], vec![integer]);
    assert!(error.contains("/a/q/MatMul_quant") && error.contains("scale is not found"), "{error}");

    let float8 = raw("onnx::MatMul_7", &[2, 3], 17, &[0; 6]);
    let error = message(vec![float8], vec![product("/a/MatMul")]);
    assert!(error.contains("float8") && error.contains("f32 or f16"), "{error}");
    let error = message(vec![header("a.names", &[1], 8).bytes(6, b"x")], vec![]);
    assert!(error.contains("\"a.names\" has type string"), "{error}");

    let dequantize = node("DequantizeLinear", "dq", &["w", "s"], &["d"]).with("axis", Int(0));
    let error = message(vec![q("w"), floats("s", &[3], &[1.0; 3])], vec![dequantize]);
    assert!(error.contains("node \"dq\"") && error.contains("does not fit"), "{error}");

    let packed = |ints: &[(&str, i64)], inputs: &[&str]| {
        let tensors = vec![raw("w", &[1, 1, 8], 2, &[0; 8]), floats("s", &[1], &[1.0])];
        let product = node("MatMulNBits", "/a/MatMul_Q4", inputs, &["y"]);
        message(tensors, vec![with_ints(product, ints)])
    };
    let sound = [("N", 1), ("K", 16), ("bits", 4), ("block_size", 16)];
    for (name, n, expected) in [
        ("N", 2, "fewer weights or scales"),
        ("N", -1, "attribute N"),
        ("K", 1 << 40, "attribute K"),
        ("bits", 2, "2 bits; 4 and 8"),
        ("block_size", 24, "power of two"),
    ] {
        let ints = sound.map(|(known, sound)| (known, if known == name { n } else { sound }));
        let error = packed(&ints, &["x", "w", "s"]);
        assert!(error.contains(expected), "{error}");
    }
    assert!(packed(&sound, &["x", "w", "s", "", "order"]).contains("reordered"));
    assert!(packed(&sound, &["x", "w", "missing"]).contains("input 2"));
}

#[test]
fn only_matrices_are_turned() {
    let kernel = || int8("w", &[4, 4, 4], &[1; 64]);
    let tensors = || vec![kernel(), floats("s", &[], &[0.5]), int8("z", &[], &[0])];
    let product = |op, inputs: &[&str]| node(op, "/a/q/MatMul_quant", inputs, &["y"]);
    for nodes in [
        vec![
            product("MatMulInteger", &["xq", "w", "xz", "z"]),
            node("Cast", "", &["y"], &["yf"]).with("to", Int(1)),
            node("Mul", "", &["yf", "s"], &["o"]),
        ],
        vec![product("MatMulIntegerToFloat", &["xq", "w", "xs", "s", "xz", "z"])],
        vec![product("QLinearMatMul", &["xq", "xs", "xz", "w", "s", "z", "ys", "yz"])],
    ] {
        let error = message(tensors(), nodes);
        assert!(error.contains("/a/q/MatMul_quant") && error.contains("no matrix"), "{error}");
    }
    let kernel = floats("a.weight_Transposed", &[4, 4, 4], &[1.0; 64]);
    let conv = node("Conv", "/a/Conv", &["x", "a.weight_Transposed"], &["y"]);
    assert!(message(vec![kernel], vec![conv]).contains("no matrix"));
}

#[test]
fn many_rows_without_numbers_are_compared_at_once() {
    let empty = |name, rows| raw(name, &[rows, 0], 1, &[]);
    let gemm = |name, weight| node("Gemm", name, &["x", weight], &["y"]).with("transB", Int(1));
    let nodes = || vec![gemm("/a/q/Gemm", "m"), gemm("/a/q/Gemm_1", "n")];
    let same = Graph::new(vec![empty("m", 1 << 50), empty("n", 1 << 50)], nodes());
    assert_eq!(open(&same).unwrap().tensors().len(), 1);
    let error = message(vec![empty("m", 1 << 50), empty("n", 1)], nodes());
    assert!(error.contains("other numbers"), "{error}");
}

#[test]
fn numbers_in_the_file_are_not_believed() {
    let huge = [usize::MAX / 2, 3];
    for (tensor, expected) in [
        (raw("a.w", &huge, 1, &[0; 4]), "too large for any file"),
        (raw("a.w", &[usize::MAX / 2, 3, 0], 1, &[]), "too large for any file"),
        (raw("a.w", &[usize::MAX], 1, &[]), "negative or too large"),
        (raw("a.w", &[1; 9], 1, &[0; 4]), "more than 8 dimensions"),
        (raw("a.w", &[2], 1, &[0; 7]), "[2] F32 takes 8 bytes, but the file gives it 7"),
        (raw("a.w", &[3], 21, &[0; 1]), "[3] U4 takes 2 bytes, but the file gives it 1"),
        (header("a.w", &[2], 1).float(4, 1.0), "gives it 4"),
        (header("a.w", &[2], 1), "gives it 0"),
        (header("a.w", &[2], 1).varint(5, 1).varint(5, 1), "gives it 0"),
    ] {
        let error = message(vec![tensor], vec![]);
        assert!(error.contains(expected) && error.contains("\"a.w\""), "{error}");
    }
    let twice = vec![floats("a.w", &[1], &[1.0]), floats("a.w", &[1], &[1.0])];
    assert!(message(twice, vec![]).contains("appears twice"));
    let sparse = Message::default().varint(1, 8).bytes(2, b"t");
    let sparse = sparse.bytes(7, &Message::default().bytes(15, b"").0).0;
    let error = Onnx::parse(Bytes::copy_of(&sparse), "m").err().unwrap().to_string();
    assert!(error.contains("sparse"), "{error}");
}

#[test]
fn graphs_in_graphs_in_graphs() {
    let mut graph = Graph::new(vec![floats("a.w", &[1], &[1.0])], vec![]);
    for depth in 1..20 {
        assert_eq!(open(&graph).is_ok(), depth <= MAX_DEPTH, "{depth}");
        let inside = node("If", "", &["c"], &["y"]).with("then_branch", Attribute::Graph(graph));
        graph = Graph::new(vec![], vec![inside]);
    }
    let error = open(&graph).err().unwrap().to_string();
    assert!(error.contains("more than 8 deep"), "{error}");
}

#[test]
fn values_that_depend_on_themselves() {
    let nodes = vec![
        node("Identity", "a", &["y"], &["x.weight"]),
        node("Identity", "b", &["x.weight"], &["y"]),
        node("Mul", "c", &["m", "m"], &["m"]),
        node("MatMul", "/a/MatMul", &["m", "m"], &["m"]),
    ];
    assert!(message(vec![], nodes).contains("none of its tensors"));
}

#[test]
fn more_nodes_than_any_model_has() {
    // The smallest node takes two bytes, and much more in memory.
    let node = Message::default().bytes(1, b"").0;
    let graph = Message(node.repeat(MAX_NODES + 1));
    let file = Message::default().varint(1, 8).bytes(2, b"t").bytes(7, &graph.0).0;
    let error = Onnx::parse(Bytes::copy_of(&file), "m").err().unwrap().to_string();
    assert!(error.contains("more than 131072 nodes"), "{error}");
}
