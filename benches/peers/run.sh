#!/bin/sh
# Kinglet beside llama.cpp and onnxruntime on this machine, with the same checkpoints.
#
#   benches/peers/run.sh [--rounds 5] [--threads 1,2] [--only decoder,start,embed] [-o REPORT.md]
#
# Makes its own Python environment, models and build of llama.cpp in Kinglet's cache folder
# (KINGLET_CACHE, about 1.5 GB, about ten minutes the first time), runs the programs in turn and
# prints a Markdown report. KINGLET_BIN names another `kinglet` than this source tree's release
# build. Close other programs first: the report says how busy the machine was.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${KINGLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kinglet}/peers
export KINGLET_PEERS=$cache
mkdir -p "$cache"

"$root/tests/reference/build_llama_cpp.sh" "$cache/venv" "$cache/llama.cpp" >&2
"$cache/venv/bin/pip" install --quiet onnxruntime==1.32.0 tokenizers numpy >&2

cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p kinglet-cli -p kinglet-benches >&2
target=${CARGO_TARGET_DIR:-$root/target}/release
export KINGLET_BIN="${KINGLET_BIN:-$target/kinglet}" KINGLET_PEER_BIN="$target/peer"
exec "$cache/venv/bin/python" "$root/benches/peers/peers.py" "$@"
