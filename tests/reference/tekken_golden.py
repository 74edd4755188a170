"""Writes tests/goldens/tokenizers/tekken.json, the first pieces of a `tekken.json` of Mistral's, and tekken.golden: what
`mistral_common` makes of every text of the corpus.

Needs: pip install mistral-common tiktoken; the large file is in that package. The golden holds for each text two hashes
(FNV-1a, u32, little endian): of its ids, BOS first, each as u32, and of its decoding.
"""

import json
from pathlib import Path

import mistral_common
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from tokenizer_corpus import GOLDENS, load

N_PIECES, N_SPECIAL = 900, 30


def fnv(data):
    state = 0x811C9DC5
    for byte in data:
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    return state.to_bytes(4, "little")


if __name__ == "__main__":
    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tekken = json.loads(source.read_text())
    config = dict(tekken["config"], num_vocab_tokens=N_PIECES + 50, default_vocab_size=N_PIECES + N_SPECIAL,
                  default_num_special_tokens=N_SPECIAL)
    small = {"config": config, "vocab": tekken["vocab"][: N_PIECES + 50]}
    path = GOLDENS / "tekken.json"
    path.write_text(json.dumps(small, ensure_ascii=False) + "\n", encoding="utf-8")
    tokenizer = Tekkenizer.from_file(path)
    out = b""
    for text in load():
        ids = tokenizer.encode(text, bos=True, eos=False)
        out += fnv(b"".join(id.to_bytes(4, "little") for id in ids)) + fnv(tokenizer.decode(ids).encode())
    (GOLDENS / "tekken.golden").write_bytes(out)
    print(path.stat().st_size, len(out))
