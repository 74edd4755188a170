//! Matrix products of a given shape, with seeded contents.

use half::f16;
use kinglet::kernels::{F16Panels, FloatRows, I4Panels, I8Panels, Kernels, QuantizedRows, TileMut};

/// A seeded generator (xorshift64*).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// `[rows, k]` int8 weights with group scales.
pub struct I8Weights {
    rows: usize,
    k: usize,
    group: usize,
    data: Vec<i8>,
    scales: Vec<f16>,
}

impl I8Weights {
    /// Random weights; `k` must be a multiple of `group`.
    pub fn new(rows: usize, k: usize, group: usize) -> Self {
        let mut random = Random(1);
        let panels = rows.div_ceil(8);
        let data = (0..panels * 8 * k).map(|_| (random.bits() >> 56) as i8 / 2).collect();
        let scales =
            (0..panels * 8 * (k / group)).map(|_| f16::from_f32(random.float() * 0.01)).collect();
        Self { rows, k, group, data, scales }
    }

    /// Multiplications in a product with `m` tokens.
    pub fn macs(&self, m: usize) -> usize {
        self.rows * self.k * m
    }

    /// Bytes of weights and scales.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.scales.len() * 2
    }

    /// Quantizes `m` random tokens once and gives a closure that multiplies them and leaves the
    /// result `[m][rows]` in its argument.
    pub fn product<'a>(
        &'a self,
        set: &'static Kernels,
        m: usize,
    ) -> impl FnMut(&mut Vec<f32>) + 'a {
        let mut random = Random(2);
        let groups = self.k / self.group;
        let mut q = vec![0i16; m * self.k];
        let mut scales = vec![0.0; m * groups];
        for (q, scales) in q.chunks_exact_mut(self.k).zip(scales.chunks_exact_mut(groups)) {
            let x: Vec<f32> = (0..self.k).map(|_| random.float()).collect();
            (set.quantize_row)(&x, self.group, q, scales);
        }
        move |out| {
            out.resize(m * self.rows, 0.0);
            let weights = I8Panels {
                rows: self.rows,
                padded_k: self.k,
                group: self.group,
                data: &self.data,
                scales: &self.scales,
                whole_row: false,
            };
            let x = QuantizedRows {
                m,
                padded_k: self.k,
                group: self.group,
                q: &q,
                stride: groups,
                scales: &scales,
            };
            (set.gemm_i8)(&weights, 0, &x, &mut TileMut::new(out, self.rows));
        }
    }
}

/// `[rows, k]` 4-bit weights with scales and minima of groups.
pub struct I4Weights {
    rows: usize,
    k: usize,
    group: usize,
    data: Vec<u8>,
    scales: Vec<f16>,
}

impl I4Weights {
    /// Random weights; `k` must be a multiple of `group`.
    pub fn new(rows: usize, k: usize, group: usize) -> Self {
        let mut random = Random(5);
        let panels = rows.div_ceil(8);
        let data = (0..panels * 4 * k).map(|_| random.bits() as u8).collect();
        let scales =
            (0..panels * 16 * (k / group)).map(|_| f16::from_f32(random.float() * 0.1)).collect();
        Self { rows, k, group, data, scales }
    }

    /// Bytes of weights, scales and minima.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.scales.len() * 2
    }

    /// Quantizes `m` random tokens once and gives a closure that multiplies them and leaves the
    /// result `[m][rows]` in its argument.
    pub fn product<'a>(
        &'a self,
        set: &'static Kernels,
        m: usize,
    ) -> impl FnMut(&mut Vec<f32>) + 'a {
        let mut random = Random(6);
        let (k, group, groups) = (self.k, self.group, self.k / self.group);
        let mut q = vec![0i16; m * k];
        let mut scales = vec![0.0; m * 2 * groups];
        for (q, scales) in q.chunks_exact_mut(k).zip(scales.chunks_exact_mut(2 * groups)) {
            let x: Vec<f32> = (0..k).map(|_| random.float()).collect();
            let (scales, sums) = scales.split_at_mut(groups);
            (set.quantize_row)(&x, group, q, scales);
            (set.group_sums)(&x, group, sums);
        }
        move |out| {
            out.resize(m * self.rows, 0.0);
            let (data, of_weights) = (&self.data[..], &self.scales[..]);
            let weights =
                I4Panels { rows: self.rows, padded_k: k, group, data, scales: of_weights };
            let (stride, scales) = (2 * groups, &scales[..]);
            let x = QuantizedRows { m, padded_k: k, group, q: &q, stride, scales };
            (set.gemm_i4)(&weights, 0, &x, &mut TileMut::new(out, self.rows));
        }
    }
}

/// `[rows, k]` fp16 weights.
pub struct F16Weights {
    rows: usize,
    k: usize,
    data: Vec<f16>,
}

impl F16Weights {
    /// Random weights.
    pub fn new(rows: usize, k: usize) -> Self {
        let mut random = Random(3);
        let data = (0..rows.div_ceil(8) * 8 * k).map(|_| f16::from_f32(random.float())).collect();
        Self { rows, k, data }
    }

    /// Multiplications in a product with `m` tokens.
    pub fn macs(&self, m: usize) -> usize {
        self.rows * self.k * m
    }

    /// Bytes of weights.
    pub fn bytes(&self) -> usize {
        self.data.len() * 2
    }

    /// A closure that multiplies `m` random tokens and leaves the result `[m][rows]` in its
    /// argument.
    pub fn product<'a>(
        &'a self,
        set: &'static Kernels,
        m: usize,
    ) -> impl FnMut(&mut Vec<f32>) + 'a {
        let mut random = Random(4);
        let x: Vec<f32> = (0..m * self.k).map(|_| random.float()).collect();
        move |out| {
            out.resize(m * self.rows, 0.0);
            let weights = F16Panels {
                rows: self.rows,
                k: self.k,
                panel_stride: 8 * self.k,
                data: &self.data,
            };
            let x = FloatRows { m, k: self.k, stride: self.k, x: &x };
            (set.gemm_f16)(&weights, 0, &x, &mut TileMut::new(out, self.rows));
        }
    }
}
