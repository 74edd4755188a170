"""Runs foundation models on small machines: one memory-mapped file, hand-tuned kernels, no framework.

    import kinglet

    model = kinglet.Model.open("smollm2.kinglet")
    for piece in model.chat().say("Name a bird."):
        print(piece, end="", flush=True)

    vectors = kinglet.Model.open("minilm.kinglet").embed(["a small bird", "a large ship"])  # numpy, [2, 384]

Computations let other Python threads run. Processes that open the same file share its memory. Whatever goes wrong is a
`KingletError`.
"""

from ._native import (
    Answer,
    Chat,
    ContextError,
    FileError,
    FormError,
    Generation,
    KingletError,
    Model,
    OptionError,
    TaskError,
    __version__,
    quantize,
)
from .asynchronous import stream
from .encoder import Encoder

__all__ = [
    "Answer",
    "Chat",
    "ContextError",
    "Encoder",
    "FileError",
    "FormError",
    "Generation",
    "KingletError",
    "Model",
    "OptionError",
    "TaskError",
    "__version__",
    "quantize",
    "stream",
]


def _reopen(path, threads):
    """A model that was pickled: opened again, wherever that is."""
    return Model.open(path, threads=threads)
