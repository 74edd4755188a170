//! Weights behind what quantizers do to them.

use super::*;

/// Integers `[2, 3]`, as they are and with different scales and zeros.
const Q: [i8; 6] = [1, -2, 3, 4, -128, 127];

pub(super) fn q(name: &str) -> Message {
    int8(name, &[2, 3], &Q)
}

#[test]
fn dequantized_weights() {
    let zeros = int8("z", &[3], &[0, 1, -1]);
    let columns = floats("s", &[3], &[0.5, 2.0, 0.25]);
    let rows = floats("s", &[2], &[0.5, 2.0]);
    let dequantize =
        |q: &str, with: &[&str]| node("DequantizeLinear", "", &[&[q], with].concat(), &["w"]);
    let product = || node("MatMul", "/a/MatMul", &["x", "w"], &["y"]);
    let graph = |tensors, dequantize| Graph::new(tensors, vec![dequantize, product()]);

    // One scale for each output, and a zero point.
    let tensors = vec![q("onnx::MatMul_1_quantized"), columns, zeros];
    let by_column = dequantize("onnx::MatMul_1_quantized", &["s", "z"]).with("axis", Int(1));
    let by_column = graph(tensors, by_column);
    assert_only(by_column, "a.weight", &[3, 2], &[0.5, 2.0, -6.0, -258.0, 1.0, 32.0]);
    // One for each input.
    let by_row = dequantize("q", &["s"]).with("axis", Int(0));
    let by_row = graph(vec![q("q"), rows], by_row);
    assert_only(by_row, "a.weight", &[3, 2], &[0.5, 8.0, -1.0, -256.0, 1.5, 254.0]);
    // One for all, in half floats: values are rounded to them.
    let third = f16::from_f32(1.0 / 3.0);
    let whole =
        graph(vec![q("q"), raw("s", &[], 10, &third.to_le_bytes())], dequantize("q", &["s"]));
    let expected =
        [0, 3, 1, 4, 2, 5].map(|i: usize| f16::from_f32(f32::from(Q[i]) * third.to_f32()));
    assert_only(whole, "a.weight", &[3, 2], &expected.map(f16::to_f32));
    // Four bits, two rows of a block each along the inputs.
    let four = raw("q", &[4, 2], 22, &[0x21, 0x43, 0x65, 0xf8]);
    let scales = floats("s", &[2, 2], &[1.0, 10.0, 100.0, 1000.0]);
    let blocks = dequantize("q", &["s"]).with("axis", Int(0)).with("block_size", Int(2));
    let expected = [1.0, 3.0, 500.0, -800.0, 20.0, 40.0, 6000.0, -1000.0];
    assert_only(graph(vec![four, scales], blocks), "a.weight", &[2, 4], &expected);

    // The name of the integers is the weight's, and they are turned before they are used.
    let scales = floats("s", &[2], &[0.5, 2.0]);
    let nodes = vec![
        dequantize("a.weight_quantized", &["s"]).with("axis", Int(0)),
        node("Transpose", "", &["w"], &["t"]),
        node("MatMul", "/b/MatMul", &["x", "t"], &["y"]),
    ];
    let named = Graph::new(vec![q("a.weight_quantized"), scales], nodes);
    assert_only(named, "a.weight", &[2, 3], &[0.5, -1.0, 1.5, 8.0, -256.0, 254.0]);
    // Quantizers turn a matrix and say so in its name.
    let scales = floats("s", &[], &[2.0]);
    let named = graph(
        vec![q("a.weight_transposed_quantized"), scales],
        dequantize("a.weight_transposed_quantized", &["s"]),
    );
    assert_only(named, "a.weight", &[3, 2], &[2.0, 8.0, -4.0, -256.0, 6.0, 254.0]);
}

#[test]
fn integers_made_floats_and_multiplied() {
    let scale = || floats("s", &[1, 3], &[0.5, 2.0, 0.25]);
    let cast = || node("Cast", "", &["q"], &["f"]).with("to", Int(1));
    let product = |weight| node("MatMul", "/a/MatMul", &["x", weight], &["y"]);
    let expected = [0.5, 2.0, -4.0, -256.0, 0.75, 31.75];
    for nodes in [
        vec![cast(), node("Mul", "", &["f", "s"], &["w"]), product("w")],
        vec![cast(), node("Mul", "", &["s", "f"], &["w"]), product("w")],
        vec![cast(), product("f"), node("Mul", "", &["y", "s"], &["z"])],
    ] {
        assert_only(Graph::new(vec![q("q"), scale()], nodes), "a.weight", &[3, 2], &expected);
    }
    // With a zero point, and the name of what they make.
    let tensors = vec![q("w_q"), int8("z", &[], &[1]), floats("s", &[2, 1], &[1.0, 10.0])];
    let nodes = vec![
        node("Cast", "", &["w_q"], &["f"]).with("to", Int(1)),
        node("Cast", "", &["z"], &["zf"]).with("to", Int(1)),
        node("Sub", "", &["f", "zf"], &["c"]),
        node("Mul", "", &["c", "s"], &["emb.weight"]),
        node("Gather", "/emb/Gather", &["emb.weight", "ids"], &["y"]),
    ];
    let expected = [0.0, -3.0, 2.0, 30.0, -1290.0, 1260.0];
    assert_only(Graph::new(tensors, nodes), "emb.weight", &[2, 3], &expected);
}

#[test]
fn factors_of_products_of_integers() {
    let scale = || floats("onnx::MatMul_1_scale", &[3], &[0.5, 2.0, 0.25]);
    let zero = || int8("onnx::MatMul_1_zero_point", &[3], &[0, 1, 0]);
    let tensors = || vec![q("onnx::MatMul_1_quantized"), scale(), zero()];
    let input = || node("DynamicQuantizeLinear", "", &["x"], &["xq", "xs", "xz"]);
    let product = |op, inputs: &[&str]| node(op, "/a/q/MatMul_quant", inputs, &["y"]);
    let (w, s, z) =
        ("onnx::MatMul_1_quantized", "onnx::MatMul_1_scale", "onnx::MatMul_1_zero_point");
    let expected = [0.5, 2.0, -6.0, -258.0, 0.75, 31.75];
    for nodes in [
        vec![
            input(),
            node("Mul", "", &["xs", s], &["ss"]),
            product("MatMulInteger", &["xq", w, "xz", z]),
            node("Cast", "", &["y"], &["yf"]).with("to", Int(1)),
            node("Mul", "", &["yf", "ss"], &["o"]),
        ],
        vec![product("DynamicQuantizeMatMul", &["x", w, s, z]).of("com.microsoft")],
        vec![product("MatMulIntegerToFloat", &["xq", w, "xs", s, "xz", z]).of("com.microsoft")],
        vec![product("QLinearMatMul", &["xq", "xs", "xz", w, s, z, "ys", "yz"])],
    ] {
        assert_only(Graph::new(tensors(), nodes), "a.q.weight", &[3, 2], &expected);
    }
    // A kernel has its outputs first, and one scale for each.
    let tensors =
        vec![int8("k_quantized", &[2, 1, 1, 2], &[1, 2, 3, 4]), floats("s", &[2], &[0.5, 3.0])];
    let nodes = vec![
        node("ConvInteger", "/stem/Conv_quant", &["xq", "k_quantized", "xz"], &["y"]),
        node("Cast", "", &["y"], &["yf"]).with("to", Int(1)),
        node("Mul", "", &["xs", "s"], &["ss"]),
        node("Mul", "", &["yf", "ss"], &["o"]),
    ];
    assert_only(Graph::new(tensors, nodes), "stem.weight", &[2, 1, 1, 2], &[0.5, 1.0, 9.0, 12.0]);
}

#[test]
fn tables_of_integers_are_dequantized_after_the_look_up() {
    let tensors = || {
        let quantized = raw("emb.weight_quantized", &[2, 3], 2, &[0, 128, 255, 127, 129, 128]);
        vec![
            quantized,
            header("emb.weight_scale", &[], 1).float(4, 0.5),
            header("emb.weight_zero_point", &[], 2).varint(5, 128),
        ]
    };
    let gather = || node("Gather", "/emb/Gather", &["emb.weight_quantized", "ids"], &["g"]);
    let after = |value| {
        let inputs = [value, "emb.weight_scale", "emb.weight_zero_point"];
        node("DequantizeLinear", "", &inputs, &["e"])
    };
    let expected = [-64.0, 0.0, 63.5, -0.5, 0.5, 0.0];
    let moved = node("Transpose", "", &["g"], &["t"]).with("perm", Ints(&[2, 0, 1]));
    for nodes in [vec![gather(), after("g")], vec![gather(), moved, after("t")]] {
        assert_only(Graph::new(tensors(), nodes), "emb.weight", &[2, 3], &expected);
    }
}

/// An integer attribute for each of these.
pub(super) fn with_ints(node: Message, ints: &[(&str, i64)]) -> Message {
    ints.iter().fold(node, |node, &(name, n)| node.with(name, Int(n))).of("com.microsoft")
}

#[test]
fn packed_blocks() {
    // Two rows of 17 weights in blocks of 16: 64 nibbles, of which 30 fill up the last blocks.
    let nibbles: Vec<u8> = (0..32).map(|i| i as u8 | ((i as u8 + 7) << 4)).collect();
    let scales = || floats("s", &[4], &[0.5, 2.0, 0.25, 4.0]);
    let shape = [("N", 2), ("K", 17), ("bits", 4), ("block_size", 16)];
    let product =
        |inputs: &[&str]| with_ints(node("MatMulNBits", "/a/MatMul_Q4", inputs, &["y"]), &shape);
    let expected = |zeros: [[f32; 2]; 2]| -> Vec<f32> {
        let value = |row: usize, column: usize| {
            let at = row * 32 + column;
            let q = (nibbles[at / 2] >> (4 * (at % 2))) & 15;
            let scale = [0.5, 2.0, 0.25, 4.0][row * 2 + column / 16];
            (f32::from(q) - zeros[row][column / 16]) * scale
        };
        (0..34).map(|i| value(i / 17, i % 17)).collect()
    };
    let weights = || raw("onnx::MatMul_1_Q4", &[2, 2, 8], 2, &nibbles);
    let graph =
        Graph::new(vec![weights(), scales()], vec![product(&["x", "onnx::MatMul_1_Q4", "s"])]);
    assert_only(graph, "a.weight", &[2, 17], &expected([[8.0; 2]; 2]));
    // Zero points are packed in whole bytes for each row, or floats.
    let inputs = ["x", "onnx::MatMul_1_Q4", "s", "z"];
    let packed = raw("z", &[2], 2, &[0x31, 0x0f]);
    let graph = Graph::new(vec![weights(), scales(), packed], vec![product(&inputs)]);
    assert_only(graph, "a.weight", &[2, 17], &expected([[1.0, 3.0], [15.0, 0.0]]));
    let zeros = floats("z", &[4], &[1.0, 2.5, 3.0, 4.0]);
    let graph = Graph::new(vec![weights(), scales(), zeros], vec![product(&inputs)]);
    assert_only(graph, "a.weight", &[2, 17], &expected([[1.0, 2.5], [3.0, 4.0]]));

    // Eight bits, under a name of its own.
    let bytes: Vec<u8> = (0..16).map(|i| 120 + i).collect();
    let tensors = vec![raw("b.weight_Q8", &[1, 1, 16], 2, &bytes), floats("s", &[1], &[0.5])];
    let shape = [("N", 1), ("K", 16), ("bits", 8), ("block_size", 16)];
    let eight = with_ints(node("MatMulNBits", "", &["x", "b.weight_Q8", "s"], &["y"]), &shape);
    let expected: Vec<f32> = (0..16).map(|i| (i as f32 - 8.0) * 0.5).collect();
    assert_only(Graph::new(tensors, vec![eight]), "b.weight", &[1, 16], &expected);

    // A table in the same form.
    let shape = [("bits", 4), ("block_size", 16), ("gather_axis", 0), ("quantize_axis", 1)];
    let gather = with_ints(
        node("GatherBlockQuantized", "/emb/Gather_Q4", &["t_Q4", "ids", "s"], &["y"]),
        &shape,
    );
    let tensors = vec![raw("t_Q4", &[2, 8], 2, &nibbles[..16]), floats("s", &[2, 1], &[1.0, 0.5])];
    let expected: Vec<f32> = (0..32)
        .map(|i: usize| {
            let q = (nibbles[i / 2] >> (4 * (i % 2))) & 15;
            (f32::from(q) - 8.0) * [1.0, 0.5][i / 16]
        })
        .collect();
    assert_only(Graph::new(tensors, vec![gather]), "emb.weight", &[2, 16], &expected);
}
