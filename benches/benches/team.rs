//! What it costs to hand out work: empty regions of the thread team.
//!
//! `cargo bench -p kinglet-benches --bench team`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kinglet::team::Team;

/// Regions in one iteration: about those of two tokens of a small model.
const REGIONS: u64 = 500;
/// Items in a region, for each thread.
const ITEMS_PER_THREAD: usize = 2;

fn regions(c: &mut Criterion) {
    let mut group = c.benchmark_group("empty regions");
    group.throughput(Throughput::Elements(REGIONS));
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut counts = vec![1, 2, cores, 2 * cores];
    counts.sort_unstable();
    counts.dedup();
    for n_threads in counts {
        let Ok(team) = Team::new(n_threads, false) else { continue };
        let id = BenchmarkId::from_parameter(format!("{n_threads} threads"));
        group.bench_function(id, |b| {
            b.iter(|| {
                let entered = team.enter(|crew| {
                    for _ in 0..REGIONS {
                        crew.for_each(ITEMS_PER_THREAD * n_threads, |worker, item| {
                            black_box((worker, item));
                        });
                    }
                });
                black_box(entered.is_ok());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, regions);
criterion_main!(benches);
