//! No heap allocation per token, once room has been made.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kinglet::{GenerateOptions, KvType, Model, ModelOptions, SessionOptions};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::tiny;

struct Counting;

thread_local! {
    /// Of this thread alone: the test runner's own threads allocate when they like.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static FOLLOWS: Cell<bool> = const { Cell::new(false) };
}

/// Of all followers.
static FOLLOWERS_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

fn count() {
    ALLOCATIONS.with(|n| n.set(n.get() + 1));
    if FOLLOWS.get() {
        FOLLOWERS_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FAMILIES: [&str; 6] = ["llama", "gemma3", "qwen3", "gpt2", "olmo2", "olmoe"];

/// Allocations of this thread and of the followers, from the third token of an answer to its end.
fn allocations(family: &str, kv: KvType, options: &ModelOptions) -> (usize, usize) {
    // A conversion beside would be counted: it runs on the followers' threads.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let folder = tiny::checkpoint(family);
    let path = folder.path().join("model.kinglet");
    let source = Source::open(folder.path()).unwrap();
    quantize(&source, &Options::default(), &path, &mut ()).unwrap();
    let model = Model::open_with(&path, options).unwrap();
    let mut session = model.session_with(&SessionOptions::default().kv(kv)).unwrap();
    let options = GenerateOptions { ignore_eos: true, seed: Some(3), ..Default::default() };
    let prompt = tiny::golden(family).tokens;
    let room = model.context_length() - prompt.len();
    let options = options.max_tokens(room.min(60));
    let mut generation = session.generate_from(prompt, &options).unwrap();
    generation.advance().unwrap();
    generation.advance().unwrap();
    let (own, followers) = (ALLOCATIONS.get(), FOLLOWERS_ALLOCATIONS.load(Ordering::Relaxed));
    while generation.advance().unwrap().is_some() {}
    assert!(generation.generated_tokens() > 30);
    (ALLOCATIONS.get() - own, FOLLOWERS_ALLOCATIONS.load(Ordering::Relaxed) - followers)
}

/// One thread does everything here; what the pool does to wake followers is not the step's.
#[test]
fn generating_allocates_nothing() {
    for family in FAMILIES {
        for kv in [KvType::F16, KvType::Int8] {
            let (own, _) = allocations(family, kv, &ModelOptions::default().threads(1));
            assert_eq!(own, 0, "{family} {kv}: allocations while generating");
        }
    }
}

#[test]
fn followers_allocate_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    pool.start_handler(|_| FOLLOWS.set(true)).build_global().unwrap();
    for family in FAMILIES {
        for kv in [KvType::F16, KvType::Int8] {
            let options = ModelOptions::default().threads(3).global_pool(true);
            let (_, followers) = allocations(family, kv, &options);
            assert_eq!(followers, 0, "{family} {kv}: allocations of followers");
        }
    }
}
