"""Tiny random models that answer a source text, and what Hugging Face generates with them.

    python tests/reference/tiny_text_to_text.py [--families bart,marian]

Families of tiny_models.py's kind (see there), and for each of them `searches.json`: settings of a
generation, sources and the answers with their scores. Every search is one text at a time, in f32.
"""

import argparse
import copy
import json
import pathlib

import torch
import transformers

import tiny_models
from tiny_models import GOLDENS, T5, tokens, write_json

COMMON = dict(vocab_size=300, d_model=48, encoder_layers=2, decoder_layers=3,
              encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=104,
              decoder_ffn_dim=88, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
              eos_token_id=2, decoder_start_token_id=2)


MULTILINGUAL = dict(vocab_size=300, d_model=48, d_kv=20, d_ff=104, num_layers=2, num_decoder_layers=3,
                    num_heads=4, relative_attention_num_buckets=8, relative_attention_max_distance=12,
                    pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)


def untied(model):
    """With a matrix of logits of its own, as published checkpoints have it."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model


def families():
    t = transformers
    return {
        "mt5": lambda: untied(t.MT5ForConditionalGeneration(t.MT5Config(**MULTILINGUAL))),
        "umt5": lambda: t.UMT5ForConditionalGeneration(t.UMT5Config(**MULTILINGUAL)),
        "bart": lambda: t.BartForConditionalGeneration(t.BartConfig(**COMMON)),
        "mbart": lambda: t.MBartForConditionalGeneration(t.MBartConfig(
            **COMMON, scale_embedding=True, activation_function="relu")),
        "m2m100": lambda: t.M2M100ForConditionalGeneration(t.M2M100Config(
            **{**COMMON, "decoder_ffn_dim": 80}, scale_embedding=True,
            activation_function="relu")),
        "marian": lambda: t.MarianMTModel(t.MarianConfig(
            **{**COMMON, "decoder_start_token_id": 0}, scale_embedding=True,
            activation_function="swish")),
        "marian-two-tables": lambda: t.MarianMTModel(t.MarianConfig(
            **{**COMMON, "decoder_start_token_id": 0}, decoder_vocab_size=300, scale_embedding=True,
            activation_function="swish", share_encoder_decoder_embeddings=False)),
        "pegasus": lambda: t.PegasusForConditionalGeneration(t.PegasusConfig(
            **{**COMMON, "decoder_start_token_id": 0}, scale_embedding=True,
            activation_function="relu")),
    }


FEATURES = {
    "mt5": [("distances to 20", lambda c: c.update(relative_attention_max_distance=20)),
            ("silu", lambda c: c.update(feed_forward_proj="gated-silu", dense_act_fn="silu"))],
    "umt5": [("logits not scaled", lambda c: c.update(scale_decoder_outputs=False)),
             ("distances to 20", lambda c: c.update(relative_attention_max_distance=20))],
    "bart": [("relu", lambda c: c.update(activation_function="relu")),
             ("scaled embeddings", lambda c: c.update(scale_embedding=True))],
    "mbart": [("no scale", lambda c: c.update(scale_embedding=False))],
    "m2m100": [("silu", lambda c: c.update(activation_function="silu"))],
    "marian": [("relu", lambda c: c.update(activation_function="relu"))],
    "pegasus": [("no scale", lambda c: c.update(scale_embedding=False))],
}

# Settings of generations: each changes what comes out somewhere.
SEARCHES = [
    dict(max_length=24),
    dict(max_length=24, num_beams=4),
    dict(max_length=24, num_beams=4, early_stopping=True, length_penalty=2.0),
    dict(max_length=20, num_beams=3, early_stopping="never", length_penalty=0.5),
    dict(max_length=24, num_beams=2, no_repeat_ngram_size=2, min_length=8),
    dict(max_length=16, num_beams=4, forced_bos_token_id=9, forced_eos_token_id=2,
         bad_words_ids=[[7], [11]]),
    dict(max_length=24, num_beams=4, no_repeat_ngram_size=1),
    dict(max_length=24, num_beams=5, no_repeat_ngram_size=1, early_stopping=True),
    dict(max_length=24, no_repeat_ngram_size=1),
    dict(max_length=24, repetition_penalty=1.5),
    dict(max_length=24, num_beams=2, repetition_penalty=1.5, length_penalty=-1.0),
]
N_SOURCES = 4
N_CANDIDATES = 48
# Many tokens end an answer: random models would hardly ever choose a single one.
ENDS = [2] + list(range(10, 300, 12))


def sources(eos):
    """Texts of several lengths, over and over the alphabet."""
    ids = tokens()
    return [[4 + (id * (3 + i)) % 280 for id in ids[:5 + 7 * i % 19]] + [eos]
            for i in range(N_CANDIDATES)]


def answer(model, family, source, settings):
    """The tokens of the answer, without start and end, and its score."""
    start = model.config.decoder_start_token_id
    with torch.no_grad():
        found = model.generate(
            torch.tensor([source]), attention_mask=torch.ones(1, len(source)), do_sample=False,
            return_dict_in_generate=True, output_scores=True, output_logits=True,
            eos_token_id=ENDS, pad_token_id=0, decoder_start_token_id=start,
            # With stacks of different heights its cache for T5 is too short.
            use_cache=family not in T5, **settings)
    ids = found.sequences[0].tolist()
    assert ids[0] == start
    ids = ids[1:]
    if settings.get("num_beams", 1) > 1:
        score = found.sequences_scores[0].item()
    else:
        # The mean over the tokens of their log-probability after the rules on logits.
        logs = [torch.log_softmax(raw[0], -1) - raw[0] + ruled[0]
                for raw, ruled in zip(found.logits, found.scores)]
        score = sum(row[id].item() for row, id in zip(logs, ids)) / len(ids)
    ends = [i for i, id in enumerate(ids) if id in ENDS]
    return ids[:ends[0]] if ends else ids, score


def generate(model, family):
    own = {key: getattr(model.generation_config, key)
           for key in ("forced_bos_token_id", "forced_eos_token_id")}
    own = {"decoder_start_token_id": model.config.decoder_start_token_id,
           **{k: v for k, v in own.items() if v is not None}}
    # What small errors may turn is no case: models whose weights are off by some thousandths, more than
    # those of half precision, must agree.
    generator = torch.Generator().manual_seed(1)
    others = [copy.deepcopy(model) for _ in range(8)]
    for weights in (w for other in others for w in other.parameters()):
        weights.data *= 1 + 0.002 * torch.randn(weights.shape, generator=generator)
    out = []
    for settings in SEARCHES:
        kept, answers = [], []
        for source in sources(2):
            if len(kept) == N_SOURCES:
                break
            ids, score = answer(model, family, source, settings)
            if all(answer(other, family, source, settings)[0] == ids for other in others):
                kept.append(source)
                answers.append({"tokens": ids, "score": round(score, 5)})
        assert len(kept) == N_SOURCES, (family, settings)
        out.append({"settings": {**own, **settings}, "sources": kept, "answers": answers})
    lengths = [[len(a["tokens"]) for a in search["answers"]] for search in out]
    print(f"{family}: lengths {lengths}")
    return out


def write_searches(family, model):
    searches = generate(model, family)
    rows = ",\n".join(json.dumps(search, separators=(",", ":")) for search in searches)
    (GOLDENS / family / "searches.json").write_text(
        f'{{"ends":{json.dumps(ENDS)},\n"searches":[\n{rows}\n]}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", help="comma-separated; all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tiny_models.FEATURES.update(FEATURES)
    wanted = args.families.split(",") if args.families else None
    for family, build in families().items():
        if not wanted or family in wanted:
            write_searches(family, tiny_models.make(family, build, None))
    if not wanted or "t5" in wanted:
        write_searches("t5", tiny_models.make("t5", tiny_models.families()["t5"], None))


if __name__ == "__main__":
    main()
