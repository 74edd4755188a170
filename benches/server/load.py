"""`kinglet serve` under load: tokens a second of one client and of several, time to the first token, what a form costs.

    python benches/server/load.py --kinglet target/release/kinglet [--model smollm2-135m] [--rounds 3] [-t 2]

Medians of the rounds, each on the same server, with nothing but Python.
"""

import argparse
import json
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

CLIENTS = (1, 2, 4, 8, 16)
LONG = "the small bird sings over the river and the large ship sails north " * 77
SCHEMA = {"type": "object", "properties": {"words": {"type": "array", "minItems": 60,
                                                     "items": {"type": "string", "maxLength": 60}}}, "required": ["words"]}


def ask(port, path, body):
    """Seconds to the first event, to the end, and the last event with a usage."""
    body = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}}).encode()
    start = time.perf_counter()
    first, data = None, b""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        while not data.endswith(b"0\r\n\r\n"):
            data += stream.recv(1 << 16)
            # A chat's first event names the role alone.
            if first is None and re.search(rb'"(text|content)":"[^"]', data):
                first = time.perf_counter() - start
    end = time.perf_counter() - start
    usage = [json.loads(line[6:])["usage"] for line in data.split(b"\n") if line.startswith(b"data: {") and b'"usage":{' in line]
    return first, end, usage[-1]


def together(port, n):
    bodies = [{"prompt": f"Story number {i}: once upon a time", "max_tokens": 128, "temperature": 0, "ignore_eos": True}
              for i in range(n)]
    firsts = [None] * n

    def one(i):
        firsts[i] = ask(port, "/v1/completions", bodies[i])[0]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return n * 128 / (time.perf_counter() - start), statistics.median(firsts)


def chat_speed(port, form):
    body = {"messages": [{"role": "user", "content": "Words, in JSON."}], "max_tokens": 256, "temperature": 0, "ignore_eos": True}
    # With these every token is drawn, even those that must come, which would cost next to nothing.
    body["logprobs"] = True
    if form:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "words", "schema": SCHEMA}}
    _, seconds, usage = ask(port, "/v1/chat/completions", body)
    return usage["completion_tokens"] / seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinglet", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", default="2")
    arguments = parser.parse_args()
    log = tempfile.TemporaryFile("w+")
    server = subprocess.Popen([arguments.kinglet, "serve", arguments.model, "--port", "0", "--slots", "8", "--preload",
                               "-t", arguments.threads], stderr=log)
    port = None
    while port is None:
        time.sleep(0.2)
        assert server.poll() is None, "the server did not start"
        log.seek(0)
        port = re.search(r"at http://127.0.0.1:(\d+)", log.read())
    port = int(port[1])
    together(port, 1)
    loads = {n: [together(port, n) for _ in range(arguments.rounds)] for n in CLIENTS}
    alone = statistics.median(speed for speed, _ in loads[1])
    print("| clients | tok/s | to one client's | first token, ms |\n|--:|--:|--:|--:|")
    for n, runs in loads.items():
        speed, first = (statistics.median(values) for values in zip(*runs))
        print(f"| {n} | {speed:.0f} | {speed / alone:.2f} | {1000 * first:.0f} |")
    prompt = lambda i, fresh: {"prompt": f"{LONG}{i} then", "max_tokens": 2, "temperature": 0, "cache_prompt": not fresh}  # noqa: E731
    fresh = statistics.median(ask(port, "/v1/completions", prompt(i, True))[0] for i in range(arguments.rounds))
    ask(port, "/v1/completions", prompt(0, False))
    runs = [ask(port, "/v1/completions", prompt(10 + i, False)) for i in range(5 * arguments.rounds)]
    known = statistics.median(first for first, _, _ in runs)
    usage = runs[-1][2]
    print(f"\nprompt of {usage['prompt_tokens']} tokens: first token after {1000 * fresh:.0f} ms, "
          f"{1000 * known:.1f} ms with {usage['prompt_tokens_details']['cached_tokens']} of them known")
    chat_speed(port, True)
    pairs = [(chat_speed(port, False), chat_speed(port, True)) for _ in range(2 * arguments.rounds)]
    free, bound = (statistics.median(values) for values in zip(*pairs))
    print(f"an answer with logprobs: {free:.0f} tok/s free, {bound:.0f} tok/s by a schema ({bound / free:.3f})")
    server.send_signal(signal.SIGINT)
    server.wait(timeout=60)


if __name__ == "__main__":
    main()
