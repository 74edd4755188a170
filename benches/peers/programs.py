"""How each program is run, and what it answers. A program that fails answers with nothing."""

import json
import os
import pathlib
import subprocess
import sys
import time

import models

KINGLET = pathlib.Path(os.environ.get("KINGLET_BIN", models.ROOT / "target/release/kinglet"))
# Another Kinglet to be compared with, an earlier one; None where there is none.
BEFORE = os.environ.get("KINGLET_BEFORE_BIN")
HERE = pathlib.Path(__file__).resolve().parent


def output(command, text=None, environment=None):
    """What a command writes to its standard output, or None."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True,
                              env={**os.environ, **(environment or {})})
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return None
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip()[-400:]}", file=sys.stderr)
        return None
    return done.stdout


def kernels(isa):
    """The environment in which Kinglet uses the kernels of a class of machines."""
    return {"KINGLET_ISA": "avx2"} if isa == "avx2" else {}


def kinglet_bench(file, isa, threads, extra, kinglet=KINGLET):
    """{test: (tokens/s, GB/s, GB/s of a plain read)}"""
    text = output([kinglet, "bench", file, "-t", threads, "-r", 1, "-o", "json", "--roofline",
                   *extra], environment=kernels(isa))
    return {row["test"]: (row["tok_s"], row["gb_s"], row["read_gb_s"], row["kernels"])
            for row in json.loads(text or "[]")}


def llama_bench(file, isa, threads, extra):
    """{test: tokens/s}, by Kinglet's names of tests."""
    text = output([models.tools(isa) / "llama-bench", "-m", file, "-t", threads, "-r", 1,
                   "-o", "json", *extra])
    speeds = {}
    for row in json.loads(text or "[]"):
        depth = f" @ d{row['n_depth']}" if row["n_depth"] else ""
        test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        speeds[test + depth] = row["avg_ts"]
    return speeds


def ask(command, request, environment=None):
    """The JSON answer of one of the peer programs, {} when it fails."""
    return json.loads(output(command, json.dumps(request), environment) or "{}")


def ask_kinglet(request, isa):
    return ask([os.environ["KINGLET_PEER_BIN"]], request, kernels(isa))


def ask_candle(request, threads):
    return ask([os.environ["CANDLE_PEER_BIN"]], request, {"RAYON_NUM_THREADS": str(threads)})


def ask_onnx(request):
    return ask([sys.executable, HERE / "onnx_peer.py"], request)


def first_byte(command, isa="best"):
    """Milliseconds from the start of a process to the first byte on its standard output."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                               env={**os.environ, **kernels(isa)})
    byte = os.read(process.stdout.fileno(), 1)
    elapsed = 1000 * (time.perf_counter() - start)
    while os.read(process.stdout.fileno(), 65536):
        pass
    if process.wait() or not byte:
        print(f"{' '.join(map(str, command))}: failed", file=sys.stderr)
        return None
    return elapsed


def memory(command, isa="best"):
    """(most memory resident at a time, most of it that no other process shares), MiB."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                               env={**os.environ, **kernels(isa)})
    private = 0
    status = pathlib.Path(f"/proc/{process.pid}/status")
    while True:
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            private = max(private, int(fields.get("RssAnon", "0 kB").split()[0]))
        except OSError:
            pass
        pid, status_code, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status_code)
            break
        time.sleep(0.02)
    if process.returncode:
        print(f"{' '.join(map(str, command))}: failed", file=sys.stderr)
        return None
    return usage.ru_maxrss / 1024, private / 1024
