#!/usr/bin/env python3
"""Cost of a token at growing depth, with keys and values in f16 and in int8, as a plot.

    benches/plots/depth.py [--model smollm2-135m] [--threads 2] [--depths 0,1024,4096,8064]
                           [--samples FILE.json] [-o docs/plots/depth.svg]

Runs `kinglet bench` (KINGLET_BIN, or this source tree's release build), or draws what an earlier
run wrote with `-o json` where --samples is given.
"""

import argparse
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLOURS = {"f16": "#1f6f8b", "int8": "#d1603d"}
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 56, 52


def measure(options):
    binary = os.environ.get("KINGLET_BIN", ROOT / "target/release/kinglet")
    command = [binary, "bench", options.model, "-p", "0", "-n", "64", "-r", "3"]
    command += ["-d", options.depths, "-t", options.threads, "--kv", "f16,int8", "-o", "json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def round_up(value):
    """The next of 1, 2, 5, 10, 20, ... times a power of ten."""
    scale = 1e-6
    while True:
        for step in (1, 2, 5):
            if step * scale >= value:
                return step * scale
        scale *= 10


def draw(rows):
    """An SVG of milliseconds per token over positions, one line for each type."""
    lines = {}
    for row in rows:
        # The middle of the tokens that were measured.
        position = row["n_depth"] + row["n_gen"] / 2
        lines.setdefault(row["kv"], []).append((position, 1000 / row["tok_s"]))
    right = max(position for line in lines.values() for position, _ in line)
    highest = max(cost for line in lines.values() for _, cost in line)
    step = round_up(highest / 6)
    top = step * (int(highest / step) + 1)

    def x(position):
        return LEFT + (WIDTH - LEFT - RIGHT) * position / right

    def y(cost):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * cost / top

    first = rows[0]
    title = f"{first['model']}, {first['threads']} threads, {first['kernels']}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">Cost of a token by depth</text>',
        f'<text x="{LEFT}" y="40" fill="#666">{title}</text>',
    ]
    cost = 0
    while cost <= top + step / 2:
        parts.append(
            f'<path d="M{LEFT} {y(cost):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(cost) + 4:.1f}" text-anchor="end">{cost:g}</text>'
        )
        cost += step
    tick = round_up(right / 5)
    position = 0
    while position <= right:
        parts.append(
            f'<text x="{x(position):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{position:g}</text>"
        )
        position += tick
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">positions</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 12}" fill="#666">ms per token</text>')
    for kv, line in lines.items():
        colour = COLOURS.get(kv, "#555")
        points = " ".join(f"{x(p):.1f},{y(c):.1f}" for p, c in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for position, cost in line:
            parts.append(
                f'<circle cx="{x(position):.1f}" cy="{y(cost):.1f}" r="3" fill="{colour}">'
                f"<title>{position:g} positions: {cost:.2f} ms</title></circle>"
            )
        position, cost = line[-1]
        parts.append(
            f'<text x="{x(position) - 6:.1f}" y="{y(cost) - 8:.1f}" text-anchor="end" '
            f'fill="{colour}">{kv}, {cost:.1f} ms</text>'
        )
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--depths", default="0,1024,4096,8064")
    parser.add_argument("--samples", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "docs/plots/depth.svg")
    options = parser.parse_args()
    rows = json.loads(options.samples.read_text()) if options.samples else measure(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(draw(rows))


if __name__ == "__main__":
    main()
