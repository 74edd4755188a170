"""A classifier of all-MiniLM-L6's size with random weights, over a file of texts.

    KINGLET_PEERS=CACHE KINGLET_BIN=… python classify.py [LINES [THREADS]]

Makes in CACHE/classifier, where they are missing: the checkpoint with a vocabulary of made-up words,
its conversion, its export to ONNX, and LINES (20,000) texts of 4 to 120 tokens. Prints texts per
second and peak memory of `kinglet classify -f`, and texts per second of onnxruntime in f32 with the
same texts, all sorted by length, padded in batches of 32; how far the scores of both are apart; and,
with a tenth of the lines before them, that memory does not grow with the file.
"""

import json
import random
import sys
import time

import models
import programs

WORDS = [f"w{i}" for i in range(30_000)]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def checkpoint(folder):
    """MiniLM's shape, three labels."""
    import torch
    import transformers as t
    from tokenizers import Tokenizer, models as kinds, normalizers, pre_tokenizers, processors

    torch.manual_seed(1)
    config = t.BertConfig(vocab_size=len(SPECIALS) + len(WORDS), hidden_size=384,
                          num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
                          max_position_embeddings=512, num_labels=3)
    model = t.BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    vocab = {word: i for i, word in enumerate(SPECIALS + WORDS)}
    tokenizer = Tokenizer(kinds.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}))
    # Two tensors: the exporter takes one that is given twice for one input.
    ids, mask = torch.arange(32).reshape(2, 16), torch.ones(2, 16, dtype=torch.long)
    names = ["input_ids", "attention_mask"]
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(model, (ids, mask), str(folder / "model.onnx"), input_names=names,
                      dynamic_shapes=(shape, shape), dynamo=True)


def texts(path, lines):
    rng = random.Random(1)
    with open(path, "w") as file:
        for _ in range(lines):
            # Most texts are short.
            n = max(2, min(118, int(rng.lognormvariate(3.2, 0.7))))
            file.write(" ".join(rng.choice(WORDS) for _ in range(n)) + "\n")


def kinglet(model, file, out, threads):
    """Seconds, and peak memory in MiB: all of it, and what is not the mapped file."""
    command = [programs.KINGLET, "classify", model, "-f", file, "-O", out, "--quiet", "-t", threads]
    start = time.perf_counter()
    peak, private = programs.memory(command)
    return time.perf_counter() - start, peak, private


def onnx(folder, file, threads):
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options,
                                           providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    lines = file.read_text().splitlines()
    scores = np.empty((len(lines), 3), dtype=np.float32)
    start = time.perf_counter()
    order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
    for i in range(0, len(lines), 32):
        batch = tokenizer.encode_batch([lines[j] for j in order[i:i + 32]])
        ids = np.array([one.ids for one in batch], dtype=np.int64)
        mask = np.array([one.attention_mask for one in batch], dtype=np.int64)
        logits, = session.run(None, {"input_ids": ids, "attention_mask": mask})
        powers = np.exp(logits - logits.max(1, keepdims=True))
        scores[order[i:i + 32]] = powers / powers.sum(1, keepdims=True)
    return time.perf_counter() - start, scores


def compare(out, expected):
    """Least and mean cosine of the scores of a text, and the share of texts with the same label."""
    import numpy as np

    found = np.empty_like(expected)
    with open(out) as file:
        for i, line in enumerate(file):
            for one in json.loads(line)["results"]:
                found[i, int(one["label"].removeprefix("LABEL_"))] = one["score"]
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(1) / lengths
    return cosines.min(), cosines.mean(), (found.argmax(1) == expected.argmax(1)).mean()


def main():
    folder = models.CACHE / "classifier"
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.onnx").exists():
        checkpoint(folder)
    file, model = folder / f"texts.{lines}.txt", folder / "model.kinglet"
    if not file.exists():
        texts(file, lines)
    if not model.exists():
        programs.output([programs.KINGLET, "quantize", folder, "-o", model])
    part = folder / "part.txt"
    part.write_text("".join(file.open().readlines()[:lines // 10]))
    out = folder / "labels.jsonl"
    for texts_of, n in [(part, lines // 10), (file, lines)]:
        seconds, peak, private = kinglet(model, texts_of, out, threads)
        print(f"kinglet int8, {threads} threads: {n} lines, {n / seconds:.0f} texts/s, peak "
              f"{peak:.0f} MiB, of it private {private:.0f} (file {model.stat().st_size >> 20})")
    seconds, scores = onnx(folder, file, threads)
    least, mean, same = compare(out, scores)
    print(f"onnxruntime f32, {threads} threads: {lines / seconds:.0f} texts/s; cosine of the scores "
          f"{least:.5f} at least, {mean:.5f} on average, the same label for {same:.2%}")


if __name__ == "__main__":
    main()
