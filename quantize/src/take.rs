//! How a canonical tensor is taken from a checkpoint: under which name, which of its rows, in which
//! order, transposed, or stacked from several.

use kinglet_formats::checkpoint::{Checkpoint, DType};
use kinglet_formats::spec::{TensorSpec, TensorUse};

use crate::QuantizeError;

/// Where a family's checkpoints keep a module's tensors. Made in constant tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The checkpoint's module. A leading `/` means that the prefix is not put before it;
    /// `{e}` stands for the number of an expert.
    pub(crate) name: &'static str,
    /// The name is whole: no `.weight` follows.
    pub(crate) bare: bool,
    /// `[inputs, outputs]` instead of `[outputs, inputs]`.
    pub(crate) transposed: bool,
    /// Modules whose rows lie one after another in the stored tensor.
    pub(crate) fused: &'static [&'static str],
    /// The kernel of a convolution over time, `[outputs, inputs, width]`: canonical rows have all inputs
    /// of one moment together.
    pub(crate) over_time: bool,
    /// Those rows follow one another anew for each group: a key/value head with its queries, or an
    /// expert.
    pub(crate) per_group: bool,
}

/// The module called `name`.
pub(crate) const fn at(name: &'static str) -> Origin {
    Origin { name, bare: false, transposed: false, fused: &[], over_time: false, per_group: false }
}

impl Origin {
    /// The tensor's whole name is the module's.
    pub(crate) const fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// Stored as `[inputs, outputs]`.
    pub(crate) const fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }

    /// One of `modules`, whose rows (columns, where transposed) are stored one after another.
    pub(crate) const fn fused(self, modules: &'static [&'static str]) -> Self {
        Self { fused: modules, ..self }
    }

    /// The kernel of a convolution over time.
    pub(crate) const fn over_time(self) -> Self {
        Self { over_time: true, ..self }
    }

    /// The same within each key/value head, or each expert.
    pub(crate) const fn per_group(self) -> Self {
        Self { per_group: true, ..self }
    }
}

/// A canonical tensor and the stored ones it is made of.
pub(crate) struct Take {
    pub(crate) tensor: TensorSpec,
    /// The same number of rows each, one after another.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) order: RowOrder,
    /// One is added to every value.
    pub(crate) plus_one: bool,
}

/// A stored tensor, or some of its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Number of the tensor in the checkpoint.
    pub(crate) source: usize,
    /// The rows taken (columns, where transposed).
    pub(crate) rows: Rows,
    /// Stored as `[inputs, outputs]`.
    pub(crate) transposed: bool,
    /// Stored as `[outputs, inputs, width]`.
    pub(crate) over_time: bool,
}

/// Rows of a stored tensor: from `first` on `run` of each `stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) first: usize,
    pub(crate) run: usize,
    pub(crate) stride: usize,
}

impl Rows {
    /// The stored row that is taken as number `row`.
    fn at(self, row: usize) -> usize {
        self.first + row / self.run * self.stride + row % self.run
    }

    /// Whether `n` rows from number `first` on lie one after another.
    fn in_one_run(self, first: usize, n: usize) -> bool {
        self.run == self.stride || first / self.run == (first + n - 1) / self.run
    }
}

/// Order of a tensor's rows in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// The canonical one.
    AsStored,
    /// Within each head of `head_dim` rows, of which the first `dims` are rotated, the two of a
    /// pair lie side by side; the canonical order has all first ones, then all second ones.
    AdjacentPairs {
        /// Rows of a head.
        head_dim: usize,
        /// Rotated rows of a head, even.
        dims: usize,
    },
}

impl RowOrder {
    /// The stored row that becomes canonical row `row`.
    pub(crate) fn source_row(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::AdjacentPairs { head_dim, dims } => {
                let (half, within) = (dims / 2, row % head_dim);
                if within >= dims {
                    return row;
                }
                row - within + 2 * (within % half) + within / half
            }
        }
    }
}

impl Take {
    /// Rows and columns; a vector is a column of numbers that belong to rows.
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self.tensor.dims.as_slice() {
            [rows, cols] => (*rows, *cols),
            other => (other.iter().product(), 1),
        }
    }

    /// Rows of each piece.
    fn piece_rows(&self) -> usize {
        self.shape().0 / self.pieces.len()
    }

    /// The stored tensor and row that become canonical row `row`.
    pub(crate) fn stored_row(&self, row: usize) -> (Piece, usize) {
        let row = self.order.source_row(row);
        let piece = self.pieces[row / self.piece_rows()];
        (piece, piece.rows.at(row % self.piece_rows()))
    }

    /// Whether rows of blocks of type `dtype` can be taken over as they are stored.
    pub(crate) fn whole_rows(&self, checkpoint: &dyn Checkpoint, dtype: DType) -> bool {
        let is =
            |piece: &Piece| !piece.transposed && checkpoint.tensors()[piece.source].dtype == dtype;
        let in_order = !self.plus_one && !self.pieces.iter().any(|piece| piece.over_time);
        in_order && self.pieces.iter().all(is)
    }

    /// What [`Take::read`] needs of transposed pieces: all of a stored tensor, for each piece.
    pub(crate) fn transposed(
        &self,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Vec<f32>>, QuantizeError> {
        let read = |piece: &Piece| {
            if !piece.transposed {
                return Ok(Vec::new());
            }
            let len = checkpoint.tensors()[piece.source].dims.iter().product();
            let mut x = vec![0.0; len];
            checkpoint.read_rows(piece.source, 0, &mut x)?;
            Ok(x)
        };
        self.pieces.iter().map(read).collect()
    }

    /// Canonical rows `first..` as f32 into `out`, a whole number of rows; `transposed` as
    /// [`Take::transposed`] gives it.
    pub(crate) fn read(
        &self,
        checkpoint: &dyn Checkpoint,
        transposed: &[Vec<f32>],
        first: usize,
        out: &mut [f32],
    ) -> Result<(), QuantizeError> {
        let (_, cols) = self.shape();
        let (piece_rows, n) = (self.piece_rows(), out.len() / cols);
        if self.tensor.dims.len() == 1 {
            self.read_vector(checkpoint, first, out)?;
        } else if self.order == RowOrder::AsStored
            && first / piece_rows == (first + n - 1) / piece_rows
            && self.pieces[first / piece_rows].rows.in_one_run(first % piece_rows, n)
            && !self.pieces[first / piece_rows].transposed
        {
            let (piece, row) = self.stored_row(first);
            self.read_rows(checkpoint, piece, row, cols, out)?;
        } else {
            for (row, out) in (first..).zip(out.chunks_exact_mut(cols)) {
                let (piece, stored) = self.stored_row(row);
                if piece.transposed {
                    let x = &transposed[self.order.source_row(row) / piece_rows];
                    let stride = x.len() / cols;
                    let column = x.iter().skip(stored).step_by(stride);
                    out.iter_mut().zip(column).for_each(|(out, x)| *out = *x);
                } else {
                    self.read_rows(checkpoint, piece, stored, cols, out)?;
                }
            }
        }
        if self.plus_one {
            out.iter_mut().for_each(|x| *x += 1.0);
        }
        Ok(())
    }

    /// Rows of `cols` values, of which the checkpoint may count several for one (a convolution's
    /// kernel `[outputs, inputs, y, x]`).
    fn read_rows(
        &self,
        checkpoint: &dyn Checkpoint,
        piece: Piece,
        row: usize,
        cols: usize,
        out: &mut [f32],
    ) -> Result<(), QuantizeError> {
        let row_len = checkpoint.tensors()[piece.source].row_len();
        let per_row = cols / row_len;
        checkpoint.read_rows(piece.source, row * per_row, out)?;
        if piece.over_time {
            let mut kernel = vec![0.0; cols];
            for row in out.chunks_exact_mut(cols) {
                kernel.copy_from_slice(row);
                for (moment, inputs) in row.chunks_exact_mut(per_row).enumerate() {
                    let of_moment = kernel.iter().skip(moment).step_by(row_len);
                    inputs.iter_mut().zip(of_moment).for_each(|(to, from)| *to = *from);
                }
            }
        }
        Ok(())
    }

    /// The elements of a vector belong to rows.
    fn read_vector(
        &self,
        checkpoint: &dyn Checkpoint,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), QuantizeError> {
        let mut stored = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let mut x = vec![0.0; checkpoint.tensors()[piece.source].dims.iter().product()];
            checkpoint.read_rows(piece.source, 0, &mut x)?;
            stored.push(x);
        }
        for (i, out) in (first..).zip(out) {
            let (_, row) = self.stored_row(i);
            *out = stored[self.order.source_row(i) / self.piece_rows()][row];
        }
        Ok(())
    }
}

/// Whether a stored tensor of `dims` can be the canonical one, or hold `total_rows` rows of which
/// the canonical ones are some.
pub(crate) fn fits(dims: &[usize], tensor: &TensorSpec, from: &Origin, total_rows: usize) -> bool {
    let Some((&rows, inner)) = tensor.dims.split_first() else { return false };
    let cols: usize = inner.iter().product();
    // What is looked up or multiplied may be stored with dimensions of one, or as the kernel of a
    // convolution.
    let squeezed: Vec<usize> = dims.iter().copied().filter(|&d| d != 1).collect();
    let expected = if from.fused.is_empty() { rows } else { total_rows };
    match (&squeezed[..], from.transposed) {
        (&[inputs, outputs], true) if !inner.is_empty() => (outputs, inputs) == (expected, cols),
        _ if inner.is_empty() => {
            matches!(*dims, [n] | [1, n] if n == expected) || (dims.is_empty() && expected == 1)
        }
        _ if dims.len() == 2 => dims == [expected, cols],
        (&[], _) => expected * cols == 1,
        // A table of one row, the kernel of a convolution, or the matrices of all experts.
        (&[first, ref rest @ ..], _) if tensor.usage == TensorUse::Table || dims.len() > 2 => {
            let all: usize = squeezed.iter().product();
            let rest: usize = rest.iter().product();
            (first, rest) == (expected, cols)
                || (expected == 1 && all == cols)
                || (dims.len() == 3 && dims[0] * dims[1] == expected && dims[2] == cols)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_pairs_by_hand() {
        let order = |dims| RowOrder::AdjacentPairs { head_dim: 6, dims };
        let rows =
            |dims| -> Vec<usize> { (0..12).map(|row| order(dims).source_row(row)).collect() };
        assert_eq!(rows(6), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert_eq!(rows(4), [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    }

    #[test]
    fn runs_of_rows_by_hand() {
        let rows = Rows { first: 4, run: 2, stride: 6 };
        assert_eq!([0, 1, 2, 3, 4].map(|row| rows.at(row)), [4, 5, 10, 11, 16]);
        assert!(rows.in_one_run(2, 2) && !rows.in_one_run(1, 2));
        assert!(Rows { first: 3, run: 2, stride: 2 }.in_one_run(1, 9));
    }

    #[test]
    fn stored_shapes() {
        let tensor = |dims: &[usize], usage| TensorSpec {
            name: String::new(),
            stack: String::new(),
            layer: None,
            module: String::new(),
            part: "weight",
            dims: dims.to_vec(),
            usage,
        };
        let matrix = tensor(&[6, 4], TensorUse::Matrix);
        assert!(fits(&[6, 4], &matrix, &at("x"), 6));
        assert!(!fits(&[4, 6], &matrix, &at("x"), 6));
        assert!(fits(&[4, 6], &matrix, &at("x").transposed(), 6));
        assert!(fits(&[18, 4], &matrix, &at("x").fused(&["a"]), 18));
        assert!(fits(&[6, 1, 2, 2], &matrix, &at("x"), 6));
        assert!(!fits(&[6, 1, 2, 3], &matrix, &at("x"), 6));
        let table = tensor(&[1, 4], TensorUse::Table);
        assert!(fits(&[1, 1, 4], &table, &at("x"), 1));
        assert!(!fits(&[1, 1, 5], &table, &at("x"), 1));
        let vector = tensor(&[6], TensorUse::Vector);
        assert!(fits(&[6], &vector, &at("x").transposed(), 6));
        assert!(fits(&[1, 6], &vector, &at("x"), 6));
        assert!(!fits(&[6, 1], &vector, &at("x"), 6));
    }
}
