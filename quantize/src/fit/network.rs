//! One dense layer, or two with `tanh` between: what they give, and the gradient of their loss.

use super::minimize::{dot, minimize};

/// A dense layer.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `[rows][cols]`
    pub(super) weight: Vec<f32>,
    /// `[rows]`
    pub(super) bias: Vec<f32>,
}

#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) layers: Vec<Layer>,
}

impl Network {
    /// Layers between these sizes: one of zeros, or two of which the first is random.
    pub(super) fn new(sizes: &[usize], seed: u64) -> Self {
        let mut random = Random(seed);
        let deep = sizes.len() > 2;
        let layer = |pair: &[usize]| {
            let (cols, rows) = (pair[0], pair[1]);
            let scale = if deep { 1.0 / (cols as f64).sqrt() } else { 0.0 };
            // Uniform, with a standard deviation of `scale`.
            let mut weight = || ((random.unit() - 0.5) * 12_f64.sqrt() * scale) as f32;
            let weight = (0..rows * cols).map(|_| weight()).collect();
            Layer { rows, cols, weight, bias: vec![0.0; rows] }
        };
        Self { layers: sizes.windows(2).map(layer).collect() }
    }

    pub(super) fn logits(&self, row: &[f32]) -> Vec<f32> {
        self.layers.iter().enumerate().fold(row.to_vec(), |input, (i, layer)| {
            let mut out = layer.apply(&input);
            if i + 1 < self.layers.len() {
                out.iter_mut().for_each(|x| *x = x.tanh());
            }
            out
        })
    }

    /// Makes mean cross-entropy plus `penalty / 2` times the squared matrices as small as it gets.
    pub(super) fn train(&mut self, rows: &[f32], labels: &[usize], penalty: f32) {
        let mut at = self.clone();
        let found = minimize(self.values(), &mut |values, gradient| {
            at.set(values);
            at.loss(rows, labels, penalty, gradient)
        });
        self.set(&found);
    }

    /// All numbers: of each layer the matrix and the biases.
    pub(super) fn values(&self) -> Vec<f32> {
        self.layers
            .iter()
            .flat_map(|layer| layer.weight.iter().chain(&layer.bias))
            .copied()
            .collect()
    }

    pub(super) fn set(&mut self, values: &[f32]) {
        let mut rest = values;
        for layer in &mut self.layers {
            let (weight, after) = rest.split_at(layer.weight.len());
            let (bias, after) = after.split_at(layer.rows);
            layer.weight.copy_from_slice(weight);
            layer.bias.copy_from_slice(bias);
            rest = after;
        }
    }

    /// The loss; its gradient, in the order of [`Network::set`], goes to `gradient`.
    fn loss(&self, rows: &[f32], labels: &[usize], penalty: f32, gradient: &mut [f32]) -> f64 {
        gradient.fill(0.0);
        let share = 1.0 / labels.len() as f32;
        let mut loss = 0.0;
        for (row, &label) in rows.chunks_exact(self.layers[0].cols).zip(labels) {
            let mut inputs = vec![row.to_vec()];
            for (i, layer) in self.layers.iter().enumerate() {
                let mut out = layer.apply(&inputs[i]);
                if i + 1 < self.layers.len() {
                    out.iter_mut().for_each(|x| *x = x.tanh());
                }
                inputs.push(out);
            }
            let logits = inputs.pop().unwrap_or_default();
            loss += cross_entropy(&logits, label) * f64::from(share);
            // Of the logits: softmax minus one at the label.
            let max = logits[largest(&logits)];
            let mut errors: Vec<f32> = logits.iter().map(|x| (x - max).exp()).collect();
            let total: f32 = errors.iter().sum();
            errors.iter_mut().for_each(|x| *x *= share / total);
            errors[label] -= share;
            let mut end = gradient.len();
            for (layer, input) in self.layers.iter().zip(&inputs).rev() {
                let (before, own) =
                    gradient[..end].split_at_mut(end - layer.weight.len() - layer.rows);
                end = before.len();
                let (weight, bias) = own.split_at_mut(layer.weight.len());
                for ((line, bias), &error) in
                    weight.chunks_exact_mut(layer.cols).zip(bias).zip(&errors)
                {
                    *bias += error;
                    line.iter_mut().zip(input).for_each(|(g, &x)| *g += error * x);
                }
                if end > 0 {
                    errors = layer.back(&errors, input);
                }
            }
        }
        let mut at = 0;
        for layer in &self.layers {
            let gradient = &mut gradient[at..][..layer.weight.len()];
            for (g, &w) in gradient.iter_mut().zip(&layer.weight) {
                *g += penalty * w;
                loss += 0.5 * f64::from(penalty) * f64::from(w) * f64::from(w);
            }
            at += layer.weight.len() + layer.rows;
        }
        loss
    }

    #[cfg(test)]
    pub(super) fn loss_and_gradient(
        &self,
        rows: &[f32],
        labels: &[usize],
        penalty: f32,
    ) -> (f64, Vec<f32>) {
        let mut gradient = vec![0.0; self.values().len()];
        let loss = self.loss(rows, labels, penalty, &mut gradient);
        (loss, gradient)
    }

    /// Makes the first layer one for rows that are not standardized.
    pub(super) fn take_over(&mut self, standard: &Standard) {
        let first = &mut self.layers[0];
        for (line, bias) in first.weight.chunks_exact_mut(first.cols).zip(&mut first.bias) {
            for (w, scale) in line.iter_mut().zip(&standard.scales) {
                *w *= scale;
            }
            *bias -= dot(line, &standard.means);
        }
    }
}

impl Layer {
    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(self.cols).zip(&self.bias);
        rows.map(|(line, bias)| dot(line, input) + bias).collect()
    }

    /// Errors of its inputs, which `tanh` gave, from those of its outputs.
    fn back(&self, errors: &[f32], input: &[f32]) -> Vec<f32> {
        let mut back = vec![0.0; self.cols];
        for (line, &error) in self.weight.chunks_exact(self.cols).zip(errors) {
            back.iter_mut().zip(line).for_each(|(b, &w)| *b += error * w);
        }
        back.iter_mut().zip(input).for_each(|(b, &x)| *b *= 1.0 - x * x);
        back
    }
}

/// Means and inverse standard deviations of columns.
pub(super) struct Standard {
    means: Vec<f32>,
    scales: Vec<f32>,
}

impl Standard {
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, width: usize) -> Self {
        let n = rows.clone().count().max(1) as f64;
        let mut means = vec![0.0; width];
        for row in rows.clone() {
            means.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) / n);
        }
        let mut squares = vec![0.0; width];
        for row in rows {
            for ((sum, &mean), &x) in squares.iter_mut().zip(&means).zip(row) {
                *sum += (f64::from(x) - mean).powi(2) / n;
            }
        }
        // A column that is always the same says nothing.
        let scale = |square: &f64| if *square > 1e-12 { 1.0 / square.sqrt() } else { 0.0 };
        Self {
            scales: squares.iter().map(|square| scale(square) as f32).collect(),
            means: means.into_iter().map(|mean| mean as f32).collect(),
        }
    }

    pub(super) fn apply(&self, row: &[f32]) -> impl Iterator<Item = f32> {
        let columns = self.means.iter().zip(&self.scales);
        row.iter().zip(columns).map(|(x, (mean, scale))| (x - mean) * scale)
    }
}

pub(super) fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let max = logits[largest(logits)];
    let total: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    total.ln() - f64::from(logits[label] - max)
}

/// Place of the largest, the first of equals.
pub(super) fn largest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}
