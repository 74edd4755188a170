"""How speed and memory grow with the size of a model, threads, context and batch.

    KINGLET_PEERS=CACHE KINGLET_BIN=… python scale.py PART [MODEL…]

PART is `convert` (time and memory of the quantizer), `size` (speed and memory), `context` (decoding
after more and more tokens) or `batch` (prompts of growing length). MODEL is `smollm2` or a shape of
synthetic.py; all by default. Samples are added to CACHE/scale.json, which plots.py draws and
`report` prints as tables of medians.
"""

import json
import statistics
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


def tables(samples):
    def median(part, model, what):
        found = samples[part][model].get(what)
        return statistics.median(found) if found else float("nan")

    def speeds(model, test):
        ours, theirs = (median("size", model, f"{test} {program}")
                        for program in ("Kinglet", "llama.cpp"))
        return f"{ours:.1f} / {theirs:.1f}" if ours < 100 else f"{ours:.0f} / {theirs:.0f}"

    if "size" in samples:
        print("| model | file, GB | tg32, 1 thread | tg32, 2 threads | of a plain read | "
              "pp128, 1 thread | pp128, 2 threads | peak memory, MiB | private, MiB |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
        for model in filter(samples["size"].get, MODELS):
            memory = [" / ".join(f"{median('size', model, f'{kind} MiB {program}'):.0f}"
                                 for program in ("Kinglet", "llama.cpp"))
                      for kind in ("peak", "private")]
            print("| " + " | ".join([
                model, f"{median('size', model, 'file bytes') / 1e9:.2f}",
                speeds(model, "tg32 1"), speeds(model, "tg32 2"),
                f"{100 * median('size', model, 'tg32 2 share'):.0f} %",
                speeds(model, "pp128 1"), speeds(model, "pp128 2"), *memory]) + " |")
        print()
    if "convert" in samples:
        print("| conversion | source, GB | file, GB | seconds | GB/s of source | peak memory, MiB | "
              "private, MiB |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for model in filter(samples["convert"].get, MODELS):
            source, file, seconds, peak, private = (
                median("convert", model, what)
                for what in ("source bytes", "file bytes", "seconds", "peak MiB", "private MiB"))
            print(f"| {model} | {source / 1e9:.2f} | {file / 1e9:.2f} | {seconds:.1f} | "
                  f"{source / 1e9 / seconds:.2f} | {peak:.0f} | {private:.0f} |")


def main():
    part, *chosen = sys.argv[1:]
    if part == "report":
        return tables(json.loads(SAMPLES.read_text()))
    measure = {"convert": convert, "size": size, "context": context, "batch": batch}[part]
    samples = json.loads(SAMPLES.read_text()) if SAMPLES.exists() else {}
    for model in chosen or MODELS:
        for what, figure in measure(model):
            samples.setdefault(part, {}).setdefault(model, {}).setdefault(what, []).append(figure)
            SAMPLES.write_text(json.dumps(samples, indent=1))
            print(f"{part} {model} {what}: {figure:.4g}", file=sys.stderr)


if __name__ == "__main__":
    main()
