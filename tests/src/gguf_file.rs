//! Writes small GGUF files, so that tests can say the same model in both formats.

use std::path::Path;

/// A value of the metadata.
#[derive(Clone, Debug)]
pub enum Value {
    /// Type 4.
    U32(u32),
    /// Type 5.
    I32(i32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Text(String),
    /// Type 9 of type 5.
    I32s(Vec<i32>),
    /// Type 9 of type 7.
    Bools(Vec<bool>),
    /// Type 9 of type 8.
    Texts(Vec<String>),
}

/// A file in the making.
#[derive(Clone, Debug, Default)]
pub struct GgufFile {
    entries: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    dims: Vec<usize>,
    kind: u32,
    bytes: Vec<u8>,
}

const ALIGNMENT: usize = 32;

impl GgufFile {
    /// Adds a metadata entry.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.entries.retain(|(k, _)| k != key);
        self.entries.push((key.to_owned(), value));
        self
    }

    /// Takes a metadata entry away.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.entries.retain(|(k, _)| k != key);
        self
    }

    /// Adds a vocabulary of `n` byte-level pieces without merges; token 1 begins, 2 ends a text.
    pub fn vocabulary(&mut self, n: usize) -> &mut Self {
        let pieces = (0..n).map(|i| format!("piece{i}")).collect();
        self.set("tokenizer.ggml.model", Value::Text("gpt2".to_owned()))
            .set("tokenizer.ggml.pre", Value::Text("gpt-2".to_owned()))
            .set("tokenizer.ggml.tokens", Value::Texts(pieces))
            .set("tokenizer.ggml.token_type", Value::I32s(vec![1; n]))
            .set("tokenizer.ggml.merges", Value::Texts(Vec::new()))
            .set("tokenizer.ggml.bos_token_id", Value::U32(1))
            .set("tokenizer.ggml.eos_token_id", Value::U32(2))
    }

    /// Adds an F32 tensor, dims outermost first.
    pub fn float(&mut self, name: &str, dims: &[usize], values: &[f32]) -> &mut Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, dims, 0, bytes)
    }

    /// Adds a Q8_0 tensor of the given blocks, dims outermost first.
    pub fn q8_0(&mut self, name: &str, dims: &[usize], blocks: Vec<u8>) -> &mut Self {
        self.tensor(name, dims, 8, blocks)
    }

    fn tensor(&mut self, name: &str, dims: &[usize], kind: u32, bytes: Vec<u8>) -> &mut Self {
        self.tensors.retain(|t| t.name != name);
        self.tensors.push(Tensor { name: name.to_owned(), dims: dims.to_vec(), kind, bytes });
        self
    }

    /// The model in `n` files, of which the first has the metadata.
    pub fn split(&self, n: usize) -> Vec<GgufFile> {
        let per_part = self.tensors.len().div_ceil(n);
        let mut parts = vec![GgufFile::default(); n];
        parts[0].entries.clone_from(&self.entries);
        for (number, part) in parts.iter_mut().enumerate() {
            part.tensors =
                self.tensors.iter().skip(number * per_part).take(per_part).cloned().collect();
            part.set("split.no", Value::U32(number as u32))
                .set("split.count", Value::U32(n as u32))
                .set("split.tensors.count", Value::I32(self.tensors.len() as i32));
        }
        parts
    }

    /// Writes the file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &Path) {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            text(&mut out, key);
            entry(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            text(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            for dim in tensor.dims.iter().rev() {
                out.extend((*dim as u64).to_le_bytes());
            }
            out.extend(tensor.kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.bytes.len()).next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend(&tensor.bytes);
        }
        std::fs::write(path, out).expect("a GGUF file written");
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn entry(out: &mut Vec<u8>, value: &Value) {
    let list = |out: &mut Vec<u8>, kind: u32, len: usize| {
        out.extend(9u32.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    };
    match value {
        Value::U32(n) => {
            out.extend(4u32.to_le_bytes());
            out.extend(n.to_le_bytes());
        }
        Value::I32(n) => {
            out.extend(5u32.to_le_bytes());
            out.extend(n.to_le_bytes());
        }
        Value::F32(x) => {
            out.extend(6u32.to_le_bytes());
            out.extend(x.to_le_bytes());
        }
        Value::Bool(b) => {
            out.extend(7u32.to_le_bytes());
            out.push((*b).into());
        }
        Value::Text(s) => {
            out.extend(8u32.to_le_bytes());
            text(out, s);
        }
        Value::I32s(values) => {
            list(out, 5, values.len());
            out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
        Value::Bools(values) => {
            list(out, 7, values.len());
            out.extend(values.iter().map(|&b| u8::from(b)));
        }
        Value::Texts(values) => {
            list(out, 8, values.len());
            for value in values {
                text(out, value);
            }
        }
    }
}
