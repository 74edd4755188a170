#!/usr/bin/env bash
# Kinglet beside wllama and transformers.js in Chromium, and beside itself as a native program.
#
#   benches/web/run.sh [--rounds 3] [--threads 1,2] [--samples FILE] [-o md|json]
#
# The package must be built: `npm install && npm run build` in wasm/. Models of the neighbours are
# made in Kinglet's cache folder (KINGLET_CACHE, about 300 MB beside a Python environment that
# benches/peers/run.sh shares). `--samples` keeps rounds in a file, to which later runs add theirs;
# with `--rounds 0` they are only reported.
# KINGLET_BIN names another `kinglet` than this source tree's release build. Close other programs.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
cache=${KINGLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kinglet}
export KINGLET_PEERS=$cache/peers
web=$KINGLET_PEERS/web

npm install --silent --no-audit --no-fund --ignore-scripts >&2
if [ -z "${KINGLET_BIN:-}" ]; then
  cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p kinglet-cli >&2
  KINGLET_BIN=${CARGO_TARGET_DIR:-$root/target}/release/kinglet
fi
export KINGLET_BIN
# Fills the cache with the models and their checkpoints.
for model in smollm2-135m minilm; do "$KINGLET_BIN" bench "$model" -p 16 -n 0 -r 1 >&2; done

python=$KINGLET_PEERS/venv/bin/python
[ -x "$python" ] || python3 -m venv "$KINGLET_PEERS/venv"
"$python" -m pip install --quiet onnxruntime==1.32.0 numpy onnx safetensors gguf >&2
"$python" neighbours.py "$web" "$cache/checkpoints" >&2
exec node bench.mjs "$web" "$@"
