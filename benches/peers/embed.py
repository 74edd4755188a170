"""MiniLM: 1 and 32 texts of 16 and 128 tokens, from text to normalised vectors."""

import json
import sys
import time

import numpy as np
import onnxruntime
import tokenizers

import decoder
import models

SHAPES = [(1, 16), (1, 128), (32, 16), (32, 128)]
# Each is one piece of the checkpoint's vocabulary.
WORDS = ("bird small forest winter morning river stone paper window garden music school number "
         "memory engine letter summer village doctor island market table light north").split()
SECONDS = 0.4
GOLDENS = models.ROOT / "tests" / "goldens" / "minilm"


def version():
    return f"onnxruntime {onnxruntime.__version__}, tokenizers {tokenizers.__version__}"


def text(length, number):
    """A text of exactly `length` tokens, [CLS] and [SEP] included."""
    return " ".join(WORDS[(i * 7 + number * 5) % len(WORDS)] for i in range(length - 2))


class Onnx:
    """What an onnxruntime user writes: tokenizer, session, mean pooling."""

    def __init__(self, file, tokenizer, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(file), options,
                                                    providers=["CPUExecutionProvider"])
        self.tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def embed(self, texts):
        encoded = self.tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        hidden = self.session.run(None, {"input_ids": ids, "attention_mask": mask,
                                         "token_type_ids": np.zeros_like(ids)})[0]
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def timed(work):
    """Milliseconds a call, repeated for SECONDS after one call to warm up."""
    work()
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS:
        work()
        calls += 1
    return 1000 * elapsed / calls


def kinglet_answer(file, threads, batches, texts):
    return decoder.ask_peer({"model": str(file), "threads": threads, "seconds": SECONDS,
                             "batches": batches, "texts": texts})


def cosines(vectors):
    reference = np.fromfile(GOLDENS / "embeddings.f32", "<f4").reshape(-1, 384)
    vectors = np.asarray(vectors, dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors * reference).sum(1)


def times(kinglet, threads, rounds):
    folder = models.fetch(*models.MINILM).parent
    onnx = models.fetch(*models.MINILM_ONNX)
    file = models.kinglet_file(kinglet, "minilm", folder, "int8")
    peers = {count: Onnx(onnx, folder / "tokenizer.json", count) for count in threads}
    batches = {(n, length): [text(length, i) for i in range(n)] for n, length in SHAPES}
    for (n, length), batch in batches.items():
        encoded = peers[threads[0]].tokenizer.encode_batch(batch)
        assert all(len(e.ids) == length and all(e.attention_mask) for e in encoded), length

    rows = {}
    for round_ in range(rounds):
        for count in threads:
            ours, theirs = decoder.in_turn(
                round_,
                lambda: kinglet_answer(file, count, list(batches.values()), []) if file else None,
                lambda: [timed(lambda: peers[count].embed(batch)) for batch in batches.values()])
            for index, (n, length) in enumerate(SHAPES):
                row = rows.setdefault((n, length, count), {
                    "what": f"{n} text{'s' if n > 1 else ''} of {length} tokens", "threads": count,
                    "unit": "ms", "more_is_better": False, "kinglet": [], "peer": []})
                row["kinglet"] += [ours["ms"][index]] if ours else []
                row["peer"].append(theirs[index])
        print(f"embed: round {round_ + 1} of {rounds}", file=sys.stderr)

    sentences = json.loads((GOLDENS / "texts.json").read_text())
    quality = {"onnxruntime int8": [peers[threads[0]].embed([s])[0] for s in sentences]}
    answer = kinglet_answer(file, threads[0], [], sentences) if file else None
    if answer:
        quality["Kinglet int8"] = answer["vectors"]
    shown = [f"{name} {c.min():.5f}, {c.mean():.5f}"
             for name, c in ((name, cosines(v)) for name, v in quality.items())]
    notes = ["Cosine to the f32 reference on 100 texts of 3 to 394 tokens (least, mean): "
             + "; ".join(shown) + "."]
    return [rows[n, length, count] for n, length in SHAPES for count in threads], notes
