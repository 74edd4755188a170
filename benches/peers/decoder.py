"""SmolLM2: prefill, decode, decode after 1024 tokens, and time to the first token."""

import json
import os
import pathlib
import subprocess
import sys
import time

import models

PAIRS = [("int8", "Q8_0"), ("f16", "F16")]
DEPTH = 1024
# 10 tokens for this checkpoint's tokenizer.
PROMPT = "Once upon a time there was a little bird,"


def run_json(command):
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return []
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip()[-400:]}", file=sys.stderr)
        return []
    value = json.loads(done.stdout)
    return value if isinstance(value, list) else value["results"]


def llama_bench(file, threads, extra):
    rows = run_json([models.TOOLS / "llama-bench", "-m", file, "-t", threads, "-r", 1, "-o", "json",
                     *extra])
    speeds = {}
    for row in rows:
        depth = f" @ d{row['n_depth']}" if row["n_depth"] else ""
        test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        speeds[test + depth] = row["avg_ts"]
    return speeds


def kinglet_bench(kinglet, file, threads, extra, kernels):
    rows = run_json([kinglet, "bench", file, "-t", threads, "-r", 1, "-o", "json", *extra])
    kernels.update(row["kernels"] for row in rows)
    return {row["test"]: row["tok_s"] for row in rows}


def ask_peer(request):
    """The answer of benches/src/bin/peer.rs, or None."""
    program = os.environ["KINGLET_PEER_BIN"]
    try:
        done = subprocess.run([program], input=json.dumps(request), capture_output=True, text=True)
    except OSError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return None
    if done.returncode:
        print(f"{program}: {done.stderr.strip()[-400:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


def kinglet_deep(file, threads, test):
    """Decoding after DEPTH other tokens."""
    answer = ask_peer({"model": str(file), "threads": threads, "depth": DEPTH, "tokens": 128})
    return {test: answer["tok_s"]} if answer else {}


def in_turn(round_, first, second):
    """Both results, the order of the calls depending on the round."""
    if round_ % 2:
        b = second()
        return first(), b
    return first(), second()


def throughput(kinglet, threads, rounds):
    deep = f"tg128 @ d{DEPTH}"
    tests = [("pp512", ["-p", 512, "-n", 0]), ("tg128", ["-p", 0, "-n", 128]),
             (deep, ["-p", 0, "-n", 128, "-d", DEPTH])]
    rows, kernels = {}, set()
    files = {}
    for ours, theirs in PAIRS:
        files[ours] = models.kinglet_file(kinglet, "smollm2", models.fetch(*models.SMOLLM2), ours)
        files[theirs] = models.smollm2_gguf(theirs)
    for round_ in range(rounds):
        for ours, theirs in PAIRS:
            for test, extra in tests:
                if test == deep and ours != "int8":
                    continue
                for count in threads:
                    a, b = in_turn(
                        round_,
                        lambda: {} if not files[ours]
                        else kinglet_deep(files[ours], count, test) if test == deep
                        else kinglet_bench(kinglet, files[ours], count, extra, kernels),
                        lambda: llama_bench(files[theirs], count, extra))
                    row = rows.setdefault((ours, test, count), {
                        "what": f"{ours} / {theirs} {test}", "threads": count, "unit": "tok/s",
                        "more_is_better": True, "kinglet": [], "peer": []})
                    row["kinglet"] += [a[test]] if test in a else []
                    row["peer"] += [b[test]] if test in b else []
        print(f"decoder: round {round_ + 1} of {rounds}", file=sys.stderr)
    order = [(ours, test, count) for ours, _ in PAIRS for test, _ in tests for count in threads]
    return [rows[key] for key in order if key in rows], ", ".join(sorted(kernels)) or "–"


def first_byte(command):
    """(milliseconds until the first byte on stdout, peak memory in MiB) of a process."""
    start = time.perf_counter()
    try:
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return None
    byte = os.read(process.stdout.fileno(), 1)
    elapsed = 1000 * (time.perf_counter() - start)
    while os.read(process.stdout.fileno(), 65536):
        pass
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not byte or process.returncode:
        print(f"{' '.join(map(str, command))}: failed", file=sys.stderr)
        return None
    return elapsed, usage.ru_maxrss / 1024


def start(kinglet, threads, rounds):
    gguf = models.smollm2_gguf("Q8_0")
    file = models.kinglet_file(kinglet, "smollm2", models.fetch(*models.SMOLLM2), "int8")
    for path in filter(None, (gguf, file)):
        pathlib.Path(path).read_bytes()
    rows = []
    for count in threads:
        ours, theirs = [], []
        for round_ in range(rounds):
            a, b = in_turn(
                round_,
                lambda: first_byte([kinglet, "run", file, "--raw", "-p", PROMPT, "-n", 1, "-c", 512,
                                    "--temp", 0, "-t", count]) if file else None,
                lambda: first_byte([models.TOOLS / "llama-completion", "-m", gguf, "-p", PROMPT,
                                    "-n", 1, "-c", 512, "--temp", 0, "-t", count, "--no-warmup",
                                    "-no-cnv", "--no-display-prompt"]))
            ours += [a] if a else []
            theirs += [b] if b else []
        for index, (what, unit) in enumerate([("int8 / Q8_0 first token", "ms"),
                                              ("int8 / Q8_0 peak memory", "MiB")]):
            rows.append({"what": what, "threads": count, "unit": unit, "more_is_better": False,
                         "kinglet": [r[index] for r in ours], "peer": [r[index] for r in theirs]})
    print("start: done", file=sys.stderr)
    return rows
