"""The tables of a report: medians, ratios, and the ratios that Kinglet aims at."""

import statistics

CLASSES = {"avx2": "AVX2 on both sides (`KINGLET_ISA=avx2`; llama.cpp built for AVX2)",
           "best": "the best kernels that each program has for this CPU"}
Q8, Q8_FLASH, F16 = "llama.cpp Q8_0", "llama.cpp Q8_0 -fa 1", "llama.cpp F16"
DEEP = "tg128 @ d1024"

# model: [(test, threads, our program, (its neighbours: the best of them counts), target ratio)]
DECODER = {
    "smollm2": [
        ("tg128", 2, "int8", (Q8, Q8_FLASH), 2.0), (DEEP, 2, "int8", (Q8, Q8_FLASH), 2.5),
        ("pp512", 2, "int8", (Q8, Q8_FLASH), 2.2), ("pp512", 2, "int8", (F16,), 1.8),
        ("tg128", 1, "int8", (Q8, Q8_FLASH), 1.5), ("pp512", 1, "int8", (Q8, Q8_FLASH), 2.0),
        ("tg128", 2, "f16", (F16,), 1.5), ("pp512", 2, "f16", (F16,), 1.3),
        ("tg128", 2, "int8", ("candle Q8_0",), None), ("pp512", 2, "int8", ("candle Q8_0",), None),
    ],
    "gemma3": [
        ("tg128", 2, "int8", (Q8, Q8_FLASH), 1.5), ("pp512", 2, "int8", (Q8, Q8_FLASH), 1.6),
        ("tg128", 1, "int8", (Q8, Q8_FLASH), None), ("pp512", 1, "int8", (Q8, Q8_FLASH), None),
    ],
}
SHAPES = ["1 text of 16 tokens", "1 text of 128 tokens", "32 texts of 16 tokens",
          "32 texts of 128 tokens"]
EMBED = [("onnxruntime int8", 2.0), ("onnxruntime dynamic int8", 1.4), ("candle f32", 2.0),
         ("onnxruntime f32", None)]


class Samples:
    def __init__(self, kept):
        self.samples = kept["samples"]

    def median(self, part, isa, threads, test, program):
        found = self.samples.get("|".join([part, isa, str(threads), test, program]))
        return statistics.median(found) if found else None

    def kernels(self, isa):
        return sorted({name for key, names in self.samples.items()
                       if f"|{isa}|" in key and " kernels|" in key for name in names})


def number(value):
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def ratio(ours, theirs, target, smaller=False):
    """The last two cells of a row: by how much Kinglet is better, and the aim."""
    if not ours or not theirs:
        return f"– | {target or ''}"
    factor = theirs / ours if smaller else ours / theirs
    aim = "" if target is None else f"{target:.1f}{'' if factor >= target else ', missed'}"
    return f"{factor:.2f} | {aim}"


def decoder(samples, model, isa):
    lines = ["| test | threads | Kinglet | tok/s | neighbour | tok/s | ratio | target |",
             "|---|--:|---|--:|---|--:|--:|--:|"]
    for test, threads, kind, neighbours, target in DECODER[model]:
        ours = samples.median(model, isa, threads, test, f"Kinglet {kind}")
        others = [(samples.median(model, isa, threads, test, name) or 0, name)
                  for name in neighbours]
        best, name = max(others)
        if not best and not ours or not best and "candle" in name:
            continue
        aim = target if isa == "avx2" or not samples.kernels("avx2") else None
        lines.append(f"| {test} | {threads} | {kind} | {number(ours)} | {name} | {number(best)} | "
                     f"{ratio(ours, best, aim)} |")
    return lines if len(lines) > 2 else []


def roofline(samples, model, isa):
    lines = ["| test | threads | Kinglet | GB/s | a plain read, GB/s | share |",
             "|---|--:|---|--:|--:|--:|"]
    for kind in ("int8", "f16"):
        for threads in (1, 2):
            def median(test):
                return samples.median(model, isa, threads, test, f"Kinglet {kind}")
            rate, read = median("tg128 GB/s"), median("tg128 read GB/s")
            if rate and read:
                lines.append(f"| tg128 | {threads} | {kind} | {rate:.1f} | {read:.1f} | "
                             f"{100 * rate / read:.0f} % |")
    return lines if len(lines) > 2 else []


def start(samples):
    lines = ["| kernels | threads | Kinglet, ms | llama.cpp trimmed, ms | times | target | "
             "as it comes, ms | times | target |", "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for isa in CLASSES:
        for threads in (1, 2):
            ours, trimmed, default = (
                samples.median("start", isa, threads, "first token", name)
                for name in ("Kinglet int8", "llama.cpp Q8_0, trimmed", "llama.cpp Q8_0, default"))
            if ours:
                lines.append(f"| {isa} | {threads} | {number(ours)} | {number(trimmed)} | "
                             f"{ratio(ours, trimmed, 3.0, True)} | {number(default)} | "
                             f"{ratio(ours, default, 6.0, True)} |")
    return lines if len(lines) > 2 else []


def memory(samples):
    lines = ["| | Kinglet int8, MiB | llama.cpp Q8_0, MiB | target |", "|---|--:|--:|--:|"]
    for test, target in (("peak memory", "160"), ("of it private", "20 + KV")):
        ours, theirs = (samples.median("memory", "best", 2, test, name)
                        for name in ("Kinglet int8", "llama.cpp Q8_0"))
        if ours:
            lines.append(f"| {test} | {number(ours)} | {number(theirs)} | {target} |")
    return lines if len(lines) > 2 else []


def embed(samples):
    lines = ["| texts | threads | Kinglet int8, ms | neighbour | ms | ratio | target |",
             "|---|--:|--:|---|--:|--:|--:|"]
    for threads in (2, 1):
        for shape in SHAPES:
            ours = samples.median("embed", "best", threads, shape, "Kinglet int8")
            for name, target in EMBED:
                theirs = samples.median("embed", "best", threads, shape, name)
                if ours and theirs:
                    aim = target if threads == 2 else None
                    lines.append(f"| {shape} | {threads} | {number(ours)} | {name} | "
                                 f"{number(theirs)} | {ratio(ours, theirs, aim, True)} |")
    if len(lines) == 2:
        return []
    quality = []
    for name in ["Kinglet int8", *(name for name, _ in EMBED)]:
        least, mean = (samples.median("embed", "best", 2, f"{which} cosine", name)
                       for which in ("least", "mean"))
        if least:
            quality.append(f"{name} {least:.5f}, {mean:.5f}")
    return lines + ["", "Cosine to the f32 reference on 99 texts of 3 to 394 tokens (least, "
                    "mean): " + "; ".join(quality) + "."]


def before(samples):
    """This Kinglet and an earlier one, wherever both were measured."""
    lines = ["| | kernels | threads | test | now | before | now / before |",
             "|---|---|--:|---|--:|--:|--:|"]
    for key in samples.samples:
        part, isa, threads, test, program = key.split("|")
        if "Kinglet before" not in program or "read" in test or "kernels" in test:
            continue
        now = samples.median(part, isa, threads, test, program.replace(" before", ""))
        old = samples.median(part, isa, threads, test, program)
        if now and old:
            kind = program.split()[-1]
            lines.append(f"| {part} {kind} | {isa} | {threads} | {test} | {number(now)} | "
                         f"{number(old)} | {now / old:.3f} |")
    return lines if len(lines) > 2 else []


def markdown(kept):
    samples = Samples(kept)
    counts = {}
    for key, found in samples.samples.items():
        part, isa, *_ = key.split("|")
        counts.setdefault(f"{part} {isa}", set()).add(len(found))
    text = [f"{kept.get('date')}, {kept.get('machine')}.", "", f"{kept.get('versions')}.", "",
            "Medians, the programs in turn. Rounds: "
            + ", ".join(f"{part} {'-'.join(map(str, sorted({min(n), max(n)})))}"
                        for part, n in counts.items()) + ".", ""]
    names = {"smollm2": "SmolLM2-135M-Instruct", "gemma3": "Gemma 3 270M"}
    for model, name in names.items():
        for isa, what in CLASSES.items():
            lines = decoder(samples, model, isa)
            if lines:
                kernels = ", ".join(samples.kernels(isa))
                text += [f"### {name}: {what}", "", f"Kinglet's kernels: {kernels}.", "", *lines,
                         "", *roofline(samples, model, isa), ""]
    for title, lines in [
            ("From process start to the first token (SmolLM2, 10-token prompt)", start(samples)),
            ("Memory (SmolLM2, context 512, 300 tokens)", memory(samples)),
            ("all-MiniLM-L6-v2 from texts to normalised vectors", embed(samples)),
            ("Kinglet now and before (KINGLET_BEFORE_BIN)", before(samples))]:
        if lines:
            text += [f"### {title}", "", *lines, ""]
    return "\n".join(text)
