"""What llama.cpp's samplers leave of the same logits, written to tests/goldens/samplers.json.

    LLAMA_CPP_LIB_PATH=FOLDER/build/bin PYTHONPATH=FOLDER/python VENV/bin/python samplers.py SmolLM2….gguf

Needs the Python module that build_llama_cpp.sh makes. Each case has options, and `(token, probability)`
of the tokens that may be drawn, likeliest first. Of the vocabulary only FIRST tokens and those of the text have a chance.
"""

import ctypes
import json
import math
import pathlib
import sys

import llama_cpp as lc

FIRST = 400
OUT = pathlib.Path(__file__).resolve().parents[1] / "goldens/samplers.json"
ORDER = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]
TEXT = 'He said: "one two three four".\nHe said: "one two three five".\nHe said: "one two three'

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}
CASES = [
    {},
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
    {"repeat_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.2, "repeat_last_n": 20},
    {"top_n_sigma": 1.0},
    {"top_n_sigma": 2.0, "temperature": 2.0},
    {"typical_p": 0.5},
    {"typical_p": 0.9, "top_p": 0.8},
    {"top_p": 0.3, "temperature": 1.5},
    {"min_p": 0.2, "temperature": 0.5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.02, "temperature": 0.3},
    {"xtc_probability": 1.0, "xtc_threshold": 0.1, "temperature": 0.25, "order": ["temperature", "xtc"]},
    {"xtc_probability": 1.0, "xtc_threshold": 0.6, "top_k": 5},
    {"dynatemp_range": 0.5, "dynatemp_exponent": 1.0, "temperature": 0.9},
    {"dynatemp_range": 2.0, "dynatemp_exponent": 2.5, "temperature": 1.0, "top_k": 30},
    {"dry_multiplier": 0.8},
    {"dry_multiplier": 0.8, "dry_breakers": []},
    {"dry_multiplier": 1.5, "dry_base": 2.0, "dry_allowed_length": 4, "dry_breakers": ["said"]},
    {"dry_multiplier": 0.7, "dry_allowed_length": 1, "dry_last_n": 12, "dry_breakers": []},
    {"dry_multiplier": 0.8, "dry_breakers": ["\".\nHe"], "top_k": 50},
    {"order": ["top_k", "penalties", "temperature"], "top_k": 20, "repeat_penalty": 2.0, "temperature": 0.7},
    {"order": ["temperature", "min_p", "top_p"], "temperature": 3.0, "min_p": 0.3, "top_p": 0.5},
    {"mirostat": 1, "mirostat_tau": 5.0, "temperature": 0.8},
    {"mirostat": 1, "mirostat_tau": 2.0},
    {"mirostat": 1, "mirostat_tau": 5.0, "temperature": 0.1},
    {"mirostat": 1, "mirostat_tau": 3.0, "temperature": 0.05},
    {"mirostat": 2, "mirostat_tau": 5.0, "temperature": 0.8},
    {"mirostat": 2, "mirostat_tau": 1.5},
]


def logit(token):
    """The same in every language: no rounding happens before the last step."""
    return ctypes.c_float((token * 2654435761 % 2**32) / 2**32 * 12 - 6).value


def stage(name, o, vocab, n_vocab):
    get = lambda key, default: o.get(key, default)
    match name:
        case "penalties":
            return lc.llama_sampler_init_penalties(n_vocab, get("repeat_last_n", 64), get("repeat_penalty", 1.0),
                                                   get("frequency_penalty", 0.0), get("presence_penalty", 0.0))
        case "dry":
            breakers = [text.encode() for text in get("dry_breakers", ["\n", ":", '"', "*"])]
            array = (ctypes.c_char_p * len(breakers))(*breakers)
            return lc.llama_sampler_init_dry(vocab, get("dry_multiplier", 0.0), get("dry_base", 1.75),
                                             get("dry_allowed_length", 2), get("dry_last_n", 8192), array, len(breakers))
        case "top_n_sigma":
            return lc.llama_sampler_init_top_n_sigma(get("top_n_sigma", -1.0))
        case "top_k":
            return lc.llama_sampler_init_top_k(o["top_k"])
        case "typ_p":
            return lc.llama_sampler_init_typical(get("typical_p", 1.0), 0)
        case "top_p":
            return lc.llama_sampler_init_top_p(o["top_p"], 0)
        case "min_p":
            return lc.llama_sampler_init_min_p(o["min_p"], 0)
        case "xtc":
            return lc.llama_sampler_init_xtc(get("xtc_probability", 0.0), get("xtc_threshold", 0.1), 0, 1)
        case "temperature":
            return lc.llama_sampler_init_temp_ext(o["temperature"], get("dynatemp_range", 0.0), get("dynatemp_exponent", 1.0))


def kept(o, ids, recent, vocab, n_vocab):
    chain = lc.llama_sampler_chain_init(lc.llama_sampler_chain_default_params())
    if o.get("mirostat"):
        lc.llama_sampler_chain_add(chain, lc.llama_sampler_init_temp(o["temperature"]))
        if o["mirostat"] == 1:
            lc.llama_sampler_chain_add(chain, lc.llama_sampler_init_mirostat(n_vocab, 1, o["mirostat_tau"], 0.1, 100))
        else:
            lc.llama_sampler_chain_add(chain, lc.llama_sampler_init_mirostat_v2(1, o["mirostat_tau"], 0.1))
    else:
        for name in o.get("order", ORDER):
            lc.llama_sampler_chain_add(chain, stage(name, o, vocab, n_vocab))
    for token in recent:
        lc.llama_sampler_accept(chain, token)
    data = (lc.llama_token_data * len(ids))(*[lc.llama_token_data(id=i, logit=logit(i), p=0.0) for i in ids])
    array = lc.llama_token_data_array(data=data, size=len(ids), selected=-1, sorted=False)
    lc.llama_sampler_apply(chain, ctypes.byref(array))
    left = [(array.data[i].id, array.data[i].logit) for i in range(array.size) if array.data[i].logit > -math.inf]
    lc.llama_sampler_free(chain)
    most = max(value for _, value in left)
    total = sum(math.exp(value - most) for _, value in left)
    left = [(token, math.exp(value - most) / total) for token, value in left]
    return sorted(left, key=lambda pair: (-pair[1], pair[0]))


def main():
    lc.llama_backend_init()
    params = lc.llama_model_default_params()
    params.vocab_only = True
    model = lc.llama_model_load_from_file(sys.argv[1].encode(), params)
    vocab = lc.llama_model_get_vocab(model)
    n_vocab = lc.llama_vocab_n_tokens(vocab)
    tokens = (ctypes.c_int32 * 256)()
    text = TEXT.encode()
    count = lc.llama_tokenize(vocab, text, len(text), tokens, 256, False, False)
    recent = list(tokens[:count])
    ids = sorted({*range(FIRST), *recent})
    cases = []
    for case in CASES:
        found = kept(OFF | case, ids, recent, vocab, n_vocab)
        cases.append({"options": OFF | case, "kept": [[token, round(p, 7)] for token, p in found]})
    told = {"reference": f"llama.cpp as in llama-cpp-python {lc.__version__}", "ids": ids, "recent": recent}
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(json.dumps(told)[:-1] + f', "cases": [\n{lines}\n]}}\n')
    for case in cases:
        print(len(case["kept"]), case["options"])


if __name__ == "__main__":
    main()
