//! What independent implementations computed for the real models; `reference/` made it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Embeddings of all-MiniLM-L6-v2 by Hugging Face transformers in f32.
#[derive(Clone, Debug)]
pub struct MiniLm {
    /// The 100 texts.
    pub texts: Vec<String>,
    /// Length of each text in tokens, before truncation.
    pub n_tokens: Vec<usize>,
    /// Tokens after which the checkpoint's sentence configuration cuts a text.
    pub max_tokens: usize,
    /// One vector `[384]` of length 1 per text.
    pub embeddings: Vec<Vec<f32>>,
    /// The same of the texts longer than `max_tokens`, in order, not cut.
    pub untruncated: Vec<Vec<f32>>,
}

/// The embeddings in `goldens/minilm`.
///
/// # Panics
/// If a golden is missing or damaged.
pub fn minilm() -> MiniLm {
    let folder = goldens().join("minilm");
    let about = read_json(&folder.join("goldens.json"));
    let size = |value: &Value| value.as_u64().expect("a number") as usize;
    let vectors = |name: &str| read_vectors(&folder.join(name), size(&about["width"]));
    MiniLm {
        texts: strings(&read_json(&folder.join("texts.json"))),
        n_tokens: list(&about["n_tokens"]).iter().map(size).collect(),
        max_tokens: size(&about["max_seq_length"]),
        embeddings: vectors("embeddings.f32"),
        untruncated: vectors("untruncated.f32"),
    }
}

/// One prompt and the greedy continuation by llama.cpp at F16.
#[derive(Clone, Debug)]
pub struct Continuation {
    /// What the user wrote.
    pub prompt: String,
    /// What the model reads: the prompt, through the chat template where there is one.
    pub text: String,
    /// Token ids of `text`.
    pub prompt_ids: Vec<u32>,
    /// At most 32 greedy tokens; the end-of-text token is the last where it comes earlier.
    pub ids: Vec<u32>,
    /// Distance from the best to the second-best logit at each of `ids`.
    pub gaps: Vec<f32>,
}

/// llama.cpp's figures for a model.
#[derive(Clone, Debug)]
pub struct LlamaCpp {
    /// Prompts through the chat template; empty for a base model.
    pub chat: Vec<Continuation>,
    /// Prompts as plain text.
    pub raw: Vec<Continuation>,
    /// SHA-256 of the text that `fetch_text.sh` writes, in hex.
    pub text_sha256: String,
    /// Perplexity at F16 over chunks of 512 tokens.
    pub perplexity_f16: f64,
    /// Perplexity at Q8_0.
    pub perplexity_q8_0: f64,
    /// Mean KL divergence of Q8_0 from F16.
    pub kl_mean_q8_0: f64,
    /// Share of tokens where Q8_0 and F16 agree on the likeliest, in percent.
    pub same_top_q8_0: f64,
}

/// llama.cpp's figures for `model`: `smollm2` or `gemma3`.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn llama_cpp(model: &str) -> LlamaCpp {
    let json = read_json(&goldens().join(model).join("llama_cpp.json"));
    let continuations = |key: &str| list(&json[key]).iter().map(continuation).collect();
    let figures = &json["perplexity"];
    let figure = |kind: &str, key: &str| figures[kind][key].as_f64().expect("a figure");
    LlamaCpp {
        chat: continuations("chat"),
        raw: continuations("raw"),
        text_sha256: string(&figures["text_sha256"]),
        perplexity_f16: figure("f16", "perplexity"),
        perplexity_q8_0: figure("q8_0", "perplexity"),
        kl_mean_q8_0: figure("q8_0", "kl_mean"),
        same_top_q8_0: figure("q8_0", "same_top_percent"),
    }
}

/// llama.cpp's figures for a model of code.
#[derive(Clone, Debug)]
pub struct Coder {
    /// Prompts through the chat template.
    pub chat: Vec<Continuation>,
    /// Prompts as plain text.
    pub raw: Vec<Continuation>,
    /// Gaps in texts.
    pub infill: Vec<Gap>,
    /// Perplexity at F16 over chunks of 512 tokens of SmolLM2's text.
    pub perplexity_f16: f64,
}

/// A gap in a text and the greedy continuation of its prompt.
#[derive(Clone, Debug)]
pub struct Gap {
    /// What stands before it.
    pub prefix: String,
    /// What stands behind it.
    pub suffix: String,
    /// Token ids of the prompt, the tokens that mark the parts included.
    pub prompt_ids: Vec<u32>,
    /// The first greedy tokens.
    pub ids: Vec<u32>,
}

/// llama.cpp's figures for Qwen2.5-Coder, by its name in the catalog.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn coder(name: &str) -> Coder {
    let json = read_json(&goldens().join(name).join("llama_cpp.json"));
    let continuations = |key: &str| list(&json[key]).iter().map(continuation).collect();
    let gap = |gap: &Value| Gap {
        prefix: string(&gap["prefix"]),
        suffix: string(&gap["suffix"]),
        prompt_ids: ids(&gap["prompt_ids"]),
        ids: ids(&gap["ids"]),
    };
    let perplexity = &json["perplexity"]["f16"]["perplexity"];
    Coder {
        chat: continuations("chat"),
        raw: continuations("raw"),
        infill: list(&json["infill"]).iter().map(gap).collect(),
        perplexity_f16: perplexity.as_f64().expect("a figure"),
    }
}

/// What onnxruntime and transformers make of an encoder and its decoder, see
/// `reference/onnx_models.py`.
#[derive(Clone, Debug)]
pub struct OnnxT5 {
    /// Token ids that the decoder reads.
    pub target: Vec<u32>,
    /// Token ids of each source text.
    pub sources: Vec<Vec<u32>>,
    /// For each source and token of the target the ids with the largest logits, and these.
    pub top: Vec<Vec<Vec<(u32, f32)>>>,
    /// For each source the encoder's states, in f32.
    pub states: Vec<Vec<Vec<f32>>>,
    /// The same where activations have 8 bits.
    pub states_int8: Vec<Vec<Vec<f32>>>,
}

/// The goldens of FLAN-T5 in `goldens/onnx_models`.
///
/// # Panics
/// If a golden is missing or damaged.
pub fn onnx_t5() -> OnnxT5 {
    let folder = goldens().join("onnx_models");
    let about = read_json(&folder.join("t5.json"));
    let id = |id: &Value| id.as_u64().expect("an id") as u32;
    let logit = |x: &Value| x.as_f64().expect("a number") as f32;
    let ids = |value: &Value| -> Vec<u32> { list(value).iter().map(id).collect() };
    let sources = list(&about["sources"]);
    let top = |source: &Value| {
        let rows = list(&source["top_ids"]).iter().zip(list(&source["top_logits"]));
        let pairs =
            |(row, values)| ids(row).into_iter().zip(list(values).iter().map(logit)).collect();
        rows.map(pairs).collect()
    };
    let source_ids: Vec<Vec<u32>> = sources.iter().map(|source| ids(&source["ids"])).collect();
    let states = |name: &str| {
        let mut rows = read_vectors(&folder.join(name), 512).into_iter();
        source_ids.iter().map(|ids| rows.by_ref().take(ids.len()).collect()).collect()
    };
    OnnxT5 {
        target: ids(&about["target"]),
        top: sources.iter().map(top).collect(),
        states: states("t5_float.f32"),
        states_int8: states("t5_int8.f32"),
        sources: source_ids,
    }
}

/// A title that FLAN-T5 writes, see `reference/flan_t5_titles.py`.
#[derive(Clone, Debug)]
pub struct OnnxTitle {
    /// What it is of, with the prefix of the task.
    pub text: String,
    /// The text's token ids.
    pub ids: Vec<u32>,
    /// The title by the file's graph in floats.
    pub title: String,
    /// The title where activations have 8 bits.
    pub rounded: String,
}

/// The titles in `goldens/onnx_models`.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn onnx_titles() -> Vec<OnnxTitle> {
    let titles = read_json(&goldens().join("onnx_models/titles.json"));
    let title = |title: &Value| OnnxTitle {
        text: string(&title["text"]),
        ids: ids(&title["ids"]),
        title: string(&title["title"]),
        rounded: string(&title["rounded"]),
    };
    list(&titles).iter().map(title).collect()
}

/// What llama.cpp's samplers leave of the same logits: `reference/samplers.py`.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn samplers() -> Value {
    read_json(&goldens().join("samplers.json"))
}

/// Vectors `[384]` of every third text of [`minilm`], by onnxruntime from weights of 8 bits.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn onnx_minilm() -> Vec<Vec<f32>> {
    read_vectors(&goldens().join("onnx_models/minilm.f32"), 384)
}

/// Sizes of made-up images, and what a vision transformer's backbone makes of their class tokens `[384]`,
/// by onnxruntime: `reference/vit_s14.py`.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn onnx_vit() -> Vec<([usize; 2], Vec<f32>)> {
    let sizes = [[640, 480], [333, 500], [224, 224], [1024, 300], [90, 70]];
    let vectors = read_vectors(&goldens().join("onnx_models/vit.f32"), 384);
    assert_eq!(vectors.len(), sizes.len());
    sizes.into_iter().zip(vectors).collect()
}

/// Names and dimensions of the parameters of a model in `goldens/onnx_models`, as `NAME [DIMS]`.
///
/// # Panics
/// If the golden is missing.
pub fn onnx_parameters(model: &str) -> Vec<String> {
    let path = goldens().join(format!("onnx_models/{model}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(str::to_owned).collect()
}

fn continuation(value: &Value) -> Continuation {
    let gap = |gap: &Value| gap.as_f64().expect("a number") as f32;
    Continuation {
        prompt: string(&value["prompt"]),
        text: string(&value["text"]),
        prompt_ids: ids(&value["prompt_ids"]),
        ids: ids(&value["ids"]),
        gaps: list(&value["gaps"]).iter().map(gap).collect(),
    }
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read_vectors(path: &Path, width: usize) -> Vec<Vec<f32>> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty() && values.len().is_multiple_of(width), "{}", path.display());
    values
        .chunks_exact(width)
        .map(|row| row.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minilm_goldens_are_whole() {
        let golden = minilm();
        assert_eq!(golden.texts.len(), 100);
        assert_eq!(golden.embeddings.len(), 100);
        let longer = golden.n_tokens.iter().filter(|&&n| n > golden.max_tokens).count();
        assert_eq!(golden.untruncated.len(), longer);
        for vector in golden.embeddings.iter().chain(&golden.untruncated) {
            assert_eq!(vector.len(), 384);
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "length {length}");
        }
    }

    #[test]
    fn llama_cpp_goldens_are_whole() {
        for (model, chats) in [("smollm2", 10), ("gemma3", 0)] {
            let golden = llama_cpp(model);
            assert_eq!(golden.chat.len(), chats, "{model}");
            assert_eq!(golden.raw.len(), 10, "{model}");
            for one in golden.chat.iter().chain(&golden.raw) {
                assert!(!one.prompt_ids.is_empty() && one.text.contains(&one.prompt));
                assert!(!one.ids.is_empty() && one.ids.len() <= 32);
                assert_eq!(one.ids.len(), one.gaps.len());
            }
            assert!(golden.perplexity_q8_0 > golden.perplexity_f16, "{model}");
        }
    }
}
