//! The same model as a Hugging Face folder and as a GGUF file becomes the same tensors.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::path::Path;

use kinglet_formats::kinglet::{KingletFile, View};
use kinglet_formats::map::Bytes;
use kinglet_formats::spec::{AbsolutePositions, Input, ModelSpec, Position, RopeScaling};
use kinglet_quantize::{Group, Options, Report, Source, quantize, quantize_to};
use kinglet_tests::gguf_file::{GgufFile, Value};
use kinglet_tests::{tiny, tiny_gguf};

fn convert(input: &Path, options: &Options) -> (KingletFile, Report) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.kinglet");
    let report = quantize(&Source::open(input).unwrap(), options, &out, &mut ()).unwrap();
    (KingletFile::open(&out).unwrap(), report)
}

/// GGUF's names, spelled out here once more: (Hugging Face, GGUF).
const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.", "token_embd."),
    ("model.norm.", "output_norm."),
    ("lm_head.", "output."),
    ("model.layers.", "blk."),
    ("encoder.layer.", "blk."),
    ("transformer.h.", "blk."),
    ("transformer.wte.", "token_embd."),
    ("transformer.wpe.", "position_embd."),
    ("transformer.ln_f.", "output_norm."),
    ("ln_1.", "attn_norm."),
    ("ln_2.", "ffn_norm."),
    ("attn.c_attn.", "attn_qkv."),
    ("attn.c_proj.", "attn_output."),
    ("mlp.c_fc.", "ffn_up."),
    ("mlp.c_proj.", "ffn_down."),
    ("mlp.gate.", "ffn_gate_inp."),
    ("embeddings.word_embeddings.", "token_embd."),
    ("embeddings.position_embeddings.", "position_embd."),
    ("embeddings.token_type_embeddings.", "token_types."),
    ("embeddings.LayerNorm.", "token_embd_norm."),
    ("self_attn.q_proj.", "attn_q."),
    ("self_attn.k_proj.", "attn_k."),
    ("self_attn.v_proj.", "attn_v."),
    ("self_attn.o_proj.", "attn_output."),
    ("self_attn.q_norm.", "attn_q_norm."),
    ("self_attn.k_norm.", "attn_k_norm."),
    ("attention.self.query.", "attn_q."),
    ("attention.self.key.", "attn_k."),
    ("attention.self.value.", "attn_v."),
    ("attention.output.dense.", "attn_output."),
    ("attention.output.LayerNorm.", "attn_output_norm."),
    ("intermediate.dense.", "ffn_up."),
    ("output.dense.", "ffn_down."),
    ("output.LayerNorm.", "layer_output_norm."),
    ("mlp.gate_proj.", "ffn_gate."),
    ("mlp.up_proj.", "ffn_up."),
    ("mlp.down_proj.", "ffn_down."),
    ("input_layernorm.", "attn_norm."),
    ("pre_feedforward_layernorm.", "ffn_norm."),
    ("post_feedforward_layernorm.", "post_ffw_norm."),
];

fn gguf_name(name: &str, family: &str) -> String {
    let after_attention = if family.starts_with("gemma3") || family == "olmo2" {
        "post_attention_norm."
    } else {
        "ffn_norm."
    };
    let mut name = name.replace("post_attention_layernorm.", after_attention);
    for (theirs, gguf) in NAMES {
        // Not inside a longer name: `output.dense.` is the end of `attention.output.dense.`.
        if let Some(at) = name.find(theirs).filter(|&at| at == 0 || name[..at].ends_with('.')) {
            name.replace_range(at..at + theirs.len(), gguf);
        }
    }
    name
}

/// Row order of q and k in GGUF files of the llama family, as its converter writes it: each head
/// seen as `[2][head_dim / 2]` is transposed.
fn for_adjacent_pairs(values: &[f32], n_heads: usize, head_dim: usize, cols: usize) -> Vec<f32> {
    let row = |r: usize| &values[r * cols..][..cols];
    let mut out = Vec::new();
    for head in 0..n_heads {
        for i in 0..head_dim / 2 {
            for half in 0..2 {
                out.extend(row(head * head_dim + half * head_dim / 2 + i));
            }
        }
    }
    out
}

/// `family`'s tiny checkpoint as a GGUF file with the keys of `architecture`.
fn gguf(family: &str, architecture: &str, keys: &[(&str, Value)], heads: [usize; 3]) -> GgufFile {
    let [n_heads, n_kv_heads, head_dim] = heads;
    let mut file = GgufFile::default();
    file.set("general.architecture", Value::Text(architecture.to_owned()));
    for (key, value) in keys {
        file.set(&format!("{architecture}.{key}"), value.clone());
    }
    for tensor in tiny::tensors(family) {
        if tensor.name.starts_with("pooler.") || tensor.name.contains("mlp.experts.") {
            continue;
        }
        let name = gguf_name(&tensor.name, family);
        let mut values: Vec<f32> = tensor.values().collect();
        if family.starts_with("gemma3") && tensor.name.ends_with("norm.weight") {
            values.iter_mut().for_each(|x| *x += 1.0);
        }
        if architecture == "llama" && name.contains("attn_q.") {
            values = for_adjacent_pairs(&values, n_heads, head_dim, tensor.dims[1]);
        }
        if architecture == "llama" && name.contains("attn_k.") {
            values = for_adjacent_pairs(&values, n_kv_heads, head_dim, tensor.dims[1]);
        }
        let mut dims = tensor.dims.clone();
        if family == "gpt2" && tensor.name.contains(".c_") && dims.len() == 2 {
            let (rows, cols) = (dims[0], dims[1]);
            let column = |c: usize| values.iter().skip(c).step_by(cols).copied();
            values = (0..cols).flat_map(column).collect();
            dims = vec![cols, rows];
        }
        file.float(&name, &dims, &values);
    }
    experts(family, &mut file);
    file.vocabulary(300);
    file
}

/// The experts of each layer in one tensor `[experts][rows][cols]`.
fn experts(family: &str, file: &mut GgufFile) {
    let tensors = tiny::tensors(family);
    for layer in 0..tensors.len() {
        for matrix in ["gate", "up", "down"] {
            let of = |e: usize| {
                let name = format!("model.layers.{layer}.mlp.experts.{e}.{matrix}_proj.weight");
                tensors.iter().find(|tensor| tensor.name == name)
            };
            let all: Vec<_> = (0..).map_while(of).collect();
            let Some(first) = all.first() else { continue };
            let values: Vec<f32> = all.iter().flat_map(|tensor| tensor.values()).collect();
            let dims = [&[all.len()], &first.dims[..]].concat();
            file.float(&format!("blk.{layer}.ffn_{matrix}_exps.weight"), &dims, &values);
        }
    }
}

fn sizes(layers: u32, hidden: u32, mlp: u32, heads: u32, kv: u32) -> Vec<(&'static str, Value)> {
    vec![
        ("block_count", Value::U32(layers)),
        ("embedding_length", Value::U32(hidden)),
        ("feed_forward_length", Value::U32(mlp)),
        ("attention.head_count", Value::U32(heads)),
        ("attention.head_count_kv", Value::U32(kv)),
        ("context_length", Value::U32(64)),
    ]
}

fn write(file: &GgufFile) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    file.write(&path);
    (folder, path)
}

/// Converts both forms and compares spec, index and planes.
fn assert_same(family: &str, file: &GgufFile) {
    assert_same_as(tiny::checkpoint(family).path(), family, file);
}

fn assert_same_as(folder: &Path, family: &str, file: &GgufFile) {
    let (_keep, path) = write(file);
    let (ours, _) = convert(folder, &Options::default());
    let (theirs, _) = convert(&path, &Options::default());
    assert_eq!(ours.meta().spec, theirs.meta().spec, "{family}");
    assert_eq!(ours.tensors(), theirs.tensors(), "{family}");
    for (i, tensor) in ours.tensors().iter().enumerate() {
        let same = match (ours.view(i), theirs.view(i)) {
            (View::I8(a), View::I8(b)) => a.data == b.data && a.scales == b.scales,
            (View::I4(a), View::I4(b)) => a.data == b.data && a.scales == b.scales,
            (View::F16(a), View::F16(b)) => a.data == b.data,
            (View::F32 { data: a, .. }, View::F32 { data: b, .. }) => a == b,
            _ => false,
        };
        assert!(same, "{family} {}", tensor.name);
    }
}

#[test]
fn files_of_the_converter_are_read() {
    for family in tiny_gguf::families() {
        assert_same(family, &tiny_gguf::file(family));
    }
}

/// T5's names: (Hugging Face, GGUF).
const T5_NAMES: &[(&str, &str)] = &[
    ("shared.", "token_embd."),
    ("encoder.block.", "enc.blk."),
    ("decoder.block.", "dec.blk."),
    ("encoder.final_layer_norm.", "enc.output_norm."),
    ("decoder.final_layer_norm.", "dec.output_norm."),
    ("layer.0.layer_norm.", "attn_norm."),
    ("layer.0.SelfAttention.relative_attention_bias.", "attn_rel_b."),
    ("layer.0.SelfAttention.", "attn_"),
    ("layer.1.EncDecAttention.", "cross_attn_"),
];

/// GGUF does not say how far relative positions reach: it is always 128.
#[test]
fn t5() {
    let mut file = GgufFile::default();
    file.set("general.architecture", Value::Text("t5".to_owned()));
    for (key, value) in [
        ("block_count", Value::U32(2)),
        ("decoder_block_count", Value::U32(3)),
        ("embedding_length", Value::U32(48)),
        ("feed_forward_length", Value::U32(104)),
        ("attention.head_count", Value::U32(4)),
        ("attention.key_length", Value::U32(20)),
        ("attention.relative_buckets_count", Value::U32(8)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
    ] {
        file.set(&format!("t5.{key}"), value);
    }
    for tensor in tiny::tensors("t5") {
        let mut name = tensor.name.clone();
        let norm_1 = if name.starts_with("decoder.") { "cross_attn_norm." } else { "ffn_norm." };
        for (theirs, gguf) in T5_NAMES {
            name = name.replace(theirs, gguf);
        }
        name =
            name.replace("layer.1.layer_norm.", norm_1).replace("layer.2.layer_norm.", "ffn_norm.");
        for sub in ["layer.1.", "layer.2."] {
            name = name.replace(&format!("{sub}DenseReluDense.wi_0."), "ffn_gate.");
            name = name.replace(&format!("{sub}DenseReluDense.wi_1."), "ffn_up.");
            name = name.replace(&format!("{sub}DenseReluDense.wo."), "ffn_down.");
        }
        if !name.contains("embed_tokens") && name != "lm_head.weight" {
            file.float(&name, &tensor.dims, &tensor.values().collect::<Vec<f32>>());
        }
    }
    file.vocabulary(300);
    let folder = tiny::checkpoint("t5");
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let changed = text.replace("max_distance\": 12,", "max_distance\": 128,");
    assert_ne!(text, changed);
    std::fs::write(&config, changed).unwrap();
    assert_same_as(folder.path(), "t5", &file);
}

fn llama_keys() -> Vec<(&'static str, Value)> {
    let mut keys = sizes(3, 64, 176, 4, 2);
    keys.push(("attention.layer_norm_rms_epsilon", Value::F32(1e-5)));
    keys.push(("rope.freq_base", Value::F32(10000.0)));
    keys.push(("rope.dimension_count", Value::U32(16)));
    keys
}

/// Any of several files is the whole model, on disk and in memory.
#[test]
fn models_in_several_files() {
    let file = gguf("llama", "llama", &llama_keys(), [4, 2, 16]);
    let folder = tempfile::tempdir().unwrap();
    let name = |number: usize| format!("m-{number:05}-of-00003.gguf");
    for (number, part) in (1..).zip(file.split(3)) {
        part.write(&folder.path().join(name(number)));
    }
    let (_keep, whole) = write(&file);
    let (whole, _) = convert(&whole, &Options::default());
    let same = |other: &KingletFile| {
        whole.meta().spec == other.meta().spec && whole.tensors() == other.tensors()
    };
    let (parts, _) = convert(&folder.path().join(name(2)), &Options::default());
    assert!(same(&parts));
    let source = Source::open(folder.path().join(name(3))).unwrap();
    assert_eq!(source.inputs().len(), 3);
    let files = || {
        (1..=3).map(|number| {
            let bytes = std::fs::read(folder.path().join(name(number))).unwrap();
            (name(number), Bytes::copy_of(&bytes))
        })
    };
    let source = Source::from_files("m", files()).unwrap();
    let out = std::io::Cursor::new(Vec::new());
    let (out, _) = quantize_to(&source, &Options::default(), out, &mut ()).unwrap();
    assert!(same(&KingletFile::from_bytes(Bytes::copy_of(out.get_ref())).unwrap()));
    let error = Source::from_files("m", files().skip(1)).err().unwrap().to_string();
    assert!(error.contains("part 1 of 3, \"m-00001-of-00003.gguf\", is missing"), "{error}");
}

#[test]
fn llama() {
    assert_same("llama", &gguf("llama", "llama", &llama_keys(), [4, 2, 16]));
}

#[test]
fn qwen2() {
    let mut keys = sizes(3, 72, 200, 6, 3);
    keys.push(("attention.layer_norm_rms_epsilon", Value::F32(1e-6)));
    keys.push(("rope.freq_base", Value::F32(1e6)));
    assert_same("qwen2", &gguf("qwen2", "qwen2", &keys, [6, 3, 12]));
}

#[test]
fn qwen3() {
    let mut keys = sizes(3, 64, 176, 4, 2);
    keys.push(("attention.layer_norm_rms_epsilon", Value::F32(1e-6)));
    keys.push(("attention.key_length", Value::U32(32)));
    keys.push(("attention.value_length", Value::U32(32)));
    keys.push(("rope.freq_base", Value::F32(1e6)));
    assert_same("qwen3", &gguf("qwen3", "qwen3", &keys, [4, 2, 32]));
}

#[test]
fn gemma3() {
    let mut keys = sizes(4, 64, 176, 4, 1);
    keys.push(("attention.layer_norm_rms_epsilon", Value::F32(1e-6)));
    keys.push(("attention.key_length", Value::U32(32)));
    keys.push(("attention.value_length", Value::U32(32)));
    keys.push(("attention.sliding_window", Value::U32(6)));
    let pattern = Value::Bools(vec![true, true, false, true]);
    keys.push(("attention.sliding_window_pattern", pattern));
    keys.push(("rope.freq_base", Value::F32(1e6)));
    assert_same("gemma3", &gguf("gemma3", "gemma3", &keys, [4, 1, 32]));
}

#[test]
fn gpt2() {
    let mut keys = sizes(3, 60, 136, 4, 4);
    keys.push(("attention.layer_norm_epsilon", Value::F32(1e-5)));
    assert_same("gpt2", &gguf("gpt2", "gpt2", &keys, [4, 4, 15]));
}

#[test]
fn olmo2_and_olmoe() {
    let mut keys = sizes(3, 64, 176, 4, 2);
    keys.push(("attention.layer_norm_rms_epsilon", Value::F32(1e-5)));
    keys.push(("rope.freq_base", Value::F32(10000.0)));
    assert_same("olmo2", &gguf("olmo2", "olmo2", &keys, [4, 2, 16]));
    let mut keys = sizes(3, 64, 40, 4, 2);
    keys.push(("attention.layer_norm_rms_epsilon", Value::F32(1e-5)));
    keys.push(("rope.freq_base", Value::F32(10000.0)));
    keys.push(("expert_count", Value::U32(4)));
    keys.push(("expert_used_count", Value::U32(2)));
    assert_same("olmoe", &gguf("olmoe", "olmoe", &keys, [4, 2, 16]));
}

#[test]
fn bert() {
    let mut keys = sizes(3, 64, 176, 4, 4);
    keys.push(("attention.layer_norm_epsilon", Value::F32(1e-12)));
    keys.push(("attention.causal", Value::Bool(false)));
    keys.push(("pooling_type", Value::U32(1)));
    assert_same("bert", &gguf("bert", "bert", &keys, [4, 4, 16]));
    let (_keep, path) = write(&gguf("bert", "bert", &keys, [4, 4, 16]));
    let spec = Source::open(&path).unwrap().spec().unwrap();
    let Input::Tokens(tokens) = &spec.stacks[0].input else { panic!() };
    assert_eq!(tokens.positions, AbsolutePositions::Learned { max_positions: 64, offset: 0 });
    assert_eq!(tokens.n_segments, 2);
}

fn scaling(spec: &ModelSpec) -> &RopeScaling {
    match spec.stacks[0].attentions().next().map(|attention| &attention.position) {
        Some(Position::Rope(rope)) => &rope.scaling,
        other => panic!("{other:?}"),
    }
}

#[test]
fn divisors_of_rotary_frequencies_are_read() {
    let divisors: Vec<f32> = (1..=8).map(|i| i as f32).collect();
    let mut file = gguf("llama", "llama", &llama_keys(), [4, 2, 16]);
    file.float("rope_freqs.weight", &[8], &divisors);
    let (_keep, path) = write(&file);
    let (result, report) = convert(&path, &Options::default());
    let expected = RopeScaling::PerFrequency { factors: divisors, attention_factor: 1.0 };
    assert_eq!(scaling(&result.meta().spec), &expected);
    assert_eq!(report.ignored, ["rope_freqs.weight"]);

    file.float("rope_freqs.weight", &[8], &[0.0; 8]);
    let (_keep, path) = write(&file);
    let error = Source::open(&path).unwrap().spec().unwrap_err().to_string();
    assert!(error.contains("rope_freqs.weight"), "{error}");
}

#[test]
fn yarn_is_read() {
    let mut file = gguf("llama", "llama", &llama_keys(), [4, 2, 16]);
    file.set("llama.rope.scaling.type", Value::Text("yarn".to_owned()))
        .set("llama.rope.scaling.factor", Value::F32(4.0))
        .set("llama.rope.scaling.original_context_length", Value::U32(32));
    let mut attention_factor = |keys: &[(&str, f32)]| {
        for (key, value) in keys {
            file.set(&format!("llama.rope.scaling.{key}"), Value::F32(*value));
        }
        let (_keep, path) = write(&file);
        match scaling(&Source::open(&path).unwrap().spec().unwrap()) {
            RopeScaling::Yarn { factor: 4.0, attention_factor, .. } => *attention_factor,
            other => panic!("{other:?}"),
        }
    };
    let own = 0.1 * 4f32.ln() + 1.0;
    assert_eq!(attention_factor(&[]), own);
    assert_eq!(attention_factor(&[("attn_factor", 0.5)]), 0.5 * own);
    assert_eq!(attention_factor(&[("attn_factor", 1.0), ("yarn_attn_factor", 0.7)]), 0.7);
}

#[test]
fn unsupported_options_are_named() {
    let cases: [(&str, Value, &str); 6] = [
        ("llama.expert_count", Value::U32(8), "llama.expert_used_count"),
        ("llama.rope.scaling.type", Value::Text("longrope".to_owned()), "longrope"),
        ("llama.rope.dimension_count", Value::U32(18), "llama.rope.dimension_count"),
        ("llama.attention.value_length", Value::U32(8), "llama.attention.value_length"),
        ("llama.attention.head_count", Value::U32(0), "llama.attention.head_count"),
        ("general.architecture", Value::Text("mamba".to_owned()), "llama, qwen2, qwen3"),
    ];
    for (key, value, expected) in cases {
        let mut file = gguf("llama", "llama", &llama_keys(), [4, 2, 16]);
        file.set(key, value);
        let (_keep, path) = write(&file);
        let error = Source::open(&path).unwrap().spec().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("model.gguf"), "{key}: {error}");
    }
}

#[test]
fn ends_of_turn_are_collected() {
    let mut file = gguf("llama", "llama", &llama_keys(), [4, 2, 16]);
    let mut pieces: Vec<String> = (0..300).map(|i| format!("piece{i}")).collect();
    let mut kinds = vec![1; 300];
    (pieces[7], kinds[7]) = ("<|im_end|>".to_owned(), 3);
    (pieces[9], kinds[9]) = ("<|endoftext|>".to_owned(), 3);
    // An ordinary piece of text with such a name ends nothing.
    pieces[11] = "<|eot_id|>".to_owned();
    file.set("tokenizer.ggml.tokens", Value::Texts(pieces));
    file.set("tokenizer.ggml.token_type", Value::I32s(kinds));
    file.set("tokenizer.chat_template", Value::Text("{{ messages }}".to_owned()));
    let (_keep, path) = write(&file);
    let (result, _) = convert(&path, &Options::default());
    let generation = &result.meta().generation;
    assert_eq!((generation.bos, generation.eos.as_slice()), (Some(1), &[2, 7, 9][..]));
    assert_eq!(result.meta().chat_template.as_deref(), Some("{{ messages }}"));
}

/// Blocks of 32 with a scale each, made of a counter.
fn q8_0_blocks(n_values: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut blocks = Vec::new();
    for _ in 0..n_values / 32 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // A normal f16 between 2^-10 and 2^-8.
        blocks.extend((0x1400u16 + (state >> 20) as u16 % 0x0800).to_le_bytes());
        for _ in 0..32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            blocks.push(((state >> 24) as i32 % 128 - 64) as i8 as u8);
        }
    }
    blocks
}

#[test]
fn q8_0_in_groups_of_32_loses_nothing() {
    let mut file = gguf("llama", "llama", &llama_keys(), [4, 2, 16]);
    // One as it is, one whose rows are reordered, one with rows that do not fill a panel.
    for (name, rows, cols) in [
        ("blk.0.ffn_gate.weight", 176, 64),
        ("blk.1.attn_q.weight", 64, 64),
        ("token_embd.weight", 300, 64),
    ] {
        file.q8_0(name, &[rows, cols], q8_0_blocks(rows * cols));
    }
    let (_keep, path) = write(&file);
    let options = Options { group: Group::G32, ..Options::default() };
    let (result, report) = convert(&path, &options);
    let checkpoint = kinglet_formats::checkpoint::open_file(&path).unwrap();
    let mut exact = 0;
    for (i, tensor) in report.tensors.iter().enumerate() {
        let View::I8(matrix) = result.view(i) else { continue };
        if !["blk.0.ffn_gate.weight", "blk.1.attn_q.weight", "token_embd.weight"]
            .contains(&tensor.source.as_str())
        {
            assert!(tensor.relative_error > 0.0);
            continue;
        }
        exact += 1;
        assert_eq!(tensor.relative_error, 0.0);
        let source = checkpoint.find(&tensor.source).unwrap();
        let (mut found, mut expected) = (vec![0.0; 64], vec![0.0; 64]);
        for row in 0..matrix.rows {
            let stored = match tensor.source.contains("attn_q") {
                // Head of 16 rows: canonical row 8 h + j is stored as 2 j + h.
                true => row / 16 * 16 + 2 * (row % 8) + row % 16 / 8,
                false => row,
            };
            matrix.row(row, &mut found);
            checkpoint.read_rows(source, stored, &mut expected).unwrap();
            assert_eq!(found, expected, "{} row {row}", tensor.name);
        }
    }
    assert_eq!(exact, 3);
}
