"""Word error rates of Whisper on an hour of spoken English: Kinglet's int8 and f16 beside CTranslate2's float32.

    apt-get install espeak-ng; pip install faster-whisper soundfile scipy jiwer
    python benches/peers/words.py --kinglet target/release/kinglet [--seconds 3600]

The speech and its text are of spoken.py. Both sides decode greedily with the same weights and the reference's rules:
temperatures fall back, each window is told what came before. Prints errors in words per hundred, and real-time factors.
"""

import argparse
import pathlib
import re
import tempfile
import time

import jiwer
import soundfile
from faster_whisper import WhisperModel

import spoken
import transcribe


def words(text):
    """As they are compared: lower case, without punctuation."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower().replace("-", " ")).split())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinglet", required=True)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", default="whisper-tiny.en,whisper-base")
    arguments = parser.parse_args()
    samples, text = spoken.clip(arguments.seconds)
    print(f"{len(samples) / spoken.RATE:.0f} s, {len(words(text).split())} words\n")
    print("| model | | words wrong of 100 | of them put in, left out, changed | times real time |")
    print("|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "clip.wav"
        soundfile.write(file, samples, spoken.RATE, subtype="PCM_16")
        samples = soundfile.read(file, dtype="float32")[0]

        def row(name, side, took, said):
            found = jiwer.process_words(words(text), words(said))
            kinds = f"{found.insertions}, {found.deletions}, {found.substitutions}"
            print(f"| {name} | {side} | {100 * found.wer:.2f} | {kinds} | {len(samples) / spoken.RATE / took:.0f} |", flush=True)

        for name in arguments.models.split(","):
            for kind in ("int8", "f16"):
                row(name, f"Kinglet {kind}", *transcribe.kinglet(arguments.kinglet, name, file, arguments.threads, False, kind))
            model = WhisperModel(transcribe.ct2_folder(name, folder), device="cpu", compute_type="float32",
                                 cpu_threads=arguments.threads)
            start = time.perf_counter()
            segments, _ = model.transcribe(samples, language="en", beam_size=1)
            said = "".join(segment.text for segment in segments)
            row(name, "CTranslate2 f32", time.perf_counter() - start, said)


if __name__ == "__main__":
    main()
