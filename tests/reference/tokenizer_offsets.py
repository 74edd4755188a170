"""Where Hugging Face `tokenizers` finds tokens in texts, for the vocabularies in goldens/tokenizers.

    python tests/reference/tokenizer_offsets.py

Writes goldens/tokenizers/offsets.json: for each vocabulary and text `[start, end, word]` of every
token, in characters, without white space at the ends of a span.
"""

import json
import pathlib

from tokenizers import Tokenizer

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tokenizers"
NAMES = ["bert_cased_like", "clip_like", "falcon_like", "gemma_like", "llama2_like", "llama3_like",
         "metaspace_like", "qwen2_like", "roberta_like", "t5_like", "xlm_like"]
TEXTS = [
    "Hello, world!",
    "  two  spaces and\ttabs\n\nlines ",
    "Zoë met Ada in 東京; they said: \"it's 3.14\"",
    "un\u00adhyphenated ﬁne ½ ① Å",
    "emoji 🐦‍⬛ and 👍🏽 too",
    "don't stop-me_now",
    "ÀÉÎÕÜ çığ straße ΑΣ",
    "हिन्दी में लिखा 한국어도 العربية",
    "a\u200bb\ufeffc\u0000d",
    "supercalifragilisticexpialidocious",
    "", " ", "x",
]


def main():
    found = {}
    for name in NAMES:
        tokenizer = Tokenizer.from_file(str(FOLDER / f"{name}.json"))
        tokenizer.no_truncation()
        found[name] = []
        for text in TEXTS:
            encoding = tokenizer.encode(text, add_special_tokens=False)
            spans = []
            for (start, end), word in zip(encoding.offsets, encoding.word_ids):
                part = text[start:end]
                start += len(part) - len(part.lstrip())
                spans.append([start, start + len(part.strip()), word])
            found[name].append(spans)
    lines = [f'"{name}":' + json.dumps(spans, separators=(",", ":")) for name, spans in found.items()]
    texts = '"texts":' + json.dumps(TEXTS)
    (FOLDER / "offsets.json").write_text("{\n" + ",\n".join([texts, *lines]) + "\n}\n")


if __name__ == "__main__":
    main()
