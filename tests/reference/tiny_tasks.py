"""Tiny random encoders with heads of tasks, and what Hugging Face's pipelines make of texts with them.

    python tests/reference/tiny_tasks.py [--only NAME,NAME]

Writes to tests/goldens/tiny/NAME what tiny_models.py writes for a family (config.json, tensors.json,
tokenizer.json), tokenizer_config.json, and goldens.json with logits and the pipelines' answers.
The pipeline of answers was last part of release 4 of transformers: with that release only the
checkpoints of `ANSWERS` are made, with later ones all others.
"""

import argparse
import hashlib
import json
import pathlib
import tempfile

import torch
import transformers
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, pipeline

from tiny_models import GOLDENS, fill, load, rounded, wordpiece_tokenizer, write_json

BERT = dict(vocab_size=300, pad_token_id=0, hidden_size=64, intermediate_size=176,
            num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
ALBERT = dict(vocab_size=300, pad_token_id=0, embedding_size=24, hidden_size=64,
              intermediate_size=176, num_hidden_layers=3, num_attention_heads=4,
              max_position_embeddings=64)
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC", 5: "THING"}

TEXTS = [
    "the wren is small",
    "A model is data: blocks, norms and positions!",
    "Café Zoë, 東京 and the king's 🐦 bird in range(10)",
    "kinglet",
    "",
]
PAIRS = [
    ("the wren is small", "the king is in the model"),
    ("data for the range", "and"),
    ("kinglets", "a small bird, smaller than the wren"),
]
DOCUMENTS = ["the model is small", "wrens and kings", "data in range for the king", "3.14159"]
MASKED = ["the [MASK] is small and the king is [MASK].", "[MASK] data", "a [MASK] model!"]
QUESTIONS = [
    ("what is small?", "the wren is small and the kinglet is smaller still"),
    ("where is the king?", "Café Zoë 🐦 in 東京: the king is in the model, data for the range. " * 4),
]


def models():
    t = transformers
    bert = lambda **more: t.BertConfig(**BERT, **more)
    albert = lambda **more: t.AlbertConfig(**ALBERT, **more)
    # Without segments, and with positions behind that of padding, which is 0 in these vocabularies.
    roberta = {**BERT, "type_vocab_size": 1, "max_position_embeddings": 66}
    distilbert = dict(vocab_size=300, pad_token_id=0, dim=64, hidden_dim=176, n_layers=2, n_heads=4,
                      max_position_embeddings=64)
    electra = dict(BERT, embedding_size=24)
    modernbert = dict(BERT, intermediate_size=104, local_attention=8, cls_token_id=2, sep_token_id=3,
                      bos_token_id=2, eos_token_id=3, norm_bias=True)
    deberta = dict(BERT, type_vocab_size=0, relative_attention=True, position_buckets=8,
                   norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
                   position_biased_input=False, max_relative_positions=16, pooler_hidden_size=64)
    one = {0: "relevant"}
    named = lambda labels: dict(id2label=labels, label2id={v: k for k, v in labels.items()})
    return {
        "bert-sequences": lambda: t.BertForSequenceClassification(bert(**named(NLI))),
        "bert-rerank": lambda: t.BertForSequenceClassification(bert(**named(one))),
        "bert-tokens": lambda: t.BertForTokenClassification(bert(**named(TAGS))),
        "bert-masks": lambda: t.BertForMaskedLM(bert()),
        "bert-answers": lambda: t.BertForQuestionAnswering(bert()),
        "albert-sequences": lambda: t.AlbertForSequenceClassification(albert(
            **named(NLI), problem_type="multi_label_classification")),
        "albert-masks": lambda: t.AlbertForMaskedLM(albert()),
        "roberta-sequences": lambda: t.RobertaForSequenceClassification(t.RobertaConfig(
            **roberta, **named(NLI))),
        "roberta-tokens": lambda: t.RobertaForTokenClassification(t.RobertaConfig(
            **roberta, **named(TAGS))),
        "roberta-masks": lambda: t.RobertaForMaskedLM(t.RobertaConfig(
            **roberta)),
        "distilbert-sequences": lambda: t.DistilBertForSequenceClassification(t.DistilBertConfig(
            **distilbert, **named(NLI))),
        "distilbert-masks": lambda: t.DistilBertForMaskedLM(t.DistilBertConfig(**distilbert)),
        "electra-sequences": lambda: t.ElectraForSequenceClassification(t.ElectraConfig(
            **electra, **named(NLI))),
        "electra-masks": lambda: t.ElectraForMaskedLM(t.ElectraConfig(**electra)),
        "deberta-sequences": lambda: t.DebertaV2ForSequenceClassification(t.DebertaV2Config(
            **deberta, **named(NLI))),
        "modernbert-sequences": lambda: t.ModernBertForSequenceClassification(t.ModernBertConfig(
            **modernbert, **named(NLI), classifier_pooling="mean", classifier_bias=True)),
        "modernbert-tokens": lambda: t.ModernBertForTokenClassification(t.ModernBertConfig(
            **modernbert, **named(TAGS))),
        "modernbert-masks": lambda: t.ModernBertForMaskedLM(t.ModernBertConfig(**modernbert)),
    }


ANSWERS = ("bert-answers",)
# Families that know no segments.
WITHOUT_SEGMENTS = ("roberta", "distilbert", "modernbert", "deberta")


def logits_of(model, tokenizer, texts):
    """Of each text, or pair of texts: rows of logits."""
    found = []
    for text in texts:
        both = text if isinstance(text, tuple) else (text,)
        inputs = tokenizer(*both, return_tensors="pt")
        with torch.no_grad():
            out = model(**inputs)
        if hasattr(out, "start_logits"):
            rows = torch.stack([out.start_logits[0], out.end_logits[0]], -1)
        else:
            rows = out.logits if out.logits.dim() == 2 else out.logits[0]
        ids = inputs["input_ids"][0].tolist()
        type_ids = inputs["token_type_ids"][0].tolist() if "token_type_ids" in inputs else [0] * len(ids)
        found.append({"text": both, "ids": ids, "type_ids": type_ids, "logits": rounded(rows)})
    return found


def number(x):
    return float(f"{float(x):.7g}")


def classified(model, tokenizer):
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer)
    scores = pipe(TEXTS, top_k=None)
    return [[[e["label"], number(e["score"])] for e in one] for one in scores]


def zero_shot(model, tokenizer):
    pipe = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    found = []
    for labels, template, multi in [
        (["a bird", "data", "the king"], "This example is {}.", False),
        (["a bird", "data", "the king"], "It is about {}!", True),
        (["small"], "This example is {}.", False),
    ]:
        for text in TEXTS[:3]:
            out = pipe(text, labels, hypothesis_template=template, multi_label=multi)
            found.append({"text": text, "labels": labels, "template": template, "multi": multi,
                          "sorted": out["labels"], "scores": [number(s) for s in out["scores"]]})
    return found


def tagged(model, tokenizer):
    pipe = pipeline("token-classification", model=model, tokenizer=tokenizer)
    long = " ".join(TEXTS[:3]) * 3
    found = []
    for strategy in ["none", "simple", "first", "average", "max"]:
        for text in TEXTS[:4]:
            found.append((strategy, None, text, pipe(text, aggregation_strategy=strategy)))
    for strategy in ["simple", "average"]:
        striding = pipeline("token-classification", model=model, tokenizer=tokenizer,
                            aggregation_strategy=strategy, stride=16)
        found.append((strategy, 16, long, striding(long)))
    return [{"strategy": strategy, "stride": stride, "text": text, "entities": [
        [e.get("entity", e.get("entity_group")), number(e["score"]), e["start"], e["end"]]
        for e in entities]} for strategy, stride, text, entities in found]


def filled(model, tokenizer):
    pipe = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=4)
    found = []
    for text in MASKED:
        out = pipe(text)
        masks = out if isinstance(out[0], list) else [out]
        found.append({"text": text, "masks": [
            [[e["token"], e["token_str"], number(e["score"])] for e in mask] for mask in masks]})
    return found


def answered(model, tokenizer):
    pipe = pipeline("question-answering", model=model, tokenizer=tokenizer)
    found = []
    for question, context in QUESTIONS:
        for options in [dict(), dict(top_k=3), dict(top_k=3, handle_impossible_answer=True),
                        dict(top_k=2, max_seq_len=32, doc_stride=8, max_answer_len=5)]:
            out = pipe(question=question, context=context, **options)
            out = out if isinstance(out, list) else [out]
            found.append({"question": question, "context": context, "options": options, "answers": [
                [a["answer"], number(a["score"]), a["start"], a["end"]] for a in out]})
    return found


def reranked(model, tokenizer):
    """As a cross-encoder of sentence-transformers scores pairs: sigmoid of the one logit."""
    query = "the small king"
    rows = logits_of(model, tokenizer, [(query, document) for document in DOCUMENTS])
    scores = [number(torch.sigmoid(torch.tensor(row["logits"][0][0]))) for row in rows]
    return {"query": query, "documents": DOCUMENTS, "scores": scores}


def make(name, build):
    model = build().float().eval()
    table, state, config = fill(model, name.split("-")[0])
    model = load(type(model), config, state)
    folder = GOLDENS / name
    folder.mkdir(parents=True, exist_ok=True)
    config.pop("transformers_version", None)
    write_json(folder / "config.json", config, indent=2)
    rows = ",\n".join(json.dumps(row) for row in table)
    (folder / "tensors.json").write_text(f"[\n{rows}\n]\n")
    wordpiece_tokenizer().save(str(folder / "tokenizer.json"))
    roles = dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
                 mask_token="[MASK]", model_max_length=64)
    write_json(folder / "tokenizer_config.json", roles, indent=2)
    has_segments = name.split("-")[0] not in WITHOUT_SEGMENTS
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece_tokenizer(), **roles,
        model_input_names=["input_ids", *["token_type_ids"] * has_segments, "attention_mask"])

    golden = {"reference": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    with tempfile.TemporaryDirectory() as temporary:
        file = pathlib.Path(temporary, "model.safetensors")
        save_file({k: v.contiguous() for k, v in state.items()}, str(file), {"format": "pt"})
        golden["safetensors_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    task = name.split("-")[1]
    texts = {"masks": MASKED[1:2], "tokens": TEXTS[:3], "answers": QUESTIONS[:1]}
    texts = texts.get(task, TEXTS + PAIRS if task == "sequences" else PAIRS)
    golden["rows"] = logits_of(model, tokenizer, texts)
    if task == "sequences":
        golden["classified"] = classified(model, tokenizer)
        golden["zero_shot"] = zero_shot(model, tokenizer)
    pipelines = dict(tokens=tagged, masks=filled, answers=answered, rerank=reranked)
    if task in pipelines:
        golden[task] = pipelines[task](model, tokenizer)
    write_json(folder / "goldens.json", golden)
    logits = [x for row in golden["rows"] for line in row["logits"] for x in line]
    print(f"{name}: logits {min(logits):.2f} to {max(logits):.2f}, "
          f"{(folder / 'goldens.json').stat().st_size >> 10} KB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="comma-separated names; all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    has_answers = transformers.__version__.startswith("4.")
    for name, build in models().items():
        if args.only and name not in args.only.split(","):
            continue
        if (name in ANSWERS) == has_answers:
            make(name, build)


if __name__ == "__main__":
    main()
