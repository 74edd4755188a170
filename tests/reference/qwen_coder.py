"""Reference figures of Qwen2.5-Coder-Instruct from llama.cpp, written to tests/goldens/qwen2.5-coder-SIZE.

    python tests/reference/qwen_coder.py SIZE MODEL.q4_k_m.gguf FOLDER [THREADS]

SIZE is 0.5b or 1.5b. Needs the Python module that build_llama_cpp.sh makes and its library. FOLDER keeps
the F16 file made from the checkpoint. Beside what smollm2.py writes of continuations, `llama_cpp.json`
has completions of code between two texts (`infill`), 24 greedy tokens each, and the perplexity of F16 by
llama-perplexity's convention: the second half of chunks of 512 tokens.
"""

import ctypes
import json
import pathlib
import re
import sys

import llama_cpp
import numpy as np
import smollm2

INFILL = [
    ("def fibonacci(n):\n    \"\"\"The n-th Fibonacci number.\"\"\"\n    if n < 2:\n        return ",
     "\n    return fibonacci(n - 1) + fibonacci(n - 2)\n"),
    ("fn largest(values: &[i32]) -> Option<i32> {\n    ", "\n}\n"),
    ("SELECT name, COUNT(*) FROM orders ", " ORDER BY COUNT(*) DESC LIMIT 10;"),
    ("for (let i = 0; i < ", "; i++) {\n  console.log(names[i]);\n}\n"),
]
N_INFILL = 24


def f16(model, folder):
    target = folder / "f16.gguf"
    if not target.exists():
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_F16
        options.allow_requantize = True
        done = llama_cpp.llama_model_quantize(
            str(model).encode(), str(target).encode(), ctypes.byref(options))
        assert done == 0, done
    return target


def infilled(model):
    for prefix, suffix in INFILL:
        text = f"<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"
        ids = model.tokenize(text.encode(), add_bos=False, special=True)
        tokens, gaps = smollm2.greedy(model, ids)
        tokens, gaps = tokens[:N_INFILL], gaps[:N_INFILL]
        answer = model.detokenize(tokens).decode(errors="replace")
        print(f"infill: {prefix!r} -> {answer!r}")
        yield {"prefix": prefix, "suffix": suffix, "prompt_ids": ids, "ids": tokens, "gaps": gaps,
               "answer": answer}


def perplexity(model):
    text = (smollm2.GOLDENS / "text.txt").read_text()
    ids = model.tokenize(text.encode(), add_bos=True, special=False)
    half, surprise, n = smollm2.CONTEXT // 2, 0.0, 0
    for start in range(0, len(ids) - smollm2.CONTEXT + 1, smollm2.CONTEXT):
        chunk = ids[start:start + smollm2.CONTEXT]
        model.reset()
        model.eval(chunk)
        logits = np.array(model.scores[half:smollm2.CONTEXT - 1], dtype=np.float64)
        top = logits.max(1)
        norm = top + np.log(np.exp(logits - top[:, None]).sum(1))
        surprise += (norm - logits[np.arange(len(norm)), chunk[half + 1:]]).sum()
        n += len(norm)
    return {"tokens_scored": n, "context": smollm2.CONTEXT,
            "f16": {"perplexity": round(float(np.exp(surprise / n)), 4)}}


def main():
    size, path, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    threads = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    folder.mkdir(parents=True, exist_ok=True)
    file = f16(path, folder)
    answers = smollm2.completions(file, threads, True)
    model = llama_cpp.Llama(str(file), n_ctx=smollm2.CONTEXT, n_threads=threads, verbose=False,
                            n_threads_batch=threads, flash_attn=False, logits_all=True)
    golden = {
        "reference": f"llama.cpp as in llama-cpp-python {llama_cpp.__version__} "
                     f"({llama_cpp.llama_print_system_info().decode().strip()})",
        "checkpoint_sha256": smollm2.sha256(path),
        "perplexity": perplexity(model),
        **answers,
        "infill": list(infilled(model)),
    }
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    # Lists of numbers on one line.
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]",
                  lambda m: "[" + re.sub(r",\s+", ", ", m.group(1)) + "]", text)
    target = smollm2.GOLDENS.parent / f"qwen2.5-coder-{size}" / "llama_cpp.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text + "\n")
    print(json.dumps(golden["perplexity"]))


if __name__ == "__main__":
    main()
