//! A tiny random Whisper, as Hugging Face and as CTranslate2 store it, and what Hugging Face computes
//! for it; `reference/tiny_whisper.py` made it.

use std::fs;
use std::path::{Path, PathBuf};

use kinglet_formats::tokenizer::byte_letter;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{Tensor, ids, read_json, rows, table, write_safetensors};

/// What the reference computed for the made-up sound.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Numbers of the frames that are written down.
    pub frames: Vec<usize>,
    /// Those of its spectrogram of 80 bands, and of 128.
    pub mels: [(usize, Vec<Vec<f32>>); 2],
    /// Numbers of the encoder's rows that are written down.
    pub rows: Vec<usize>,
    /// Those rows.
    pub states: Vec<Vec<f32>>,
    /// A text.
    pub tokens: Vec<u32>,
    /// After each of its tokens every seventh logit.
    pub logits: Vec<Vec<f32>>,
    /// Probability of silence after the token that begins an answer.
    pub no_speech: f32,
    /// Greedy answer with timestamps.
    pub answer: Vec<u32>,
    /// Distance from the best to the second-best logit at each of its tokens.
    pub gaps: Vec<f32>,
}

/// When the words of a text are spoken in the made-up sound.
#[derive(Clone, Debug)]
pub struct Words {
    /// The text; each of its bytes is a token, after a blank.
    pub text: String,
    /// For each token the row of the encoder at which it begins, and that at which the last one ends.
    pub begins: Vec<usize>,
    /// How probable each token is.
    pub probabilities: Vec<f32>,
}

/// The golden in `goldens/whisper/words.json`.
///
/// # Panics
/// If it is missing or damaged.
pub fn words() -> Words {
    let json = read_json(&folder().join("words.json"));
    Words {
        text: json["text"].as_str().expect("a text").to_owned(),
        begins: ids(&json["begins"]).into_iter().map(|n| n as usize).collect(),
        probabilities: rows(&json!([json["probabilities"]])).concat(),
    }
}

/// What the encoder makes of the first frames of the made-up sound's spectrogram alone.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Rows that it makes, of two frames each.
    pub n_rows: usize,
    /// Numbers of those that are written down.
    pub rows: Vec<usize>,
    /// Those rows.
    pub states: Vec<Vec<f32>>,
    /// Every seventh logit after each token of the golden's text.
    pub logits: Vec<Vec<f32>>,
}

/// The golden in `goldens/whisper/cut.json`.
///
/// # Panics
/// If it is missing or damaged.
pub fn cut() -> Cut {
    let json = read_json(&folder().join("cut.json"));
    Cut {
        n_rows: ids(&json!([json["n_rows"]]))[0] as usize,
        rows: ids(&json["rows"]).into_iter().map(|n| n as usize).collect(),
        states: rows(&json["states"]),
        logits: rows(&json["logits"]),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/whisper")
}

/// The golden in `goldens/whisper`.
///
/// # Panics
/// If it is missing or damaged.
pub fn golden() -> Golden {
    let json = read_json(&folder().join("goldens.json"));
    let places = |key: &str| ids(&json[key]).into_iter().map(|n| n as usize).collect();
    Golden {
        frames: places("frames"),
        mels: [(80, rows(&json["mel_80"])), (128, rows(&json["mel_128"]))],
        rows: places("rows"),
        states: rows(&json["states"]),
        tokens: ids(&json["tokens"]),
        logits: rows(&json["logits"]),
        no_speech: crate::tiny::float(&json["no_speech"]),
        answer: ids(&json["answer"]),
        gaps: rows(&json!([json["gaps"]])).concat(),
    }
}

/// Three seconds of noise that grows louder twice.
pub fn sound() -> Vec<f32> {
    let n = 48_000;
    let tensor = Tensor { name: "sound".to_owned(), dims: vec![n], base: 0.0, amplitude: 0.5 };
    let loudness = |i: usize| (i % 24_000) as f32 / 48_000.0;
    tensor.values().enumerate().map(|(i, x)| x * loudness(i)).collect()
}

fn tensors() -> Vec<Tensor> {
    table(&read_json(&folder().join("tensors.json")))
}

/// The checkpoint as Hugging Face saves it, deleted when the value is dropped.
///
/// # Panics
/// If it cannot be written.
pub fn checkpoint() -> TempDir {
    let target = tempfile::tempdir().expect("a temporary folder");
    for file in ["config.json", "generation_config.json", "tokenizer.json"] {
        fs::copy(folder().join(file), target.path().join(file)).expect("a file copied");
    }
    write_safetensors(&tensors(), &target.path().join("model.safetensors"));
    target
}

/// The same as CTranslate2 converts it, with matrices in f32 or in int8.
///
/// # Panics
/// If it cannot be written.
pub fn ct2_checkpoint(int8: bool) -> TempDir {
    let target = tempfile::tempdir().expect("a temporary folder");
    fs::copy(folder().join("tokenizer.json"), target.path().join("tokenizer.json"))
        .expect("a file copied");
    let said = read_json(&folder().join("generation_config.json"));
    let config = json!({
        "suppress_ids": said["suppress_tokens"],
        "suppress_ids_begin": said["begin_suppress_tokens"],
        "alignment_heads": said["alignment_heads"],
    });
    fs::write(target.path().join("config.json"), config.to_string()).expect("a file written");
    let config = read_json(&folder().join("config.json"));
    fs::write(target.path().join("model.bin"), ct2_file(&config, int8)).expect("a file written");
    target
}

/// The same as a file of whisper.cpp, with matrices in f32 or in f16. It knows three languages, the first of
/// all: English, Chinese and German.
///
/// # Panics
/// If it is damaged.
pub fn ggml_file(f16: bool) -> Vec<u8> {
    let config = read_json(&folder().join("config.json"));
    let size = |key: &str| config[key].as_u64().expect("a number") as u32;
    let number = |n: u32| n.to_le_bytes();
    let mut file = b"lmgg".to_vec();
    for key in [
        "vocab_size",
        "max_source_positions",
        "d_model",
        "encoder_attention_heads",
        "encoder_layers",
        "max_target_positions",
        "d_model",
        "decoder_attention_heads",
        "decoder_layers",
        "num_mel_bins",
    ] {
        file.extend(number(size(key)));
    }
    file.extend(number(u32::from(f16)));
    let n_mels = size("num_mel_bins");
    file.extend([number(n_mels), number(201)].concat());
    file.resize(file.len() + (n_mels * 201 * 4) as usize, 0);
    // The tokenizer's letters are in the order of Unicode.
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.sort_by_key(|&byte| byte_letter(byte));
    file.extend(number(256));
    bytes.iter().for_each(|&byte| file.extend([&number(1)[..], &[byte]].concat()));
    for tensor in tensors() {
        let Some(name) = openai_name(&tensor.name) else { continue };
        let mut dims: Vec<u32> = tensor.dims.iter().rev().map(|&dim| dim as u32).collect();
        if name.starts_with("encoder.conv") && name.ends_with("bias") {
            dims.insert(0, 1);
        }
        let f16 = f16 && tensor.dims.len() > 1 && !name.contains("positional");
        file.extend(
            [number(dims.len() as u32), number(name.len() as u32), number(u32::from(f16))].concat(),
        );
        dims.iter().for_each(|&dim| file.extend(number(dim)));
        file.extend(name.as_bytes());
        match f16 {
            true => tensor.values().for_each(|x| file.extend(half::f16::from_f32(x).to_le_bytes())),
            false => tensor.values().for_each(|x| file.extend(x.to_le_bytes())),
        }
    }
    file
}

/// How OpenAI calls a tensor.
fn openai_name(name: &str) -> Option<String> {
    let mut name = name.strip_prefix("model.")?.to_owned();
    for (theirs, ours) in [
        ("layers.", "blocks."),
        ("self_attn_layer_norm", "attn_ln"),
        ("encoder_attn_layer_norm", "cross_attn_ln"),
        ("final_layer_norm", "mlp_ln"),
        ("encoder.layer_norm", "encoder.ln_post"),
        ("decoder.layer_norm", "decoder.ln"),
        ("self_attn.", "attn."),
        ("encoder_attn.", "cross_attn."),
        ("q_proj", "query"),
        ("k_proj", "key"),
        ("v_proj", "value"),
        ("out_proj", "out"),
        ("fc1", "mlp.0"),
        ("fc2", "mlp.2"),
        ("embed_positions.weight", "positional_embedding"),
        ("embed_tokens", "token_embedding"),
    ] {
        name = name.replace(theirs, ours);
    }
    Some(name)
}

/// Collects the records of a CTranslate2 file.
struct Ct2 {
    tensors: Vec<Tensor>,
    records: Vec<u8>,
    n: u32,
    int8: bool,
}

fn ct2_file(config: &Value, int8: bool) -> Vec<u8> {
    let mut ct2 = Ct2 { tensors: tensors(), records: Vec::new(), n: 0, int8 };
    ct2.number("decoder/pre_norm", 1, &[1]);
    ct2.number("decoder/activation", 1, &[3]);
    ct2.number("decoder/scale_embeddings", 1, &[0]);
    for stack in ["encoder", "decoder"] {
        let size = |key: &str| config[format!("{stack}_{key}")].as_u64().expect("a number");
        ct2.number(
            &format!("{stack}/num_heads"),
            2,
            &(size("attention_heads") as u16).to_le_bytes(),
        );
        ct2.plain(
            &format!("{stack}/position_encodings/encodings"),
            stack,
            "embed_positions.weight",
        );
        ct2.norm(&format!("{stack}/layer_norm"), stack, "layer_norm");
        for layer in 0..size("layers") {
            ct2.layer(stack, layer);
        }
    }
    for conv in ["conv1", "conv2"] {
        for part in ["weight", "bias"] {
            ct2.plain(&format!("encoder/{conv}/{part}"), "encoder", &format!("{conv}.{part}"));
        }
    }
    ct2.matrix("decoder/embeddings/weight", &["model.decoder.embed_tokens.weight"]);
    let mut file = 6u32.to_le_bytes().to_vec();
    file.extend(string("WhisperSpec"));
    file.extend(3u32.to_le_bytes());
    file.extend(ct2.n.to_le_bytes());
    file.extend(ct2.records);
    file.extend(1u32.to_le_bytes());
    file.extend(string("decoder/projection/weight"));
    file.extend(string("decoder/embeddings/weight"));
    file
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
}

impl Ct2 {
    fn record(&mut self, name: &str, dims: &[usize], kind: u8, data: &[u8]) {
        self.n += 1;
        self.records.extend(string(name));
        self.records.push(dims.len() as u8);
        dims.iter().for_each(|&dim| self.records.extend((dim as u32).to_le_bytes()));
        self.records.push(kind);
        self.records.extend((data.len() as u32).to_le_bytes());
        self.records.extend(data);
    }

    fn number(&mut self, name: &str, kind: u8, data: &[u8]) {
        self.record(name, &[], kind, data);
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.record(name, dims, 0, &data);
    }

    /// The tensor called `name`; zeros of `len` where there is none.
    fn values(&self, name: &str, len: usize) -> (Vec<usize>, Vec<f32>) {
        match self.tensors.iter().find(|tensor| tensor.name == name) {
            Some(tensor) => (tensor.dims.clone(), tensor.values().collect()),
            None => (vec![len], vec![0.0; len]),
        }
    }

    fn plain(&mut self, name: &str, stack: &str, theirs: &str) {
        let (dims, values) = self.values(&format!("model.{stack}.{theirs}"), 0);
        self.floats(name, &dims, &values);
    }

    fn norm(&mut self, name: &str, stack: &str, theirs: &str) {
        self.plain(&format!("{name}/gamma"), stack, &format!("{theirs}.weight"));
        self.plain(&format!("{name}/beta"), stack, &format!("{theirs}.bias"));
    }

    /// Matrices of which the rows follow one another.
    fn matrix(&mut self, name: &str, theirs: &[&str]) {
        let parts: Vec<_> = theirs.iter().map(|theirs| self.values(theirs, 0)).collect();
        let k = parts[0].0[1];
        let values: Vec<f32> = parts.into_iter().flat_map(|(_, values)| values).collect();
        let dims = [values.len() / k, k];
        if !self.int8 {
            return self.floats(name, &dims, &values);
        }
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        for row in values.chunks_exact(k) {
            let scale = 127.0 / row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            data.extend(row.iter().map(|x| (x * scale).round() as i8 as u8));
            scales.push(scale);
        }
        self.record(name, &dims, 1, &data);
        self.floats(&format!("{name}_scale"), &[dims[0]], &scales);
    }

    /// Linear layers side by side; one without a bias has zeros.
    fn linear(&mut self, name: &str, theirs: &[String]) {
        let weights: Vec<String> = theirs.iter().map(|name| format!("{name}.weight")).collect();
        self.matrix(&format!("{name}/weight"), &weights.iter().map(|n| &**n).collect::<Vec<_>>());
        let mut biases = Vec::new();
        for theirs in theirs {
            let rows = self.values(&format!("{theirs}.weight"), 0).0[0];
            biases.extend(self.values(&format!("{theirs}.bias"), rows).1);
        }
        self.floats(&format!("{name}/bias"), &[biases.len()], &biases);
    }

    fn layer(&mut self, stack: &str, layer: u64) {
        let ours = |name: &str| format!("{stack}/layer_{layer}/{name}");
        let theirs = |name: &str| format!("model.{stack}.layers.{layer}.{name}");
        let attention = |block: &str, projections: &[&str]| -> Vec<String> {
            projections.iter().map(|p| theirs(&format!("{block}.{p}_proj"))).collect()
        };
        let within = |name: &str| format!("layers.{layer}.{name}");
        self.norm(&ours("self_attention/layer_norm"), stack, &within("self_attn_layer_norm"));
        self.linear(&ours("self_attention/linear_0"), &attention("self_attn", &["q", "k", "v"]));
        self.linear(&ours("self_attention/linear_1"), &attention("self_attn", &["out"]));
        if stack == "decoder" {
            self.norm(&ours("attention/layer_norm"), stack, &within("encoder_attn_layer_norm"));
            self.linear(&ours("attention/linear_0"), &attention("encoder_attn", &["q"]));
            self.linear(&ours("attention/linear_1"), &attention("encoder_attn", &["k", "v"]));
            self.linear(&ours("attention/linear_2"), &attention("encoder_attn", &["out"]));
        }
        self.norm(&ours("ffn/layer_norm"), stack, &within("final_layer_norm"));
        self.linear(&ours("ffn/linear_0"), &[theirs("fc1")]);
        self.linear(&ours("ffn/linear_1"), &[theirs("fc2")]);
    }
}
