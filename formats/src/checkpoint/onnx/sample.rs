//! Writes tiny ONNX models, for tests.

use super::super::DType;

/// A message of protobuf.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    pub(crate) fn varint(mut self, field: u32, n: u64) -> Self {
        self.number(u64::from(field) << 3);
        self.number(n);
        self
    }

    pub(crate) fn float(mut self, field: u32, x: f32) -> Self {
        self.number(u64::from(field) << 3 | 5);
        self.0.extend(x.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.number(u64::from(field) << 3 | 2);
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }
}

/// The number of a type in ONNX.
pub(crate) fn code(dtype: DType) -> u64 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::BF16 => 16,
        _ => unreachable!("no type of ONNX"),
    }
}

/// A tensor without its data.
pub(crate) fn header(name: &str, dims: &[usize], code: u64) -> Message {
    let dims = dims.iter().fold(Message::default(), |m, &dim| m.varint(1, dim as u64));
    dims.varint(2, code).bytes(8, name.as_bytes())
}

/// A tensor with raw data.
pub(crate) fn raw(name: &str, dims: &[usize], code: u64, data: &[u8]) -> Message {
    header(name, dims, code).bytes(9, data)
}

/// A tensor of floats.
pub(crate) fn floats(name: &str, dims: &[usize], values: &[f32]) -> Message {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    raw(name, dims, 1, &data)
}

/// A tensor of bytes with sign.
pub(crate) fn int8(name: &str, dims: &[usize], values: &[i8]) -> Message {
    raw(name, dims, 3, &values.iter().map(|&v| v as u8).collect::<Vec<u8>>())
}

/// A tensor whose data is in the file called `location`.
pub(crate) fn external(
    name: &str,
    dims: &[usize],
    location: &str,
    offset: &str,
    length: &str,
) -> Message {
    let keys = [("location", location), ("offset", offset), ("length", length)];
    let entry = |(key, value): (&str, &str)| {
        Message::default().bytes(1, key.as_bytes()).bytes(2, value.as_bytes()).0
    };
    let keys = keys.into_iter().map(entry);
    keys.fold(header(name, dims, 1), |m, key| m.bytes(13, &key)).varint(14, 1)
}

/// An attribute of a node.
pub(crate) enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
    Tensor(Message),
    Graph(Graph),
}

/// A node.
pub(crate) fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let message = inputs.iter().fold(Message::default(), |m, name| m.bytes(1, name.as_bytes()));
    let message = outputs.iter().fold(message, |m, name| m.bytes(2, name.as_bytes()));
    message.bytes(3, name.as_bytes()).bytes(4, op.as_bytes())
}

impl Message {
    /// This node, with an attribute.
    pub(crate) fn with(self, name: &str, attribute: Attribute<'_>) -> Self {
        let message = Message::default().bytes(1, name.as_bytes());
        let message = match attribute {
            Attribute::Int(n) => message.varint(3, n as u64),
            Attribute::Float(x) => message.float(2, x),
            Attribute::Ints(ints) => ints.iter().fold(message, |m, &n| m.varint(8, n as u64)),
            Attribute::Tensor(tensor) => message.bytes(5, &tensor.0),
            Attribute::Graph(graph) => message.bytes(6, &graph.message().0),
        };
        self.bytes(5, &message.0)
    }

    /// This node, of another domain.
    pub(crate) fn of(self, domain: &str) -> Self {
        self.bytes(7, domain.as_bytes())
    }

    /// This node, with a note about it.
    pub(crate) fn noted(self, key: &str, value: &str) -> Self {
        let entry = Message::default().bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
        self.bytes(9, &entry.0)
    }
}

/// A graph of tensors and nodes.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    pub(crate) tensors: Vec<Message>,
    pub(crate) nodes: Vec<Message>,
}

impl Graph {
    pub(crate) fn new(tensors: Vec<Message>, nodes: Vec<Message>) -> Self {
        Self { tensors, nodes }
    }

    fn message(&self) -> Message {
        let nodes = self.nodes.iter().fold(Message::default(), |m, node| m.bytes(1, &node.0));
        self.tensors.iter().fold(nodes, |m, tensor| m.bytes(5, &tensor.0))
    }

    /// The model's file.
    pub(crate) fn file(&self) -> Vec<u8> {
        Message::default().varint(1, 8).bytes(2, b"test").bytes(7, &self.message().0).0
    }
}

/// A small model with a bit of everything.
pub(crate) fn small() -> Vec<u8> {
    let branch = Graph::new(
        vec![],
        vec![node("MatMul", "/decoder/out/MatMul", &["x", "onnx::MatMul_3"], &["z"])],
    );
    let same = branch.clone();
    let tensors = vec![
        floats("norm.weight", &[3], &[1.0, 2.0, -3.0]),
        int8("onnx::MatMul_1_quantized", &[3, 2], &[1, -2, 3, 4, -5, 127]),
        floats("onnx::MatMul_1_scale", &[2], &[0.5, 0.25]),
        raw("onnx::MatMul_1_zero_point", &[2], 3, &[1, 0]),
        raw("table.weight_quantized", &[2, 3], 2, &[0, 128, 255, 1, 2, 3]),
        header("table.weight_scale", &[], 1).float(4, 0.1),
        header("table.weight_zero_point", &[], 2).varint(5, 128),
        floats("onnx::MatMul_3", &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
        raw("packed", &[2, 1, 8], 2, &[0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x0f].repeat(2)),
        floats("packed_scales", &[2, 1], &[0.5, 2.0]),
    ];
    use Attribute::{Graph as Branch, Int, Tensor};
    let nodes = vec![
        node("Constant", "", &[], &["one"]).with("value", Tensor(floats("", &[], &[1.0]))),
        node("Gather", "/table/Gather", &["table.weight_quantized", "ids"], &["g"]),
        node(
            "DequantizeLinear",
            "",
            &["g", "table.weight_scale", "table.weight_zero_point"],
            &["e"],
        ),
        node(
            "DequantizeLinear",
            "",
            &["onnx::MatMul_1_quantized", "onnx::MatMul_1_scale", "onnx::MatMul_1_zero_point"],
            &["w"],
        )
        .with("axis", Int(1)),
        node("MatMul", "/layer.0/q/MatMul", &["e", "w"], &["q"]),
        node("MatMulNBits", "/layer.0/k/MatMul_Q4", &["q", "packed", "packed_scales"], &["k"])
            .of("com.microsoft")
            .with("N", Int(2))
            .with("K", Int(15))
            .with("bits", Int(4))
            .with("block_size", Int(16)),
        node("If", "/If", &["one"], &["y"])
            .with("then_branch", Branch(branch))
            .with("else_branch", Branch(same)),
    ];
    Graph::new(tensors, nodes).file()
}
