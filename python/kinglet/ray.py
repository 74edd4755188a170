"""Bulk work on a cluster: classes for Ray Data's `map_batches`.

    import ray, kinglet.ray
    ray.data.read_parquet("texts/").map_batches(
        kinglet.ray.Embed, fn_constructor_args=["minilm.kinglet"], concurrency=2, num_cpus=1, batch_size=256,
    ).write_parquet("vectors/")

A worker opens the model once, with as many threads as it has CPUs; the file's memory is shared by the workers of a machine. A
row that cannot be worked on gets its reason in the column `error` and is not tried again for ever; all others get an empty one.
"""

import os

import numpy as np

from ._native import KingletError, Model


def _threads():
    """The CPUs that a worker of Ray was given."""
    try:
        import ray

        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU")
        return max(1, int(cpus)) if cpus else None
    except Exception:  # noqa: BLE001, there is no Ray, or no worker of it
        return int(os.environ.get("OMP_NUM_THREADS", 0)) or None


class _Rows:
    """Works on a column of texts, all together or, where that fails, one by one."""

    def __init__(self, path, column="text", threads=None):
        self.model = Model.open(path, threads=threads or _threads())
        self.column = column

    def __call__(self, batch):
        texts = [None if text is None else str(text) for text in batch[self.column]]
        errors = ["the text is missing" if text is None else "" for text in texts]
        whole = [i for i, text in enumerate(texts) if text is not None]
        results = {}
        try:
            results = dict(zip(whole, self.work([texts[i] for i in whole]) if whole else []))
        except KingletError:
            for i in whole:
                try:
                    results[i] = self.work([texts[i]])[0]
                except KingletError as error:
                    errors[i] = str(error)
        return {**batch, **self.columns([results.get(i) for i in range(len(texts))]), "error": np.array(errors, dtype=object)}


class Embed(_Rows):
    """Adds the column `embedding`; rows without one get zeros."""

    def work(self, texts):
        return list(self.model.embed(texts))

    def columns(self, results):
        size = next((len(row) for row in results if row is not None), 0)
        rows = [np.zeros(size, np.float32) if row is None else row for row in results]
        return {"embedding": np.stack(rows) if rows else np.zeros((0, 0), np.float32)}


class Classify(_Rows):
    """Adds the columns `label` and `score`, of the best label."""

    def __init__(self, path, column="text", labels=None, threads=None):
        super().__init__(path, column, threads)
        self.labels = labels

    def work(self, texts):
        return [scores[0] for scores in self.model.classify(texts, self.labels)]

    def columns(self, results):
        return {
            "label": np.array([row[0] if row else "" for row in results], dtype=object),
            "score": np.array([row[1] if row else np.nan for row in results], np.float32),
        }


class Translate(_Rows):
    """Adds the column `translation`."""

    def __init__(self, path, column="text", source=None, target=None, threads=None):
        super().__init__(path, column, threads)
        self.languages = {"source": source, "target": target}

    def work(self, texts):
        return self.model.translate(texts, **self.languages)

    def columns(self, results):
        return {"translation": np.array([row or "" for row in results], dtype=object)}


class Generate(_Rows):
    """Adds the column `answer`: what a chat says to each text, or how a text goes on. Options are those of `generate`."""

    def __init__(self, path, column="text", chat=True, threads=None, **options):
        super().__init__(path, column, threads)
        self.chat, self.options = chat, options

    def work(self, texts):
        ask = lambda text: self.model.chat().say(text, **self.options) if self.chat else self.model.generate(text, **self.options)  # noqa: E731
        return [ask(text).text() for text in texts]

    def columns(self, results):
        return {"answer": np.array([row or "" for row in results], dtype=object)}
