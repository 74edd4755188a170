//! Whole models from damaged and forged files: whatever still opens computes finite numbers or
//! gives a typed error. No panic, no hang, no allocation that the file does not account for.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

mod changes;

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kinglet::{Error, GenerateOptions, Input, Model, ModelOptions, Session, ZeroShotOptions};
use kinglet_formats::kinglet::{KingletFile, Role, TensorPlan, Writer};
use kinglet_formats::layout::{self, plane_lengths};
use kinglet_formats::map::Bytes;
use kinglet_formats::spec::{MixerKind, Position, TensorUse};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::{images, tiny};
use serde_json::{Value, json};

use changes::{instead_of, pointers, set_all, single_changes};

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

const FAMILIES: [&str; 7] = ["llama", "gemma3", "bert", "t5", "olmoe", "siglip", "dinov2-swiglu"];

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
    let images = [(1, 1), (33, 7), (2, 150)].map(|(width, height)| images::made_up(width, height));
    let vectors = checked("images", model.embed_images(&images))?;
    vectors.iter().flatten().try_for_each(|vector| finite("vector of an image", vector))?;
    let any = ZeroShotOptions::for_images().multi(true);
    let own = checked("labels", model.classify_images(&images))?;
    let given = checked("any labels", model.classify_images_zero_shot(&images, &["a", "b"], &any))?;
    for scores in own.iter().chain(&given).flatten() {
        let scores: Vec<f32> = scores.iter().map(|one| one.score).collect();
        finite("scores", &scores)?;
    }
    // Raw rows: whatever the weights make of them, but no panic.
    checked("hidden states", model.hidden_states(Input::Tokens(&[3, 1, 4, 1, 5])))?;
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

/// A session that has read a source, if the model wants one.
fn begin(model: &Model) -> Result<Session, Error> {
    let mut session = model.session()?;
    match session.set_source(&[4, 8, 15, 16, 23, 42]) {
        Ok(_) | Err(Error::WrongTask { .. }) => Ok(session),
        Err(error) => Err(error),
    }
}

fn feed(model: &Model) -> Result<Vec<f32>, Error> {
    let mut session = begin(model)?;
    session.feed(&[1, 5, 9, 13, 2])?;
    session.feed(&[7])?;
    Ok(session.logits().to_vec())
}

fn generate(model: &Model, options: &GenerateOptions) -> Result<(), Error> {
    let mut session = begin(model)?;
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
        let image = [images::made_up(9, 7)];
        if ["bert", "siglip"].contains(&family) {
            assert_eq!(model.embed(&["two words"]).unwrap().len(), 1);
        }
        if family == "siglip" {
            assert_eq!(model.embed_images(&image).unwrap().len(), 1);
        } else if family == "dinov2-swiglu" {
            assert_eq!(model.classify_images(&image).unwrap().len(), 1);
        } else if family != "bert" {
            feed(&model).unwrap();
            generate(&model, &GenerateOptions::greedy().max_tokens(3)).unwrap();
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

/// An image has its own number of rows, whatever the description says of the context.
#[test]
fn images_with_the_positions_of_texts() {
    let parts = Parts::of("vit", WeightType::F16);
    let file = KingletFile::from_bytes(Bytes::copy_of(&parts.file())).unwrap();
    let mut meta = file.meta().clone();
    meta.spec.context_length = 1;
    let layers = meta.spec.stacks.iter_mut().flat_map(|stack| &mut stack.layers);
    let mixers = layers.flat_map(|layer| &mut layer.blocks).flat_map(|block| &mut block.mixers);
    for mixer in mixers {
        if let MixerKind::Attention(attention) = &mut mixer.kind {
            attention.position = Position::Disentangled { n_buckets: 4, max_distance: 8 };
        }
    }
    let tensors = meta.spec.tensors();
    let plan: Vec<TensorPlan> = tensors
        .iter()
        .map(|tensor| {
            let layout = match tensor.usage {
                TensorUse::Vector => layout::Layout::F32Rows,
                _ => layout::Layout::F16R8K1,
            };
            let dims = tensor.dims.iter().map(|&dim| dim as u64).collect();
            TensorPlan { name: tensor.name.clone(), role: Role::Other, layout, dims, group: 0 }
        })
        .collect();
    let lengths: Vec<usize> = plan
        .iter()
        .map(|plan| plane_lengths(plan.layout, &plan.dims, plan.group).unwrap().total() as usize)
        .collect();
    let out = std::io::Cursor::new(Vec::new());
    let mut writer = Writer::to(out, "forged", &meta, file.tokenizer(), plan).unwrap();
    for length in lengths {
        writer.write(&vec![0; length]).unwrap();
        writer.end_tensor(0.0).unwrap();
    }
    let forged = writer.into_inner().unwrap().into_inner();
    let file = KingletFile::from_bytes(Bytes::copy_of(&forged)).unwrap();
    let model = Model::from_file(file, &ModelOptions::default().threads(1)).unwrap();
    let rows = model.hidden_states(Input::Patches(&[0.5; 3 * 32 * 32])).unwrap();
    assert_eq!(rows.len(), 17);
    rows.iter().for_each(|row| finite("hidden states", row).unwrap());
}

/// The same matrices cut into heads of every width.
#[test]
fn heads_of_any_width() {
    for family in ["llama", "gemma3", "bert"] {
        let parts = Parts::of(family, WeightType::Int8);
        let meta: Value = serde_json::from_slice(&parts.sections[0]).unwrap();
        let layer = &meta["spec"]["stacks"][0]["layers"][0];
        let attention = &layer["blocks"][0]["mixers"][0]["kind"]["attention"];
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
                        let mixer = &mut layer["blocks"][0]["mixers"][0];
                        mixer["kind"]["attention"]["sliding_window"] = json!(window);
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
