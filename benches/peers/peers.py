"""Runs Kinglet and its neighbours in turn on the same models and writes a Markdown report.

Started by run.sh, which prepares the programs. In each round the programs run directly one after
the other, and the order changes from round to round; every figure is the median of the rounds.
Samples are kept in a file, so that rounds can be added later.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from importlib.metadata import version

import measurements
import models
import report


def cpu():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in fields.items()}


def flags():
    return set(cpu().get("flags", cpu().get("Features", "")).split())


def machine():
    fields = cpu()
    wanted = ["avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
              "asimddp", "i8mm"]
    name = fields.get("model name", platform.processor() or platform.machine())
    return (f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}), "
            f"{os.cpu_count()} CPUs, {' '.join(f for f in wanted if f in flags())}; "
            f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}")


def classes():
    """Machines with more than AVX2 stand for two classes: with and without it."""
    more = {"avx512f", "avx_vnni", "amx_int8"} & flags()
    return ["avx2", "best"] if more else ["best"]


def versions():
    kinglet = subprocess.run([os.environ["KINGLET_BIN"], "--version"], capture_output=True,
                             text=True).stdout.strip()
    commit = subprocess.run(["git", "-C", str(models.ROOT), "describe", "--always", "--dirty"],
                            capture_output=True, text=True).stdout.strip()
    llama_cpp = [path.name.removeprefix("built-")
                 for path in (models.tools("best").parent).glob("built-*")]
    return (f"{kinglet} {commit}; llama.cpp of llama-cpp-python {' '.join(llama_cpp)}; "
            f"onnxruntime {version('onnxruntime')}, tokenizers {version('tokenizers')}; "
            f"candle {os.environ['CANDLE_VERSION']}")


def run(cases, round_, samples, save):
    for name, isa, threads, entrants in cases:
        entrants = entrants()
        turn = round_ % len(entrants)
        # A different one starts each time, and every other round goes backwards.
        order = entrants[turn:] + entrants[:turn]
        for program, work in order[::-1] if round_ % 2 else order:
            for test, figure in work().items():
                key = "|".join([name, isa, str(threads), test, program])
                samples.setdefault(key, []).append(figure)
            save()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="0 only writes the report")
    parser.add_argument("--threads", default="1,2")
    parts = list(measurements.parts(classes(), [1]))
    parser.add_argument("--only", default=",".join(parts), help=f"of {','.join(parts)}")
    parser.add_argument("--samples", type=pathlib.Path, default=models.CACHE / "samples.json",
                        help="where samples are kept [%(default)s]")
    parser.add_argument("--more", action="store_true", help="add rounds to the samples there are")
    parser.add_argument("-o", "--output", type=pathlib.Path)
    args = parser.parse_args()
    threads = [int(count) for count in args.threads.split(",")]

    kept = {"samples": {}}
    if args.samples.exists() and (args.more or args.rounds == 0):
        kept = json.loads(args.samples.read_text())
    available = measurements.parts(classes(), threads)

    def save():
        args.samples.write_text(json.dumps(kept, indent=1))

    for _ in range(args.rounds):
        for part in args.only.split(","):
            kept |= {"machine": machine(), "versions": versions(),
                     "date": str(datetime.date.today())}
            # Rounds of one thread and of two may be run apart.
            done = kept.setdefault("rounds", {})
            name = f"{part} -t {args.threads}"
            done[name] = done.get(name, 0) + 1
            run(available[part], done[name], kept["samples"], save)
            print(f"{name}: round {done[name]}", file=sys.stderr)
    text = report.markdown(kept)
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
