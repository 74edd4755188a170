//! Whole models from damaged and forged files: whatever still opens computes finite numbers or
//! gives a typed error. No panic, no hang, no allocation that the file does not account for.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kinglet::{Error, GenerateOptions, Model, ModelOptions};
use kinglet_formats::kinglet::KingletFile;
use kinglet_formats::map::Bytes;
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::tiny;
use serde_json::{Value, json};

/// Most bytes in use at once: all tests of this file together need a tenth of it.
const MOST_BYTES: usize = 256 << 20;
/// Longest time for one file; most take a millisecond.
const MOST_TIME: Duration = Duration::from_secs(10);

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(by: usize) {
    PEAK.fetch_max(LIVE.fetch_add(by, Ordering::Relaxed) + by, Ordering::Relaxed);
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        grown(new_size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FAMILIES: [&str; 3] = ["llama", "gemma3", "bert"];

/// A sound file, the sections of which can be replaced.
struct Parts {
    header: Vec<u8>,
    /// Meta, tokenizer, index, chunk table, data.
    sections: [Vec<u8>; 5],
}

impl Parts {
    fn of(family: &str, dtype: WeightType) -> Self {
        let folder = tiny::checkpoint(family);
        let path = folder.path().join("model.kinglet");
        let source = Source::open(folder.path()).unwrap();
        quantize(&source, &Options { dtype, ..Options::default() }, &path, &mut ()).unwrap();
        let file = std::fs::read(&path).unwrap();
        let mut at = 128;
        let sections = [24, 32, 40, 48, 56].map(|field| {
            let len = u64::from_le_bytes(file[field..field + 8].try_into().unwrap()) as usize;
            let section = file[at..at + len].to_vec();
            at = (at + len).next_multiple_of(64);
            section
        });
        Self { header: file[..128].to_vec(), sections }
    }

    /// The file with another section `which`, lengths and hash of the head to match.
    fn with(&self, which: usize, section: &[u8]) -> Vec<u8> {
        let mut file = self.header.clone();
        for (i, old) in self.sections.iter().enumerate() {
            file.resize(file.len().next_multiple_of(64), 0);
            let section = if i == which { section } else { old };
            let length = (section.len() as u64).to_le_bytes();
            file[24 + 8 * i..][..8].copy_from_slice(&length);
            file.extend_from_slice(section);
        }
        let length = (file.len() as u64).to_le_bytes();
        file[16..24].copy_from_slice(&length);
        let data = file.len() - if which == 4 { section.len() } else { self.sections[4].len() };
        seal(&mut file, data);
        file
    }

    fn file(&self) -> Vec<u8> {
        self.with(0, &self.sections[0])
    }

    fn head_len(&self) -> usize {
        self.file().len() - self.sections[4].len()
    }
}

fn seal(file: &mut [u8], head_len: usize) {
    file[64..96].fill(0);
    let hash = *blake3::hash(&file[..head_len]).as_bytes();
    file[64..96].copy_from_slice(&hash);
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Opens the file and does with it all that a user would; whether it opened.
///
/// # Panics
/// If anything but a typed error or finite numbers comes out.
fn survive(file: &[u8], what: &dyn Fn() -> String) -> bool {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| open_and_use(file)));
    let opened = match outcome {
        Err(_) => panic!("it panicked: {}", what()),
        Ok(Err(problem)) => panic!("{problem}: {}", what()),
        Ok(Ok(opened)) => opened,
    };
    assert!(start.elapsed() < MOST_TIME, "took {:?}: {}", start.elapsed(), what());
    let peak = PEAK.load(Ordering::Relaxed);
    assert!(peak < MOST_BYTES, "{peak} bytes in use: {}", what());
    opened
}

fn open_and_use(file: &[u8]) -> Result<bool, String> {
    let open = || {
        let file = KingletFile::from_bytes(Bytes::copy_of(file))?;
        Model::from_file(file, &ModelOptions::default().threads(1))
    };
    let Some(model) = checked("open", open())? else { return Ok(false) };
    checked("feed", feed(&model))?.map_or(Ok(()), |logits| finite("logits", &logits))?;
    let greedy = GenerateOptions::greedy().max_tokens(3);
    let drawn = GenerateOptions { seed: Some(1), ..Default::default() }.max_tokens(3);
    for options in [&greedy, &drawn] {
        checked("generate", generate(&model, options))?;
    }
    if model.has_chat_template() {
        checked("chat", chat(&model, &greedy))?;
    }
    let vectors = checked("embed", model.embed(&["two words", "", "a longer text of more words"]))?;
    vectors.iter().flatten().try_for_each(|vector| finite("vector", vector))?;
    Ok(true)
}

/// Errors are fine, unless they hide a panic.
fn checked<T>(what: &str, result: Result<T, Error>) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ Error::WorkerPanicked { .. }) => Err(format!("{what}: {error}")),
        Err(error) if error.to_string().is_empty() => Err(format!("{what}: {error:?}")),
        Err(_) => Ok(None),
    }
}

fn finite(what: &str, values: &[f32]) -> Result<(), String> {
    let found = values.iter().find(|value| !value.is_finite());
    found.map_or(Ok(()), |value| Err(format!("{what} with {value}")))
}

fn feed(model: &Model) -> Result<Vec<f32>, Error> {
    let mut session = model.session()?;
    session.feed(&[1, 5, 9, 13, 2])?;
    session.feed(&[7])?;
    Ok(session.logits().to_vec())
}

fn generate(model: &Model, options: &GenerateOptions) -> Result<(), Error> {
    let mut session = model.session()?;
    session.generate("Once upon", options)?.try_for_each(|piece| piece.map(drop))
}

fn chat(model: &Model, options: &GenerateOptions) -> Result<(), Error> {
    let mut chat = model.chat()?;
    chat.say("Hi <eos>", options)?.try_for_each(|piece| piece.map(drop))?;
    chat.say("And?", options)?.try_for_each(|piece| piece.map(drop))
}

#[test]
fn sound_files_are_used_to_the_end() {
    for family in FAMILIES {
        let model = Model::from_file(
            KingletFile::from_bytes(Bytes::copy_of(&Parts::of(family, WeightType::Int8).file()))
                .unwrap(),
            &ModelOptions::default().threads(1),
        )
        .unwrap();
        if family == "bert" {
            assert_eq!(model.embed(&["two words"]).unwrap().len(), 1);
        } else {
            assert!(feed(&model).is_ok());
            assert!(generate(&model, &GenerateOptions::greedy().max_tokens(3)).is_ok());
        }
    }
}

#[test]
fn cut_files_do_not_open() {
    for family in FAMILIES {
        let parts = Parts::of(family, WeightType::Int8);
        let (file, head) = (parts.file(), parts.head_len());
        let mut random = Random(1);
        let mut cuts: Vec<usize> = (0..300).chain((0..head).step_by(97)).collect();
        cuts.extend((0..300).map(|_| random.below(file.len())));
        cuts.extend([head - 1, head, head + 1, file.len() - 1]);
        for cut in cuts {
            assert!(!survive(&file[..cut], &|| format!("{family} cut at {cut}")));
            // With a header that says so, the sections no longer add up.
            if cut >= 128 {
                let mut file = file[..cut].to_vec();
                file[16..24].copy_from_slice(&(cut as u64).to_le_bytes());
                seal(&mut file, cut.min(head));
                assert!(!survive(&file, &|| format!("{family} cut at {cut} and sealed")));
            }
        }
    }
}

#[test]
fn flipped_bits_of_the_head() {
    for family in FAMILIES {
        let parts = Parts::of(family, WeightType::Int8);
        let (mut file, head) = (parts.file(), parts.head_len());
        let (mut random, mut opened) = (Random(2), 0);
        let header = (0..128 * 8).filter(|bit| !(64 * 8..96 * 8).contains(bit));
        let sample: Vec<usize> = header.chain((0..2500).map(|_| random.below(head * 8))).collect();
        for bit in sample {
            let flip = |file: &mut [u8]| file[bit / 8] ^= 1 << (bit % 8);
            flip(&mut file);
            if bit % 16 == 0 {
                assert!(!survive(&file, &|| format!("{family}: bit {bit} flipped")));
            }
            let hash: Vec<u8> = file[64..96].to_vec();
            seal(&mut file, head);
            opened += usize::from(survive(&file, &|| format!("{family}: bit {bit}, sealed")));
            file[64..96].copy_from_slice(&hash);
            flip(&mut file);
        }
        println!("{family}: {opened} files opened");
        assert!(opened > 50, "{family}: only {opened} files opened");
    }
}

/// The tokenizer section has no sealed parts of its own that would stop a forger: bytes of it are
/// set to values that bounds are made of.
#[test]
fn forged_tokenizers() {
    for family in ["llama", "bert"] {
        let parts = Parts::of(family, WeightType::Int8);
        let (mut random, mut opened) = (Random(3), 0);
        for round in 0..1500 {
            let mut section = parts.sections[1].clone();
            for _ in 0..=random.below(3) {
                let at = if round % 3 == 0 { random.below(512) } else { random.below(1 << 30) };
                let at = at % section.len();
                section[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
            }
            if round % 5 == 0 {
                section.truncate(random.below(section.len()));
            }
            let file = parts.with(1, &section);
            opened += usize::from(survive(&file, &|| format!("{family}: tokenizer {round}")));
        }
        println!("{family}: {opened} files opened");
    }
}

/// Pointers (`/a/0/b`) to everything in a value.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), out)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

/// Other values for one place of the meta section.
fn instead_of(value: &Value) -> Vec<Value> {
    let mut values = vec![Value::Null];
    match value {
        Value::Bool(flag) => values.push(json!(!flag)),
        Value::Number(n) => {
            let twice = n.as_u64().map(|n| [2 * n, n / 2, n + 1, n.saturating_sub(1)]);
            values.extend(twice.into_iter().flatten().map(|n| json!(n)));
            values.extend([json!(0), json!(1), json!(3), json!(-1), json!(1u32 << 24)]);
            values.extend([json!(1u32 << 28), json!(u32::MAX), json!(u64::MAX), json!("NaN")]);
            values.extend([json!(1e-30), json!(3e38), json!(1e300), json!(-0.5)]);
        }
        Value::String(_) => {
            for word in [
                "",
                "rms",
                "layer",
                "pre",
                "post",
                "sandwich",
                "silu",
                "gelu",
                "gelu_tanh",
                "relu",
                "encoder",
                "decoder",
                "two_towers",
                "mean",
                "cls",
                "last",
                "max",
                "half",
                "adjacent",
                "none",
                "rope",
                "tokens",
                "language_model",
                "embedding",
                "{% for a in range(99999) %}{{ bos_token * 99999 }}{% endfor %}",
                "{{ messages[7].content }}",
                "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            ] {
                values.push(json!(word));
            }
        }
        Value::Array(list) => {
            values.push(json!([]));
            values.push(list.iter().take(list.len() / 2).cloned().collect());
            values.push(list.iter().chain(list.last()).cloned().collect());
            values.push(list.iter().rev().cloned().collect());
            values.push(json!([0, 4_000_000_000u32, 70_000]));
        }
        Value::Object(_) => values.push(json!({})),
        Value::Null => {}
    }
    values
}

/// Fields that a tiny model leaves out.
fn additions() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let numbers =
        || vec![json!(0), json!(1), json!(3), json!(1e-30), json!(1u64 << 40), json!(3e38)];
    let norm = json!({"kind": "rms", "eps": 0.0});
    vec![
        ("attention", "sliding_window", numbers()),
        ("attention", "soft_cap", numbers()),
        ("attention", "qk_norm", vec![norm.clone()]),
        ("attention", "qkv_bias", vec![json!(true)]),
        ("attention", "output_bias", vec![json!(true)]),
        (
            "attention",
            "position",
            vec![
                json!({"kind": "none"}),
                json!({"kind": "rope", "theta": 1.0, "dims": 2}),
                json!({"kind": "rope", "theta": 1e-38, "dims": 4}),
                json!({"kind": "relative_buckets", "n_buckets": 1, "max_distance": 1}),
            ],
        ),
        (
            "position",
            "scaling",
            vec![
                json!({"kind": "linear", "factor": 1e-38}),
                json!({"kind": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                       "high_freq_factor": 1.000001, "original_context_length": 1}),
                json!({"kind": "yarn", "factor": 4.0, "original_context_length": 1,
                       "beta_fast": 1e-38, "beta_slow": 3e38, "attention_factor": 3e38}),
                json!({"kind": "per_frequency", "factors": [1e-38], "attention_factor": 1.0}),
            ],
        ),
        ("mlp", "bias", vec![json!(true)]),
        ("", "embedding", vec![json!({"max_tokens": 0}), json!({"max_tokens": 1})]),
        ("", "embedding", vec![json!({"max_tokens": u64::MAX}), json!({"max_tokens": 2})]),
        (
            "",
            "chat_template",
            vec![
                json!("{{ messages[0].content }}"),
                json!("{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}"),
                json!("{% for a in range(9999) %}{{ 'x' * 99999 }}{% endfor %}"),
            ],
        ),
        ("generation", "bos", vec![json!(0), json!(u32::MAX), json!(70_000)]),
        ("generation", "eos", vec![json!([]), json!([u32::MAX]), json!([0, 0, 0])]),
        ("generation", "temperature", numbers()),
        ("generation", "top_k", numbers()),
        ("generation", "top_p", numbers()),
        ("generation", "min_p", numbers()),
        ("generation", "repeat_penalty", numbers()),
    ]
}

/// Every change of one place, as the changed meta section.
fn single_changes(meta: &Value) -> Vec<(String, Value)> {
    let (mut paths, mut changed) = (Vec::new(), Vec::new());
    pointers(meta, "", &mut paths);
    for path in &paths {
        for value in instead_of(meta.pointer(path).unwrap()) {
            let mut other = meta.clone();
            let what = format!("{path} = {value}");
            *other.pointer_mut(path).unwrap() = value;
            changed.push((what, other));
        }
        if let Some((parent, key)) = path.rsplit_once('/') {
            let mut other = meta.clone();
            if let Some(map) = other.pointer_mut(parent).and_then(Value::as_object_mut) {
                map.remove(key);
                changed.push((format!("no {path}"), other));
            }
        }
        for (owner, key, values) in additions() {
            if path.rsplit('/').next() != Some(owner) {
                continue;
            }
            for value in values {
                let mut other = meta.clone();
                if let Some(map) = other.pointer_mut(path).and_then(Value::as_object_mut) {
                    map.insert(key.to_owned(), value.clone());
                    changed.push((format!("{path}/{key} = {value}"), other));
                }
            }
        }
    }
    changed
}

/// Sets `key` wherever it occurs, so that layers stay alike.
fn set_all(value: &mut Value, key: &str, to: &Value) {
    match value {
        Value::Object(map) => {
            for (k, v) in map.iter_mut() {
                if k == key {
                    *v = to.clone();
                } else {
                    set_all(v, key, to);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| set_all(v, key, to)),
        _ => {}
    }
}

#[test]
fn forged_descriptions() {
    for family in FAMILIES {
        let parts = Parts::of(family, WeightType::F16);
        let meta: Value = serde_json::from_slice(&parts.sections[0]).unwrap();
        let run = |what: &str, meta: &Value| {
            let file = parts.with(0, meta.to_string().as_bytes());
            usize::from(survive(&file, &|| format!("{family}: {what}")))
        };
        assert_eq!(run("unchanged", &meta), 1);
        let changes = single_changes(&meta);
        let mut opened: usize = changes.iter().map(|(what, meta)| run(what, meta)).sum();
        let mut random = Random(4);
        for _ in 0..700 {
            // One change, then another one of the changed description.
            let (first, mut other) = changes[random.below(changes.len())].clone();
            let (mut paths, mut what) = (Vec::new(), first);
            pointers(&other, "", &mut paths);
            let path = &paths[random.below(paths.len())];
            let values = instead_of(other.pointer(path).unwrap());
            let value = values[random.below(values.len())].clone();
            what += &format!("; {path} = {value}");
            *other.pointer_mut(path).unwrap() = value;
            opened += run(&what, &other);
        }
        println!("{family}: {} changes, {opened} files opened", changes.len() + 700);
        assert!(opened > 100, "{family}: only {opened} files opened");
    }
}

/// The same matrices cut into heads of every width.
#[test]
fn heads_of_any_width() {
    for family in FAMILIES {
        let parts = Parts::of(family, WeightType::Int8);
        let meta: Value = serde_json::from_slice(&parts.sections[0]).unwrap();
        let attention = &meta["spec"]["stacks"][0]["layers"][0]["attention"];
        let number = |key: &str| attention[key].as_u64().unwrap();
        let (q, kv) =
            (number("n_heads") * number("head_dim"), number("n_kv_heads") * number("head_dim"));
        let mut opened = 0;
        for width in (1..=kv).filter(|width| kv % width == 0) {
            for dims in [0, 2, width / 2, width] {
                for window in [None, Some(1), Some(2), Some(1 << 27)] {
                    let mut other = meta.clone();
                    for (key, value) in
                        [("n_heads", q / width), ("n_kv_heads", kv / width), ("head_dim", width)]
                    {
                        set_all(&mut other, key, &json!(value));
                    }
                    if dims == 0 {
                        set_all(&mut other, "position", &json!({"kind": "none"}));
                    } else {
                        set_all(&mut other, "dims", &json!(dims));
                    }
                    set_all(&mut other, "qk_norm", &Value::Null);
                    let layers = other.pointer_mut("/spec/stacks/0/layers").unwrap();
                    for layer in layers.as_array_mut().unwrap() {
                        layer["attention"]["sliding_window"] = json!(window);
                    }
                    let file = parts.with(0, other.to_string().as_bytes());
                    let what = || format!("{family}: width {width}, rotary {dims}, {window:?}");
                    opened += usize::from(survive(&file, &what));
                }
            }
        }
        println!("{family}: {opened} files opened");
        assert!(opened > 10, "{family}: only {opened} files opened");
    }
}

#[test]
fn weights_of_any_bytes() {
    for family in FAMILIES {
        for dtype in [WeightType::Int8, WeightType::F16] {
            let parts = Parts::of(family, dtype);
            let mut random = Random(5);
            let patterns: [[u8; 4]; 7] = [
                [0; 4],
                [0xff; 4],
                [0x00, 0x7c, 0x00, 0x7c], // f16 infinity
                [0x00, 0xfc, 0x00, 0x7e], // f16 -infinity and NaN
                [0xff, 0x7b, 0xff, 0xfb], // largest f16 of either sign
                [0xff, 0xff, 0x7f, 0x7f], // largest f32
                [0x00, 0x00, 0x80, 0x7f], // f32 infinity
            ];
            for pattern in patterns {
                let data: Vec<u8> =
                    pattern.into_iter().cycle().take(parts.sections[4].len()).collect();
                let file = parts.with(4, &data);
                assert!(survive(&file, &|| format!("{family} {dtype}: {pattern:x?} throughout")));
            }
            for round in 0..25 {
                let mut data = parts.sections[4].clone();
                let from = if round == 0 { 0 } else { random.below(data.len()) };
                let n = if round == 0 { data.len() } else { 1 + random.below(2000) };
                data.iter_mut().skip(from).take(n).for_each(|b| *b = random.below(256) as u8);
                let file = parts.with(4, &data);
                assert!(survive(&file, &|| format!("{family} {dtype}: {n} bytes from {from}")));
            }
        }
    }
}
