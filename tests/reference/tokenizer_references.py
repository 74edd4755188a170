"""The reference tokenizers, all of them Hugging Face `tokenizers` objects.

Real models are read from local files: `KINGLET_MODELS` names a folder with
SmolLM2-135M-Instruct.Q4_1.gguf, minilm/tokenizer.json and gemma-3-270m-q4_k_m.gguf.
The small ones are trained here on the repository's own test corpus and committed.
"""

import os
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_corpus import GOLDENS, load

MODELS = Path(os.environ.get("KINGLET_MODELS", "models"))

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def gguf_fields(name):
    from gguf import GGUFReader

    fields = GGUFReader(MODELS / name).fields
    return {k.removeprefix("tokenizer.ggml."): f.contents() for k, f in fields.items() if k.startswith("tokenizer.ggml.")}


def add_special(tokenizer, fields):
    tokens = zip(fields["tokens"], fields["token_type"])
    whole = [AddedToken(t, special=kind != 4, normalized=False) for t, kind in tokens if kind in (2, 3, 4) and t]
    tokenizer.add_tokens([t for t in whole if not t.special])
    tokenizer.add_special_tokens([t for t in whole if t.special])


def smollm2():
    f = gguf_fields("SmolLM2-135M-Instruct.Q4_1.gguf")
    vocab = {t: i for i, t in enumerate(f["tokens"])}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in f["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    add_special(tokenizer, f)
    return tokenizer


def minilm():
    tokenizer = Tokenizer.from_file(str(MODELS / "minilm" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def gemma3():
    """SentencePiece merges any two neighbours that make a piece, best score first. As merges: every
    way to cut a piece in two pieces, in the order of the scores."""
    f = gguf_fields("gemma-3-270m-q4_k_m.gguf")
    vocab = {t: i for i, t in enumerate(f["tokens"])}
    merges = []
    for token, score, kind in zip(f["tokens"], f["scores"], f["token_type"]):
        if kind in (1, 4):
            cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
            cuts = [(vocab[a], vocab[b], a, b) for a, b in cuts if a in vocab and b in vocab]
            merges += [(-score, *cut) for cut in sorted(cuts)]
    merges.sort(key=lambda m: m[0])
    tokenizer = Tokenizer(models.BPE(vocab, [(a, b) for _, _, _, a, b in merges], unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", vocab["<bos>"])])
    add_special(tokenizer, f)
    return tokenizer


REAL = {"smollm2": smollm2, "minilm": minilm, "gemma3": gemma3}


def training_texts():
    return [t for t in load()[:700] if len(t) < 400]


def western_texts():
    """For the trainers that must know every character."""
    return [t for t in training_texts() if all(c < "\u0250" or "\u2000" < c < "\u2100" for c in t)]


def llama3_like():
    """Regex split, whole words kept, special tokens, BOS."""
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
    return t


def qwen2_like():
    """NFC, another regex, added tokens that are not special."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=650, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("<repo_name>", normalized=False), AddedToken("ing", single_word=True, normalized=False),
                  AddedToken("Å", normalized=True), AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False)])
    return t


def roberta_like():
    """Byte level with a prefix space and `<s> $A </s>`, a mask that eats the space before it."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return t


def llama2_like():
    """SentencePiece BPE in the old manner: prepend, replace, byte fallback."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
        limit_alphabet=150, max_token_length=12, show_progress=False))
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return t


def gemma_like():
    """SentencePiece BPE without a prefix: one word is the whole text, pieces of several spaces, byte fallback."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{b:02X}>" for b in range(256)],
        limit_alphabet=150, max_token_length=8, show_progress=False))
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.add_special_tokens(["<start_of_turn>", "<end_of_turn>"])
    t.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("<unused0>", normalized=False)])
    t.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", 2)])
    return t


def metaspace_like():
    """Llama 2 in the new manner (Metaspace, first piece only), unknown characters fused."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=100, max_token_length=10,
        show_progress=False))
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_tokens([AddedToken("<th>", normalized=True), AddedToken("Hello", normalized=True)])
    return t


def charsmap():
    """A character map like SentencePiece's nmt_nfkc, made with SentencePiece itself."""
    import io

    import sentencepiece

    model = io.BytesIO()
    rules = GOLDENS / "charsmap.tsv"
    lines = ["41\t61", "c5\t61 30a", "41 30a\t61 30a", "fb01\t66 69", "2122\t74 6d", "a0\t20", "3000\t20", "9\t20", "a\t20",
             "d\t20", "ff21\t41", "ff11\t31", "200b\t", "ad\t", "1\t", "7f\t", "301\t", "65 301\te9", "212b\te5", "1f600\t3a 29",
             "ff76\t30ab", "ff76 ff9e\t30ac", "bd\t31 2f 32"]
    rules.write_text("\n".join(lines) + "\n")
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c"]), model_writer=model, vocab_size=8, model_type="char",
            normalization_rule_tsv=str(rules), minloglevel=3, hard_vocab_limit=False)
    finally:
        rules.unlink()
    return field(field(model.getvalue(), 3), 2)


def field(message, number):
    """A length-delimited field of a protobuf message."""
    at, found = 0, None

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 2:
            length = varint()
            if key >> 3 == number:
                found = message[at : at + length]
            at += length
        elif key & 7 == 0:
            varint()
        else:
            at += {1: 8, 5: 4}[key & 7]
    return found


def t5_like():
    """Unigram with a character map, Metaspace and byte fallback."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap()), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "▁")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.train_from_iterator(western_texts(), trainers.UnigramTrainer(
        vocab_size=800, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    t.add_special_tokens(["<extra_id_0>"])
    t.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)])
    return t


def xlm_like():
    """Unigram behind white-space splitting, unknown characters spelled in bytes."""
    t = t5_like()
    import json

    data = json.loads(t.to_str())
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = vocab[:3] + [[f"<0x{b:02X}>", -12.0] for b in range(256)] + vocab[3:400]
    data["model"]["byte_fallback"] = True
    data["normalizer"] = {"type": "NFKC"}
    data["added_tokens"] = data["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(data))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return t


def bert_cased_like():
    """WordPiece that keeps case and accents, and other ways to cut words."""
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Digits(False)])
    t.decoder = decoders.WordPiece("##", cleanup=False)
    t.train_from_iterator(training_texts(), trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], limit_alphabet=200, show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def clip_like():
    """End-of-word suffix, lower case, a regex that is removed where it does not match."""
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=800, special_tokens=["<unk>"], end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def falcon_like():
    """Steps behind the byte level: digits and groups of three are cut in the byte alphabet."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
         pre_tokenizers.Digits(False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def words_like():
    """Whole words, and the old decoder of word suffixes."""
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=True)
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.CharDelimiterSplit(" "), pre_tokenizers.Split(".", "merged_with_next"),
         pre_tokenizers.Split(Regex(r"\p{Lu}"), "contiguous")])
    t.decoder = decoders.BPEDecoder("e")
    t.train_from_iterator(training_texts(), trainers.WordLevelTrainer(
        vocab_size=500, special_tokens=["[UNK]"], show_progress=False))
    return t


SMALL = {"llama3_like": llama3_like, "qwen2_like": qwen2_like, "roberta_like": roberta_like, "llama2_like": llama2_like, "gemma_like": gemma_like,
         "metaspace_like": metaspace_like, "t5_like": t5_like, "xlm_like": xlm_like, "bert_cased_like": bert_cased_like,
         "clip_like": clip_like, "falcon_like": falcon_like, "words_like": words_like}
