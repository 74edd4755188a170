"""Tiny random checkpoints of encoders and the hidden states Hugging Face computes for them.

    python tests/reference/tiny_encoders.py [--families roberta,mpnet] [--save FOLDER]

Writes to tests/goldens/tiny/FAMILY what tiny_models.py writes for its encoders, with the weights by
the same rule: every tensor is random. The text begins and ends as the family's tokenizer has it,
and is longer than every window and beyond the last bucket of distances.
"""

import argparse
import hashlib
import json
import pathlib
import tempfile

import torch
import transformers as t
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tiny_models
from tiny_models import GOLDENS, fill, fnv1a64, load, rounded, wordpiece_tokenizer, write_goldens, write_json

BERT_TOKENS = dict(vocab_size=300, pad_token_id=0)
ROBERTA_TOKENS = dict(vocab_size=300, bos_token_id=0, pad_token_id=1, eos_token_id=2)
DECODER_TOKENS = dict(vocab_size=300, pad_token_id=0, bos_token_id=1, eos_token_id=2)
SMALL = dict(hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4)


class Family:
    """How a family's checkpoint is made and what its text looks like."""

    def __init__(self, build, first=2, last=3, n_tokens=24, tokenizer=wordpiece_tokenizer,
                 changes=(), amplitudes=(), pooling="mean"):
        self.build = build
        self.ids = (first, last)
        self.n_tokens = n_tokens
        self.tokenizer = tokenizer
        # (what, change of the configuration) that must move the output.
        self.changes = changes
        # (part of a name, (base, amplitude)) besides the general rule.
        self.amplitudes = amplitudes
        self.pooling = pooling

    def tokens(self):
        first, last = self.ids
        inner = [5 + fnv1a64(f"token {i}") % 295 for i in range(self.n_tokens - 2)]
        return [first] + inner + [last]


def roberta_tokenizer():
    """A byte-level vocabulary without merges, in RoBERTa's frame."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = specials + alphabet
    vocab += [f"unused{i}" for i in range(300 - len(vocab))]
    tok = Tokenizer(models.BPE({piece: i for i, piece in enumerate(vocab)}, []))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.add_special_tokens(specials)
    tok.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tok


def unigram_tokenizer():
    """A Unigram vocabulary in XLM-R's frame."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    chars = ["▁"] + [chr(c) for c in range(33, 127)]
    words = ["▁the", "▁wren", "▁is", "▁small", "▁and", "▁king", "let", "▁model"]
    pieces = [(piece, 0.0) for piece in specials]
    pieces += [(piece, -5.0 - i / 64) for i, piece in enumerate(chars)]
    pieces += [(piece, -3.0 - i / 64) for i, piece in enumerate(words)]
    pieces += [(f"unused{i}", -20.0) for i in range(299 - len(pieces))] + [("<mask>", 0.0)]
    tok = Tokenizer(models.Unigram(pieces, unk_id=3))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    tok.add_special_tokens(specials + ["<mask>"])
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return tok


def decoder_tokenizer(single="<s> $A </s>"):
    """A byte-level vocabulary whose texts end with a token, too."""
    tok = tiny_models.bpe_tokenizer()
    tok.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    return tok


def roberta_family(build, tokenizer=roberta_tokenizer, **more):
    return Family(build, first=0, last=2, tokenizer=tokenizer, **more)


def families():
    return {
        "roberta": roberta_family(lambda: t.RobertaModel(t.RobertaConfig(
            **ROBERTA_TOKENS, **SMALL, type_vocab_size=1, max_position_embeddings=66,
            layer_norm_eps=1e-5)),
            changes=[("positions from 0", lambda c: c.update(pad_token_id=0))]),
        # With the head of pre-training, so that names have their prefix.
        "camembert": roberta_family(lambda: t.CamembertForMaskedLM(t.CamembertConfig(
            **ROBERTA_TOKENS, **SMALL, type_vocab_size=1, max_position_embeddings=66))),
        "xlm-roberta": roberta_family(lambda: t.XLMRobertaModel(t.XLMRobertaConfig(
            **ROBERTA_TOKENS, **SMALL, type_vocab_size=1, max_position_embeddings=66,
            layer_norm_eps=1e-5)), tokenizer=unigram_tokenizer),
        "distilbert": Family(lambda: t.DistilBertModel(t.DistilBertConfig(
            **BERT_TOKENS, dim=64, hidden_dim=176, n_layers=3, n_heads=4,
            max_position_embeddings=64)),
            changes=[("relu", lambda c: c.update(activation="relu"))],
            amplitudes=[("ffn.lin2.weight", (0.0, 0.125))]),
        # The last bucket begins at a distance of 128.
        "mpnet": Family(lambda: t.MPNetModel(t.MPNetConfig(
            **ROBERTA_TOKENS, hidden_size=32, intermediate_size=88, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=170, layer_norm_eps=1e-5)),
            first=0, last=2, n_tokens=150, amplitudes=[("relative_attention_bias", (0.0, 1.0))]),
        # Layers 1 and 2 see four positions on either side.
        "modernbert": Family(lambda: t.ModernBertModel(t.ModernBertConfig(
            **BERT_TOKENS, hidden_size=64, intermediate_size=104, num_hidden_layers=4,
            num_attention_heads=4, max_position_embeddings=64, local_attention=8,
            bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)),
            changes=[("a window longer by one on each side", lambda c: c.update(local_attention=10)),
                     ("one theta", lambda c: c["rope_parameters"].update(
                         full_attention=dict(rope_type="default", rope_theta=10000.0))),
                     ("all layers full", lambda c: c.update(
                         layer_types=["full_attention"] * 4))],
            amplitudes=[("mlp.Wo", (0.0, 0.5))]),
        "nomic-bert": Family(lambda: t.NomicBertModel(t.NomicBertConfig(
            **BERT_TOKENS, **SMALL, max_position_embeddings=64)),
            changes=[("another theta", lambda c: c.update(
                rope_parameters=dict(rope_type="default", rope_theta=10000.0)))],
            amplitudes=[("emb_ln.weight", (1.0, 0.25)), ("mlp.fc2", (0.0, 0.125))]),
        "electra": Family(lambda: t.ElectraModel(t.ElectraConfig(
            **BERT_TOKENS, **SMALL, embedding_size=24, max_position_embeddings=64))),
        # The last bucket begins at a distance of 16.
        "deberta-v2": Family(lambda: t.DebertaV2Model(t.DebertaV2Config(
            **BERT_TOKENS, **SMALL, type_vocab_size=0, max_position_embeddings=64,
            relative_attention=True, max_relative_positions=16, position_buckets=8,
            norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
            position_biased_input=False)),
            changes=[("buckets up to 20", lambda c: c.update(max_relative_positions=20)),
                     ("queries meet positions alone", lambda c: c.update(pos_att_type="c2p"))],
            amplitudes=[("rel_embeddings", (0.0, 1.0))]),
        # Layers 0, 1 and 3 see four positions on either side.
        "embeddinggemma": Family(lambda: t.Gemma3TextModel(t.Gemma3TextConfig(
            **DECODER_TOKENS, hidden_size=64, intermediate_size=176, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=32,
            max_position_embeddings=64, sliding_window=8, use_bidirectional_attention=True,
            layer_types=["sliding_attention", "sliding_attention", "full_attention",
                         "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="default", rope_theta=1000000.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0)))),
            first=1, last=2, tokenizer=decoder_tokenizer,
            changes=[("a window longer by one on each side",
                      lambda c: c.update(sliding_window=10)),
                     ("causal", lambda c: c.update(use_bidirectional_attention=False))],
            amplitudes=[("norm.weight", (0.0, 0.25))]),
    }


def decoders():
    """Families whose hidden states live in a session: only their vectors are compared."""
    return {
        "qwen3-embedding": Family(lambda: t.Qwen3Model(t.Qwen3Config(
            **DECODER_TOKENS, hidden_size=64, intermediate_size=176, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32,
            max_position_embeddings=64, rope_theta=1000000.0, tie_word_embeddings=True)),
            last=2, tokenizer=lambda: decoder_tokenizer("$A </s>"), pooling="lasttoken"),
    }


def base(model):
    """The encoder inside."""
    return getattr(model, model.base_model_prefix, model)


def hidden_states(model, ids):
    with torch.no_grad():
        return base(model)(torch.tensor([ids])).last_hidden_state[0]


def make(name, family, save):
    general = tiny_models.kind

    def kind(tensor, of):
        own = [value for part, value in family.amplitudes if part in tensor]
        return own[0] if own else general(tensor, of)

    tiny_models.kind = kind
    model = family.build().float().eval()
    table, state, config = fill(model, name)
    tiny_models.kind = general
    model = load(type(model), config, state)
    ids = family.tokens()
    hidden = hidden_states(model, ids)
    assert torch.isfinite(hidden).all()

    folder = GOLDENS / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config, indent=2)
    rows = ",\n".join(json.dumps(row) for row in table)
    (folder / "tensors.json").write_text(f"[\n{rows}\n]\n")
    with tempfile.TemporaryDirectory() as temporary:
        target = pathlib.Path(save or temporary) / name
        target.mkdir(parents=True, exist_ok=True)
        file = target / "model.safetensors"
        save_file({k: v.contiguous() for k, v in state.items()}, str(file), {"format": "pt"})
        write_json(target / "config.json", config, indent=2)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    pooled = hidden.mean(0) if family.pooling == "mean" else hidden[-1]
    write_goldens(folder / "goldens.json", {
        "reference": f"transformers {t.__version__}, torch {torch.__version__}",
        "tokens": ids,
        "safetensors_sha256": digest,
        "hidden": rounded(hidden),
        "embedding": rounded((pooled / pooled.norm())[None])[0],
    })
    write_modules(folder, hidden.shape[1], family.pooling)
    family.tokenizer().save(str(folder / "tokenizer.json"))

    print(f"{name}: {len(ids)} tokens, std {hidden.std():.2f}, largest {hidden.abs().max():.2f}, "
          f"between rows {(hidden[1:] - hidden[:-1]).std():.2f}")
    for what, change in family.changes:
        changed = json.loads(json.dumps(config))
        change(changed)
        other = hidden_states(load(type(model), changed, state), ids)
        difference = ((other - hidden).abs().max() / hidden.std()).item()
        print(f"  {what}: moves by up to {difference:.4f}")
        assert difference > 0.05, (name, what)


def write_modules(folder, width, pooling):
    """Rows become one, which is scaled to length one."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)], indent=2)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(folder / "1_Pooling" / "config.json",
               {"word_embedding_dimension": width, "pooling_mode": pooling}, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", help="comma-separated; all by default")
    parser.add_argument("--save", help="also write the checkpoints into this folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    t.logging.set_verbosity_error()
    t.logging.disable_progress_bar()
    for name, family in {**families(), **decoders()}.items():
        if not args.families or name in args.families.split(","):
            make(name, family, args.save)


if __name__ == "__main__":
    main()
