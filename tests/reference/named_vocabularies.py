"""Tokenizers whose pieces have their ids from a list of names, as transformers has them: OPUS-MT's and M2M100's.

    python tests/reference/named_vocabularies.py

Writes tests/goldens/sentencepiece/named.json (lists of names, ids of texts, texts of ids) and bpe_named.model; and
tests/goldens/tiny/opus-mt, a tiny random Marian model with such files in place of a tokenizer.json, with what
transformers answers to texts (translations.json). Run sentencepiece_goldens.py first.
"""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers

import tiny_models
from sentencepiece_goldens import OUT, numbers, train

TEXTS = ["Hello world", "Quick brown foxes jump over lazy dogs.", "", "Why is a sky blue?", "  two  spaces ",
         # Characters that no piece has: alone, in runs, with a name or without.
         "na\u00efve", "\u0416", "\u0416\u0417", "x\u0416\u0417y \u0417", "\u4e2d\u6587 the \u65e5\u672c", "Stra\u00dfe \u00df",
         "\u0416 \u0417", "th\u0416 <sep> [a b]", "<ctrl> x", "\u2581", "\ufb01ne \u00bd"]
# Names that are no pieces: some of them are found in the texts.
NAMES = ["\u0416\u0417", "\u0416", "\u00df", "\u2581Stra\u00dfe", "\u4e2d\u6587", "\u2581Ol\u00e1", "mundo", "\u00e3o"]
LANGUAGES = [">>pt<<", ">>de<<"]


def pieces(model):
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(OUT / f"{model}.model"))
    return [processor.id_to_piece(id) for id in range(processor.get_piece_size())]


def names(model, first, last, languages=()):
    """Most of the pieces in another order, and some that the model has not."""
    known = pieces(model)[::-1]
    some = [piece for at, piece in enumerate(known) if at % 9 != 4 or len(piece) == 1]
    some = [piece for piece in some if piece not in first + last + ["<s>", "<ctrl>"]]
    new = [name for name in NAMES if name not in known]
    listed = first + some[:40] + new + list(languages) + some[40:] + last
    assert len(set(listed)) == len(listed)
    return {name: id for id, name in enumerate(listed)}


def case(kind, files, config, vocab, target, model):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files, config, vocab, target)
        tokenizer = getattr(transformers, kind).from_pretrained(folder)
    answers = target or vocab
    # With two lists transformers takes ids of one for special tokens of the other.
    special = ["</s>", "<unk>", "<pad>"] if target else []
    # Word marks of what is no piece stay in its texts, where they are no use.
    special += NAMES if kind == "M2M100Tokenizer" else []
    shown = [id for name, id in answers.items() if not name.startswith(">>") and name not in special
             and not (target and id == vocab["<pad>"])]
    draw = numbers()
    sequences = [[shown[next(draw) % len(shown)] for _ in range(12)] for _ in range(40)]
    decoded = [[ids, tokenizer.decode(ids, skip_special_tokens=True)] for ids in sequences]
    out = {"config": config, "files": files, "vocab": vocab, "target_vocab": target,
           "texts": [[text, tokenizer(text).input_ids] for text in TEXTS],
           "pair": tokenizer(TEXTS[0], TEXTS[1]).input_ids, "decoded": decoded}
    if kind == "MarianTokenizer" and not target:
        out["marked"] = [[text, tokenizer(text).input_ids] for text in
                         [">>pt<< Hello world", ">>de<<\u0416\u0417"]]
    return out


def write(folder, files, config, vocab, target=None):
    for name, model in files.items():
        shutil.copy(OUT / f"{model}.model", folder / name)
    tiny_models.write_json(folder / "tokenizer_config.json", config)
    if vocab:
        (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False, indent=0))
    if target:
        (folder / "target_vocab.json").write_text(json.dumps(target, ensure_ascii=False, indent=0))


MARIAN = {"source.spm": "unigram", "target.spm": "unigram_suffix"}
PAIR = {"source_lang": "en", "target_lang": "roa"}


def cases():
    marian = names("unigram", ["</s>", "<unk>"], ["<pad>"], LANGUAGES)
    target = names("unigram_suffix", ["</s>", "<unk>"], ["<pad>"])
    m2m = names("bpe_named", ["<s>", "<pad>", "</s>", "<unk>"], [])
    named = {"tokenizer_class": "MarianTokenizer"}
    return [
        case("MarianTokenizer", MARIAN, {**named, **PAIR}, marian, None, "unigram"),
        case("MarianTokenizer", MARIAN, {**named, **PAIR, "separate_vocabs": True},
             names("unigram", ["</s>", "<unk>"], ["<pad>"]), target, "unigram"),
        case("M2M100Tokenizer", {"sentencepiece.bpe.model": "bpe_named"},
             {"tokenizer_class": "M2M100Tokenizer", "src_lang": "pt"}, m2m, None, "bpe_named"),
        case("M2M100Tokenizer", {"sentencepiece.bpe.model": "unigram"},
             {"tokenizer_class": "M2M100Tokenizer", "language_codes": "wmt21"},
             names("unigram", ["<s>", "<pad>", "</s>", "<unk>"], []), None, "unigram"),
    ], marian


SOURCES = ["Hello world", "Why is a sky blue?", "Quick brown foxes jump over lazy dogs.", "the wren is small",
           "x\u0416\u0417y and \u0417", "a small bird sings in the morning", "Stra\u00dfe", "one more text", "two texts", "rain", "It is late.",
           "the king of birds", "a crown of gold", "we sing", "no header", "what a day", "small", "the sky and the sea"]


def translations(marian):
    folder = tiny_models.GOLDENS / "opus-mt"
    folder.mkdir(exist_ok=True)
    model = transformers.MarianMTModel(transformers.MarianConfig(
        vocab_size=len(marian), d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=88, decoder_ffn_dim=72, max_position_embeddings=64,
        pad_token_id=marian["<pad>"], eos_token_id=0, bos_token_id=None,
        decoder_start_token_id=marian["<pad>"], scale_embedding=True, activation_function="swish"))
    table, state, config = tiny_models.fill(model, "opus-mt")
    model = tiny_models.load(transformers.MarianMTModel, config, state)
    write(folder, MARIAN, PAIR, marian)
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    generation = {"max_length": 12, "no_repeat_ngram_size": 1, "forced_eos_token_id": 0, "decoder_start_token_id": marian["<pad>"], "eos_token_id": 0,
                  "pad_token_id": marian["<pad>"], "bad_words_ids": [[marian["<pad>"]]]}
    tiny_models.write_json(folder / "config.json", config)
    tiny_models.write_json(folder / "generation_config.json", generation)
    rows = ",\n".join(json.dumps(row) for row in table)
    (folder / "tensors.json").write_text(f"[\n{rows}\n]\n")
    generator = torch.Generator().manual_seed(1)
    others = [copy.deepcopy(model) for _ in range(8)]
    for weights in (w for other in others for w in other.parameters()):
        weights.data *= 1 + 0.002 * torch.randn(weights.shape, generator=generator)
    out = []

    def generated(model, source):
        with torch.no_grad():
            ids = model.generate(torch.tensor([source]), do_sample=False, num_beams=1, **generation)
        return [id for id in ids[0].tolist()[1:] if id != 0]

    for text in SOURCES:
        source = tokenizer(">>pt<< " + text).input_ids
        ids = generated(model, source)
        # What small errors may turn is no case.
        if all(generated(other, source) == ids for other in others):
            out.append({"text": text, "source": source, "tokens": ids,
                        "translation": tokenizer.decode(ids, skip_special_tokens=True)})
    assert len(out) >= 4, len(out)
    print(f"{len(out)} translations")
    rows = ",\n".join(json.dumps(row) for row in out)
    (folder / "translations.json").write_text(f"[\n{rows}\n]\n")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    (OUT / "bpe_named.model").write_bytes(train(model_type="bpe", vocab_size=400))
    found, marian = cases()
    lines = ",\n".join(json.dumps(case) for case in found)
    (OUT / "named.json").write_text(f"[\n{lines}\n]\n")
    translations(marian)


if __name__ == "__main__":
    main()
