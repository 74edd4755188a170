"""How speed and memory grow with the size of a model, threads, context and batch.

    KINGLET_PEERS=CACHE KINGLET_BIN=… python scale.py PART [MODEL…]

PART is `convert` (time and memory of the quantizer), `size` (speed and memory), `context` (decoding
after more and more tokens) or `batch` (prompts of growing length). MODEL is `smollm2` or a shape of
synthetic.py; all by default. Samples are added to CACHE/scale.json, which plots.py draws.
"""

import json
import os
import sys
import time

import models
import programs
import synthetic

SAMPLES = models.CACHE / "scale.json"
MODELS = ["smollm2", *synthetic.SHAPES]
DEPTHS = [0, 512, 1024, 2048, 4096]
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def checkpoint(model):
    return models.checkpoint(model) if model == "smollm2" else synthetic.checkpoint(model)


def q8_0(model):
    return models.gguf(model, "Q8_0") if model == "smollm2" else synthetic.checkpoint(model)


def kinglet_file(model):
    target = models.MODELS / f"{model}.int8.kinglet"
    if not target.exists():
        programs.output([programs.KINGLET, "quantize", checkpoint(model), "-o", target])
    return target


def convert(model):
    """Seconds and peak memory of a conversion, and the sizes of both files in bytes."""
    source, target = checkpoint(model), models.MODELS / f"{model}.int8.kinglet"
    with open(source, "rb") as file:
        while file.read(1 << 24):
            pass
    start = time.perf_counter()
    peak, private = programs.memory([programs.KINGLET, "quantize", source, "-o", target, "--force"])
    yield "seconds", time.perf_counter() - start
    yield "peak MiB", peak
    yield "private MiB", private
    yield "source bytes", source.stat().st_size
    yield "file bytes", target.stat().st_size


def size(model):
    """Speed with one and two threads, and the memory of a short answer."""
    file, gguf = kinglet_file(model), q8_0(model)
    short = ["-p", 128, "-n", 32]
    for threads in (1, 2):
        found = programs.kinglet_bench(file, "best", threads, short)
        for test, (tok_s, gb_s, read_gb_s, _) in found.items():
            yield f"{test} {threads} Kinglet", tok_s
            yield f"{test} {threads} share", gb_s / read_gb_s
        for test, tok_s in programs.llama_bench(gguf, "best", threads, short).items():
            yield f"{test} {threads} llama.cpp", tok_s
    answer = ["-p", "A small bird", "-n", 16, "-c", 512, "-t", 2]
    peak, private = programs.memory([programs.KINGLET, "run", file, "--raw", *answer])
    yield "peak MiB Kinglet", peak
    yield "private MiB Kinglet", private
    peak, private = programs.memory([models.tools("best") / "llama-completion", "-m", gguf, *answer,
                                     "-no-cnv"])
    yield "peak MiB llama.cpp", peak
    yield "private MiB llama.cpp", private
    yield "file bytes", file.stat().st_size


def context(model):
    file, gguf = kinglet_file(model), q8_0(model)
    for depth in DEPTHS:
        extra = ["-p", 0, "-n", 16, "-d", depth]
        for tok_s, *_ in programs.kinglet_bench(file, "best", 2, extra).values():
            yield f"{depth} Kinglet", tok_s
        for tok_s in programs.llama_bench(gguf, "best", 2, extra).values():
            yield f"{depth} llama.cpp", tok_s


def batch(model):
    file, gguf = kinglet_file(model), q8_0(model)
    extra = ["-n", 0, "-p", ",".join(map(str, BATCHES))]
    for test, (tok_s, *_) in programs.kinglet_bench(file, "best", 2, extra).items():
        yield f"{test.removeprefix('pp')} Kinglet", tok_s
    for test, tok_s in programs.llama_bench(gguf, "best", 2, extra).items():
        yield f"{test.removeprefix('pp')} llama.cpp", tok_s


def main():
    part, *chosen = sys.argv[1:]
    measure = {"convert": convert, "size": size, "context": context, "batch": batch}[part]
    samples = json.loads(SAMPLES.read_text()) if SAMPLES.exists() else {}
    for model in chosen or MODELS:
        for what, figure in measure(model):
            samples.setdefault(part, {}).setdefault(model, {}).setdefault(what, []).append(figure)
            SAMPLES.write_text(json.dumps(samples, indent=1))
            print(f"{part} {model} {what}: {figure:.4g}", file=sys.stderr)


if __name__ == "__main__":
    main()
