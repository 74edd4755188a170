"""Ray Data on this machine: the same vectors as in one process, in order, with one worker and with two, and after one is killed."""

import os
import signal
import subprocess

import numpy as np
import pytest

import kinglet

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ray") / "minilm.kinglet")
    subprocess.run([os.environ["KINGLET"], "quantize", "all-minilm-l6-v2", "-o", path], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module", autouse=True)
def cluster():
    # Workers import the class below from here.
    environment = {"env_vars": {"PYTHONPATH": os.path.dirname(os.path.abspath(__file__))}}
    ray.init(num_cpus=2, runtime_env=environment, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


class Mortal:
    """Embeds, and is killed once, in the middle of the work."""

    def __init__(self, path, mark):
        import kinglet.ray

        self.inner, self.mark = kinglet.ray.Embed(path), mark

    def __call__(self, batch):
        if 500 in batch["id"] and not os.path.exists(self.mark):
            open(self.mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(batch)


def texts(n):
    return [{"id": i, "text": f"text number {i} of a bird" + " and a ship" * (i % 7)} for i in range(n)]


def vectors(rows):
    rows = sorted(rows, key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(len(rows)))
    assert not any(row["error"] for row in rows)
    return np.stack([row["embedding"] for row in rows])


def test_vectors_do_not_depend_on_workers(path):
    import kinglet.ray

    rows = texts(600)
    alone = kinglet.Model.open(path, threads=1).embed([row["text"] for row in rows])
    for workers in (1, 2):
        data = ray.data.from_items(rows).map_batches(
            kinglet.ray.Embed, fn_constructor_args=[path], batch_size=64, concurrency=workers, num_cpus=1)
        assert np.array_equal(vectors(data.take_all()), alone), workers


def test_a_killed_worker_loses_nothing(path, tmp_path):
    rows = texts(1000)
    alone = kinglet.Model.open(path, threads=1).embed([row["text"] for row in rows])
    mark = str(tmp_path / "killed")
    data = ray.data.from_items(rows).map_batches(
        Mortal, fn_constructor_args=[path, mark], batch_size=50, concurrency=2, num_cpus=1)
    assert np.array_equal(vectors(data.take_all()), alone)
    assert os.path.exists(mark)
