"""What the backbone of a published ONNX file makes of images: vectors of the class token, by onnxruntime.

    python tests/reference/vit_s14.py VIT.onnx

The file is the vision transformer that tests/src/real.rs names. Written to tests/goldens/onnx_models/vit.f32:
little-endian f32 [images][384], of made-up images (`tiny_images.made_up`) of the sizes below, prepared as
DINOv2's processor does: the shorter side to 256, the middle 224 x 224, bicubic.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import transformers

from tiny_images import made_up

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"
SIZES = [(640, 480), (333, 500), (224, 224), (1024, 300), (90, 70)]


def main():
    model = onnx.load(sys.argv[1])
    last = [node for node in model.graph.node if node.name.startswith("/backbone/layernorm/")][-1]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.output[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    processor = transformers.BitImageProcessorPil(
        size=dict(shortest_edge=256), crop_size=dict(height=224, width=224), resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    vectors = []
    for size in SIZES:
        pixels = processor(images=made_up(*size), return_tensors="np")["pixel_values"]
        rows = session.run([last.output[0]], {model.graph.input[0].name: pixels})[0]
        vectors.append(rows[0, 0])
    vectors = np.stack(vectors)
    (GOLDENS / "onnx_models" / "vit.f32").write_bytes(vectors.astype("<f4").tobytes())
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    print(vectors.shape, "cosines between images:", np.round(unit @ unit.T, 3).tolist())


if __name__ == "__main__":
    main()
