"""The goldens of the tokenizers: what Hugging Face `tokenizers` makes of every text of the corpus.

`NAME.json` is a small tokenizer trained here. `NAME.golden` holds one record for each text and then
one for each of PAIRS pairs of neighbouring texts and each of SEQUENCES sequences of any ids. Numbers are packed by `number`, hashes FNV-1a (u32, little endian).
A text: number of ids, the ids (special tokens added), a byte that says which decoded texts need no hash
(1: the one with special tokens is the text; 2: so is the one without, or 4: it is the same as the other),
and the other hashes. A pair: number of ids, the ids, a byte for the segment of each.
Before the sequences: their ids are below this number. A sequence: the hashes of the decoded text with
and without special tokens.

Run as `tokenizer_goldens.py [NAME...]`; `KINGLET_MODELS` names the folder of the real models.
"""

import sys

from tokenizer_corpus import GOLDENS, load
from tokenizer_references import REAL, SMALL

PAIRS = 30
SEQUENCES = 150


def number(n):
    """One byte below 0xf0, else two or three of which the first gives the top three bits."""
    if n < 0xF0:
        return bytes([n])
    if n < 0x800:
        return bytes([0xF0 | n >> 8, n & 255])
    assert n < 0x80000
    return bytes([0xF8 | n >> 16, n >> 8 & 255, n & 255])


def fnv(text):
    state = 0x811C9DC5
    for byte in text.encode("utf-8"):
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    return state.to_bytes(4, "little")


def sequences(below):
    """Ids of a linear congruential generator, the same in the tests."""
    state = 1
    for _ in range(SEQUENCES):
        ids = []
        for _ in range(20):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            ids.append((state >> 8) % below)
        yield ids


def golden(tokenizer, texts):
    out = bytearray()
    for text in texts:
        ids = tokenizer.encode(text).ids
        out += number(len(ids)) + b"".join(map(number, ids))
        whole, plain = tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)
        same = (whole == text) | (2 if plain == text else 4 if plain == whole else 0)
        out += bytes([same]) + (b"" if same & 1 else fnv(whole)) + (b"" if same & 6 else fnv(plain))
    for a, b in zip(texts[:PAIRS], texts[1:]):
        pair = tokenizer.encode(a, b)
        out += number(len(pair.ids)) + b"".join(map(number, pair.ids)) + bytes(pair.type_ids)
    below = tokenizer.get_vocab_size() + 1
    out += number(below)
    for ids in sequences(below):
        out += fnv(tokenizer.decode(ids, skip_special_tokens=False)) + fnv(tokenizer.decode(ids))
    return bytes(out)


if __name__ == "__main__":
    texts = load()
    for name, make in (SMALL | REAL).items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        tokenizer = make()
        if name in SMALL:
            path = GOLDENS / f"{name}.json"
            path.write_text(tokenizer.to_str() + "\n", encoding="utf-8")
            tokenizer = tokenizer.from_str(path.read_text(encoding="utf-8"))
        data = golden(tokenizer, texts)
        (GOLDENS / f"{name}.golden").write_bytes(data)
        print(name, len(data), "bytes")
