"""What is measured: a list of entrants for each part, which take turns in every round.

An entrant is (name, work): `work` runs a program once and gives {test: figure}.
"""

import embed
import models
import programs
from programs import KINGLET

DEPTH = 1024
# 10 tokens for SmolLM2's tokenizer.
PROMPT = "Once upon a time there was a little bird,"


def decoder(model, isa, threads):
    """Prefill, decode, and decode after DEPTH tokens; for some only what has a target."""
    short = ["-p", 512, "-n", 128]
    deep = ["-p", 0, "-n", 128, "-d", DEPTH]
    entrants = []

    def kinglet(kind, extra, before=False):
        file = models.kinglet_file(model, kind, before)
        program = programs.BEFORE if before else KINGLET

        def work():
            found = programs.kinglet_bench(file, isa, threads, extra, program)
            figures = {}
            for test, (tok_s, gb_s, read_gb_s, kernels) in found.items():
                figures |= {test: tok_s, f"{test} GB/s": gb_s, f"{test} read GB/s": read_gb_s,
                            f"{test} kernels": kernels}
            return figures
        entrants.append((f"Kinglet{' before' if before else ''} {kind}", work))
        if programs.BEFORE and not before:
            kinglet(kind, extra, True)

    def llama(kind, extra, flash):
        file = models.gguf(model, kind)
        name = f"llama.cpp {kind}" + (" -fa 1" if flash else "")
        entrants.append((name, lambda: programs.llama_bench(file, isa, threads,
                                                            [*extra, "-fa", int(flash)])))

    kinglet("int8", short)
    llama("Q8_0", short, False)
    if model == "gemma3":
        llama("Q8_0", short, True)
    elif threads > 1:
        kinglet("f16", short)
        llama("F16", short, False)
        kinglet("int8", deep)
        llama("Q8_0", deep, False)
        llama("Q8_0", deep, True)
    if isa == "best" and model == "smollm2" and threads > 1:
        request = {"gguf": str(models.gguf(model, "Q8_0")), "prompt": 512, "tokens": 128}

        def candle():
            answer = programs.ask_candle(request, threads)
            return {"pp512": answer["pp_s"], "tg128": answer["tg_s"]} if answer else {}
        entrants.append(("candle Q8_0", candle))
    return entrants


def start(isa, threads):
    """From process start to the first token; files in the page cache."""
    file, gguf = models.kinglet_file("smollm2", "int8"), models.gguf("smollm2", "Q8_0")
    one = ["-p", PROMPT, "-n", 1, "--temp", 0, "-t", threads]
    llama = [models.tools(isa) / "llama-completion", "-m", gguf, *one, "-no-cnv",
             "--no-display-prompt"]

    def entrant(name, command):
        def work():
            time = programs.first_byte(command, isa)
            return {"first token": time} if time else {}
        return name, work
    before = []
    if programs.BEFORE:
        old = models.kinglet_file("smollm2", "int8", True)
        before = [entrant("Kinglet before int8",
                          [programs.BEFORE, "run", old, "--raw", "-c", 512, *one])]
    return [entrant("Kinglet int8", [KINGLET, "run", file, "--raw", "-c", 512, *one]), *before,
            entrant("llama.cpp Q8_0, trimmed", [*llama, "-c", 512, "--no-warmup"]),
            entrant("llama.cpp Q8_0, default", llama)]


def memory(isa, threads):
    """Peak memory of an answer of 300 tokens in a context of 512."""
    file, gguf = models.kinglet_file("smollm2", "int8"), models.gguf("smollm2", "Q8_0")
    answer = ["-p", "Tell me a long story about a small bird.", "-n", 300, "-c", 512, "-t", threads]

    def entrant(name, command):
        def work():
            peak, private = programs.memory(command, isa) or (None, None)
            return {"peak memory": peak, "of it private": private} if peak else {}
        return name, work
    before = []
    if programs.BEFORE:
        old = models.kinglet_file("smollm2", "int8", True)
        before = [entrant("Kinglet before int8",
                          [programs.BEFORE, "run", old, *answer])]
    return [entrant("Kinglet int8", [KINGLET, "run", file, "--no-repeat-stop", *answer]), *before,
            entrant("llama.cpp Q8_0", [models.tools(isa) / "llama-completion", "-m", gguf,
                                       *answer, "-no-cnv", "--no-display-prompt"])]


def parts(isas, threads):
    """{name: (measured as, [(isa, threads, function that lists the entrants)])}"""
    sets = [(isa, count) for isa in isas for count in threads]
    found = {}
    for model in ("smollm2", "gemma3"):
        for isa in isas:
            found[f"{model}-{isa}"] = [
                (model, isa, count, lambda m=model, i=isa, c=count: decoder(m, i, c))
                for count in threads]
    found["start"] = [("start", isa, count, lambda i=isa, c=count: start(i, c))
                      for isa, count in sets]
    found["memory"] = [("memory", "best", 2, lambda: memory("best", 2))]
    found["embed"] = [("embed", "best", count, lambda c=count: embed.entrants("best", c))
                      for count in threads]
    return found
