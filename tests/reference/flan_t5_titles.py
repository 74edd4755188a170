"""Titles that onnxruntime writes with a published FLAN-T5, greedy, token by token.

    python tests/reference/flan_t5_titles.py T5_FOLDER

The folder has `encoder.onnx`, `decoder.onnx` and `tokenizer.json` (tests/src/real.rs names the files). Written to
tests/goldens/onnx_models/titles.json: for each text the tokens and the title by the files' own graphs, whose products
of integers are products of floats instead ("tokens"), and by the files as they are, which round activations to
8 bits ("rounded").
"""

import json
import pathlib
import sys

import numpy as np
import tokenizers

from onnx_models import OUT, session, with_float_activations

MAX_TOKENS = 24
PREFIX = "summarize agent step: "
TEXTS = [
    "intent: fix crash; actions: read, edit, run tests; files: reader.py, header.py; notes: opening a file with no header twice fails",
    "actions: grep, view, edit; files: config.yaml, settings.py; symbols: load_settings; notes: environment variables are ignored",
    "intent: add dark mode; actions: edit, edit, create; files: theme.css, toggle.js",
    "actions: run, run, view; files: test_login.py; notes: the login test is flaky on slow machines",
    "intent: update dependencies; actions: run, edit; files: package.json, package.lock",
    "actions: create, edit, run; files: migration.sql, models.py; symbols: User.email; notes: the column must be unique",
    "intent: explain the parser; actions: view, view, grep; files: parser.rs, lexer.rs",
    "actions: edit, run tests; files: retry.go; symbols: backoff; notes: wait longer after every failure",
    "intent: write documentation; actions: view, create; files: install.md, readme.md; notes: how to install on a Raspberry Pi",
    "actions: grep, edit, edit, run; files: search.ts, index.ts; symbols: rankResults; notes: results are sorted by date now",
]


def greedy(encoder, decoder, ids):
    mask = np.ones((1, len(ids)), np.int64)
    names = [i.name for i in encoder.get_inputs()]
    states = encoder.run(None, dict(zip(names, [np.array([ids]), mask])))[0]
    tokens, gaps = [0], []
    while len(tokens) <= MAX_TOKENS and tokens[-1] != 1:
        logits = decoder.run(None, {"input_ids": np.array([tokens]), "encoder_hidden_states": states,
                                    "encoder_attention_mask": mask})[0][0, -1]
        first, second = np.sort(logits)[::-1][:2]
        gaps.append(float(first - second))
        tokens.append(int(logits.argmax()))
    return [token for token in tokens[1:] if token != 1], min(gaps)


def main():
    folder = pathlib.Path(sys.argv[1])
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    files = [folder / name for name in ("encoder.onnx", "decoder.onnx")]
    exact, rounding = [with_float_activations(f) for f in files], [session(f) for f in files]
    out = []
    for text in TEXTS:
        ids = tokenizer.encode(PREFIX + text).ids
        tokens, gap = greedy(*exact, ids)
        rounded, _ = greedy(*rounding, ids)
        title = tokenizer.decode(tokens)
        print(f"{title!r} (gap {gap:.3f}); rounded {tokenizer.decode(rounded)!r}")
        out.append({"text": PREFIX + text, "ids": ids, "tokens": tokens, "title": title, "gap": gap,
                    "rounded": tokenizer.decode(rounded)})
    rows = ",\n".join(json.dumps(row) for row in out)
    (OUT / "titles.json").write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
