//! No heap allocation per token, once room has been made.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kinglet::{GenerateOptions, KvType, Model, SessionOptions};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::tiny;

struct Counting;

thread_local! {
    /// Of this thread alone: the test runner's own threads allocate when they like.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|n| n.set(n.get() + 1));
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

/// One thread does everything here; what the pool does to wake followers is not the step's.
#[test]
fn generating_allocates_nothing() {
    for family in ["llama", "gemma3", "qwen3"] {
        let folder = tiny::checkpoint(family);
        let path = folder.path().join("model.kinglet");
        let source = Source::open(folder.path()).unwrap();
        quantize(&source, &Options::default(), &path, &mut ()).unwrap();
        let options = kinglet::ModelOptions::default().threads(1);
        let model = Model::open_with(&path, &options).unwrap();
        for kv in [KvType::F16, KvType::Int8] {
            let mut session = model.session_with(&SessionOptions::default().kv(kv)).unwrap();
            let options = GenerateOptions { ignore_eos: true, seed: Some(3), ..Default::default() };
            let prompt = tiny::golden(family).tokens;
            let room = model.context_length() - prompt.len();
            let mut generation =
                session.generate_from(prompt, &options.max_tokens(room.min(60))).unwrap();
            generation.advance().unwrap();
            generation.advance().unwrap();
            let before = ALLOCATIONS.get();
            while generation.advance().unwrap().is_some() {}
            let after = ALLOCATIONS.get();
            assert!(generation.generated_tokens() > 30);
            assert_eq!(after - before, 0, "{family} {kv}: allocations while generating");
        }
    }
}
