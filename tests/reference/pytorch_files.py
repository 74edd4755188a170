"""Writes tests/goldens/pytorch/: small checkpoints saved by PyTorch, and the values they hold.

Needs: pip install torch safetensors. `expected.golden` is a safetensors file of all values as F32.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "goldens" / "pytorch"


def state_dict():
    generator = torch.Generator().manual_seed(20)
    random = lambda *size: torch.randn(*size, generator=generator)
    shared = random(6, 5)
    cube = random(2, 3, 4)
    # A module's own state dict carries `_metadata` as an attribute.
    tensors = torch.nn.Linear(3, 2).state_dict()
    tensors["weight"].copy_(random(2, 3))
    tensors["bias"].copy_(random(2))
    tensors.update(
        parameter=torch.nn.Parameter(random(4).half()),
        bf16=random(3, 3).bfloat16(),
        f64=random(2, 2).double(),
        i64=torch.tensor([-1, 2**40]),
        i32=torch.tensor([[-7], [8]], dtype=torch.int32),
        i16=torch.tensor([-300], dtype=torch.int16),
        i8=torch.tensor([-128, 127], dtype=torch.int8),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(0.5),
        empty=torch.zeros(0, 4),
        extremes=torch.tensor([float("inf"), -0.0, 1e-45, 3.4028235e38]),
        whole=shared,
        rows=shared[2:4],
        columns=shared[:, 1:3],
        transposed=shared.t(),
        every_other=shared[::2, ::2],
        permuted=cube.permute(2, 0, 1),
        swapped=cube.transpose(0, 1).half(),
        wide=random(2, 150).t(),
    )
    return tensors


def main():
    FOLDER.mkdir(exist_ok=True)
    tensors = state_dict()
    # The file's name becomes the folder inside the archive.
    torch.save(tensors, FOLDER / "zip.bin")
    torch.save(tensors, FOLDER / "protocol4.bin", pickle_protocol=4)
    torch.save(tensors, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    wrapped = {
        "epoch": 3,
        "loss": 0.25,
        "note": None,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]},
        "state_dict": OrderedDict(encoder=OrderedDict(weight=tensors["weight"]), bias=tensors["bias"]),
    }
    torch.save(wrapped, FOLDER / "wrapped.bin")
    torch.save(torch.nn.Linear(1, 1), FOLDER / "module.bin")
    expected = {name: tensor.detach().float().contiguous().clone() for name, tensor in tensors.items()}
    save_file(expected, FOLDER / "expected.golden")


if __name__ == "__main__":
    main()
