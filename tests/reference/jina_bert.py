"""A tiny random JinaBERT and its hidden states, by the arithmetic that its authors published.

    python tests/reference/jina_bert.py

The reference implementation does not have this network; what is written to
tests/goldens/tiny/jina-bert-v2 is otherwise as tiny_encoders.py writes it. Its GGUF names are in
gguf_encoders.py.
"""

import hashlib
import json
import math
import tempfile

import torch
from safetensors.torch import save_file
from torch.nn.functional import gelu, layer_norm, softmax

from tiny_encoders import BERT_TOKENS, Family, write_modules
from tiny_models import GOLDENS, kind, rounded, weights, wordpiece_tokenizer, write_goldens, write_json

HIDDEN, INNER, LAYERS, HEADS, EPS = 96, 104, 2, 6, 1e-12
CONFIG = dict(
    architectures=["JinaBertModel"], model_type="bert", **BERT_TOKENS, hidden_size=HIDDEN,
    intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
    max_position_embeddings=64, type_vocab_size=2, layer_norm_eps=EPS, hidden_act="gelu",
    feed_forward_type="geglu", position_embedding_type="alibi", emb_pooler="mean")


def shapes():
    yield "embeddings.word_embeddings.weight", [300, HIDDEN]
    yield "embeddings.token_type_embeddings.weight", [2, HIDDEN]
    both = lambda name, dims: [(f"{name}.weight", dims), (f"{name}.bias", dims[:1])]
    yield from both("embeddings.LayerNorm", [HIDDEN])
    for i in range(LAYERS):
        at = f"encoder.layer.{i}."
        for part in ["self.query", "self.key", "self.value", "output.dense"]:
            yield from both(f"{at}attention.{part}", [HIDDEN, HIDDEN])
        yield from both(f"{at}attention.output.LayerNorm", [HIDDEN])
        yield f"{at}mlp.gated_layers.weight", [2 * INNER, HIDDEN]
        yield from both(f"{at}mlp.wo", [HIDDEN, INNER])
        yield from both(f"{at}mlp.layernorm", [HIDDEN])


def slopes(n):
    """The paper's: a geometric series for powers of two, others are filled up from the next one."""
    if math.log2(n).is_integer():
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start ** i for i in range(n)]
    closest = 2 ** math.floor(math.log2(n))
    return slopes(closest) + slopes(2 * closest)[0::2][: n - closest]


def forward(w, ids):
    linear = lambda x, name: x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)
    norm = lambda x, name: layer_norm(x, [HIDDEN], w[f"{name}.weight"], w[f"{name}.bias"], EPS)
    n = len(ids)
    place = torch.arange(n)
    distance = (place[:, None] - place[None, :]).abs()
    bias = -torch.tensor(slopes(HEADS))[:, None, None] * distance
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"encoder.layer.{i}."
        heads = lambda part: linear(x, f"{at}attention.self.{part}").view(n, HEADS, -1).transpose(0, 1)
        q, k, v = heads("query"), heads("key"), heads("value")
        scores = q @ k.transpose(1, 2) / math.sqrt(HIDDEN // HEADS) + bias
        seen = (softmax(scores, -1) @ v).transpose(0, 1).reshape(n, HIDDEN)
        x = norm(x + linear(seen, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        both = linear(x, f"{at}mlp.gated_layers")
        inner = gelu(both[:, :INNER]) * both[:, INNER:]
        x = norm(x + linear(inner, f"{at}mlp.wo"), f"{at}mlp.layernorm")
    return x


def main():
    table = [[name, dims, *kind(name, "jina-bert-v2")] for name, dims in sorted(shapes())]
    state = {row[0]: torch.from_numpy(weights(*row)).contiguous() for row in table}
    ids = Family(None).tokens()
    hidden = forward(state, ids)
    folder = GOLDENS / "jina-bert-v2"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CONFIG, indent=2)
    rows = ",\n".join(json.dumps(row) for row in table)
    (folder / "tensors.json").write_text(f"[\n{rows}\n]\n")
    with tempfile.NamedTemporaryFile() as file:
        save_file(state, file.name, {"format": "pt"})
        digest = hashlib.sha256(open(file.name, "rb").read()).hexdigest()
    mean = hidden.mean(0)
    write_goldens(folder / "goldens.json", {
        "reference": f"torch {torch.__version__}", "tokens": ids, "safetensors_sha256": digest,
        "hidden": rounded(hidden), "embedding": rounded((mean / mean.norm())[None])[0]})
    write_modules(folder, HIDDEN, "mean")
    wordpiece_tokenizer().save(str(folder / "tokenizer.json"))
    print(f"std {hidden.std():.2f}, between rows {(hidden[1:] - hidden[:-1]).std():.2f}")


if __name__ == "__main__":
    main()
