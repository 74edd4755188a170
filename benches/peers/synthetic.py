"""Llama-shaped checkpoints of any size with random weights, as GGUF in Q8_0.

    KINGLET_PEERS=CACHE python synthetic.py NAME OUT.gguf

NAME is one of the shapes below. The weights are noise of the usual size, so the speed and the
memory of a model of that shape can be measured; what it says means nothing. The vocabulary and its
tokenizer are those of SmolLM2, and the embedding serves as the head.
"""

import pathlib
import sys

import gguf
import numpy as np

import models

# hidden, feed-forward, layers, heads, key-value heads
SHAPES = {
    "360M": (960, 2560, 32, 15, 5),      # SmolLM2-360M
    "1.1B": (2048, 5632, 22, 32, 4),     # TinyLlama
    "3B": (3072, 8192, 28, 24, 8),       # Llama 3.2 3B
}
CONTEXT = 8192


def tensors(shape, vocabulary):
    """(name, rows, columns), a vector having no rows."""
    hidden, inner, layers, heads, kv_heads = shape
    kv = hidden // heads * kv_heads
    yield "token_embd.weight", vocabulary, hidden
    for i in range(layers):
        yield f"blk.{i}.attn_norm.weight", 0, hidden
        yield f"blk.{i}.attn_q.weight", hidden, hidden
        yield f"blk.{i}.attn_k.weight", kv, hidden
        yield f"blk.{i}.attn_v.weight", kv, hidden
        yield f"blk.{i}.attn_output.weight", hidden, hidden
        yield f"blk.{i}.ffn_norm.weight", 0, hidden
        yield f"blk.{i}.ffn_gate.weight", inner, hidden
        yield f"blk.{i}.ffn_up.weight", inner, hidden
        yield f"blk.{i}.ffn_down.weight", hidden, inner
    yield "output_norm.weight", 0, hidden


def q8_0(random, rows, columns):
    """Blocks of 32 uniform values with a scale of two bytes before them."""
    blocks = np.empty((rows, columns // 32, 34), np.uint8)
    # The standard deviation of a uniform byte is 74.
    scale = np.float16(1 / (74 * columns ** 0.5))
    blocks[..., :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[..., 2:] = random.integers(0, 256, (rows, columns // 32, 32), np.uint8)
    blocks[..., 2:][blocks[..., 2:] == 128] = 0
    return blocks.reshape(rows, -1)


def write(shape, target):
    hidden, inner, layers, heads, kv_heads = shape
    reader = gguf.GGUFReader(models.fetch(*models.SMOLLM2))
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("synthetic")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    vocabulary = 0
    for key, field in reader.fields.items():
        if key.startswith("tokenizer."):
            kind = field.types[0]
            inner_kind = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, inner_kind)
        if key == "tokenizer.ggml.tokens":
            vocabulary = len(field.data)
    listed = list(tensors(shape, vocabulary))
    for name, rows, columns in listed:
        if rows:
            writer.add_tensor_info(name, (rows, columns // 32 * 34), np.dtype(np.uint8),
                                   rows * columns // 32 * 34, gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor_info(name, (columns,), np.dtype(np.float32), columns * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(1)
    for _, rows, columns in listed:
        writer.write_tensor_data(q8_0(random, rows, columns) if rows
                                 else np.ones(columns, np.float32))
    writer.close()


def checkpoint(name):
    """The file of a shape in the cache, made when missing."""
    target = models.MODELS / f"synthetic-{name}.gguf"
    if not target.exists():
        print(f"making {target.name}", file=sys.stderr)
        part = target.with_suffix(".part")
        write(SHAPES[name], part)
        part.rename(target)
    return target


if __name__ == "__main__":
    write(SHAPES[sys.argv[1]], pathlib.Path(sys.argv[2]))
