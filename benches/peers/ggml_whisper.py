"""Writes a CTranslate2 model of Whisper as whisper.cpp's Q8_0 file: matrices in blocks of 32, the rest as it is.

    pip install numpy faster-whisper
    python benches/peers/ggml_whisper.py FOLDER OUT.bin
"""

import json
import pathlib
import struct
import sys

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

DTYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]
F32, F16, Q8_0 = 0, 1, 8
FTYPE = 7 + 2 * 1000  # mostly Q8_0, in the second version of GGML's blocks

BLOCK = {
    "self_attention.layer_norm": "attn_ln",
    "self_attention.linear_0": ["attn.query", "attn.key", "attn.value"],
    "self_attention.linear_1": "attn.out",
    "attention.layer_norm": "cross_attn_ln",
    "attention.linear_0": "cross_attn.query",
    "attention.linear_1": ["cross_attn.key", "cross_attn.value"],
    "attention.linear_2": "cross_attn.out",
    "ffn.layer_norm": "mlp_ln",
    "ffn.linear_0": "mlp.0",
    "ffn.linear_1": "mlp.2",
}
OUTSIDE = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.ln_post",
    "encoder/position_encodings/encodings": "encoder.positional_embedding",
    "decoder/embeddings": "decoder.token_embedding",
    "decoder/layer_norm": "decoder.ln",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
}


def variables(data):
    """{name: array} of a model.bin."""
    at = 0

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def string():
        return take(f"{take('H')}s").rstrip(b"\0").decode()

    assert take("I") == 6, "a version that this script does not read"
    string(), take("I")
    found = {}
    for _ in range(take("I")):
        name = string()
        dims = [take("I") for _ in range(take("B"))]
        kind, size = DTYPES[take("B")], take("I")
        found[name] = np.frombuffer(data[at:at + size], kind).reshape(dims)
        at += size
    return found


def renamed(found):
    """(name, array) as whisper.cpp has them; fused matrices are cut."""
    for name, value in found.items():
        owner, _, kind = name.rpartition("/")
        if name in OUTSIDE:
            yield OUTSIDE[name], value
        elif owner in OUTSIDE:
            yield f"{OUTSIDE[owner]}.{kind.replace('gamma', 'weight').replace('beta', 'bias')}", value
        elif "/layer_" in owner:
            stack, layer, inner = owner.split("/", 2)
            targets = BLOCK[inner.replace("/", ".")]
            kind = kind.replace("gamma", "weight").replace("beta", "bias")
            targets = [targets] if isinstance(targets, str) else targets
            for target, part in zip(targets, np.split(value, len(targets))):
                if not (target.endswith(".key") and kind == "bias"):
                    yield f"{stack}.blocks.{layer.removeprefix('layer_')}.{target}.{kind}", part


def blocks(matrix):
    """Q8_0: for each 32 values an f16 step and their integers."""
    rows = matrix.astype(np.float32).reshape(-1, 32)
    step = np.abs(rows).max(1, keepdims=True) / 127
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step > 0)
    out = np.empty(len(rows), [("d", np.float16), ("q", np.int8, 32)])
    out["d"], out["q"] = step[:, 0], np.round(rows * inverse)
    return out.tobytes()


def pieces(folder):
    """The bytes of every token that is text, by id."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    vocab = {token: id for token, id in vocab.items() if not token.startswith("<|")}
    return [bytes(byte_of[c] for c in token) for token in sorted(vocab, key=vocab.get)]


def write(folder, out):
    folder = pathlib.Path(folder)
    tensors = dict(renamed(variables((folder / "model.bin").read_bytes())))
    n_vocab, text_state = tensors["decoder.token_embedding.weight"].shape
    audio_state, n_mels, _ = tensors["encoder.conv1.weight"].shape
    layers = [1 + max(int(n.split(".")[2]) for n in tensors if n.startswith(f"{s}.blocks.")) for s in ("encoder", "decoder")]
    positions = [len(tensors[f"{s}.positional_embedding"]) for s in ("encoder", "decoder")]
    with open(out, "wb") as file:
        file.write(struct.pack("<12I", 0x67676d6c, n_vocab, positions[0], audio_state, audio_state // 64, layers[0],
                               positions[1], text_state, text_state // 64, layers[1], n_mels, FTYPE))
        filters = FeatureExtractor(feature_size=n_mels).mel_filters.astype(np.float32)
        file.write(struct.pack("<2I", *filters.shape) + filters.tobytes())
        tokens = pieces(folder)
        file.write(struct.pack("<I", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<I", len(token)) + token)
        for name, value in tensors.items():
            if name.endswith(("conv1.bias", "conv2.bias")):
                value = value.reshape(-1, 1)
            matrix = value.ndim == 2 and name.endswith("weight")
            kind = Q8_0 if matrix else F16 if value.ndim == 3 else F32
            data = blocks(value) if matrix else value.astype([np.float32, np.float16][kind]).tobytes()
            file.write(struct.pack("<3I", value.ndim, len(name), kind) + struct.pack(f"<{value.ndim}I", *value.shape[::-1]))
            file.write(name.encode() + data)


if __name__ == "__main__":
    write(*sys.argv[1:])
