"""English speech with its text, made by espeak-ng from the prose of Debian's FAQ.

    apt-get install espeak-ng; pip install soundfile numpy scipy

The package is fetched and unpacked, not installed. Only sentences that can be compared word by word are read out: no
figures, addresses, commands or names in capitals. They are read in turn by the voices below; what is longer than all of
them, half an hour, has them again with the next voice.
"""

import gzip
import io
import itertools
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE = 16_000
PAUSE = np.zeros(RATE // 2, np.float32)
# espeak-ng's voice and its words a minute.
VOICES = [("en-us", 150), ("en-gb", 140), ("en-us+f3", 145), ("en-gb-x-rp+m3", 135)]
WORD = re.compile(r"[A-Za-z][a-z']*[,;.?]?")


def sentences():
    """Sentences of 8 to 30 words, in their order."""
    with tempfile.TemporaryDirectory() as folder:
        run = lambda *command: subprocess.run(command, cwd=folder, check=True, capture_output=True)
        run("apt-get", "download", "debian-faq")
        run("sh", "-c", "dpkg -x debian-faq_*.deb unpacked")
        file = pathlib.Path(folder) / "unpacked/usr/share/doc/debian/FAQ/debian-faq.en.txt.gz"
        text = gzip.decompress(file.read_bytes()).decode()
    seen = set()
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.?]) ", " ".join(paragraph.split())):
            words = sentence.split()
            if 8 <= len(words) <= 30 and all(map(WORD.fullmatch, words)) and sentence not in seen:
                seen.add(sentence)
                yield sentence


def speak(sentence, voice, speed):
    """Samples of 16 kHz, as float32."""
    wave = subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", sentence],
                          check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    return resample_poly(samples, RATE, rate).astype(np.float32)


def clip(seconds):
    """(samples, text): whole sentences that fit, each with half a second of silence after it."""
    found = list(sentences())
    parts, texts, length = [], [], 0
    for index in itertools.count():
        sentence = found[index % len(found)]
        voice = VOICES[(index + index // len(found)) % len(VOICES)]
        samples = np.concatenate([speak(sentence, *voice), PAUSE])
        length += len(samples)
        if length > seconds * RATE:
            return np.concatenate(parts), " ".join(texts)
        parts.append(samples)
        texts.append(sentence)
