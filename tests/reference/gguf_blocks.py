"""Writes tests/goldens/gguf_blocks.golden: blocks of every GGUF type that is read, and their values.

Needs: pip install gguf. The values come from its `gguf.quants` module, ggml's reference in numpy.
The file is a safetensors file with the tensors `TYPE.blocks` (U8) and `TYPE.values` (F32).
"""

import json
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Byte offsets of the f16 fields within a block.
TYPES = {
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q2_K: [80, 82],
    T.Q3_K: [108],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
    T.IQ4_NL: [0],
    T.IQ4_XS: [0],
    T.TQ1_0: [52],
    T.TQ2_0: [64],
    T.MXFP4: [],
}
# One byte is an exponent; the first blocks have the smallest and largest.
EXPONENTS = [0, 1, 2, 126, 127, 128, 254]
# Ones, signs, the largest, the smallest normal, subnormals, zeros; what follows is random.
SCALES = [0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x0400, 0x0001, 0x83FF, 0x0000, 0x8000]
N_BLOCKS = 20
N_BLOCKS_OF_TABLES = 14


def main():
    rng = np.random.default_rng(20)
    tensors = {}
    for kind, scale_offsets in TYPES.items():
        n_values, n_bytes = GGML_QUANT_SIZES[kind]
        n = N_BLOCKS_OF_TABLES if kind in (T.IQ4_NL, T.IQ4_XS, T.TQ1_0, T.TQ2_0, T.MXFP4) else N_BLOCKS
        blocks = rng.integers(0, 256, (n, n_bytes), dtype=np.uint8)
        for number, block in enumerate(blocks):
            for field, offset in enumerate(scale_offsets):
                if number < len(SCALES):
                    bits = SCALES[(number + 3 * field) % len(SCALES)]
                else:
                    bits = int(rng.normal(0, 0.1, 1).astype(np.float16).view(np.uint16)[0])
                block[offset : offset + 2] = list(struct.pack("<H", bits))
        if scale_offsets:
            blocks[-1, [i for i in range(n_bytes) if i not in range(min(scale_offsets), max(scale_offsets) + 2)]] = 0xFF
        else:
            blocks[: len(EXPONENTS), 0] = EXPONENTS
            blocks[len(EXPONENTS) :, 0] = rng.integers(100, 140, n - len(EXPONENTS))
        with np.errstate(all="ignore"):
            values = dequantize(blocks, kind)
        assert values.shape == (n, n_values) and values.dtype == np.float32
        tensors[f"{kind.name}.blocks"] = ("U8", blocks)
        tensors[f"{kind.name}.values"] = ("F32", values.astype("<f4"))

    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    header = json.dumps(header).encode()
    target = Path(__file__).parent.parent / "goldens" / "gguf_blocks.golden"
    target.write_bytes(struct.pack("<Q", len(header)) + header + data)


if __name__ == "__main__":
    main()
