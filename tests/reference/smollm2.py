"""Reference figures of SmolLM2-135M-Instruct from llama.cpp, written to tests/goldens/smollm2.

    python tests/reference/smollm2.py MODEL.Q4_1.gguf --bin LLAMA_CPP/build/bin --work FOLDER

Needs llama-cpp-python and llama.cpp's own llama-quantize and llama-perplexity (both come out of
the former's source package: tests/reference/build_llama_cpp.sh), and the text of fetch_text.sh.

FOLDER keeps the F16 and Q8_0 files made from the checkpoint, the completions and the logs of
llama-perplexity; what is already there is used again.

  llama_cpp.json   versions, perplexity, KL divergence, and for 10 prompts the ids of the prompt
                   and of the first 32 greedy tokens: `chat` through the checkpoint's template,
                   `raw` as plain text. `gaps` is the distance from the best to the second-best
                   logit at each token: below a rounding error the choice means nothing.
"""

import argparse
import ctypes
import hashlib
import json
import pathlib
import re
import subprocess

import llama_cpp
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

HERE = pathlib.Path(__file__).resolve().parent
GOLDENS = HERE.parent / "goldens" / "smollm2"
N_GREEDY = 32
CONTEXT = 512

CHAT = [
    "Why is the sky blue?",
    "Write a haiku about a small bird.",
    "What is the capital of France?",
    "Explain in two sentences how a bicycle stays upright.",
    "List three uses for a paperclip.",
    "Translate 'good morning, my friend' into Spanish.",
    "What is 17 + 25?",
    "Write a Python function that returns the largest of three numbers.",
    "Who wrote Romeo and Juliet, and when?",
    "Give me a short recipe for pancakes: 200 g flour, 2 eggs, 300 ml milk.",
]

RAW = [
    "Once upon a time, in a small village by the sea,",
    "The three laws of motion were first stated by",
    "In the beginning God created the heaven and the earth.",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "The quick brown fox",
    "Water freezes at 0 degrees Celsius and boils at",
    "Dear Sir or Madam,\n\nI am writing to",
    "The most important thing to remember when planting tomatoes is",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10,",
    "La capitale de la France est",
]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def quantized(args, kind):
    target = args.work / f"{args.model.name.split('.')[0]}.{kind}.gguf"
    if not target.exists():
        subprocess.run([args.bin / "llama-quantize", "--allow-requantize", args.model, target,
                        kind, "2"], check=True, capture_output=True)
    return target


def greedy(model, ids):
    """The first greedy tokens after `ids` (the end of the answer included) and their gaps."""
    model.reset()
    model.eval(ids)
    tokens, gaps = [], []
    vocab = llama_cpp.llama_model_get_vocab(model._model.model)
    while True:
        pointer = llama_cpp.llama_get_logits_ith(model._ctx.ctx, -1)
        logits = np.ctypeslib.as_array(
            ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (model.n_vocab(),))
        second, first = np.argpartition(logits, -2)[-2:]
        if logits[second] > logits[first]:
            first, second = second, first
        tokens.append(int(first))
        gaps.append(round(float(logits[first] - logits[second]), 4))
        if len(tokens) == N_GREEDY or llama_cpp.llama_vocab_is_eog(vocab, tokens[-1]):
            return tokens, gaps
        model.eval([tokens[-1]])


def completions(path, threads, chat):
    model = llama_cpp.Llama(str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads,
                            flash_attn=False, verbose=False)
    metadata = model.metadata
    if chat:
        formatter = Jinja2ChatFormatter(template=metadata["tokenizer.chat_template"],
                                        eos_token="<|im_end|>", bos_token="<|im_start|>")
    answers = {"chat": [], "raw": []}
    for kind, prompts in (("chat", CHAT if chat else []), ("raw", RAW)):
        for prompt in prompts:
            text = prompt
            if kind == "chat":
                text = formatter(messages=[{"role": "user", "content": prompt}]).prompt
            ids = model.tokenize(text.encode(), add_bos=True, special=kind == "chat")
            tokens, gaps = greedy(model, ids)
            answers[kind].append({
                "prompt": prompt, "text": text, "prompt_ids": ids, "ids": tokens, "gaps": gaps,
                "answer": model.detokenize(tokens).decode(errors="replace")})
            print(f"{kind}: {prompt!r} -> {answers[kind][-1]['answer']!r}")
    return answers


def logged(args, name, command):
    """The output of llama-perplexity, run once."""
    log = args.work / name
    if not log.exists():
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        done.check_returncode()
        log.write_text(done.stdout + done.stderr)
    return log.read_text()


def figure(pattern, log):
    return [float(value) for value in re.search(pattern, log).groups()]


def perplexities(args, f16, others):
    tool = [args.bin / "llama-perplexity", "-c", CONTEXT, "-t", args.threads]
    base = args.work / "f16-logits.kld"
    log = logged(args, "perplexity-f16.log",
                 [*tool, "-m", f16, "-f", args.text, "--kl-divergence-base", base])
    chunks = int(re.search(r"over (\d+) chunks", log).group(1))
    ppl, error = figure(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)", log)
    figures = {"text_sha256": sha256(args.text), "context": CONTEXT, "chunks": chunks,
               "tokens_scored": chunks * (CONTEXT - CONTEXT // 2 - 1),
               "f16": {"perplexity": ppl, "standard_error": error}}
    for name, path in others.items():
        log = logged(args, f"divergence-{name}.log",
                     [*tool, "-m", path, "--kl-divergence-base", base, "--kl-divergence"])
        pair = r"\s*:\s*([-\d.]+)\s*±\s*([\d.]+)"
        figures[name] = {
            "perplexity": figure(r"Mean PPL\(Q\)" + pair, log)[0],
            "perplexity_ratio": figure(r"Mean PPL\(Q\)/PPL\(base\)" + pair, log)[0],
            "kl_mean": figure(r"Mean\s+KLD" + pair, log)[0],
            "kl_standard_error": figure(r"Mean\s+KLD" + pair, log)[1],
            "kl_99": figure(r"99\.0%\s+KLD\s*:\s*([\d.]+)", log)[0],
            "same_top_percent": figure(r"Same top p" + pair, log)[0],
        }
    return figures


def main(goldens=GOLDENS, chat=True, original="q4_1", what=__doc__.splitlines()[0]):
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, help="default: what fetch_text.sh writes")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.text:
        fetched = subprocess.run([HERE / "fetch_text.sh"], check=True, capture_output=True)
        args.text = pathlib.Path(fetched.stdout.decode().strip())

    f16, q8_0 = quantized(args, "F16"), quantized(args, "Q8_0")
    done = args.work / "completions.json"
    if not done.exists():
        done.write_text(json.dumps(completions(f16, args.threads, chat)))
    answers = json.loads(done.read_text())
    others = {"q8_0": q8_0} | ({original: args.model} if original else {})
    figures = perplexities(args, f16, others)
    goldens.mkdir(parents=True, exist_ok=True)
    golden = {
        "reference": f"llama.cpp as in llama-cpp-python {llama_cpp.__version__} "
                     f"({llama_cpp.llama_print_system_info().decode().strip()})",
        "checkpoint_sha256": sha256(args.model),
        "perplexity": figures,
        **answers,
    }
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    # Lists of numbers on one line.
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]",
                  lambda m: "[" + re.sub(r",\s+", ", ", m.group(1)) + "]", text)
    (goldens / "llama_cpp.json").write_text(text + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
