"""Draws docs/plots/*.svg from the samples of peers.py and scale.py.

    KINGLET_PEERS=CACHE python plots.py [FOLDER]
"""

import json
import pathlib
import statistics
import sys

import matplotlib
import models
import scale
from report import DEEP, Samples

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"Kinglet": "#2f6f4f", "llama.cpp": "#c08030", "onnxruntime int8": "#5070a0",
           "onnxruntime dynamic int8": "#88a0c8", "candle": "#a06080"}


def figure(columns=1):
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                         "svg.hashsalt": "kinglet", "svg.fonttype": "none"})
    drawn, axes = plt.subplots(1, columns, figsize=(4.2 * columns, 3.1), layout="constrained")
    return drawn, axes


def save(drawn, folder, name):
    drawn.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(drawn)


def decoder(samples, folder):
    """Tokens per second of SmolLM2 int8 beside llama.cpp's Q8_0 on each class measured."""
    tests = ["tg128", DEEP, "pp512"]
    classes = [(isa, title) for isa, title in (("avx2", "AVX2"), ("best", "best kernels"))
               if samples.median("smollm2", isa, 2, "tg128", "Kinglet int8")]
    drawn, axes = figure(len(classes))
    for axis, (isa, title) in zip(axes if len(classes) > 1 else [axes], classes):
        for offset, name in ((-0.2, "Kinglet"), (0.2, "llama.cpp")):
            kinds = (["Kinglet int8"] if name == "Kinglet"
                     else ["llama.cpp Q8_0", "llama.cpp Q8_0 -fa 1"])
            heights = [max(samples.median("smollm2", isa, 2, test, kind) or 0 for kind in kinds)
                       for test in tests]
            bars = axis.bar([i + offset for i in range(len(tests))], heights, 0.38, label=name,
                            color=COLOURS[name])
            axis.bar_label(bars, fmt="%.0f", fontsize=8)
        axis.set_xticks(range(len(tests)), tests)
        axis.set_title(f"SmolLM2-135M, 2 threads, {title}")
        axis.set_ylabel("tokens per second")
        axis.legend(frameon=False)
    save(drawn, folder, "smollm2")


def embeddings(samples, folder):
    drawn, axis = figure()
    shapes = ["1 text of 16 tokens", "1 text of 128 tokens"]
    programs = ["Kinglet int8", "onnxruntime dynamic int8", "onnxruntime int8", "candle f32"]
    for i, name in enumerate(programs):
        heights = [samples.median("embed", "best", 2, shape, name) or 0 for shape in shapes]
        bars = axis.bar([x + (i - 1.5) * 0.2 for x in range(len(shapes))], heights, 0.19,
                        label=name, color=COLOURS.get(name, COLOURS.get(name.split()[0])))
        axis.bar_label(bars, fmt="%.1f", fontsize=7)
    axis.set_xticks(range(len(shapes)), shapes)
    axis.set_ylabel("milliseconds, 2 threads")
    axis.legend(frameon=False)
    save(drawn, folder, "minilm")


def grown(found, folder):
    """Speed and memory against the size of the model, the context and the batch."""
    def series(part, model, suffix):
        values = found.get(part, {}).get(model, {})
        points = [(float(key.split()[0]), statistics.median(value))
                  for key, value in values.items() if key.endswith(suffix)]
        return sorted(points)

    sizes = found.get("size", {})
    if sizes:
        drawn, axes = figure(2)
        names = [model for model in scale.MODELS if model in sizes]
        for program, style in (("Kinglet", "o-"), ("llama.cpp", "s--")):
            for threads, alpha in ((2, 1.0), (1, 0.5)):
                points = [(statistics.median(sizes[m]["file bytes"]) / 1e9,
                           statistics.median(sizes[m][f"tg32 {threads} {program}"])) for m in names]
                axes[0].plot(*zip(*points), style, color=COLOURS[program], alpha=alpha,
                             label=f"{program}, {threads} thread{'s' if threads > 1 else ''}")
            points = [(statistics.median(sizes[m]["file bytes"]) / 1e9,
                       statistics.median(sizes[m][f"peak MiB {program}"]) / 1024) for m in names]
            axes[1].plot(*zip(*points), style, color=COLOURS[program], label=program)
        axes[0].set(xscale="log", yscale="log", xlabel="file, GB", ylabel="tokens per second",
                    title="decoding, tg32")
        axes[0].set_xticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
        axes[0].set_yticks([3, 10, 30, 100], ["3", "10", "30", "100"])
        axes[0].minorticks_off()
        axes[1].set(xlabel="file, GB", ylabel="GiB", title="peak memory, context 512")
        for axis in axes:
            axis.legend(frameon=False, fontsize=8)
        save(drawn, folder, "size")

    for part, label, title in (("context", "tokens in the context", "decoding, 2 threads"),
                               ("batch", "tokens in the prompt", "prefill, 2 threads")):
        measured = [model for model in scale.MODELS if model in found.get(part, {})]
        if not measured:
            continue
        drawn, axes = figure(len(measured))
        for axis, model in zip(axes if len(measured) > 1 else [axes], measured):
            for program, style in (("Kinglet", "o-"), ("llama.cpp", "s--")):
                points = series(part, model, program)
                axis.plot(*zip(*points), style, color=COLOURS[program], label=program)
            if part == "batch":
                axis.set_xscale("log", base=2)
                ticks = [int(x) for x, _ in points]
                axis.set_xticks(ticks, ticks)
            axis.set(xlabel=label, ylabel="tokens per second", title=f"{model}: {title}")
            axis.set_ylim(bottom=0)
            axis.legend(frameon=False)
        save(drawn, folder, part)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else models.ROOT / "docs" / "plots")
    folder.mkdir(parents=True, exist_ok=True)
    peers = models.CACHE / "samples.json"
    if peers.exists():
        samples = Samples(json.loads(peers.read_text()))
        decoder(samples, folder)
        embeddings(samples, folder)
    if scale.SAMPLES.exists():
        grown(json.loads(scale.SAMPLES.read_text()), folder)


if __name__ == "__main__":
    main()
