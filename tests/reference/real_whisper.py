"""What CTranslate2 writes down of two recordings with real weights, in f32.

    python tests/reference/real_whisper.py TINY_EN_FOLDER BASE_FOLDER

The folders are those of the catalog's `whisper-tiny.en` and `whisper-base` in the cache. Writes
tests/goldens/whisper/real.json: of each recording beside it the tokens of the greedy answer with
timestamps to transformers' log-mel spectrogram, and the language that is told by it.

The recordings are made by espeak-ng and sox:

    espeak-ng -v en-gb -s 140 -w e.wav "Good morning everyone, and welcome to the meeting. Today we will \
talk about the weather."
    espeak-ng -v de -s 130 -w d.wav "Guten Morgen. Heute sprechen wir über das Wetter. Am Nachmittag wird \
es regnen, und der Wind ist stark."
    sox e.wav -r 16000 -c 1 -b 16 english.flac
"""

import json
import pathlib
import subprocess
import sys

import ctranslate2
import numpy as np
import transformers
from tokenizers import Tokenizer

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "whisper"


def samples(path):
    command = ["sox", str(path), "-t", "raw", "-e", "signed", "-b", "16", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, dtype="<i2").astype(np.float32) / 32768.0


def answer(folder, recording, task):
    model = ctranslate2.models.Whisper(folder, device="cpu", compute_type="float32")
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    features = extractor(samples(recording), sampling_rate=16_000, return_tensors="np").input_features
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(features))
    prompt, language = ["<|startoftranscript|>"], None
    if model.is_multilingual:
        language = model.detect_language(features)[0][0][0]
        prompt += [language, f"<|{task}|>"]
    ids = [tokenizer.token_to_id(token) for token in prompt]
    result = model.generate(features, [ids], beam_size=1, suppress_blank=True, suppress_tokens=[-1],
                            max_initial_timestamp_index=50, return_scores=True)[0]
    tokens = result.sequences_ids[0]
    text = tokenizer.decode([token for token in tokens if token < ids[0] - 1])
    return {"recording": recording.name, "task": task, "language": language,
            "tokens": tokens, "text": text, "score": round(result.scores[0], 4)}


def main():
    tiny_en, base = sys.argv[1:]
    english, german = GOLDENS / "english.flac", GOLDENS / "german.flac"
    answers = {
        "whisper-tiny.en": [answer(tiny_en, english, "transcribe")],
        "whisper-base": [answer(base, english, "transcribe"), answer(base, german, "transcribe"),
                         answer(base, german, "translate")],
    }
    reference = f"ctranslate2 {ctranslate2.__version__}, transformers {transformers.__version__}"
    golden = {"reference": reference, **answers}
    (GOLDENS / "real.json").write_text(json.dumps(golden, indent=1) + "\n")
    for model, answers in golden.items():
        print(model, [one["text"] for one in answers] if model != "reference" else answers)


if __name__ == "__main__":
    main()
