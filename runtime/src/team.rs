//! The thread team: one leader and its followers, meeting at spin barriers.
//!
//! The thread that enters a step is the leader; it runs the step's code and hands out *regions*,
//! loops over independent items that leader and followers claim one by one. A region costs about
//! a microsecond, where a fork and join through a scheduler costs ten or more, and a step has
//! some hundred regions. Followers are rayon threads that spin while a step is under way (and a
//! moment longer, as the next token follows soon), then go back to rayon's own sleep.
//!
//! Nobody waits for a follower that has not joined a region: where the machine is busy or has
//! fewer cores than threads, the leader simply does more of the work.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::kernels::TileMut;

/// Spins for each pause instruction: hypervisors take a processor away from a guest that pauses
/// many times in a row.
const SPINS_PER_PAUSE: u32 = 32;
/// Spins before a waiting thread starts to yield its core to others.
const SPINS_BEFORE_YIELD: u32 = 20_000;
/// Spins and yields before an idle follower goes to sleep, about half a millisecond.
const SPINS_BEFORE_SLEEP: u32 = 36_000;
/// Set in `state` while a region may be joined.
const OPEN: u64 = 1 << 31;
/// The followers that joined the region, in `state`.
const JOINED: u64 = OPEN - 1;

/// Threads for the steps of a model. Entered by one step at a time.
pub(crate) struct Team {
    shared: Arc<Shared>,
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

struct Shared {
    /// `region number << 32 | OPEN | joined`
    state: Line<AtomicU64>,
    /// Next item to claim.
    next: Line<AtomicUsize>,
    /// Followers done with the current region.
    finished: Line<AtomicUsize>,
    /// Followers running or about to run.
    present: Line<AtomicUsize>,
    /// A worker panicked in the current region.
    panicked: AtomicBool,
    job: UnsafeCell<Job>,
}

// SAFETY: `job` is written by the leader only while no region is open and nobody has joined, and
// read by followers only after joining; the joins order these accesses through `state`. The
// pointers inside are used under the same rule.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Team {
    /// A team of `n_threads`, the calling thread of each step included.
    pub(crate) fn new(n_threads: usize, global_pool: bool) -> Result<Self, Error> {
        let n_threads = n_threads.max(1);
        let followers = match n_threads {
            1 => Followers::None,
            _ if global_pool => Followers::Global,
            n => Followers::Own(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(n - 1)
                    .thread_name(|i| format!("kinglet-{}", i + 1))
                    .build()
                    .map_err(|e| Error::Threads { wanted: n, reason: e.to_string() })?,
            ),
        };
        unsafe fn nothing(_: *const (), _: usize, _: usize) {}
        let shared = Arc::new(Shared {
            state: Line(AtomicU64::new(0)),
            next: Line(AtomicUsize::new(0)),
            finished: Line(AtomicUsize::new(0)),
            present: Line(AtomicUsize::new(0)),
            panicked: AtomicBool::new(false),
            job: UnsafeCell::new(Job { context: std::ptr::null(), run: nothing, n_items: 0 }),
        });
        Ok(Self { shared, followers, n_threads, entry: Mutex::new(()) })
    }

    /// Number of threads, the leader included.
    pub(crate) fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Runs a step with this thread as the leader. A panic in it, on any thread, is an error.
    pub(crate) fn enter<R>(&self, step: impl FnOnce(&Crew<'_>) -> R) -> Result<R, Error> {
        let _entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        let crew = Crew { team: self, not_sync: std::marker::PhantomData };
        catch_unwind(AssertUnwindSafe(|| step(&crew)))
            .map_err(|panic| Error::WorkerPanicked { message: panic_message(&*panic) })
    }
}

/// The leader's handle inside a step.
pub(crate) struct Crew<'a> {
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
    pub(crate) fn for_each<F: Fn(usize, usize) + Sync>(&self, n_items: usize, work: F) {
        if n_items <= 1 || matches!(self.team.followers, Followers::None) {
            (0..n_items).for_each(|item| work(0, item));
            return;
        }
        self.muster();
        let shared = &*self.team.shared;

        // SAFETY: called with `context` pointing at a live `F`, see `Job::run`.
        unsafe fn run<F: Fn(usize, usize) + Sync>(context: *const (), worker: usize, item: usize) {
            // SAFETY: the leader keeps the closure alive until every joiner has finished.
            let work = unsafe { &*context.cast::<F>() };
            work(worker, item);
        }
        let job = Job { context: (&raw const work).cast(), run: run::<F>, n_items };
        // SAFETY: no region is open and all joiners of the last one have finished.
        unsafe { *shared.job.get() = job };
        shared.next.0.store(0, Ordering::Relaxed);
        shared.finished.0.store(0, Ordering::Relaxed);
        let region = (shared.state.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.state.0.store(region << 32 | OPEN, Ordering::Release);

        // The leader's own panic must not unwind past the closure while followers use it.
        let own = catch_unwind(AssertUnwindSafe(|| shared.claim(job, 0)));
        let joined = shared.state.0.fetch_and(!OPEN, Ordering::AcqRel) & JOINED;
        let mut spins = 0;
        while (shared.finished.0.load(Ordering::Acquire) as u64) < joined {
            pause(&mut spins);
        }
        if let Err(panic) = own {
            shared.panicked.store(false, Ordering::Relaxed);
            resume_unwind(panic);
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            std::panic::panic_any("a worker thread panicked");
        }
    }

    /// Calls `work(first_row, rows)` for runs of `rows_per_item` rows of `row_len` elements.
    pub(crate) fn rows<T: Send>(
        &self,
        data: &mut [T],
        row_len: usize,
        rows_per_item: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let item_len = row_len * rows_per_item.max(1);
        if item_len == 0 {
            return;
        }
        let len = data.len();
        let base = Base(data.as_mut_ptr());
        self.for_each(len.div_ceil(item_len), |_, item| {
            let start = item * item_len;
            let end = len.min(start + item_len);
            // SAFETY: items are disjoint ranges of `data`, each handed out once.
            let rows = unsafe { std::slice::from_raw_parts_mut(base.at(start), end - start) };
            work(start / row_len, rows);
        });
    }

    /// Like [`Crew::rows`] for two matrices of as many rows: `work(first_row, rows_a, rows_b)`.
    pub(crate) fn row_pairs<A: Send, B: Send>(
        &self,
        (a, a_len): (&mut [A], usize),
        (b, b_len): (&mut [B], usize),
        rows_per_item: usize,
        work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
    ) {
        assert!(a_len > 0 && b_len > 0 && a.len() / a_len == b.len() / b_len);
        let n_rows = a.len() / a_len;
        let rows_per_item = rows_per_item.max(1);
        let (a, b) = (Base(a.as_mut_ptr()), Base(b.as_mut_ptr()));
        self.for_each(n_rows.div_ceil(rows_per_item), |_, item| {
            let row = item * rows_per_item;
            let rows = rows_per_item.min(n_rows - row);
            // SAFETY: items are disjoint runs of rows inside both slices, each handed out once.
            let (a, b) = unsafe {
                (
                    std::slice::from_raw_parts_mut(a.at(row * a_len), rows * a_len),
                    std::slice::from_raw_parts_mut(b.at(row * b_len), rows * b_len),
                )
            };
            work(row, a, b);
        });
    }

    /// Calls `work(scratch, item)` for each item, with scratch that no other thread uses.
    pub(crate) fn for_each_with<S: Send>(
        &self,
        scratch: &mut [S],
        n_items: usize,
        work: impl Fn(&mut S, usize) + Sync,
    ) {
        assert!(scratch.len() >= self.n_threads());
        let base = Base(scratch.as_mut_ptr());
        self.for_each(n_items, |worker, item| {
            // SAFETY: worker numbers are below `n_threads` and unique among running threads.
            work(unsafe { &mut *base.at(worker) }, item);
        });
    }

    /// Calls `work(scratch, row, block, tile)` for each tile of the matrix `out`
    /// `[rows][columns.width]`: `tile_rows` rows of one block of `columns`.
    pub(crate) fn tiles<S: Send>(
        &self,
        scratch: &mut [S],
        out: &mut [f32],
        tile_rows: usize,
        columns: &Columns,
        work: impl Fn(&mut S, usize, &ColumnBlock, TileMut<'_>) + Sync,
    ) {
        let n_blocks = columns.blocks.len();
        let n_rows = out.len().checked_div(columns.width).unwrap_or(0);
        let tile_rows = tile_rows.max(1);
        let base = Base(out.as_mut_ptr());
        self.for_each_with(scratch, n_rows.div_ceil(tile_rows) * n_blocks, |scratch, item| {
            let row = item / n_blocks * tile_rows;
            let block = &columns.blocks[item % n_blocks];
            let rows = tile_rows.min(n_rows - row);
            // SAFETY: the blocks of `Columns` are disjoint and inside `width` by construction, so
            // the tiles are disjoint rectangles of `out`, each handed out once.
            let tile = unsafe {
                let first = base.at(row * columns.width + block.col);
                TileMut::from_raw(first, columns.width, rows, block.cols)
            };
            work(scratch, row, block, tile);
        });
    }

    /// Calls `work(scratch, rows, block, tile)` for each of the given runs of rows of `out`
    /// `[..][width]` and each block of `block_width` columns, which divides `width`.
    pub(crate) fn row_tiles<S: Send>(
        &self,
        scratch: &mut [S],
        out: &mut [f32],
        (width, block_width): (usize, usize),
        runs: &RowRuns,
        work: impl Fn(&mut S, Range<usize>, usize, TileMut<'_>) + Sync,
    ) {
        assert!(width > 0 && block_width > 0 && width.is_multiple_of(block_width));
        assert!(out.len() / width >= runs.end());
        let n_blocks = width / block_width;
        let base = Base(out.as_mut_ptr());
        self.for_each_with(scratch, runs.0.len() * n_blocks, |scratch, item| {
            let rows = runs.0[item / n_blocks].clone();
            let block = item % n_blocks;
            // SAFETY: runs are disjoint and within `out` (checked above), blocks are disjoint
            // columns within `width`, and each pair is handed out once.
            let tile = unsafe {
                let first = base.at(rows.start * width + block * block_width);
                TileMut::from_raw(first, width, rows.len(), block_width)
            };
            work(scratch, rows, block, tile);
        });
    }

    /// Wakes followers that have gone to sleep.
    fn muster(&self) {
        let present = &self.team.shared.present.0;
        while present.load(Ordering::Relaxed) < self.team.n_threads - 1 {
            present.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&self.team.shared);
            self.team.followers.spawn(move || shared.follow());
        }
    }
}

impl Shared {
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
    fn follow(&self) {
        let mut last_region = u64::MAX;
        let mut spins = 0;
        while spins < SPINS_BEFORE_SLEEP {
            let state = self.state.0.load(Ordering::Acquire);
            if state & OPEN == 0 || state >> 32 == last_region {
                pause(&mut spins);
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
            spins = 0;
            // SAFETY: having joined, the leader waits for `finished` before it writes `job`.
            let job = unsafe { *self.job.get() };
            let worker = (state & JOINED) as usize + 1;
            if catch_unwind(AssertUnwindSafe(|| self.claim(job, worker))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.finished.0.fetch_add(1, Ordering::Release);
        }
        self.present.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Columns of a matrix cut into disjoint blocks of multiples of eight (but for the ends of parts).
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    width: usize,
    blocks: Vec<ColumnBlock>,
}

/// One block of columns, inside one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnBlock {
    /// Number of the part (the matrix that computes these columns).
    pub(crate) part: usize,
    /// First column in the whole matrix.
    pub(crate) col: usize,
    /// First column in the part.
    pub(crate) part_col: usize,
    /// Number of columns.
    pub(crate) cols: usize,
}

impl Columns {
    /// Lays `(width, block width)` parts side by side.
    pub(crate) fn new(parts: &[(usize, usize)]) -> Self {
        let mut blocks = Vec::new();
        let mut width = 0;
        for (part, &(part_width, block_width)) in parts.iter().enumerate() {
            let block_width = block_width.max(1);
            for part_col in (0..part_width).step_by(block_width) {
                let cols = block_width.min(part_width - part_col);
                blocks.push(ColumnBlock { part, col: width + part_col, part_col, cols });
            }
            width += part_width;
        }
        Self { width, blocks }
    }

    /// Columns in all parts together.
    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

/// Runs of rows in ascending order, disjoint by construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowRuns(Vec<Range<usize>>);

impl RowRuns {
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Adds `n_rows` rows after the last ones, in runs of at most `run_len`.
    pub(crate) fn extend(&mut self, n_rows: usize, run_len: usize) {
        let first = self.end();
        for row in (first..first + n_rows).step_by(run_len) {
            self.0.push(row..(row + run_len).min(first + n_rows));
        }
    }

    /// Row after the last.
    pub(crate) fn end(&self) -> usize {
        self.0.last().map_or(0, |run| run.end)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A pointer that closures on other threads may use, under the caller's disjointness argument.
struct Base<T>(*mut T);

// SAFETY: it only carries an address; each dereference gives its own reason.
unsafe impl<T: Send> Sync for Base<T> {}

impl<T> Base<T> {
    /// # Safety
    /// `index` must be within the allocation.
    unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins >= SPINS_BEFORE_YIELD {
        std::thread::yield_now();
    } else if spins.is_multiple_of(SPINS_PER_PAUSE) {
        std::hint::spin_loop();
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(test)]
mod tests {
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
    fn tiles_cover_the_matrix_once() {
        let team = Team::new(3, false).unwrap();
        let columns = Columns::new(&[(20, 8), (5, 16)]);
        let mut out = vec![0.0; 7 * 25];
        let mut scratch = [(); 3];
        team.enter(|crew| {
            crew.tiles(&mut scratch, &mut out, 2, &columns, |_, row, block, mut tile| {
                for r in 0..tile.rows() {
                    for (c, x) in tile.row(r).iter_mut().enumerate() {
                        *x += ((row + r) * 100 + block.col + c) as f32;
                    }
                }
            });
        })
        .unwrap();
        for (i, x) in out.iter().enumerate() {
            assert_eq!(*x, (i / 25 * 100 + i % 25) as f32);
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
                assert!(matches!(result, Err(Error::WorkerPanicked { .. })));
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
