//! `cargo run --release --manifest-path benches/peers/gemm/Cargo.toml`: float products of the shapes
//! that are larger than a token's, on one core. `gemm` multiplies f32 by f32; Kinglet's kernels multiply
//! f32 by weights in fp16, which they widen on the way, and give the bits of the scalar reference.

use std::hint::black_box;

use gemm::Parallelism;
use kinglet::kernels::available;
use kinglet_benches::machine::shortest;
use kinglet_benches::product::F16Weights;

/// What, tokens or pixels, inputs, outputs.
const SHAPES: [(&str, usize, usize, usize); 5] = [
    ("patches of 14 x 14 x 3, 224 x 224 pixels", 256, 588, 384),
    ("patches of 14 x 14 x 3, 518 x 518 pixels", 1369, 588, 384),
    ("patches of 32 x 32 x 3, 224 x 224 pixels", 49, 3072, 768),
    ("one row of a 3 x 3 convolution, 128 channels, 64 x 64", 4096, 384, 128),
    ("second moments of 576 inputs, 2048 tokens", 576, 2048, 576),
];

fn main() {
    let sets: Vec<_> = available().into_iter().filter(|set| set.name != "scalar").collect();
    print!("{:54} {:>6}", "GFLOP/s, and their ratio to gemm's", "gemm");
    sets.iter().for_each(|set| print!(" {:>16}", set.name));
    println!();
    for (name, m, k, n) in SHAPES {
        let macs = (m * k * n) as f64;
        let (x, w) = (vec![0.5f32; m * k], vec![0.25f32; n * k]);
        let mut out = vec![0.0f32; m * n];
        let theirs = macs
            / shortest(30, || {
                // SAFETY: `out [m][n]`, `x [m][k]` and `w [n][k]`, read as its transpose, have these strides.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        out.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        x.as_ptr(),
                        1,
                        k as isize,
                        w.as_ptr(),
                        k as isize,
                        1,
                        0.0f32,
                        1.0f32,
                        false,
                        false,
                        false,
                        Parallelism::None,
                    );
                }
                black_box(&mut out);
            });
        print!("{name:54} {:6.1}", theirs * 2.0 / 1e9);
        let weights = F16Weights::new(n, k);
        for set in &sets {
            let (mut product, mut out) = (weights.product(set, m), Vec::new());
            let ours = macs / shortest(30, || product(&mut out));
            print!(" {:10.1} ({:.2})", ours * 2.0 / 1e9, ours / theirs);
        }
        println!();
    }
}
