//! A rectangle of a row-major `f32` matrix that one thread may write.

use std::marker::PhantomData;

/// Exclusive access to `rows x cols` elements of a larger matrix, `stride` elements from row to
/// row. Tiles of one matrix that do not overlap may be written by different threads at once.
pub struct TileMut<'a> {
    ptr: *mut f32,
    stride: usize,
    rows: usize,
    cols: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is an exclusive borrow of its elements, as `&mut [f32]` is.
unsafe impl Send for TileMut<'_> {}

impl<'a> TileMut<'a> {
    /// The whole of `data` as a matrix of `cols` columns; a last incomplete row is left out.
    pub fn new(data: &'a mut [f32], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        Self { ptr: data.as_mut_ptr(), stride: cols, rows, cols, owner: PhantomData }
    }

    /// # Safety
    /// `rows` runs of `cols` elements, `stride` apart from `ptr` on, must be valid for writes for
    /// `'a`, initialised, and borrowed by nothing else.
    pub(crate) unsafe fn from_raw(ptr: *mut f32, stride: usize, rows: usize, cols: usize) -> Self {
        Self { ptr, stride, rows, cols, owner: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from the start of a row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Pointer to the first element.
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.ptr
    }

    /// Row `r`, `cols` elements.
    pub fn row(&mut self, r: usize) -> &mut [f32] {
        assert!(r < self.rows, "row {r} of a tile of {}", self.rows);
        // SAFETY: the row lies inside the rectangle that this tile borrows exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(r * self.stride), self.cols) }
    }

    /// A part of this tile, borrowed from it.
    pub fn part(&mut self, row: usize, rows: usize, col: usize, cols: usize) -> TileMut<'_> {
        let ends_in =
            |first: usize, n: usize, len: usize| first.checked_add(n).is_some_and(|end| end <= len);
        assert!(ends_in(row, rows, self.rows) && ends_in(col, cols, self.cols));
        // SAFETY: the part lies inside this tile, which stays borrowed while the part lives.
        unsafe { TileMut::from_raw(self.ptr.add(row * self.stride + col), self.stride, rows, cols) }
    }
}
