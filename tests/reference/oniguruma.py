"""What constructs of split patterns match, by the reference: tests/goldens/tokenizers/oniguruma.json.

    pip install tokenizers==0.23.3
    python tests/reference/oniguruma.py

Only characters that were assigned in Python's Unicode tables are compared: later ones differ from one
release of a library to the next.
"""

import json
import pathlib
import sys
import unicodedata

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

PATTERNS = [r"\w", r"\W", r"\d", r"\s", r"\S", r"\h", r"\H", "."] + [
    "[[:%s:]]" % name
    for name in "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit ^alpha".split()
] + [r"[^[:alpha:]\s]", r"[\w-]", r"[^\w\s]", r"[\W_]", r"[a-z&&[^aeiou]]", r"\p{Alpha}", r"\p{Punct}", r"[[:alpha:][:digit:]_]"]

ALL = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
# Letters whose properties have changed since count as unknown, as do all of the private planes.
KNOWN = [code for code in ALL if unicodedata.category(chr(code)) not in ("Cn", "Co") and code < 0x20000]


def runs(codes):
    out = []
    for code in codes:
        if out and out[-1][1] + 1 == code:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def members(pattern):
    text = "".join(map(chr, KNOWN))
    left = set()
    for _, (start, end) in Split(Regex(pattern), "removed").pre_tokenize_str(text):
        left.update(KNOWN[start:end])
    return [code for code in KNOWN if code not in left]


if __name__ == "__main__":
    path = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tokenizers" / "oniguruma.json"
    golden = {"known": runs(KNOWN), "members": {}}
    for pattern in PATTERNS:
        found = set(members(pattern))
        # Runs go on over what is not compared, which keeps them few.
        merged, open_run = [], None
        for code in KNOWN:
            if code in found:
                open_run = open_run or [code, code]
                open_run[1] = code
            elif open_run:
                merged.append(open_run)
                open_run = None
        golden["members"][pattern] = merged + ([open_run] if open_run else [])
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
