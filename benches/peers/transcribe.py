"""Whisper beside CTranslate2 (faster-whisper) and whisper.cpp: 30 seconds of speech, greedy, the programs in turn.

    apt-get install espeak-ng; pip install faster-whisper pywhispercpp soundfile scipy
    python benches/peers/transcribe.py --kinglet target/release/kinglet [--rounds 5] [--threads 2]

All have the same weights: CTranslate2's folders in the cache, which `kinglet transcribe` fetches, and the models that
are made of them; whisper.cpp has Q8_0. Its wheel knows AVX2 and no more, as Kinglet does with KINGLET_ISA=avx2. The clip is of spoken.py, and never repeats itself: what does is taken for a failure by
all, and transcribed again at higher temperatures. Times are those of transcribing alone, without loading; `words` adds times of words on both sides. Prints a table of medians, and what each
writes.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import soundfile
from faster_whisper import WhisperModel
from pywhispercpp.model import Model

import ggml_whisper
import spoken

RATE, SECONDS = spoken.RATE, 30


def cache():
    base = os.environ.get("KINGLET_CACHE") or pathlib.Path.home() / ".cache/kinglet"
    return pathlib.Path(base) / "checkpoints"


def ct2_folder(name, folder):
    """The model with the list of tokens that CTranslate2 wants, which tokenizer.json has too."""
    target = pathlib.Path(folder) / name
    target.mkdir()
    for file in (cache() / name).iterdir():
        (target / file.name).symlink_to(file.resolve())
    tokenizer = json.loads((target / "tokenizer.json").read_text())
    ids = dict(tokenizer["model"]["vocab"]) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.get)
    if "<|0.00|>" not in ids:
        tokens += [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    if not (target / "vocabulary.json").exists():
        (target / "vocabulary.json").write_text(json.dumps(tokens))
    return str(target)


def kinglet(program, model, file, threads, words, kind="int8"):
    """(seconds, text)"""
    command = [program, "transcribe", model, str(file), "-l", "en", "-q", "-o", "json", "-t", str(threads), "--type", kind]
    out = subprocess.run(command + (["--words"] if words else []), check=True, capture_output=True)
    said = json.loads(out.stdout)
    return said["took"], said["text"]


def faster_whisper(model, samples, words):
    start = time.perf_counter()
    segments, _ = model.transcribe(samples, language="en", beam_size=1, word_timestamps=words)
    text = "".join(segment.text for segment in segments)
    return time.perf_counter() - start, text.strip()


def whisper_cpp(model, samples):
    start = time.perf_counter()
    segments = model.transcribe(samples, language="en")
    return time.perf_counter() - start, " ".join(segment.text for segment in segments)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinglet", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", default="whisper-tiny.en,whisper-base")
    arguments = parser.parse_args()
    samples, text = spoken.clip(SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "clip.wav"
        soundfile.write(file, samples, RATE, subtype="PCM_16")
        samples = soundfile.read(file, dtype="float32")[0]
        print("| model | words | Kinglet int8 | CTranslate2 int8 | CTranslate2 f32 | whisper.cpp Q8_0 | ratios |")
        print("|---|---|--:|--:|--:|--:|---|")
        for name in arguments.models.split(","):
            kinglet(arguments.kinglet, name, file, arguments.threads, False)  # fetches and converts
            own = ct2_folder(name, folder)
            ggml_whisper.write(own, f"{folder}/{name}.bin")
            ggml = Model(f"{folder}/{name}.bin", n_threads=arguments.threads, print_progress=False,
                         redirect_whispercpp_logs_to=None)
            theirs = {kind: WhisperModel(own, device="cpu", compute_type=kind, cpu_threads=arguments.threads)
                      for kind in ("int8", "float32")}
            for words in (False, True):
                times, texts = {}, {}
                entrants = {"kinglet": lambda: kinglet(arguments.kinglet, name, file, arguments.threads, words)}
                for kind, model in theirs.items():
                    entrants[kind] = lambda model=model: faster_whisper(model, samples, words)
                if not words:
                    entrants["whisper.cpp"] = lambda: whisper_cpp(ggml, samples)
                for _ in range(arguments.rounds):
                    for key, run in entrants.items():
                        took, texts[key] = run()
                        times.setdefault(key, []).append(took)
                medians = {key: statistics.median(taken) for key, taken in times.items()}
                ratios = [f"{min(medians['int8'], medians['float32']) / medians['kinglet']:.2f}"]
                ratios += [f"{medians['whisper.cpp'] / medians['kinglet']:.2f}"] if not words else []
                cells = [f"{medians[key]:.2f} s" if key in medians else "" for key in ("kinglet", "int8", "float32", "whisper.cpp")]
                print(f"| {name} | {'yes' if words else 'no'} | {' | '.join(cells)} | {', '.join(ratios)} |", flush=True)
            for key, said in texts.items():
                print(f"<!-- {key}: {said} -->")
    print(f"<!-- spoken: {text} -->")


if __name__ == "__main__":
    main()
