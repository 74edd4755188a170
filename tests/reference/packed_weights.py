"""Writes tests/goldens/packed/*.golden: small matrices (safetensors files) in GPTQ's, AWQ's and 8-bit forms, each with
the values that it stands for (`NAME.expected`).

Integers and scales are drawn first, the values follow from them (`scale * (q - zero)`), and then both are
packed as the tools that write such checkpoints do: AutoGPTQ's `pack` (words along the inputs, zero points
less one in format 1), AutoAWQ's `WQLinear_GEMM.from_linear` (words along the outputs, order 0 2 4 6 1 3 5 7),
torch's float8 types with scales as DeepSeek-V3 and compressed-tensors keep them.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

OUT = Path(__file__).parent.parent / "goldens" / "packed"
IN, GROUP, ROWS = 96, 32, 40
FLOAT_IN, FLOAT_ROWS = 48, 20
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def as_int32(words):
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


def pack_rows(q, bits):
    """[n, m] -> [n * bits / 32, m]: neighbouring rows in a word, the first lowest."""
    per = 32 // bits
    q = q.astype(np.uint64).reshape(q.shape[0] // per, per, q.shape[1])
    return (q << (np.arange(per, dtype=np.uint64) * bits)[None, :, None]).sum(axis=1)


def draw(rng, bits, groups):
    q = rng.integers(0, 1 << bits, (IN, ROWS))
    zeros = rng.integers(0, 1 << bits, (groups, ROWS))
    zeros[0, :4] = [0, 1, (1 << bits) - 1, 1 << bits - 1]
    scales = rng.normal(0, 0.02, (groups, ROWS)).astype(np.float16)
    return q, zeros, scales


def expected(q, zeros, scales, group_of):
    values = scales.astype(np.float32)[group_of] * (q - zeros[group_of]).astype(np.float32)
    return torch.from_numpy(values.T.copy())


def gptq(rng, bits, version, act_order):
    groups = IN // GROUP
    q, zeros, scales = draw(rng, bits, groups)
    group_of = np.arange(IN) // GROUP
    if act_order:
        group_of = rng.permutation(group_of)
    stored = zeros if version == 2 else (zeros - 1) % (1 << bits)
    return {
        "a.qweight": as_int32(pack_rows(q, bits)),
        "a.qzeros": as_int32(pack_rows(stored.T, bits).T),
        "a.scales": torch.from_numpy(scales),
        "a.g_idx": torch.from_numpy(group_of.astype(np.int32)),
        "a.expected": expected(q, zeros, scales, group_of),
    }


def awq(rng):
    q, zeros, scales = draw(rng, 4, IN // GROUP)
    order = lambda x: x.reshape(x.shape[0], -1, 8)[:, :, AWQ_ORDER].reshape(x.shape[0], -1)
    return {
        "a.qweight": as_int32(pack_rows(order(q).T, 4).T),
        "a.qzeros": as_int32(pack_rows(order(zeros).T, 4).T),
        "a.scales": torch.from_numpy(scales),
        "a.expected": expected(q, zeros, scales, np.arange(IN) // GROUP),
    }


def floats(rng):
    tensors = {}
    draw = lambda *shape: torch.from_numpy(rng.normal(0, 0.1, shape).astype(np.float32))
    for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        all_values = torch.arange(256, dtype=torch.uint8).view(dtype)
        finite = all_values[torch.isfinite(all_values.float())]
        tensors[f"{name}.all"], tensors[f"{name}.all.expected"] = finite.clone(), finite.float()
        weight = (draw(FLOAT_ROWS, FLOAT_IN) * 100).to(dtype)
        for form, scale in (("one", draw()), ("row", draw(FLOAT_ROWS, 1)), ("flat", draw(FLOAT_ROWS))):
            tensors[f"{name}.{form}.weight"], tensors[f"{name}.{form}.weight_scale"] = weight.clone(), scale
            factor = scale if scale.dim() == 0 else scale.reshape(-1, 1)
            tensors[f"{name}.{form}.expected"] = weight.float() * factor
        scale = draw(3, 3)
        tensors[f"{name}.block.weight"], tensors[f"{name}.block.weight_scale_inv"] = weight.clone(), scale
        factor = scale.repeat_interleave(8, 0)[:FLOAT_ROWS].repeat_interleave(20, 1)[:, :FLOAT_IN]
        tensors[f"{name}.block.expected"] = weight.float() * factor
        tensors[f"{name}.block.input_scale"] = draw()
    weight = torch.from_numpy(rng.integers(-128, 128, (FLOAT_ROWS, FLOAT_IN)).astype(np.int8))
    scale = draw(FLOAT_ROWS, 1).to(torch.bfloat16)
    tensors["int8.weight"], tensors["int8.weight_scale"] = weight, scale
    tensors["int8.expected"] = weight.float() * scale.float()
    return tensors


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(4)
    for name, tensors in {
        "gptq4": gptq(rng, 4, 1, True),
        "gptq4_v2": gptq(rng, 4, 2, False),
        "gptq8": gptq(rng, 8, 1, False),
        "awq": awq(rng),
        "floats": floats(rng),
    }.items():
        path = OUT / f"{name}.golden"
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
        print(name, path.stat().st_size)
