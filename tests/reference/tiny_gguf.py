"""The tiny checkpoints of tiny_decoders.py as GGUF files: what llama.cpp's converter makes of them.

    python tests/reference/tiny_gguf.py

Writes tests/goldens/tiny/FAMILY/gguf.json, from which tests/src/tiny_gguf.rs makes the same file:
  architecture  value of general.architecture
  keys          [name, type, value], as gguf-py spells them
  tensors       [name, dims, how, sources]: a tensor of the file by gguf-py's map of names, and the
                tensors of the checkpoint that it is made of
  sha256        of all tensors' values, f32, in that order

`how` is one of
  as_is
  plus_one            one is added (norms of Gemma)
  pairs:N             rows of N heads, each [2][head_dim / 2] transposed
  heads:N             rows [head][q | k | v] become [q | k | v][head]
  stack               several tensors under each other, a new first dimension
  half:0, half:1      a half of the second dimension
"""

import hashlib
import json
import pathlib

import gguf
import numpy as np

from tiny_models import GOLDENS, weights

ARCH = gguf.MODEL_ARCH
ARCHITECTURES = {
    "llama-biases": ARCH.LLAMA, "mixtral": ARCH.LLAMA, "qwen2-moe": ARCH.QWEN2MOE,
    "qwen3-moe": ARCH.QWEN3MOE, "phi3": ARCH.PHI3, "phi3-short": ARCH.PHI3, "gemma": ARCH.GEMMA,
    "gemma2": ARCH.GEMMA2, "smollm3": ARCH.SMOLLM3, "granite": ARCH.GRANITE,
    "granite-moe": ARCH.GRANITE_MOE, "starcoder2": ARCH.STARCODER2, "gpt-neox": ARCH.GPTNEOX,
    "gpt-neox-serial": ARCH.GPTNEOX, "phi": ARCH.PHI2, "stablelm": ARCH.STABLELM,
    "stablelm-parallel": ARCH.STABLELM, "cohere": ARCH.COMMAND_R, "cohere2": ARCH.COHERE2,
}
# Rotations of neighbouring pairs, for which the converter reorders rows.
REORDERED = (ARCH.LLAMA, ARCH.SMOLLM3, ARCH.GRANITE, ARCH.GRANITE_MOE)
# `w1`…`w3` of Mixtral by the names of others.
MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


class Keys:
    """Collects what a writer of gguf-py would write."""

    def __init__(self, arch):
        self.writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[arch])

    def list(self):
        kinds = {gguf.GGUFValueType.UINT32: "u32", gguf.GGUFValueType.FLOAT32: "f32",
                 gguf.GGUFValueType.BOOL: "bool", gguf.GGUFValueType.STRING: "text"}
        own = self.writer.kv_data[0].items()
        return [[key, kinds[value.type], value.value] for key, value in own
                if not key.startswith(("GGUF.", "general."))]


def keys(family, arch, config, tensors):
    """Metadata of a file, with the calls that the converter makes."""
    out = Keys(arch)
    w = out.writer
    rope = config["rope_parameters"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(heads)
    if arch != ARCH.GPTNEOX:
        w.add_head_count_kv(kv_heads)
    if config.get("head_dim"):
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    eps = [config[key] for key in ("layer_norm_eps", "norm_epsilon") if key in config]
    w.add_layer_norm_eps(eps[0]) if eps else w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "longrope":
        w.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        w.add_rope_scaling_attn_factors(rope["attention_factor"])
    if config.get("sliding_window") and arch != ARCH.QWEN2MOE:
        w.add_sliding_window(config["sliding_window"])
    elif arch == ARCH.PHI3:
        w.add_sliding_window(0)
    n_experts = config.get("num_experts") or config.get("num_local_experts")
    if n_experts:
        w.add_expert_count(n_experts)
        w.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        w.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        w.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if arch == ARCH.GEMMA2:
        w.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        w.add_final_logit_softcapping(config["final_logit_softcapping"])
    if arch in (ARCH.GRANITE, ARCH.GRANITE_MOE):
        w.add_attention_scale(config["attention_multiplier"])
        w.add_embedding_scale(config["embedding_multiplier"])
        w.add_residual_scale(config["residual_multiplier"])
        w.add_logit_scale(config["logits_scaling"])
    if arch in (ARCH.COMMAND_R, ARCH.COHERE2):
        w.add_logit_scale(config["logit_scale"])
    if arch in (ARCH.GPTNEOX, ARCH.STABLELM):
        w.add_parallel_residual(config["use_parallel_residual"])
    return out.list()


def plan(family, arch, config, tensors):
    """[name, how, sources] of every tensor."""
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    rows, experts = [], {}
    for name, *_ in tensors:
        if ".experts." in name:
            layer, rest = name.split(".experts.")
            matrix = rest.split(".")[1]
            key = f"{layer.replace('block_sparse_moe', 'mlp')}.experts.{MIXTRAL.get(matrix, matrix)}"
            experts.setdefault(f"{key}.weight", []).append(name)
            continue
        how = "as_is"
        if name.endswith("input_linear.weight"):
            layer = int(name.split(".")[2])
            for half, tensor in enumerate((gguf.MODEL_TENSOR.FFN_GATE_EXP,
                                           gguf.MODEL_TENSOR.FFN_UP_EXP)):
                theirs = gguf.TENSOR_NAMES[tensor].format(bid=layer)
                rows.append([f"{theirs}.weight", f"half:{half}", [name]])
            continue
        if family.startswith("gemma") and name.endswith("norm.weight"):
            how = "plus_one"
        if arch in REORDERED and ".q_proj." in name:
            how = f"pairs:{heads}"
        if arch in REORDERED and ".k_proj." in name:
            how = f"pairs:{kv_heads}"
        if "query_key_value" in name:
            how = f"heads:{heads}"
        rows.append([names.get_name(name, (".weight", ".bias")), how, [name]])
    for key, sources in experts.items():
        number = lambda name: int(name.split(".experts.")[1].split(".")[0])
        rows.append([names.get_name(key, (".weight",)), "stack", sorted(sources, key=number)])
    assert all(row[0] for row in rows), rows
    return rows


def make(how, sources):
    """The values of a tensor, by the formulas of the converter."""
    x = sources[0]
    what, _, n = how.partition(":")
    if what == "plus_one":
        return x + np.float32(1)
    if what == "pairs":
        n = int(n)
        return x.reshape(n, 2, x.shape[0] // n // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
    if what == "heads":
        parts = x.reshape(int(n), 3, -1, *x.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *x.shape[1:]) for i in range(3)])
    if what == "stack":
        return np.stack(sources)
    if what == "half":
        middle = x.shape[1] // 2
        return x[:, :middle] if n == "0" else x[:, middle:]
    return x


def main():
    for family, arch in ARCHITECTURES.items():
        folder = GOLDENS / family
        config = json.loads((folder / "config.json").read_text())
        tensors = json.loads((folder / "tensors.json").read_text())
        table = {row[0]: weights(*row) for row in tensors}
        rows, digest = [], hashlib.sha256()
        for name, how, sources in plan(family, arch, config, tensors):
            values = make(how, [table[source] for source in sources])
            digest.update(np.ascontiguousarray(values, dtype=np.float32).tobytes())
            rows.append([name, list(values.shape), how, sources])
        rope = config["rope_parameters"]
        for kind in ("long", "short"):
            if f"{kind}_factor" in rope:
                values = rope[f"{kind}_factor"]
                rows.append([f"rope_factors_{kind}.weight", [len(values)], "values", values])
        lines = {
            "architecture": json.dumps(gguf.MODEL_ARCH_NAMES[arch]),
            "keys": listed(keys(family, arch, config, tensors)),
            "tensors": listed(rows),
            "sha256": json.dumps(digest.hexdigest()),
        }
        text = ",\n".join(f'"{key}": {value}' for key, value in lines.items())
        pathlib.Path(folder, "gguf.json").write_text(f"{{\n{text}\n}}\n")
        print(f"{family}: {len(rows)} tensors of {gguf.MODEL_ARCH_NAMES[arch]}")


def listed(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"


if __name__ == "__main__":
    main()
