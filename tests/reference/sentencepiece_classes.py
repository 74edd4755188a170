"""Writes tests/goldens/sentencepiece/classes.json: ids that transformers' tokenizer classes give to texts and to a
pair of texts, from folders that have a model of SentencePiece in place of a tokenizer.json.

Needs: pip install transformers sentencepiece; run sentencepiece_goldens.py first.
"""

import json
import shutil
import tempfile
from pathlib import Path

import transformers

GOLDENS = Path(__file__).parent.parent / "goldens" / "sentencepiece"
# Without symbols of the models that are found whole: transformers finds those in another way.
ALBERT_TEXTS = ["``Caf\u00e9'' au lait", "HELLO"]
SIGLIP_TEXTS = ["HELLO, world!", "  a  \t[blue] sky's\n(end). "]
TEXTS = ["Hello world", "Quick brown foxes jump over lazy dogs.", "", "Why is a sky blue?"]
# Class, name of the model's file, model, further configuration.
CASES = [
    ("XLMRobertaTokenizer", "sentencepiece.bpe.model", "unigram", {}),
    ("CamembertTokenizer", "sentencepiece.bpe.model", "unigram", {}),
    ("T5Tokenizer", "spiece.model", "unigram", {"extra_ids": 20}),
    ("MBartTokenizer", "sentencepiece.bpe.model", "unigram", {"src_lang": "ro_RO"}),
    ("MBart50Tokenizer", "sentencepiece.bpe.model", "unigram", {"src_lang": "sl_SI"}),
    ("LlamaTokenizer", "tokenizer.model", "bpe_bytes", {"add_bos_token": True}),
    ("AlbertTokenizer", "spiece.model", "albert", {}),
    ("SiglipTokenizer", "spiece.model", "unigram", {"pad_token": "</s>"}),
]

if __name__ == "__main__":
    out = []
    for name, file, model, more in CASES:
        config = {"tokenizer_class": name, **more}
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(GOLDENS / f"{model}.model", Path(folder) / file)
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = getattr(transformers, name).from_pretrained(folder)
            case = {"config": config, "file": file, "model": model, "texts": [[t, tokenizer(t).input_ids] for t in TEXTS + (ALBERT_TEXTS if model == "albert" else []) + (SIGLIP_TEXTS if name == "SiglipTokenizer" else [])]}
            case["pair"] = tokenizer(*TEXTS[:2]).input_ids
            case["mask"] = tokenizer.convert_tokens_to_ids("<mask>") if file == "sentencepiece.bpe.model" else None
        out.append(case)
    lines = ",\n".join(json.dumps(case) for case in out)
    (GOLDENS / "classes.json").write_text(f"[\n{lines}\n]\n")
