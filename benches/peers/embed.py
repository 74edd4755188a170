"""MiniLM: 1 and 32 texts of 16 and 128 tokens, from text to normalised vectors."""

import json

import numpy as np

import minilm_onnx
import models
import programs

SHAPES = [(1, 16), (1, 128), (32, 16), (32, 128)]
# Each is one piece of the checkpoint's vocabulary.
WORDS = ("bird small forest winter morning river stone paper window garden music school number "
         "memory engine letter summer village doctor island market table light north").split()
# How long each shape is repeated, after one call to warm up.
SECONDS = 0.25
GOLDENS = models.ROOT / "tests" / "goldens" / "minilm"
TEXTS = json.loads((GOLDENS / "texts.json").read_text())
PLAIN = [not any(marker in text for marker in ("[CLS]", "[SEP]", "[MASK]", "[PAD]"))
         for text in TEXTS]


def text(length, number):
    """A text of exactly `length` tokens, [CLS] and [SEP] included."""
    return " ".join(WORDS[(i * 7 + number * 5) % len(WORDS)] for i in range(length - 2))


def shape(count, length):
    return f"{count} text{'s' if count > 1 else ''} of {length} tokens"


def entrants(isa, threads):
    folder = models.source("minilm")
    f32, dynamic = minilm_onnx.files()
    # Markers inside of a text are plain text to Kinglet and special tokens to the others.
    sentences = [text for text, plain in zip(TEXTS, PLAIN) if plain]
    request = {"seconds": SECONDS, "threads": threads,
               "batches": [[text(length, i) for i in range(n)] for n, length in SHAPES],
               "texts": sentences,
               "tokenizer": str(folder / "tokenizer.json"), "config": str(folder / "config.json")}

    def entrant(name, model, run):
        def work():
            answer = run({**request, "model": str(model)})
            if not answer:
                return {}
            figures = {shape(*s): ms for s, ms in zip(SHAPES, answer["ms"])}
            return figures | cosines(answer["vectors"])
        return name, work
    return [
        entrant("Kinglet int8", models.kinglet_file("minilm", "int8"),
                lambda request: programs.ask_kinglet(request, isa)),
        entrant("onnxruntime int8", models.fetch(*models.MINILM_ONNX), programs.ask_onnx),
        entrant("onnxruntime dynamic int8", dynamic, programs.ask_onnx),
        entrant("onnxruntime f32", f32, programs.ask_onnx),
        entrant("candle f32", folder / "model.safetensors",
                lambda request: programs.ask_candle(request, threads)),
    ]


def cosines(vectors):
    """Cosine to the f32 reference on texts of 3 to 394 tokens."""
    reference = np.fromfile(GOLDENS / "embeddings.f32", "<f4").reshape(-1, 384)[PLAIN]
    vectors = np.asarray(vectors, dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = (vectors * reference).sum(1)
    return {"least cosine": float(found.min()), "mean cosine": float(found.mean())}
