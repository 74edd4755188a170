"""Runs Kinglet and its neighbours in turn on the same models and writes a Markdown report.

Started by run.sh, which prepares the programs. Every figure is the median of the rounds; in each
round the programs run directly one after the other, and the order changes from round to round.
"""

import argparse
import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import sys

import decoder
import embed
import models


def machine():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    wanted = ["avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
              "asimddp", "i8mm"]
    name = fields.get("model name", platform.processor() or platform.machine())
    return (f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}), "
            f"{os.cpu_count()} CPUs, {' '.join(f for f in wanted if f in flags)}; "
            f"{platform.system()} {platform.release()}")


def kinglet_version(kinglet):
    try:
        shown = subprocess.run([kinglet, "--version"], capture_output=True, text=True, check=True)
        version = shown.stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        version = f"not run ({error})"
    commit = subprocess.run(["git", "-C", str(models.ROOT), "describe", "--always", "--dirty"],
                            capture_output=True, text=True).stdout.strip()
    return f"{version} {commit}".strip()


def cell(value, unit):
    if value is None:
        return "–"
    return f"{value:.0f}" if unit == "tok/s" and value >= 100 else f"{value:.1f}"


def table(rows):
    """rows: dicts of what, threads, kinglet, peer (lists of figures), unit, more_is_better."""
    lines = ["| test | threads | unit | Kinglet | peer | Kinglet is |", "|---|--:|---|--:|--:|--:|"]
    for row in rows:
        ours, peer = (statistics.median(row[k]) if row[k] else None for k in ("kinglet", "peer"))
        ratio = "–"
        if ours and peer:
            factor = ours / peer if row["more_is_better"] else peer / ours
            word = "faster" if row["unit"] != "MiB" else "smaller"
            ratio = f"{factor:.2f} x {word}"
        lines.append(f"| {row['what']} | {row['threads']} | {row['unit']} | "
                     f"{cell(ours, row['unit'])} | {cell(peer, row['unit'])} | {ratio} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--only", default="decoder,start,embed")
    parser.add_argument("-o", "--output", type=pathlib.Path)
    args = parser.parse_args()
    threads = [int(count) for count in args.threads.split(",")]
    parts = args.only.split(",")
    kinglet = os.environ["KINGLET_BIN"]

    report = [
        "# Kinglet and its neighbours", "",
        f"{datetime.date.today()}, {machine()}  ",
        f"Kinglet: {kinglet_version(kinglet)}; llama.cpp: {models.LLAMA_CPP}; "
        f"{embed.version()}  ",
        f"Medians of {args.rounds} rounds, the programs in turn; load average at the start "
        f"{os.getloadavg()[0]:.1f}", ""]
    if "decoder" in parts:
        rows, kernels = decoder.throughput(kinglet, threads, args.rounds)
        report += ["## SmolLM2-135M-Instruct beside llama.cpp", "",
                   f"int8 beside Q8_0, f16 beside F16, of the same Q4_1 checkpoint. Kernels: {kernels}",
                   "", table(rows), ""]
    if "start" in parts:
        report += ["## From process start to the first token", "",
                   "Files in the page cache, prompt of 10 tokens, context of 512, greedy; "
                   "llama.cpp without warm-up.", "",
                   table(decoder.start(kinglet, threads, args.rounds)), ""]
    if "embed" in parts:
        rows, notes = embed.times(kinglet, threads, args.rounds)
        report += ["## all-MiniLM-L6-v2 beside onnxruntime", "",
                   "Texts to normalised vectors, tokenization and pooling included; Kinglet int8 "
                   "beside the int8 ONNX file.", "", table(rows), "", *notes, ""]
    text = "\n".join(report)
    print(text)
    if args.output:
        args.output.write_text(text)
        print(f"written to {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
