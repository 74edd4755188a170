"""What GGUF files call the tensors of encoders, and the keys they have, by gguf-py.

    python tests/reference/gguf_encoders.py

Writes tests/goldens/gguf_encoders.json: for each tiny checkpoint its architecture, its keys as
llama.cpp's converter sets them, and the name of every tensor; those that the converter leaves out have
none.
"""

import json

import gguf

from tiny_models import GOLDENS

ARCHITECTURES = {
    "bert": gguf.MODEL_ARCH.BERT, "roberta": gguf.MODEL_ARCH.BERT,
    "distilbert": gguf.MODEL_ARCH.BERT, "nomic-bert": gguf.MODEL_ARCH.NOMIC_BERT,
    "modernbert": gguf.MODEL_ARCH.MODERN_BERT, "qwen3-embedding": gguf.MODEL_ARCH.QWEN3,
    "jina-bert-v2": gguf.MODEL_ARCH.JINA_BERT_V2, "embeddinggemma": gguf.MODEL_ARCH.GEMMA_EMBEDDING,
    "roberta-sequences": gguf.MODEL_ARCH.BERT, "modernbert-sequences": gguf.MODEL_ARCH.MODERN_BERT,
}
# What the converter renames before it asks for the format's name.
CLASSIFIERS = {"classifier.weight": "classifier.out_proj.weight",
               "classifier.bias": "classifier.out_proj.bias"}
# Buffers and heads of pre-training.
LEFT_OUT = ("pooler.", "position_ids")


def keys(family, config, arch):
    """Those of the converter's classes for these models."""
    name = gguf.MODEL_ARCH_NAMES[arch]
    get = lambda *names: next(config[n] for n in names if n in config)
    context = config["max_position_embeddings"]
    if family.startswith("roberta"):
        context -= config["pad_token_id"] + 1
    a, l, r = gguf.Keys.Attention, gguf.Keys.LLM, gguf.Keys.Rope
    out = {
        l.CONTEXT_LENGTH: context, l.EMBEDDING_LENGTH: get("hidden_size", "dim"),
        l.FEED_FORWARD_LENGTH: get("intermediate_size", "hidden_dim"),
        l.BLOCK_COUNT: get("num_hidden_layers", "n_layers"),
        a.HEAD_COUNT: get("num_attention_heads", "n_heads"),
    }
    if arch == gguf.MODEL_ARCH.QWEN3:
        out |= {a.HEAD_COUNT_KV: config["num_key_value_heads"], a.KEY_LENGTH: config["head_dim"],
                a.VALUE_LENGTH: config["head_dim"], a.LAYERNORM_RMS_EPS: config["rms_norm_eps"],
                r.FREQ_BASE: config["rope_parameters"]["rope_theta"],
                l.POOLING_TYPE: int(gguf.PoolingType.LAST)}
    elif arch == gguf.MODEL_ARCH.GEMMA_EMBEDDING:
        rope = config["rope_parameters"]
        full = [kind == "full_attention" for kind in config["layer_types"]]
        out |= {a.HEAD_COUNT_KV: config["num_key_value_heads"], a.KEY_LENGTH: config["head_dim"],
                a.VALUE_LENGTH: config["head_dim"], a.LAYERNORM_RMS_EPS: config["rms_norm_eps"],
                r.FREQ_BASE: rope["full_attention"]["rope_theta"],
                a.SLIDING_WINDOW: config["sliding_window"],
                a.SLIDING_WINDOW_PATTERN: full.index(True) + 1,
                l.POOLING_TYPE: int(gguf.PoolingType.MEAN)}
    else:
        out |= {a.CAUSAL: False, l.POOLING_TYPE: int(gguf.PoolingType.MEAN),
                a.LAYERNORM_EPS: config.get("layer_norm_eps", config.get("norm_eps", 1e-12))}
    if family == "nomic-bert":
        out[r.FREQ_BASE] = config["rope_parameters"]["rope_theta"]
    if arch == gguf.MODEL_ARCH.MODERN_BERT:
        rope = config["rope_parameters"]
        out |= {a.SLIDING_WINDOW: config["local_attention"],
                r.FREQ_BASE: rope["full_attention"]["rope_theta"],
                r.FREQ_BASE_SWA: rope["sliding_attention"]["rope_theta"],
                r.SCALING_TYPE: gguf.RopeScalingType.NONE.value}
    if family.endswith("-sequences"):
        labels = config["id2label"]
        pools = {"cls": gguf.PoolingType.CLS, "mean": gguf.PoolingType.MEAN}
        if pool := config.get("classifier_pooling"):
            out["{arch}.classifier.pooling_type"] = int(pools[pool])
        out |= {l.POOLING_TYPE: int(gguf.PoolingType.RANK),
                gguf.Keys.Classifier.OUTPUT_LABELS: [labels[str(i)] for i in range(len(labels))]}
    return {key.format(arch=name): value for key, value in out.items()}


def main():
    out = {}
    for family, arch in ARCHITECTURES.items():
        config = json.loads((GOLDENS / family / "config.json").read_text())
        table = json.loads((GOLDENS / family / "tensors.json").read_text())
        layers = config.get("num_hidden_layers", config.get("n_layers"))
        names = gguf.get_tensor_name_map(arch, layers)
        # The converter puts a prefix where the reference's base models have none, and takes away
        # that of models with a head.
        decodes = arch in (gguf.MODEL_ARCH.QWEN3, gguf.MODEL_ARCH.GEMMA_EMBEDDING)
        renamed = lambda name: "model." + name if decodes else CLASSIFIERS.get(
            name, name.removeprefix("roberta.").removeprefix("model."))
        kept = [row[0] for row in table if not any(part in row[0] for part in LEFT_OUT)]
        found = {name: names.get_name(renamed(name), try_suffixes=(".weight", ".bias"))
                 for name in kept}
        assert all(found.values()), [name for name, gguf_name in found.items() if not gguf_name]
        out[family] = {"architecture": gguf.MODEL_ARCH_NAMES[arch],
                       "keys": keys(family, config, arch), "names": found}
    (GOLDENS.parent / "gguf_encoders.json").write_text(json.dumps(out, indent=0) + "\n")
    print({family: len(entry["names"]) for family, entry in out.items()})


if __name__ == "__main__":
    main()
