"""Vectors under the name that sentence-transformers gave them."""

import numpy as np

from ._native import Model


class Encoder:
    """Takes the place of a `SentenceTransformer` where a program only calls `encode`.

        encoder = kinglet.Encoder("minilm.kinglet")
        encoder.encode(["a small bird", "a large ship"])
    """

    def __init__(self, model, threads=None):
        self.model = model if isinstance(model, Model) else Model.open(model, threads=threads)

    def encode(self, sentences, batch_size=32, prompt_name=None, normalize_embeddings=False, **others):
        """A vector for each sentence, `[n, dims]`, or one `[dims]` for a single one.

        `batch_size` is taken for its name only: texts are packed by length within. Arguments of sentence-transformers that
        change no vector are accepted; others are refused.
        """
        known = {"show_progress_bar", "convert_to_numpy", "device", "output_value", "precision"}
        if unknown := set(others) - known:
            raise TypeError(f"encode has no argument {sorted(unknown)[0]}")
        if others.get("precision", "float32") != "float32" or others.get("output_value", "sentence_embedding") != "sentence_embedding":
            raise TypeError("encode gives float32 vectors of sentences only")
        single = isinstance(sentences, str)
        vectors = self.model.embed([sentences] if single else list(sentences), prompt=prompt_name)
        if normalize_embeddings:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors[0] if single else vectors
