//! Regions: how the leader publishes work and how followers join it. All of the team's lock-free
//! code is here; its interleavings are explored with `loom` (see the tests below).
//!
//! ```text
//! leader     write job, open region | claim items … | close: how many joined? | wait for them
//! follower            … poll … join | claim items … | finished
//! ```

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, UnsafeCell, Wait};

/// How long an idle follower waits for the next region before it goes to sleep.
const PATIENCE: Duration = Duration::from_micros(500);
/// Set in `state` while a region may be joined.
const OPEN: u64 = 1 << 31;
/// The followers that joined the region, in `state`.
const JOINED: u64 = OPEN - 1;

/// A region's work with its types erased: `run(context, worker, item)`.
#[derive(Clone, Copy)]
struct Job {
    context: *const (),
    // SAFETY contract: callable while the region that published it is open or has joiners.
    run: unsafe fn(*const (), usize, usize),
    n_items: usize,
}

/// On cache lines of their own: followers poll `state` while the leader's data is written.
#[repr(align(128))]
struct Line<T>(T);

/// What leader and followers share.
pub(super) struct Regions {
    /// `region number << 32 | OPEN | joined`
    state: Line<AtomicU64>,
    /// Next item to claim.
    next: Line<AtomicUsize>,
    /// Followers done with the current region.
    finished: Line<AtomicUsize>,
    /// Followers running or about to run.
    present: Line<AtomicUsize>,
    /// A follower panicked in the current region.
    panicked: AtomicBool,
    /// What it panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    job: UnsafeCell<Job>,
}

// SAFETY: `job` is written by the leader only while no region is open and nobody has joined, and
// read by followers only after joining; the joins order these accesses through `state`. The
// pointers inside are used under the same rule.
unsafe impl Send for Regions {}
// SAFETY: as above.
unsafe impl Sync for Regions {}

impl Regions {
    pub(super) fn new() -> Self {
        unsafe fn nothing(_: *const (), _: usize, _: usize) {}
        Self {
            state: Line(AtomicU64::new(0)),
            next: Line(AtomicUsize::new(0)),
            finished: Line(AtomicUsize::new(0)),
            present: Line(AtomicUsize::new(0)),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            job: UnsafeCell::new(Job { context: std::ptr::null(), run: nothing, n_items: 0 }),
        }
    }

    /// Calls `start` for each of `n_followers` that are not there; it must have
    /// [`Regions::follow`] called on another thread.
    pub(super) fn muster(&self, n_followers: usize, mut start: impl FnMut()) {
        while self.present.0.load(Ordering::Relaxed) < n_followers {
            self.present.0.fetch_add(1, Ordering::Relaxed);
            start();
        }
    }

    /// Calls `work(worker, item)` once for each item below `n_items`, on this thread, which is
    /// worker 0, and on followers that join. A panic in any of them is passed on.
    ///
    /// # Safety
    /// One thread leads at a time.
    pub(super) unsafe fn lead<F: Fn(usize, usize) + Sync>(&self, n_items: usize, work: &F) {
        // SAFETY: called with `context` pointing at a live `F`, see `Job::run`.
        unsafe fn run<F: Fn(usize, usize) + Sync>(context: *const (), worker: usize, item: usize) {
            // SAFETY: the leader keeps the closure alive until every joiner has finished.
            let work = unsafe { &*context.cast::<F>() };
            work(worker, item);
        }
        let job = Job { context: (&raw const *work).cast(), run: run::<F>, n_items };
        // SAFETY: no region is open and all joiners of the last one have finished.
        self.job.with_mut(|published| unsafe { *published = job });
        self.next.0.store(0, Ordering::Relaxed);
        self.finished.0.store(0, Ordering::Relaxed);
        let region = (self.state.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.state.0.store(region << 32 | OPEN, Ordering::Release);

        // The leader's own panic must not unwind past the closure while followers use it.
        let own = catch_unwind(AssertUnwindSafe(|| self.claim(job, 0)));
        let joined = self.state.0.fetch_and(!OPEN, Ordering::AcqRel) & JOINED;
        let mut wait = Wait::new();
        while (self.finished.0.load(Ordering::Acquire) as u64) < joined {
            wait.pause();
        }
        let theirs = match self.panicked.load(Ordering::Relaxed) {
            true => self.take_panic(),
            false => None,
        };
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Claims and runs items until none is left.
    fn claim(&self, job: Job, worker: usize) {
        loop {
            let item = self.next.0.fetch_add(1, Ordering::Relaxed);
            if item >= job.n_items {
                return;
            }
            // SAFETY: the caller is the leader of the region or has joined it.
            unsafe { (job.run)(job.context, worker, item) };
        }
    }

    /// A follower: joins regions until none has been opened for a while.
    pub(super) fn follow(&self) {
        let mut last_region = u64::MAX;
        let mut wait = Wait::new();
        while !wait.is_longer_than(PATIENCE) {
            let state = self.state.0.load(Ordering::Acquire);
            if state & OPEN == 0 || state >> 32 == last_region {
                wait.pause();
                continue;
            }
            if self
                .state
                .0
                .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            last_region = state >> 32;
            // SAFETY: having joined, the leader waits for `finished` before it writes `job`.
            let job = self.job.with(|job| unsafe { *job });
            let worker = (state & JOINED) as usize + 1;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.claim(job, worker))) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.finished.0.fetch_add(1, Ordering::Release);
            wait = Wait::new();
        }
        self.present.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panicked.store(false, Ordering::Relaxed);
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p kinglet --lib team::region`
#[cfg(all(test, loom))]
mod tests {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Explores all interleavings with at most `preemptions` switches at other points than waits.
    fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(model);
    }

    /// A region over plain memory: loom reports two threads on one cell, or a thread that still
    /// uses a cell when the leader has gone on.
    fn fill(regions: &Regions, n_items: usize, value: usize) {
        let cells: Vec<_> = (0..n_items).map(|_| Plain(UnsafeCell::new(0))).collect();
        // SAFETY: the models have one leader.
        unsafe {
            regions.lead(n_items, &|_, item| {
                // SAFETY: each item is claimed once; loom checks it.
                cells[item].0.with_mut(|cell| *cell += value);
            });
        }
        for cell in cells {
            // SAFETY: all joiners have finished; loom checks it.
            assert_eq!(cell.0.with(|cell| unsafe { *cell }), value);
        }
    }

    struct Plain(UnsafeCell<usize>);

    // SAFETY: loom checks the accesses.
    unsafe impl Sync for Plain {}

    fn with_followers(n_followers: usize, lead: impl Fn(&Regions)) {
        let regions = Arc::new(Regions::new());
        let mut followers = Vec::new();
        regions.muster(n_followers, || {
            let regions = Arc::clone(&regions);
            followers.push(thread::spawn(move || regions.follow()));
        });
        lead(&regions);
        followers.into_iter().for_each(|follower| follower.join().unwrap());
        assert_eq!(regions.present.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn regions_in_a_row_with_one_follower() {
        explore(3, || {
            with_followers(1, |regions| {
                fill(regions, 2, 5);
                fill(regions, 2, 7);
            });
        });
    }

    #[test]
    fn a_region_with_two_followers() {
        explore(2, || with_followers(2, |regions| fill(regions, 3, 5)));
    }

    #[test]
    fn worker_numbers_are_unique() {
        explore(2, || {
            with_followers(2, |regions| {
                let scratch: Vec<_> = (0..3).map(|_| Plain(UnsafeCell::new(0))).collect();
                // SAFETY: the models have one leader.
                unsafe {
                    regions.lead(3, &|worker, _| {
                        // SAFETY: a worker's scratch is its own; loom checks it.
                        scratch[worker].0.with_mut(|cell| *cell += 1);
                    });
                }
            });
        });
    }

    #[test]
    fn a_panic_ends_the_region_for_all() {
        explore(2, || {
            with_followers(1, |regions| {
                // SAFETY: the models have one leader.
                let led = catch_unwind(AssertUnwindSafe(|| unsafe {
                    regions.lead(2, &|_, item| {
                        if item == 1 {
                            resume_unwind(Box::new("victim"));
                        }
                    });
                }));
                assert_eq!(led.unwrap_err().downcast_ref(), Some(&"victim"));
                fill(regions, 2, 5);
            });
        });
    }

    /// Followers that have left are called again.
    #[test]
    fn followers_come_back() {
        explore(2, || {
            let regions = Arc::new(Regions::new());
            let mut followers = Vec::new();
            for _ in 0..2 {
                regions.muster(1, || {
                    let regions = Arc::clone(&regions);
                    followers.push(thread::spawn(move || regions.follow()));
                });
                fill(&regions, 2, 5);
            }
            followers.into_iter().for_each(|follower| follower.join().unwrap());
        });
    }
}
