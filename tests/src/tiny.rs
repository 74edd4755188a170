//! Tiny random checkpoints of every mapped family, and what Hugging Face computes for them.
//!
//! No weights are committed: element `i` of a tensor is `base + amplitude * u`, where `u` in
//! [-1, 1) is made of the top 24 bits of splitmix64's output number `i` for the seed
//! FNV-1a-64(name). `goldens/tiny/FAMILY/tensors.json` lists name, shape, base and amplitude;
//! `reference/tiny_models.py` made it together with the outputs.
//!
//! ```
//! use kinglet_tests::tiny;
//!
//! let folder = tiny::checkpoint("qwen3"); // deleted when dropped
//! assert!(folder.path().join("model.safetensors").is_file());
//! let golden = tiny::golden("qwen3");
//! assert_eq!(golden.logits.len(), golden.tokens.len());
//! ```

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
#[cfg(test)]
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What a tiny checkpoint computes, and what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Next-token logits.
    Decoder,
    /// Hidden states and a vector of a text.
    Encoder,
    /// Logits of a text that reads another one.
    EncoderDecoder,
    /// Hidden states of an image.
    Image,
}

/// Every family with a tiny checkpoint.
const FAMILIES: &[(&str, Kind)] = &[
    ("llama", Kind::Decoder),
    ("llama3-rope-scaling", Kind::Decoder),
    ("mistral", Kind::Decoder),
    ("qwen2", Kind::Decoder),
    ("qwen3", Kind::Decoder),
    ("gemma3", Kind::Decoder),
    ("gemma3-query-scale", Kind::Decoder),
    ("gpt2", Kind::Decoder),
    ("olmo2", Kind::Decoder),
    ("olmoe", Kind::Decoder),
    ("llama-biases", Kind::Decoder),
    ("llama-yarn", Kind::Decoder),
    ("mixtral", Kind::Decoder),
    ("qwen2-moe", Kind::Decoder),
    ("qwen2-moe-mixed", Kind::Decoder),
    ("qwen3-moe", Kind::Decoder),
    ("phi3", Kind::Decoder),
    ("phi3-short", Kind::Decoder),
    ("gemma", Kind::Decoder),
    ("gemma2", Kind::Decoder),
    ("smollm3", Kind::Decoder),
    ("granite", Kind::Decoder),
    ("granite-moe", Kind::Decoder),
    ("starcoder2", Kind::Decoder),
    ("gpt-neox", Kind::Decoder),
    ("gpt-neox-serial", Kind::Decoder),
    ("phi", Kind::Decoder),
    ("phi-qk-norm", Kind::Decoder),
    ("stablelm", Kind::Decoder),
    ("stablelm-parallel", Kind::Decoder),
    ("cohere", Kind::Decoder),
    ("cohere2", Kind::Decoder),
    ("bert", Kind::Encoder),
    ("albert", Kind::Encoder),
    ("roberta", Kind::Encoder),
    ("camembert", Kind::Encoder),
    ("xlm-roberta", Kind::Encoder),
    ("distilbert", Kind::Encoder),
    ("mpnet", Kind::Encoder),
    ("modernbert", Kind::Encoder),
    ("nomic-bert", Kind::Encoder),
    ("electra", Kind::Encoder),
    ("deberta-v2", Kind::Encoder),
    ("jina-bert-v2", Kind::Encoder),
    ("embeddinggemma", Kind::Encoder),
    ("t5", Kind::EncoderDecoder),
    ("mt5", Kind::EncoderDecoder),
    ("umt5", Kind::EncoderDecoder),
    ("bart", Kind::EncoderDecoder),
    ("mbart", Kind::EncoderDecoder),
    ("m2m100", Kind::EncoderDecoder),
    ("marian", Kind::EncoderDecoder),
    ("marian-two-tables", Kind::EncoderDecoder),
    ("pegasus", Kind::EncoderDecoder),
    ("vit", Kind::Image),
];

/// The names of all families.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// The names of the families of a kind.
pub fn families_of(kind: Kind) -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().filter(move |(_, other)| *other == kind).map(|(name, _)| *name)
}

/// One tensor of a tiny checkpoint and the two numbers its values follow from.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name in the checkpoint.
    pub name: String,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Middle of the values' range.
    pub base: f32,
    /// Half the width of the values' range.
    pub amplitude: f32,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether a dimension is zero (none is).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values, innermost dimension first.
    pub fn values(&self) -> impl Iterator<Item = f32> + use<> {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let (mut state, base, amplitude) = (fnv1a64(&self.name), self.base, self.amplitude);
        (0..self.len()).map(move |_| {
            state = state.wrapping_add(GOLDEN);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let unit = (z >> 40) as f32 / 8_388_608.0 - 1.0;
            base + amplitude * unit
        })
    }
}

/// FNV-1a, 64 bits.
fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |value, byte| {
        (value ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// What the reference computed for a family.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Token ids that were fed, position 0 first.
    pub tokens: Vec<u32>,
    /// Token ids of the text that is read, for an encoder and decoder.
    pub source: Vec<u32>,
    /// Where there are logits: `[n_tokens][vocab_size]`.
    pub logits: Vec<Vec<f32>>,
    /// Decoders: greedy continuation of `tokens`.
    pub greedy: Vec<u32>,
    /// Distance from the best to the second-best logit at each greedy token: a rounding error
    /// above it may change the token, and with it all later ones.
    pub greedy_gaps: Vec<f32>,
    /// Where there is an encoder: its last hidden state, `[n_tokens or n_patches][hidden_size]`.
    pub hidden: Vec<Vec<f32>>,
    /// Encoder: mean over tokens, scaled to length 1; empty for decoders.
    pub embedding: Vec<f32>,
    /// SHA-256 of the `model.safetensors` the reference read, in hex.
    pub safetensors_sha256: String,
}

/// How `config.json` spells what changed between releases of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSpelling {
    /// `rope_parameters`, `dtype` (release 5 on).
    Current,
    /// `rope_theta`, `rope_scaling`, `rope_local_base_freq`, `torch_dtype`.
    Release4,
}

/// The outputs the reference computed for `family`.
///
/// # Panics
/// If the family is unknown or its golden is damaged.
pub fn golden(family: &str) -> Golden {
    let json = read_json(&folder(family).join("goldens.json"));
    Golden {
        tokens: ids(&json["tokens"]),
        source: ids(&json["source"]),
        logits: rows(&json["logits"]),
        greedy: ids(&json["greedy"]),
        greedy_gaps: floats(&json["greedy_gaps"]),
        hidden: rows(&json["hidden"]),
        embedding: floats(&json["embedding"]),
        safetensors_sha256: json["safetensors_sha256"].as_str().unwrap_or_default().to_owned(),
    }
}

/// All tensors of `family`'s checkpoint, in the order of the file.
///
/// # Panics
/// If the family is unknown or its table is damaged.
pub fn tensors(family: &str) -> Vec<Tensor> {
    table(&read_json(&folder(family).join("tensors.json")))
}

/// The tensors of a table: name, dims, base, amplitude.
pub(crate) fn table(table: &Value) -> Vec<Tensor> {
    array(table)
        .iter()
        .map(|row| Tensor {
            name: row[0].as_str().expect("a tensor's name").to_owned(),
            dims: ids(&row[1]).into_iter().map(|d| d as usize).collect(),
            base: float(&row[2]),
            amplitude: float(&row[3]),
        })
        .collect()
}

/// A Hugging Face folder (weights, configuration, tokenizer) of `family` in a temporary place,
/// deleted when the value is dropped.
///
/// # Panics
/// If the family is unknown or the folder cannot be written.
pub fn checkpoint(family: &str) -> TempDir {
    checkpoint_spelled(family, ConfigSpelling::Current)
}

/// Like [`checkpoint`], with a choice of the configuration's spelling.
///
/// # Panics
/// If the family is unknown or the folder cannot be written.
pub fn checkpoint_spelled(family: &str, spelling: ConfigSpelling) -> TempDir {
    let target = tempfile::tempdir().expect("a temporary folder");
    copy_configuration(&folder(family), target.path());
    let older = target.path().join("config.v4.json");
    if older.exists() {
        if spelling == ConfigSpelling::Release4 {
            fs::rename(&older, target.path().join("config.json")).expect("configuration renamed");
        } else {
            fs::remove_file(&older).expect("older configuration removed");
        }
    }
    write_safetensors(&tensors(family), &target.path().join("model.safetensors"));
    target
}

/// Files of a golden that are no part of a checkpoint.
const OUTPUTS: [&str; 4] = ["goldens.json", "tensors.json", "searches.json", "translations.json"];

/// Everything but the goldens themselves.
fn copy_configuration(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a goldens folder") {
        let entry = entry.expect("a folder entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            fs::create_dir(&target).expect("a folder made");
            copy_configuration(&source, &target);
        } else if !OUTPUTS.iter().any(|name| entry.file_name() == *name) {
            fs::copy(&source, &target).expect("a file copied");
        }
    }
}

/// Writes F32 tensors in the byte order of the reference's own writer.
pub(crate) fn write_safetensors(tensors: &[Tensor], path: &Path) {
    let mut header = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + 4 * tensor.len();
        let dims: Vec<String> = tensor.dims.iter().map(usize::to_string).collect();
        header.push_str(&format!(
            r#","{}":{{"dtype":"F32","shape":[{}],"data_offsets":[{offset},{end}]}}"#,
            tensor.name,
            dims.join(","),
        ));
        offset = end;
    }
    header.push('}');
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = BufWriter::new(fs::File::create(path).expect("a file created"));
    let mut write = |bytes: &[u8]| file.write_all(bytes).expect("bytes written");
    write(&(header.len() as u64).to_le_bytes());
    write(header.as_bytes());
    for tensor in tensors {
        tensor.values().for_each(|value| write(&value.to_le_bytes()));
    }
    file.flush().expect("bytes written");
}

/// The searches for answers that the reference made with a model that reads a source:
/// `reference/tiny_text_to_text.py`.
///
/// # Panics
/// If there are none for `family`, or they are damaged.
pub fn searches(family: &str) -> Value {
    read_json(&folder(family).join("searches.json"))
}

pub(crate) fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/tiny").join(family)
}

pub(crate) fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn float(value: &Value) -> f32 {
    value.as_f64().expect("a number") as f32
}

fn floats(value: &Value) -> Vec<f32> {
    array(value).iter().map(float).collect()
}

pub(crate) fn rows(value: &Value) -> Vec<Vec<f32>> {
    array(value).iter().map(floats).collect()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    array(value).iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The hash of a checkpoint's weights.
#[cfg(test)]
pub(crate) fn sha256(family: &str) -> String {
    let bytes = fs::read(checkpoint(family).path().join("model.safetensors")).expect("weights");
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_reference_bytes() {
        for family in families() {
            assert_eq!(sha256(family), golden(family).safetensors_sha256, "{family}");
        }
    }

    #[test]
    fn values_start_as_computed_by_hand() {
        // From reference/tiny_models.py: weights("model.norm.weight", [3], 1.0, 0.25).
        let tensor =
            Tensor { name: "model.norm.weight".into(), dims: vec![3], base: 1.0, amplitude: 0.25 };
        assert_eq!(tensor.values().collect::<Vec<_>>(), [0.774_343_9, 0.818_91, 0.951_028_47]);
    }

    #[test]
    fn goldens_are_whole() {
        for (family, kind) in FAMILIES {
            let golden = golden(family);
            let n = golden.tokens.len();
            match kind {
                Kind::Image => assert_eq!(n, 0, "{family}"),
                // Some need a longer text to get beyond their last bucket of distances.
                Kind::Encoder => assert!(n >= 24, "{family}"),
                _ => assert_eq!(n, 24, "{family}"),
            }
            let whole = |rows: &[Vec<f32>], n: usize| {
                rows.len() == n && rows.iter().all(|row| row.len() == rows[0].len())
            };
            if matches!(kind, Kind::Decoder | Kind::EncoderDecoder) {
                assert!(whole(&golden.logits, 24) && golden.logits[0].len() == 300, "{family}");
                assert_eq!(golden.greedy.len(), golden.greedy_gaps.len());
                assert_eq!(golden.greedy.len(), 16, "{family}");
            }
            match kind {
                Kind::Decoder => {}
                Kind::Encoder => {
                    assert!(whole(&golden.hidden, n), "{family}");
                    let length: f32 = golden.embedding.iter().map(|x| x * x).sum();
                    assert!((length - 1.0).abs() < 1e-5);
                }
                Kind::EncoderDecoder => {
                    assert_eq!(golden.source.len(), 24, "{family}");
                    assert!(whole(&golden.hidden, 24), "{family}");
                }
                Kind::Image => assert!(whole(&golden.hidden, 17), "{family}"),
            }
        }
    }

    #[test]
    fn both_spellings_of_the_configuration_are_written() {
        let older = checkpoint_spelled("gemma3", ConfigSpelling::Release4);
        let config = fs::read_to_string(older.path().join("config.json")).unwrap();
        assert!(config.contains("rope_local_base_freq") && !config.contains("rope_parameters"));
        let current = checkpoint("gemma3");
        assert!(!current.path().join("config.v4.json").exists());
        assert!(current.path().join("tokenizer.json").exists());
    }
}
