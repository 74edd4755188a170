"""Models of the neighbours: neighbours.py FOLDER CHECKPOINTS

SmolLM2 as a Q8_0 GGUF for wllama; MiniLM for transformers.js, in the int8 ONNX that is published and
in a dynamic int8 export as benches/peers makes it for onnxruntime.
"""

import pathlib
import shutil
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

import minilm_onnx
import models
import q8

web, checkpoints = map(pathlib.Path, sys.argv[1:])

gguf = web / "smollm2.q8_0.gguf"
if not gguf.exists():
    web.mkdir(parents=True, exist_ok=True)
    part = gguf.with_suffix(".part")
    q8.convert(checkpoints / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf", part)
    part.rename(gguf)

for name, onnx in [("minilm-int8", lambda: models.fetch(*models.MINILM_ONNX)),
                   ("minilm-dynamic", lambda: minilm_onnx.files()[1])]:
    # As transformers.js wants to find them.
    target = web / name / "onnx" / "model_quantized.onnx"
    if target.exists():
        continue
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints / "all-minilm-l6-v2" / file, web / name)
    part = target.with_suffix(".part")
    shutil.copy(onnx(), part)
    part.rename(target)
