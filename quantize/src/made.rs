//! Tensors that are made of stored ones when a model is converted, all of them small: rows before the
//! patches of an image, tables of positions for images of another size, the scores of a learned query.

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, DType, TensorInfo};

use crate::QuantizeError;
use crate::overlay::{Make, Overlay, read_all, required};

/// A tensor and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Made {
    /// Its canonical name.
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) of: MadeOf,
}

/// How a tensor is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MadeOf {
    /// Rows of these, one after another: names and how many rows they have.
    Joined(Vec<(String, usize)>),
    /// Some rows of one, from this one on.
    Rows(String, usize),
    /// Rows of several side by side, each divided by their number: the mean of what matrices give of
    /// their own inputs. Of vectors, the mean.
    Mean(Vec<String>),
    /// A table of positions, fitted to a grid.
    Positions(Positions),
    /// For each head, what a row's product with it says of a learned query meeting the row's key.
    Query(Query),
}

/// A table of positions `[n_own + old side^2, width]`, fitted to `[n_leading + side^2, width]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Positions {
    pub(crate) table: String,
    /// Rows before the patches that have positions; they come first.
    pub(crate) n_own: usize,
    /// Rows before the patches. Those without positions get zeros.
    pub(crate) n_leading: usize,
    /// Patches on a side.
    pub(crate) side: usize,
    /// Whether a smaller grid sees all of the larger one.
    pub(crate) antialias: bool,
}

/// A learned query `probe` before a module of PyTorch's fused attention.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) probe: String,
    /// `[q; k; v]`
    pub(crate) in_weight: String,
    pub(crate) in_bias: String,
    pub(crate) n_heads: usize,
}

/// `inner` with what is made of it, without what that was made of.
///
/// # Errors
/// If a tensor is missing or has the wrong shape.
pub(crate) fn made<'a>(
    inner: &'a dyn Checkpoint,
    list: &[Made],
) -> Result<Overlay<'a>, QuantizeError> {
    let mut maker = Maker { inner, used: Vec::new(), name: "" };
    let mut all: Vec<(TensorInfo, Box<dyn Make>)> = Vec::with_capacity(list.len());
    for Made { name, dims, of } in list {
        maker.name = name;
        let values = maker.values(of, dims)?;
        let info = TensorInfo { name: name.clone(), dims: dims.clone(), dtype: DType::F32 };
        all.push((info, Box::new(Held { values, row_len: dims.last().copied().unwrap_or(1) })));
    }
    let used = maker.used;
    Ok(Overlay::new(Box::new(inner), |index, _| !used.contains(&index), all))
}

/// Values that are in memory.
struct Held {
    values: Vec<f32>,
    row_len: usize,
}

impl Make for Held {
    fn read_rows(
        &self,
        _: &dyn Checkpoint,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        out.copy_from_slice(&self.values[first_row * self.row_len..][..out.len()]);
        Ok(())
    }
}

struct Maker<'a> {
    inner: &'a dyn Checkpoint,
    /// Stored tensors that something was made of.
    used: Vec<usize>,
    /// What is being made.
    name: &'a str,
}

impl Maker<'_> {
    /// A stored tensor that fits `fits`; `expected` are the dims that the error names.
    fn stored(
        &mut self,
        name: &str,
        expected: &[usize],
        fits: impl Fn(&[usize]) -> bool,
    ) -> Result<(&TensorInfo, Vec<f32>), QuantizeError> {
        let index = required(self.inner, self.name, name.to_owned())?;
        let info = &self.inner.tensors()[index];
        if !fits(&info.dims) {
            return Err(QuantizeError::shape(info, expected.to_vec()));
        }
        self.used.push(index);
        Ok((info, read_all(self.inner, index)?))
    }

    /// One of exactly these dims, but for dims of one.
    fn exact(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>, QuantizeError> {
        let squeezed =
            |dims: &[usize]| dims.iter().copied().filter(|&dim| dim != 1).collect::<Vec<_>>();
        let wanted = squeezed(dims);
        Ok(self.stored(name, dims, |found| squeezed(found) == wanted)?.1)
    }

    /// The values of a tensor of `dims`.
    fn values(&mut self, of: &MadeOf, dims: &[usize]) -> Result<Vec<f32>, QuantizeError> {
        let len: usize = dims.iter().product();
        let row_len = dims.last().copied().unwrap_or(1);
        match of {
            MadeOf::Joined(parts) => {
                let mut values = Vec::with_capacity(len);
                for (name, rows) in parts {
                    values.extend(self.exact(name, &[*rows, row_len])?);
                }
                Ok(values)
            }
            MadeOf::Rows(name, first) => {
                let rows = dims.first().copied().unwrap_or(0);
                let width = len / rows.max(1);
                let fits = |found: &[usize]| {
                    let (n, inner) =
                        found.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
                    n >= first + rows && inner.iter().product::<usize>() == width
                };
                let mut values = self.stored(name, dims, fits)?.1;
                values.drain(..first * width);
                values.truncate(len);
                Ok(values)
            }
            MadeOf::Mean(names) => {
                let n = names.len();
                let own = if dims.len() == 1 { dims.to_vec() } else { vec![dims[0], row_len / n] };
                let all: Vec<Vec<f32>> =
                    names.iter().map(|name| self.exact(name, &own)).collect::<Result<_, _>>()?;
                let share = |x: f32| x / n as f32;
                if dims.len() == 1 {
                    return Ok((0..len).map(|i| all.iter().map(|x| share(x[i])).sum()).collect());
                }
                let width = row_len / n;
                let row = |r: usize| all.iter().flat_map(move |x| &x[r * width..][..width]);
                Ok((0..dims[0]).flat_map(row).map(|&x| share(x)).collect())
            }
            MadeOf::Positions(positions) => self.positions(positions, row_len),
            MadeOf::Query(query) => self.query(query, row_len),
        }
    }

    fn positions(&mut self, of: &Positions, width: usize) -> Result<Vec<f32>, QuantizeError> {
        let (n_own, side) = (of.n_own, of.side);
        let rows = |found: &[usize]| found.iter().product::<usize>() / width.max(1);
        let old_side = |found: &[usize]| rows(found).checked_sub(n_own).map_or(0, usize::isqrt);
        let fits = |found: &[usize]| {
            let old = old_side(found);
            found.last() == Some(&width) && old > 0 && n_own + old * old == rows(found)
        };
        let (info, table) = self.stored(&of.table, &[n_own + side * side, width], fits)?;
        let old = old_side(&info.dims);
        let (own, grid) = table.split_at(n_own * width);
        let mut values = own.to_vec();
        values.resize(of.n_leading * width, 0.0);
        values.extend(interpolated(grid, old, side, width, of.antialias));
        Ok(values)
    }

    /// `scores_h = W_k,h^T (W_q,h p + b_q,h) / sqrt(head_dim)`. The keys' bias adds the same to all rows,
    /// which a softmax does not see.
    fn query(&mut self, of: &Query, hidden: usize) -> Result<Vec<f32>, QuantizeError> {
        let probe = self.exact(&of.probe, &[1, 1, hidden])?;
        let weight = self.exact(&of.in_weight, &[3 * hidden, hidden])?;
        let bias = self.exact(&of.in_bias, &[3 * hidden])?;
        let head_dim = hidden / of.n_heads;
        let (to_q, rest) = weight.split_at(hidden * hidden);
        let to_k = &rest[..hidden * hidden];
        let q = to_q.chunks_exact(hidden).zip(&bias).map(|(row, &bias)| {
            let product: f64 =
                row.iter().zip(&probe).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            (product + f64::from(bias)) / (head_dim as f64).sqrt()
        });
        let q: Vec<f64> = q.collect();
        let mut scores = Vec::with_capacity(of.n_heads * hidden);
        for (q, keys) in q.chunks_exact(head_dim).zip(to_k.chunks_exact(head_dim * hidden)) {
            let mut sums = vec![0.0; hidden];
            for (q, row) in q.iter().zip(keys.chunks_exact(hidden)) {
                sums.iter_mut().zip(row).for_each(|(sum, &w)| *sum += q * f64::from(w));
            }
            scores.extend(sums.into_iter().map(|sum| sum as f32));
        }
        Ok(scores)
    }
}

/// A grid `[old][old][width]` fitted to `[new][new][width]` as PyTorch's bicubic interpolation does it.
fn interpolated(grid: &[f32], old: usize, new: usize, width: usize, antialias: bool) -> Vec<f32> {
    if old == new {
        return grid.to_vec();
    }
    let taps: Vec<Vec<(usize, f64)>> = (0..new).map(|i| taps(old, new, i, antialias)).collect();
    // Along x, then along y.
    let mut lines = vec![0.0; old * new * width];
    for (line, out) in grid.chunks_exact(old * width).zip(lines.chunks_exact_mut(new * width)) {
        for (taps, out) in taps.iter().zip(out.chunks_exact_mut(width)) {
            gather(line, taps, out);
        }
    }
    let mut fitted = vec![0.0; new * new * width];
    for (taps, out) in taps.iter().zip(fitted.chunks_exact_mut(new * width)) {
        gather(&lines, taps, out);
    }
    fitted
}

/// `out = sum of weight * piece` over pieces as long as `out`.
fn gather(from: &[f32], taps: &[(usize, f64)], out: &mut [f32]) {
    let mut sums = vec![0.0; out.len()];
    for &(at, weight) in taps {
        let piece = &from[at * out.len()..][..out.len()];
        sums.iter_mut().zip(piece).for_each(|(sum, &x)| *sum += weight * f64::from(x));
    }
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
}

/// What place `i` of `new` is made of, out of `old`. Without antialiasing it is four neighbours, weighed with
/// a = -0.75; with it as many as become one, with a = -0.5.
fn taps(old: usize, new: usize, i: usize, antialias: bool) -> Vec<(usize, f64)> {
    let scale = old as f64 / new as f64;
    let center = (i as f64 + 0.5) * scale;
    let last = old as isize - 1;
    if !antialias {
        let place = center - 0.5;
        let first = place.floor() as isize - 1;
        let neighbours = (first..first + 4).map(|at| {
            // Beyond the edge the grid goes on as at the edge.
            (at.clamp(0, last) as usize, cubic(at as f64 - place, -0.75))
        });
        return neighbours.collect();
    }
    let width = scale.max(1.0);
    let first = (center - 2.0 * width + 0.5).max(0.0) as usize;
    let end = ((center + 2.0 * width + 0.5) as usize).min(old);
    let weight = |at: usize| cubic((at as f64 - center + 0.5) / width, -0.5);
    let sum: f64 = (first..end).map(weight).sum();
    (first..end).map(|at| (at, weight(at) / sum)).collect()
}

/// The kernel of cubic convolution.
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((x - 5.0) * x + 8.0) * x * a - 4.0 * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_places_add_up_to_one() {
        for antialias in [false, true] {
            for (old, new) in [(37, 16), (16, 37), (4, 7), (7, 4), (1, 3), (3, 1)] {
                for i in 0..new {
                    let taps = taps(old, new, i, antialias);
                    let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
                    assert!((sum - 1.0).abs() < 1e-12 && taps.iter().all(|&(at, _)| at < old));
                }
            }
        }
    }

    #[test]
    fn a_slope_stays_one() {
        // Rows `x + 10 y`: between the edges, cubic pieces of a = -0.5 follow a line.
        let grid: Vec<f32> = (0..8 * 8).map(|i| (i % 8 + 10 * (i / 8)) as f32).collect();
        let fitted = interpolated(&grid, 8, 16, 1, true);
        let expected = |x: usize, y: usize| {
            let at = |i: usize| (i as f32 + 0.5) / 2.0 - 0.5;
            at(x) + 10.0 * at(y)
        };
        for (x, y) in [(5, 5), (8, 6), (10, 10)] {
            assert!((fitted[y * 16 + x] - expected(x, y)).abs() < 1e-4, "{x} {y}");
        }
    }
}
