//! Regions over the rows and tiles of matrices: disjoint pieces, each handed to one thread.

use std::ops::Range;

use super::Crew;
use crate::kernels::TileMut;

impl Crew<'_> {
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

    /// Calls `work(number, piece)` for pieces of `data` that follow one another up to the `ends`.
    pub(crate) fn pieces<T: Send>(
        &self,
        data: &mut [T],
        ends: &[usize],
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(ends.is_sorted() && ends.last().is_none_or(|&end| end <= data.len()));
        let base = Base(data.as_mut_ptr());
        self.for_each(ends.len(), |_, item| {
            let start = item.checked_sub(1).map_or(0, |before| ends[before]);
            let len = ends[item] - start;
            // SAFETY: the ends ascend within `data` (checked above), so that pieces are disjoint ranges
            // of it, each handed out once.
            let piece = unsafe { std::slice::from_raw_parts_mut(base.at(start), len) };
            work(item, piece);
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

    /// Like [`Crew::rows`] for three matrices of as many rows.
    pub(crate) fn row_triples<A: Send, B: Send, C: Send>(
        &self,
        (a, a_len): (&mut [A], usize),
        b: (&mut [B], usize),
        (c, c_len): (&mut [C], usize),
        rows_per_item: usize,
        work: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync,
    ) {
        assert!(a_len > 0 && c_len > 0 && a.len() / a_len == c.len() / c_len);
        let base = Base(a.as_mut_ptr());
        self.row_pairs(b, (c, c_len), rows_per_item, |row, b, c| {
            let rows = c.len() / c_len;
            // SAFETY: `row_pairs` hands out each run of rows once, and `a` has as many.
            let a = unsafe { std::slice::from_raw_parts_mut(base.at(row * a_len), rows * a_len) };
            work(row, a, b, c);
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

    /// Calls `work(scratch, row number, row)` for each row of `row_len` elements, with scratch that
    /// no other thread uses.
    pub(crate) fn rows_with<S: Send, T: Send>(
        &self,
        scratch: &mut [S],
        data: &mut [T],
        row_len: usize,
        work: impl Fn(&mut S, usize, &mut [T]) + Sync,
    ) {
        let n_rows = data.len().checked_div(row_len).unwrap_or(0);
        let base = Base(data.as_mut_ptr());
        self.for_each_with(scratch, n_rows, |scratch, item| {
            // SAFETY: items are disjoint rows inside `data`, each handed out once.
            let row = unsafe { std::slice::from_raw_parts_mut(base.at(item * row_len), row_len) };
            work(scratch, item, row);
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
        assert!(out.len() / width >= runs.end);
        let n_blocks = width / block_width;
        let base = Base(out.as_mut_ptr());
        self.for_each_with(scratch, runs.runs.len() * n_blocks, |scratch, item| {
            let rows = runs.runs[item / n_blocks].clone();
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

    /// Number of blocks.
    pub(crate) fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Columns in all parts together.
    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

/// Runs of rows in ascending order, disjoint by construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowRuns {
    runs: Vec<Range<usize>>,
    /// Rows before this one are in a run, or in none.
    end: usize,
}

impl RowRuns {
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self { runs: Vec::with_capacity(n), end: 0 }
    }

    /// Adds `n_rows` rows after the last ones, in runs of at most `run_len`.
    pub(crate) fn extend(&mut self, n_rows: usize, run_len: usize) {
        let first = self.end;
        for row in (first..first + n_rows).step_by(run_len) {
            self.runs.push(row..(row + run_len).min(first + n_rows));
        }
        self.end = first + n_rows;
    }

    /// Leaves out the rows up to `row`, which must not lie before the last run's end.
    pub(crate) fn skip_to(&mut self, row: usize) {
        assert!(row >= self.end);
        self.end = row;
    }

    /// The runs.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.runs.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.end = 0;
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::Team;
    use super::*;

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
}
