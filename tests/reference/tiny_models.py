"""Tiny random checkpoints of every mapped family and the outputs Hugging Face computes for them.

    python tests/reference/tiny_models.py [--families llama,bert] [--save FOLDER]

Writes to tests/goldens/tiny/FAMILY:
  config.json    as `save_pretrained` writes it (and config.v4.json: the spelling of older
                 releases, where the two differ)
  tensors.json   [name, shape, base, amplitude] of every tensor; no values
  goldens.json   token ids and the reference outputs, f32, eager attention
  tokenizer.json and, for the encoder, the pooling configuration

The weights follow from tensors.json alone (`weights()` below and tests/src/tiny.rs):
element i of a tensor is `base + amplitude * u`, where u in [-1, 1) is made of the top 24 bits of
splitmix64's output number i for the seed FNV-1a-64(name). Amplitudes are powers of two, so the
product is exact and the sum is rounded once.

With --save the checkpoints are written as well (model.safetensors, for comparing bytes).
"""

import argparse
import hashlib
import json
import math
import pathlib
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import tiny_decoders

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tiny"
N_TOKENS = 24
N_GREEDY = 16

U64 = (1 << 64) - 1
T5 = ("t5", "mt5", "umt5")


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & U64
    return value


def weights(name, shape, base, amplitude):
    """The tensor called `name`; see the module's description."""
    count = math.prod(shape)
    steps = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + steps * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return (np.float32(base) + np.float32(amplitude) * unit).reshape(shape)


def kind(name, family):
    """(base, amplitude) by the tensor's role."""
    if ("norm" in name.lower() or ".ln_" in name) and name.endswith("weight"):
        # Gemma multiplies by 1 + w.
        return (0.0, 0.25) if family.startswith("gemma") else (1.0, 0.25)
    if name.endswith("bias"):
        return 0.0, 0.25
    if any(part in name for part in ("down_proj", ".output.dense", "c_proj", "ffn_output", ".wo.",
                                     "dense_4h_to_h", ".fc2.", ".w2.", "output_linear")):
        return 0.0, 0.125
    if family == "gpt2" and ("c_fc" in name or "wte" in name):
        return 0.0, 0.5
    if family == "albert" and ".ffn.weight" in name:
        return 0.0, 0.5
    # Its scores have no scale: trained weights are small instead.
    if family in T5 and name.endswith("Attention.q.weight"):
        return 0.0, 0.0625
    if family in T5 and name == "shared.weight":
        return 0.0, 2.0
    if family in T5 and "relative_attention_bias" in name:
        return 0.0, 1.0
    if family == "vit" and "patch_embeddings" in name:
        return 0.0, 0.0625
    return 0.0, 0.25


COMMON = dict(vocab_size=300, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def families():
    t = transformers
    return {
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(
            **COMMON, hidden_size=64, intermediate_size=176, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            rope_theta=10000.0, rms_norm_eps=1e-5)),
        "llama3-rope-scaling": lambda: t.LlamaForCausalLM(t.LlamaConfig(
            **COMMON, hidden_size=96, intermediate_size=168, num_hidden_layers=2,
            num_attention_heads=6, num_key_value_heads=2, head_dim=24,
            max_position_embeddings=512, tie_word_embeddings=True, rms_norm_eps=1e-5,
            rope_theta=500.0,
            rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                              high_freq_factor=4.0, original_max_position_embeddings=64))),
        "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(
            **COMMON, hidden_size=80, intermediate_size=184, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=1, head_dim=20,
            max_position_embeddings=64, rope_theta=10000.0, sliding_window=7,
            tie_word_embeddings=False)),
        "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(
            **COMMON, hidden_size=72, intermediate_size=200, num_hidden_layers=3,
            num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=64,
            rope_theta=1000000.0, tie_word_embeddings=True)),
        "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(
            **COMMON, hidden_size=64, intermediate_size=176, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32,
            max_position_embeddings=64, rope_theta=1000000.0, tie_word_embeddings=False)),
        "gemma3": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(
            **COMMON, hidden_size=64, intermediate_size=176, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=1, head_dim=32,
            query_pre_attn_scalar=32, sliding_window=6, max_position_embeddings=64,
            layer_types=["sliding_attention", "sliding_attention", "full_attention",
                         "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="default", rope_theta=1000000.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0)))),
        "gemma3-query-scale": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(
            **COMMON, hidden_size=96, intermediate_size=176, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16,
            query_pre_attn_scalar=24, sliding_window=9, max_position_embeddings=64,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=100000.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0)))),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(
            vocab_size=300, bos_token_id=1, eos_token_id=2, n_positions=64, n_embd=60, n_layer=3,
            n_head=4, n_inner=136)),
        "olmo2": lambda: t.Olmo2ForCausalLM(t.Olmo2Config(
            **COMMON, hidden_size=64, intermediate_size=176, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)),
        "olmoe": lambda: t.OlmoeForCausalLM(t.OlmoeConfig(
            **COMMON, hidden_size=64, intermediate_size=40, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            num_experts=4, num_experts_per_tok=2)),
        "albert": lambda: t.AlbertModel(t.AlbertConfig(
            vocab_size=300, pad_token_id=0, embedding_size=24, hidden_size=64,
            intermediate_size=176, num_hidden_layers=4, num_attention_heads=4,
            max_position_embeddings=64)),
        "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(
            vocab_size=300, d_model=48, d_kv=20, d_ff=104, num_layers=2, num_decoder_layers=3,
            num_heads=4, relative_attention_num_buckets=8, relative_attention_max_distance=12,
            feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0)),
        "vit": lambda: t.ViTModel(t.ViTConfig(
            hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4,
            image_size=32, patch_size=8)),
        "bert": lambda: t.BertModel(t.BertConfig(
            vocab_size=300, pad_token_id=0, hidden_size=64, intermediate_size=176,
            num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64)),
        **tiny_decoders.DECODERS,
    }


# What a mapping could get wrong without the shapes telling: the reference's own output must
# change clearly when the feature is taken away, or the golden would not see the mistake.
FEATURES = {
    "llama3-rope-scaling": [("no rope scaling", lambda c: c.update(
        rope_parameters=dict(rope_type="default", rope_theta=500.0)))],
    "mistral": [("no sliding window", lambda c: c.update(sliding_window=None)),
                ("window one longer", lambda c: c.update(sliding_window=8))],
    "gemma3": [("all full attention", lambda c: c.update(layer_types=["full_attention"] * 4)),
               ("window one longer", lambda c: c.update(sliding_window=7)),
               ("exact gelu", lambda c: c.update(hidden_activation="gelu")),
               ("local theta everywhere", lambda c: c["rope_parameters"]["full_attention"].update(
                   rope_theta=10000.0))],
    "gemma3-query-scale": [
        ("scale by head_dim", lambda c: c.update(query_pre_attn_scalar=16)),
        ("no linear rope scaling", lambda c: c["rope_parameters"].update(
            full_attention=dict(rope_type="default", rope_theta=100000.0)))],
    "llama": [("another theta", lambda c: c.update(
        rope_parameters=dict(rope_type="default", rope_theta=1000.0)))],
    "bert": [("tanh gelu", lambda c: c.update(hidden_act="gelu_pytorch_tanh"))],
    "gpt2": [("exact gelu", lambda c: c.update(activation_function="gelu"))],
    "olmoe": [("weights scaled to one", lambda c: c.update(norm_topk_prob=True)),
              ("one expert", lambda c: c.update(num_experts_per_tok=1))],
    "albert": [("one layer fewer", lambda c: c.update(num_hidden_layers=3)),
               ("relu", lambda c: c.update(hidden_act="relu"))],
    "t5": [("logits not scaled", lambda c: c.update(scale_decoder_outputs=False)),
           ("distances to 20", lambda c: c.update(relative_attention_max_distance=20)),
           ("silu", lambda c: c.update(dense_act_fn="silu"))],
    "vit": [("relu", lambda c: c.update(hidden_act="relu"))],
    **tiny_decoders.FEATURES,
}

# What else a family is fed, and what it is asked for.
ENCODERS = ("bert", "albert")
N_SOURCE = 24


def old_spelling(config):
    """The same configuration as releases before 5 wrote it: rope_theta and rope_scaling."""
    old = dict(config)
    rope = old.pop("rope_parameters", None)
    if rope is None:
        return None
    if "full_attention" in rope:
        full, local = rope["full_attention"], rope["sliding_attention"]
        old["rope_theta"] = full["rope_theta"]
        old["rope_local_base_freq"] = local["rope_theta"]
        scaling = {k: v for k, v in full.items() if k != "rope_theta"}
    else:
        theta, partial = "rope_theta", "partial_rotary_factor"
        if old["model_type"] == "gpt_neox":
            theta, partial = "rotary_emb_base", "rotary_pct"
        old[theta] = rope["rope_theta"]
        if "partial_rotary_factor" in rope:
            old[partial] = rope["partial_rotary_factor"]
        ours = ("rope_theta", "partial_rotary_factor")
        scaling = {k: v for k, v in rope.items() if k not in ours}
    old["rope_scaling"] = None if scaling.get("rope_type") == "default" else scaling
    if "dtype" in old:
        old["torch_dtype"] = old.pop("dtype")
    old["transformers_version"] = "4.57.0"
    return old


def tokens():
    """Fixed ids in [3, 300): token 0 to 2 are special."""
    return [1] + [3 + (fnv1a64(f"token {i}") % 297) for i in range(N_TOKENS - 1)]


def source():
    """Ids of a text that a decoder reads."""
    return [3 + (fnv1a64(f"source {i}") % 297) for i in range(N_SOURCE - 1)] + [1]


def fill(model, family):
    """The list of [name, shape, base, amplitude], the values and the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        stored = load_file(f"{folder}/model.safetensors")
        config = json.loads(pathlib.Path(folder, "config.json").read_text())
    # Of PEGASUS they are waves, which it stores but nobody learns.
    waves = "embed_positions" if family == "pegasus" else "\0"
    table = [[name, list(stored[name].shape), *kind(name, family)] for name in sorted(stored)
             if waves not in name]
    state = {row[0]: torch.from_numpy(weights(*row)) for row in table}
    return table, state, config


def load(kind, config, state):
    """A model as a user would load it: names of files need not be those in memory."""
    with tempfile.TemporaryDirectory() as folder:
        save_file({k: v.contiguous() for k, v in state.items()}, f"{folder}/model.safetensors",
                  {"format": "pt"})
        write_json(pathlib.Path(folder, "config.json"), config)
        model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                           attn_implementation="eager")
    assert not info["unexpected_keys"] and not info["mismatched_keys"], info
    computed = ("lm_head", "inv_freq", "position_ids", "embed_tokens", "embed_positions")
    missing = info["missing_keys"]
    assert all(any(part in name for part in computed) for name in missing), missing
    return model.eval()


def rounded(values):
    return [[float(f"{v:.7g}") for v in row] for row in values.tolist()]


def pixels(config):
    """A made-up image [channels, side, side]: the tensor "pixels" by the rule for weights."""
    shape = [config.num_channels, config.image_size, config.image_size]
    return torch.from_numpy(weights("pixels", shape, 0.0, 1.0))


def outputs(model, ids):
    with torch.no_grad():
        if model.config.model_type == "vit":
            out = model(pixels(model.config)[None], output_attentions=True)
        elif model.config.is_encoder_decoder:
            out = model(input_ids=torch.tensor([source()]), decoder_input_ids=torch.tensor([ids]),
                        output_attentions=True)
            return out.logits[0], out.decoder_attentions
        else:
            out = model(torch.tensor([ids]), output_attentions=True)
    main = out.logits if hasattr(out, "logits") else out.last_hidden_state
    return main[0], out.attentions


def attention_shape(attentions):
    """Mean entropy of the last query's weights, relative to a uniform row."""
    ratios = []
    for layer in attentions:
        row = layer[0, :, -1]
        seen = (row > 0).sum(-1)
        entropy = -(row * row.clamp_min(1e-30).log()).sum(-1)
        ratios.append((entropy / seen.float().log()).mean().item())
    return ratios


def rebuild(model, config, state):
    """The same weights under a changed configuration."""
    return load(type(model), config, state)


def text_for_tokenizers():
    return [
        "the wren is small and the kinglet is smaller still",
        "a model is data: blocks, norms, positions and heads",
        "for i in range(10): print(i * i)", "3.14159 2.71828 1 22 333",
    ] * 20


def bpe_tokenizer():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(text_for_tokenizers(), trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    assert tok.get_vocab_size() == 300, tok.get_vocab_size()
    return tok


def wordpiece_tokenizer():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    # The trainer breaks ties by hash order; a vocabulary written down is the same every time.
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    chars = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    words = ["the", "wren", "is", "small", "and", "king", "model", "data", "for", "in", "range"]
    pieces = ["##" + c for c in chars] + ["##let", "##er", "##ing", "##es", "##ed", "##ion"]
    vocab = specials + chars + words + [p for p in pieces if p not in words]
    vocab += [f"[unused{i}]" for i in range(300 - len(vocab))]
    assert len(vocab) == 300 and len(set(vocab)) == 300
    tok.model = models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]")
    tok.add_special_tokens(specials)
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tok


def write_json(path, value, indent=None):
    text = json.dumps(value, indent=indent, separators=None if indent else (",", ":"))
    path.write_text(text + "\n")


def write_goldens(path, golden):
    """One row of numbers a line: diffs stay readable."""
    parts = []
    for key, value in golden.items():
        if isinstance(value, list) and value and isinstance(value[0], list):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
            parts.append(f'"{key}":[\n{rows}\n]')
        else:
            parts.append(f'"{key}":{json.dumps(value, separators=(",", ":"))}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def make(family, build, save):
    model = build().float().eval()
    table, state, config = fill(model, family)
    model = load(type(model), config, state)
    ids = tokens()
    if family in ENCODERS:
        ids = [2] + ids[1:-1] + [3]
    elif model.config.is_encoder_decoder:
        ids = [model.config.decoder_start_token_id] + ids[1:]
    elif family == "vit":
        ids = []
    main, attentions = outputs(model, ids)
    assert torch.isfinite(main).all()

    folder = GOLDENS / family
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config, indent=2)
    old = old_spelling(config)
    if old:
        write_json(folder / "config.v4.json", old, indent=2)
    rows = ",\n".join(json.dumps(row) for row in table)
    (folder / "tensors.json").write_text(f"[\n{rows}\n]\n")

    golden = {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "tokens": ids,
    }
    with tempfile.TemporaryDirectory() as temporary:
        target = pathlib.Path(save or temporary) / family
        target.mkdir(parents=True, exist_ok=True)
        file = target / "model.safetensors"
        save_file({k: v.contiguous() for k, v in state.items()}, str(file), {"format": "pt"})
        write_json(target / "config.json", config, indent=2)
        golden["safetensors_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()

    if model.config.is_encoder_decoder:
        golden["source"] = source()
        with torch.no_grad():
            encoded = model.get_encoder()(input_ids=torch.tensor([source()])).last_hidden_state[0]
        golden["hidden"] = rounded(encoded)
    if family == "vit":
        golden["hidden"] = rounded(main)
    elif family in ENCODERS:
        golden["hidden"] = rounded(main)
        mean = main.mean(0)
        golden["embedding"] = rounded((mean / mean.norm())[None])[0]
        write_json(folder / "modules.json", [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling",
             "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize",
             "type": "sentence_transformers.models.Normalize"}], indent=2)
        (folder / "1_Pooling").mkdir(exist_ok=True)
        write_json(folder / "1_Pooling" / "config.json", {
            "word_embedding_dimension": 64, "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False}, indent=2)
        write_json(folder / "sentence_bert_config.json",
                   {"max_seq_length": 64, "do_lower_case": False}, indent=2)
        wordpiece_tokenizer().save(str(folder / "tokenizer.json"))
    else:
        golden["logits"] = rounded(main)
        # Greedy continuation, the whole text anew for each token: no cache is trusted.
        text, gaps = list(ids), []
        for _ in range(N_GREEDY):
            top = outputs(model, text)[0][-1].topk(2)
            gaps.append(float(f"{(top.values[0] - top.values[1]).item():.4g}"))
            text.append(top.indices[0].item())
        golden["greedy"] = text[len(ids):]
        golden["greedy_gaps"] = gaps
        bpe_tokenizer().save(str(folder / "tokenizer.json"))
    write_goldens(folder / "goldens.json", golden)

    shapes = " ".join(f"{r:.2f}" for r in attention_shape(attentions))
    print(f"{family}: std {main.std():.2f}, largest {main.abs().max():.2f}, "
          f"attention entropy / uniform {shapes}, smallest greedy gap {min(golden.get('greedy_gaps', [0]))}")
    for what, change in FEATURES.get(family, []):
        changed = json.loads(json.dumps(config))
        change(changed)
        other, _ = outputs(rebuild(model, changed, state), ids)
        difference = (other - main).abs().max().item()
        print(f"  {what}: logits move by up to {difference:.4f}")
        floor = 1e-3 if "gelu" in what else 0.02
        assert difference > floor, (family, what)
    if old:
        again, _ = outputs(rebuild(model, old, state), ids)
        assert torch.equal(again, main), f"{family}: config.v4.json reads differently"
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", help="comma-separated; all by default")
    parser.add_argument("--save", help="also write the checkpoints into this folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for family, build in families().items():
        if not args.families or family in args.families.split(","):
            make(family, build, args.save)


if __name__ == "__main__":
    main()
