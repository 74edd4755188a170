"""Whisper beside CTranslate2 (faster-whisper): 30 seconds of speech, greedy, the programs in turn.

    pip install faster-whisper soundfile
    python benches/peers/transcribe.py --kinglet target/release/kinglet [--rounds 5] [--threads 2]

Both have the same weights: CTranslate2's folders in the cache, which `kinglet transcribe` fetches, and the int8 and
f16 models that are made of them. The clip is tests/goldens/whisper/english.flac again and again. Times are those of
transcribing alone, without loading; `words` adds times of words on both sides. Prints a table of medians, and what both
write.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import soundfile
from faster_whisper import WhisperModel

CLIP = pathlib.Path(__file__).resolve().parents[2] / "tests/goldens/whisper/english.flac"
RATE, SECONDS = 16_000, 30


def clip():
    samples, rate = soundfile.read(CLIP, dtype="float32")
    assert rate == RATE and samples.ndim == 1
    pause = np.zeros(RATE // 2, np.float32)
    whole = np.concatenate([np.concatenate([samples, pause])] * 10)
    return whole[:SECONDS * RATE]


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


def kinglet(program, model, file, threads, words):
    command = [program, "transcribe", model, str(file), "-l", "en", "-q", "-o", "json", "-t", str(threads)]
    out = subprocess.run(command + (["--words"] if words else []), check=True, capture_output=True)
    said = json.loads(out.stdout)
    return said["took"], said["text"]


def faster_whisper(model, samples, words):
    start = time.perf_counter()
    segments, _ = model.transcribe(samples, language="en", beam_size=1, word_timestamps=words)
    text = "".join(segment.text for segment in segments)
    return time.perf_counter() - start, text.strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinglet", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", default="whisper-tiny.en,whisper-base")
    arguments = parser.parse_args()
    samples = clip()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "clip.wav"
        soundfile.write(file, samples, RATE, subtype="PCM_16")
        samples = soundfile.read(file, dtype="float32")[0]
        print("| model | words | " + " | ".join(["Kinglet int8", "CTranslate2 int8", "CTranslate2 f32", "ratio"]) + " |")
        print("|---|---|--:|--:|--:|--:|")
        for name in arguments.models.split(","):
            kinglet(arguments.kinglet, name, file, arguments.threads, False)  # fetches and converts
            own = ct2_folder(name, folder)
            theirs = {kind: WhisperModel(own, device="cpu", compute_type=kind, cpu_threads=arguments.threads)
                      for kind in ("int8", "float32")}
            for words in (False, True):
                times = {"kinglet": [], "int8": [], "float32": []}
                texts = {}
                for _ in range(arguments.rounds):
                    took, texts["kinglet"] = kinglet(arguments.kinglet, name, file, arguments.threads, words)
                    times["kinglet"].append(took)
                    for kind, model in theirs.items():
                        took, texts[kind] = faster_whisper(model, samples, words)
                        times[kind].append(took)
                ours, int8, f32 = (statistics.median(times[key]) for key in times)
                ratio = min(int8, f32) / ours
                print(f"| {name} | {'yes' if words else 'no'} | {ours:.2f} s | {int8:.2f} s | {f32:.2f} s | {ratio:.2f} |", flush=True)
            for key, text in texts.items():
                print(f"<!-- {key}: {text[:160]} -->")


if __name__ == "__main__":
    main()
