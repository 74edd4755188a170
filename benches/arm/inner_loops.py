#!/usr/bin/env python3
"""Estimates the inner loops of the ARM kernels with llvm-mca.

    python3 benches/arm/inner_loops.py target/aarch64-unknown-linux-gnu/release/kinglet

Finds the loops in the disassembly of a program: a group of 64 k with its scaling for int8, 4 k for
fp16, and has llvm-mca run each over and over with everything in the first-level cache. For the
Cortex-A76 the model of its server twin, Neoverse N1, is used: LLVM has none of its own.
"""

import re
import subprocess
import sys

MODELS = {"Cortex-A72": "cortex-a72", "Cortex-A76": "neoverse-n1", "Neoverse N2": "neoverse-n2"}
PI = ["Cortex-A72", "Cortex-A76"]
LINES_PER_GROUP = 8
# Instructions of one token: for each line of 64 bytes (int8), for each k of a panel (fp16).
SETS = {
    "i8mm": ("smmla", 4),
    "dotprod": ("sdot", 8),
    "neon::gemm_i8": ("smlal", 16),
    "neon::gemm_f16": ("fmla", 2),
}
CPUS = {"i8mm": ["Neoverse N2"], "dotprod": ["Cortex-A76"]}


def functions(program):
    """(name, [(address, instruction)]) of each kernel."""
    command = ["aarch64-linux-gnu-objdump", "-dC", "--no-show-raw-insn", program]
    name, body = None, []
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if name and "kernels::aarch64" in name:
                yield name, body
            name, body = header[1], []
        elif instruction := re.match(r"\s*([0-9a-f]+):\t(.*?)\s*(//.*)?$", line):
            body.append((int(instruction[1], 16), instruction[2].replace("\t", " ")))


def loops(body):
    """Index ranges of all loops: branches back to an earlier instruction."""
    places = {address: i for i, (address, _) in enumerate(body)}
    for end, (address, text) in enumerate(body):
        if branch := re.match(r"(?:b(?:\.\w+)?|cbn?z \w+,|tbn?z \w+, \S+,) ([0-9a-f]+) <", text):
            start = places.get(int(branch[1], 16))
            if start is not None and start <= end:
                yield range(start, end + 1)


def cycles(model, instructions):
    text = "\n".join(re.sub(r"[0-9a-f]+ <.*", "#4", i) for i in instructions)
    command = ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={model}", "-mattr=+dotprod,+i8mm"]
    command += ["-iterations=50", "-instruction-info=false", "-resource-pressure=false"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", result)[1]) / 50


def kernel_loops(program):
    """(set, weights, tokens, lines, trace) of each loop over k."""
    for name, body in functions(program):
        found = next((key for key in SETS if f"aarch64::{key}" in name), None)
        if not found:
            continue
        mnemonic, per_token = SETS[found]
        kernel_set = found.split("::")[0]
        all_loops = list(loops(body))
        for inner in all_loops:
            if any(inside(l, inner) for l in all_loops):
                continue
            code = [body[i][1] for i in inner]
            products = sum(i.startswith(mnemonic) for i in code)
            if found == "neon::gemm_f16":
                # Four k: four loads of 16 bytes for each panel. Other loops do the last few k.
                conversions = sum(i.startswith("fcvtl ") for i in code)
                if any("s[3]" in i for i in code):
                    yield kernel_set, "fp16", products // (2 * conversions), conversions / 4, code
                continue
            around = [l for l in all_loops if l.start < inner.start and inner.stop < l.stop]
            if products and products % per_token == 0 and around:
                outer = min(around, key=len)
                before = [body[i][1] for i in range(outer.start, inner.start)]
                after = [body[i][1] for i in range(inner.stop, outer.stop)]
                trace = before + code * LINES_PER_GROUP + after
                yield kernel_set, "int8", products // per_token, LINES_PER_GROUP, trace


def inside(loop, other):
    return loop != other and other.start <= loop.start and loop.stop <= other.stop


def main(program):
    print("| set | weights | tokens | processor | instructions a line | cycles a line | bytes a cycle | MAC a cycle |")
    print("|---|---|---|---|---|---|---|---|")
    best = {}
    for kernel_set, weights, tokens, lines, trace in kernel_loops(program):
        # The loop over more panels, where there are two: it does most of the work.
        if lines >= best.get((weights, kernel_set, tokens), (0, []))[0]:
            best[weights, kernel_set, tokens] = lines, trace
    for (weights, kernel_set, tokens), (lines, trace) in sorted(best.items()):
        largest = max(t for w, k, t in best if (w, k) == (weights, kernel_set))
        if tokens not in (1, largest):
            continue
        for cpu in CPUS.get(kernel_set, PI):
            per_line = cycles(MODELS[cpu], trace) / lines
            macs = tokens * (32 if weights == "fp16" else 64)
            print(
                f"| {kernel_set} | {weights} | {tokens} | {cpu} | {len(trace) / lines:.1f} | "
                f"{per_line:.1f} | {64 / per_line:.1f} | {macs / per_line:.1f} |"
            )


main(sys.argv[1])
