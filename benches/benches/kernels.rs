//! The kernels of every set this machine can run, beside the machine's limits.
//!
//! `cargo bench -p kinglet-benches --bench kernels` measures with criterion and ends with a table
//! of the shortest runs. Products with one token are compared with a plain streaming read of as many
//! bytes, the others with the multiply-adds that the set's instructions can make when they do
//! nothing else; both limits are measured here, on one core.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]
#![allow(clippy::print_stdout, reason = "the table is the result of the program")]

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use kinglet::kernels::{Kernels, available, by_name};
use kinglet_benches::machine::{clock_rate, shortest, streaming_read};
use kinglet_benches::peak::{self, Peak};
use kinglet_benches::product::{F16Weights, I4Weights, I8Weights};
use kinglet_formats::spec::Activation;
use std::hint::black_box;
use std::time::Duration;

/// One line of the table.
struct Line {
    name: String,
    bytes: usize,
    macs: usize,
    seconds: f64,
    limit: Limit,
}

/// What a product cannot exceed.
enum Limit {
    /// Seconds of a plain read of as many bytes.
    Read(f64),
    /// Multiply-adds per second, where the peak of the set is known.
    Peak(Option<f64>),
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(800));
    group
}

/// The vocabulary's matrix of a small model: larger than the caches together with its kind.
const LOGITS: (usize, usize) = (98_304, 576);
/// The widest matrix of a layer.
const LAYER: (usize, usize) = (1536, 576);

/// Products with integers: int8 in groups of 64, 4 bits in groups of 32.
fn integers(c: &mut Criterion, set: &'static Kernels, peak: Option<Peak>, table: &mut Vec<Line>) {
    for (shape, tokens) in [(LOGITS, &[1, 4][..]), (LAYER, &[1, 4, 32, 512])] {
        let int8 = I8Weights::new(shape.0, shape.1, 64);
        let int4 = I4Weights::new(shape.0, shape.1, 32);
        for &m in tokens {
            let (case, macs) = ((shape, m), int8.macs(m));
            let (mut eight, mut four) = (int8.product(set, m), int4.product(set, m));
            integer(c, set, "gemm_i8", case, (int8.bytes(), macs), peak, table, &mut eight);
            integer(c, set, "gemm_i4", case, (int4.bytes(), macs), peak, table, &mut four);
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "one line of the table")]
fn integer(
    c: &mut Criterion,
    set: &'static Kernels,
    kernel: &str,
    (shape, m): ((usize, usize), usize),
    (bytes, macs): (usize, usize),
    peak: Option<Peak>,
    table: &mut Vec<Line>,
    product: &mut dyn FnMut(&mut Vec<f32>),
) {
    let mut group = group(c, kernel);
    let mut out = Vec::new();
    let streams = m == 1 && shape == LOGITS;
    group.throughput(if streams {
        Throughput::Bytes(bytes as u64)
    } else {
        Throughput::Elements(macs as u64)
    });
    let id = format!("[{}, {}] m {m}", shape.0, shape.1);
    group.bench_function(BenchmarkId::new(set.name, &id), |b| b.iter(|| product(&mut out)));
    table.push(Line {
        name: format!("{} {kernel} {id}", set.name),
        bytes,
        macs,
        seconds: shortest(30, || product(&mut out)),
        limit: if streams {
            Limit::Read(read_seconds(bytes))
        } else {
            Limit::Peak(peak.map(|peak| peak.int16))
        },
    });
}

fn f16(c: &mut Criterion, set: &'static Kernels, peak: Option<Peak>, table: &mut Vec<Line>) {
    let mut group = group(c, "gemm_f16");
    // The last two are the products of attention: 256 positions, 64 values a head.
    let shapes = [(LOGITS, &[1][..]), (LAYER, &[4, 32, 512]), ((256, 64), &[3]), ((64, 256), &[3])];
    for (shape, tokens) in shapes {
        let w = F16Weights::new(shape.0, shape.1);
        for &m in tokens {
            let mut product = w.product(set, m);
            let mut out = Vec::new();
            let streams = m == 1;
            group.throughput(if streams {
                Throughput::Bytes(w.bytes() as u64)
            } else {
                Throughput::Elements(w.macs(m) as u64)
            });
            let id = format!("[{}, {}] m {m}", shape.0, shape.1);
            group.bench_function(BenchmarkId::new(set.name, &id), |b| b.iter(|| product(&mut out)));
            // The small ones are too short for the clock.
            let times = (2_000_000 / w.macs(m)).max(1);
            let mut repeated = || (0..times).for_each(|_| product(&mut out));
            table.push(Line {
                name: format!("{} gemm_f16 {id}", set.name),
                bytes: w.bytes(),
                macs: w.macs(m),
                seconds: shortest(30, &mut repeated) / times as f64,
                limit: if streams {
                    Limit::Read(read_seconds(w.bytes()))
                } else {
                    Limit::Peak(peak.map(|peak| peak.f32))
                },
            });
        }
    }
}

fn elementwise(c: &mut Criterion, set: &'static Kernels) {
    const LEN: usize = 576;
    let input: Vec<f32> = (0..LEN).map(|i| (i * 37 % 101) as f32 * 0.05 - 2.5).collect();
    let weight = vec![1.0; LEN];
    let mut group = group(c, "elementwise");
    group.throughput(Throughput::Elements(LEN as u64));
    let mut bench = |name: &str, f: &mut dyn FnMut(&mut [f32])| {
        let mut x = input.clone();
        group.bench_function(BenchmarkId::new(set.name, name), |b| {
            b.iter(|| {
                x.copy_from_slice(&input);
                f(black_box(&mut x));
            });
        });
    };
    let (mut q, mut scales) = (vec![0; LEN], vec![0.0; LEN / 64]);
    bench("quantize_row", &mut |x| (set.quantize_row)(x, 64, &mut q, &mut scales));
    bench("rms_norm", &mut |x| (set.rms_norm)(&input, &weight, 1e-5, x));
    bench("layer_norm", &mut |x| (set.layer_norm)(&input, &weight, &weight, 1e-5, x));
    bench("silu", &mut |x| (set.activate)(Activation::Silu, x));
    bench("gelu", &mut |x| (set.activate)(Activation::Gelu, x));
    bench("softmax_exp", &mut |x| {
        black_box((set.softmax_exp)(x));
    });
}

/// A wrong kernel is not worth timing.
fn check(set: &'static Kernels) {
    let Ok(scalar) = by_name("scalar") else { return };
    let (int8, float) = (I8Weights::new(72, 576, 64), F16Weights::new(72, 576));
    let int4 = I4Weights::new(72, 576, 32);
    for m in [1, 5, 32] {
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        int8.product(set, m)(&mut got);
        int8.product(scalar, m)(&mut expected);
        assert_eq!(got, expected, "{} gemm_i8", set.name);
        int4.product(set, m)(&mut got);
        int4.product(scalar, m)(&mut expected);
        assert_eq!(got, expected, "{} gemm_i4", set.name);
        float.product(set, m)(&mut got);
        float.product(scalar, m)(&mut expected);
        assert_eq!(got, expected, "{} gemm_f16", set.name);
    }
}

/// Taken right after the product, because other programs on the machine take their share.
fn read_seconds(bytes: usize) -> f64 {
    let data = vec![1u64; bytes / 8];
    bytes as f64 / streaming_read(&data, 30)
}

fn print(table: &[Line]) {
    let clock = clock_rate();
    println!("\nclock {:.2} GHz", clock / 1e9);
    for Line { name, bytes, macs, seconds, limit } in table {
        let (bytes, macs) = (*bytes as f64 / seconds / 1e9, *macs as f64 / seconds);
        match limit {
            Limit::Read(read) => println!(
                "{name:44} {bytes:6.1} GB/s, {:3.0} % of a plain read at {:.1} GB/s",
                100.0 * read / seconds,
                bytes * seconds / read
            ),
            Limit::Peak(Some(peak)) => println!(
                "{name:44} {:6.1} MAC/cycle, {:3.0} % of {:.1}",
                macs / clock,
                100.0 * macs / peak,
                peak / clock
            ),
            Limit::Peak(None) => println!("{name:44} {:6.1} MAC/cycle", macs / clock),
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut table = Vec::new();
    // Scalar kernels are the reference; nobody waits for them.
    for set in available().into_iter().filter(|set| set.name != "scalar") {
        check(set);
        let peak = peak::of(set.name);
        integers(&mut criterion, set, peak, &mut table);
        f16(&mut criterion, set, peak, &mut table);
        elementwise(&mut criterion, set);
    }
    criterion.final_summary();
    print(&table);
}
