#!/bin/sh
# Kinglet beside llama.cpp, onnxruntime and candle on this machine, with the same checkpoints.
#
#   benches/peers/run.sh [--rounds 5] [--threads 1,2] [--only smollm2-best,start,…] [-o REPORT.md]
#
# Makes its own Python environment, models and builds of the neighbours in Kinglet's cache folder
# (KINGLET_CACHE, about 4 GB, about twenty minutes the first time), runs the programs in turn and
# prints a Markdown report; `--more` adds rounds to the samples of earlier runs. On a CPU with more
# than AVX2 both classes are measured: AVX2 kernels on both sides, and the best on both sides.
# KINGLET_BIN names another `kinglet` than this source tree's release build, KINGLET_BEFORE_BIN an
# earlier one that takes its turns beside it. Close other programs.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${KINGLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kinglet}/peers
export KINGLET_PEERS=$cache
mkdir -p "$cache"

build=native
if grep -qwE 'avx512f|avx_vnni' /proc/cpuinfo 2>/dev/null; then build=avx2; fi
"$root/tests/reference/build_llama_cpp.sh" "$cache/venv" "$cache/llama.cpp" $build >&2
"$cache/venv/bin/pip" install --quiet onnxruntime==1.32.0 tokenizers numpy onnx safetensors gguf matplotlib >&2

# As candle's documentation asks: its kernels are chosen when it is compiled.
candle=$root/benches/peers/candle
CARGO_TARGET_DIR=$cache/candle RUSTFLAGS="-C target-cpu=native" \
    cargo build --quiet --release --locked --manifest-path "$candle/Cargo.toml" >&2
export CANDLE_PEER_BIN="$cache/candle/release/candle-peer"
CANDLE_VERSION=$(sed -n '/^name = "candle-core"/{n;s/version = "\(.*\)"/\1/p}' "$candle/Cargo.lock")
export CANDLE_VERSION

cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p kinglet-cli -p kinglet-benches >&2
target=${CARGO_TARGET_DIR:-$root/target}/release
export KINGLET_BIN="${KINGLET_BIN:-$target/kinglet}" KINGLET_PEER_BIN="$target/peer"
exec "$cache/venv/bin/python" "$root/benches/peers/peers.py" "$@"
