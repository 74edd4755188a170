//! The thread team: one leader and its followers, sharing regions of work.
//!
//! The thread that enters a step is the leader; it runs the step's code and hands out *regions*,
//! loops over independent items that leader and followers claim one by one. A region costs about
//! a microsecond, where a fork and join through a scheduler costs ten or more, and a step has
//! some hundred regions. Followers are rayon threads that spin while a step is under way (and a
//! moment longer, as the next token follows soon), then go back to rayon's own sleep.
//!
//! Nobody waits for a follower that has not joined a region: where the machine is busy or has
//! fewer cores than threads, the leader simply does more of the work.

mod region;
mod sync;
mod tiles;
#[cfg(not(loom))]
mod wait;

use std::any::Any;
use std::collections::TryReserveError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use region::Regions;
pub(crate) use tiles::{ColumnBlock, Columns, RowRuns};

use crate::error::Error;

/// Addresses that a thread's stack takes.
const STACK: usize = 2 << 20;

/// Threads for the steps of a model. Entered by one step at a time.
pub struct Team {
    regions: Arc<Regions>,
    followers: Followers,
    n_threads: usize,
    entry: Mutex<()>,
}

/// Where the followers come from.
enum Followers {
    None,
    Own(rayon::ThreadPool),
    /// Threads of rayon's global pool.
    Global,
}

impl Followers {
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        match self {
            Self::None => {}
            Self::Own(pool) => pool.spawn(work),
            Self::Global => rayon::spawn(work),
        }
    }
}

impl Team {
    /// A team of `n_threads`, the calling thread of each step included.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn new(n_threads: usize, global_pool: bool) -> Result<Self, Error> {
        let n_threads = n_threads.max(1);
        let followers = match n_threads {
            1 => Followers::None,
            _ if global_pool => Followers::Global,
            n => {
                let failed = |reason: String| Error::Threads { wanted: n, reason };
                reserve(STACK.saturating_mul(n - 1)).map_err(|e| failed(e.to_string()))?;
                let threads = rayon::ThreadPoolBuilder::new()
                    .num_threads(n - 1)
                    .stack_size(STACK)
                    .thread_name(|i| format!("kinglet-{}", i + 1))
                    .build();
                Followers::Own(threads.map_err(|e| failed(e.to_string()))?)
            }
        };
        Ok(Self { regions: Arc::new(Regions::new()), followers, n_threads, entry: Mutex::new(()) })
    }

    /// Number of threads, the leader included.
    pub(crate) fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Runs a step with this thread as the leader. A panic in it, on any thread, is an error.
    ///
    /// # Errors
    /// [`Error::WorkerPanicked`].
    pub fn enter<R>(&self, step: impl FnOnce(&Crew<'_>) -> R) -> Result<R, Error> {
        let _entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        let crew = Crew { team: self, not_sync: std::marker::PhantomData };
        catch_unwind(AssertUnwindSafe(|| step(&crew)))
            .map_err(|panic| Error::WorkerPanicked { message: panic_message(&*panic) })
    }
}

/// The leader's handle inside a step.
pub struct Crew<'a> {
    team: &'a Team,
    /// Only the leader hands out regions.
    not_sync: std::marker::PhantomData<*const ()>,
}

impl Crew<'_> {
    /// Number of threads, the leader included: worker numbers are below it.
    pub(crate) fn n_threads(&self) -> usize {
        self.team.n_threads
    }

    /// Calls `work(worker, item)` once for each item below `n_items`, on any thread, in any order.
    pub fn for_each<F: Fn(usize, usize) + Sync>(&self, n_items: usize, work: F) {
        let Team { regions, followers, n_threads, .. } = self.team;
        if n_items <= 1 || matches!(followers, Followers::None) {
            (0..n_items).for_each(|item| work(0, item));
            return;
        }
        regions.muster(n_threads - 1, || {
            let regions = Arc::clone(regions);
            followers.spawn(move || regions.follow());
        });
        // SAFETY: a crew is used by the one thread that has entered the team.
        unsafe { regions.lead(n_items, &work) };
    }
}

/// Fails where there are fewer bytes of addresses. A thread that starts when they run out aborts the
/// program at its first small allocation.
fn reserve(bytes: usize) -> Result<(), TryReserveError> {
    let mut stacks: Vec<u8> = Vec::new();
    stacks.try_reserve_exact(bytes)?;
    std::hint::black_box(&stacks);
    Ok(())
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_item_runs_once_on_any_team() {
        for (n_threads, global_pool) in [(1, true), (1, false), (2, true), (2, false), (8, false)] {
            let team = Team::new(n_threads, global_pool).unwrap();
            for n_items in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..n_items).map(|_| AtomicUsize::new(0)).collect();
                team.enter(|crew| {
                    for _ in 0..50 {
                        crew.for_each(n_items, |worker, item| {
                            assert!(worker < n_threads);
                            counts[item].fetch_add(1, Ordering::Relaxed);
                        });
                    }
                })
                .unwrap();
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 50));
            }
        }
    }

    #[test]
    fn a_panic_becomes_an_error_and_the_team_lives_on() {
        for n_threads in [1, 2, 3] {
            let team = Team::new(n_threads, false).unwrap();
            for victim in [0, 63] {
                let result = team.enter(|crew| {
                    crew.for_each(64, |_, item| assert_ne!(item, victim, "victim"));
                });
                let Err(Error::WorkerPanicked { message }) = result else { panic!("no error") };
                assert!(message.contains("victim"), "{message}");
                let sum = AtomicUsize::new(0);
                team.enter(|crew| {
                    crew.for_each(10, |_, item| {
                        sum.fetch_add(item, Ordering::Relaxed);
                    });
                })
                .unwrap();
                assert_eq!(sum.into_inner(), 45);
            }
        }
    }

    #[test]
    fn two_threads_may_enter_in_turn() {
        let team = Team::new(2, false).unwrap();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        team.enter(|crew| {
                            crew.for_each(10, |_, _| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 2000);
    }
}
