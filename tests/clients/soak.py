"""Sixteen clients that come, go, cut their connections and send nonsense, against `kinglet serve` with SmolLM2.

    python tests/clients/soak.py --kinglet target/release/kinglet [--minutes 10]

Fails if a request that is in order gets no whole answer, a slot stays taken, the server ends, or its memory grows
after the first quarter of the time. Needs nothing but Python.
"""

import argparse
import http.client
import json
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import threading
import time

CLIENTS, SLOTS = 16, 8
WORDS = "a the small large bird ship sings sleeps north south over under and then why river".split()


def text(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


class Soak:
    def __init__(self, port, end):
        self.port, self.end = port, end
        self.counts, self.problems = {}, []
        self.lock = threading.Lock()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def request(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body))
        return connection, connection.getresponse()

    def client(self, seed):
        rng = random.Random(seed)
        while time.time() < self.end:
            try:
                rng.choice([self.whole, self.whole, self.streamed, self.left, self.cut, self.nonsense, self.halved])(rng)
            except Exception as error:  # noqa: BLE001, whatever it is, it is told
                with self.lock:
                    self.problems.append(repr(error))

    def chat(self, rng, n):
        # Half of them begin alike.
        begin = "You are a bird. " * rng.choice([0, 40])
        return {"messages": [{"role": "user", "content": begin + text(rng, rng.randint(1, 120))}], "max_tokens": n,
                "seed": rng.randint(0, 9), "temperature": rng.choice([0, 1]), "ignore_eos": True}

    def whole(self, rng):
        n = rng.randint(1, 60)
        connection, response = self.request("/v1/chat/completions", self.chat(rng, n))
        answer = json.loads(response.read())
        connection.close()
        assert response.status in (200, 429), answer
        assert response.status == 429 or answer["usage"]["completion_tokens"] == n, answer
        self.count(f"whole {response.status}")

    def streamed(self, rng):
        body = self.chat(rng, rng.randint(1, 60)) | {"stream": True}
        if rng.random() < 0.3:
            body["response_format"] = {"type": "json_object"}
        connection, response = self.request("/v1/chat/completions", body)
        read = response.read().decode()
        connection.close()
        assert response.status == 429 or read.endswith("data: [DONE]\n\n"), read[-300:]
        self.count(f"streamed {response.status}")

    def left(self, rng):
        connection, response = self.request("/v1/chat/completions", self.chat(rng, 2000) | {"stream": True})
        response.read(rng.randint(1, 3000))
        connection.close()
        self.count("left")

    def cut(self, rng):
        """Gone before the answer has begun."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", "/v1/chat/completions", json.dumps(self.chat(rng, 2000)))
        time.sleep(rng.random() / 2)
        connection.close()
        self.count("cut")

    def nonsense(self, rng):
        body = json.dumps(self.chat(rng, 5)).encode()
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(len(body))
            body = body[:at] + bytes([rng.randrange(256)]) + body[at + rng.randint(0, 3):]
        connection, response = self.request("/v1/chat/completions", body)
        response.read()
        connection.close()
        assert response.status in (200, 400, 404, 429), response.status
        self.count("nonsense")

    def halved(self, rng):
        """A body that ends early."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("Content-Length", "5000")
        connection.endheaders(b'{"messages": [')
        connection.close()
        self.count("halved")


def rss(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinglet", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    log = tempfile.TemporaryFile("w+")
    server = subprocess.Popen([arguments.kinglet, "serve", "smollm2-135m", "--port", "0", "--slots", str(SLOTS),
                               "--kv-memory", "128"], stderr=log)
    port = None
    while port is None:
        time.sleep(0.2)
        assert server.poll() is None, "the server did not start"
        log.seek(0)
        port = re.search(r"at http://127.0.0.1:(\d+)", log.read())
    start = time.time()
    soak = Soak(int(port[1]), start + 60 * arguments.minutes)
    threads = [threading.Thread(target=soak.client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    samples = []
    while time.time() < soak.end:
        time.sleep(1)
        samples.append(rss(server.pid))
    for thread in threads:
        thread.join()
    time.sleep(2)
    connection = http.client.HTTPConnection("127.0.0.1", soak.port, timeout=30)
    connection.request("GET", "/slots")
    slots = json.loads(connection.getresponse().read())
    server.send_signal(signal.SIGINT)
    code = server.wait(timeout=60)
    log.seek(0)
    told = log.read()
    quarter = len(samples) // 4
    early, late = max(samples[quarter:2 * quarter]), max(samples[-quarter:])
    print(json.dumps({"requests": soak.counts, "problems": soak.problems[:5], "slots": slots, "exit": code,
                      "private_mib": {"second quarter": round(early), "last quarter": round(late)}}, indent=1))
    assert not soak.problems and code == 0 and "panicked" not in told, told
    assert slots[0]["running"] == 0 and slots[0]["waiting"] == 0, slots
    assert late < 1.1 * early + 8, "memory grows"


if __name__ == "__main__":
    main()
