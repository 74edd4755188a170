"""Embeds a column of Parquet files with Ray Data, and can be stopped and gone on with.

    pip install ./python "ray[data]" pyarrow
    kinglet quantize all-minilm-l6-v2 -o minilm.kinglet
    python examples/bulk/embed_ray.py minilm.kinglet texts/ vectors/ --workers 2

Every row needs an `id` and a `text`. Rows whose ids stand in OUT already are left out, so a run that was ended goes on where it
was: what it had written is kept, what it was working on is done again. Rows that cannot be embedded have their reason in `error`.
"""

import argparse
import pathlib

import pyarrow.dataset
import ray

import kinglet.ray


class Missing:
    """Keeps the rows that have not been written yet."""

    def __init__(self, out):
        files = sorted(pathlib.Path(out).rglob("*.parquet"))
        done = pyarrow.dataset.dataset(files).to_table(columns=["id"])["id"].to_pylist() if files else []
        self.done = set(done)

    def __call__(self, row):
        return row["id"] not in self.done


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--column", default="text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    arguments = parser.parse_args()
    ray.init(ignore_reinit_error=True)
    # Reading and writing need a CPU too: workers that hold all of them would wait for ever.
    cpus = ray.cluster_resources()["CPU"]
    share = min(1, max(cpus - 1, 0.5) / arguments.workers)
    missing = Missing(arguments.out)
    data = ray.data.read_parquet(arguments.source).filter(missing)
    data = data.map_batches(
        kinglet.ray.Embed, fn_constructor_args=[str(pathlib.Path(arguments.model).resolve()), arguments.column],
        batch_size=arguments.batch, concurrency=arguments.workers, num_cpus=share)
    data.write_parquet(str(pathlib.Path(arguments.out).resolve()))


if __name__ == "__main__":
    main()
