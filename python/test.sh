#!/bin/sh
# Builds the wheel, installs it into an environment of its own, and runs its tests with real models.
#
#   python/test.sh [--ray] [--langchain]
#
# KINGLET names the command, otherwise it is built; PYTHON names the interpreter.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
cache=${KINGLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kinglet}/python
mkdir -p "$cache"
[ -x "$cache/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$cache/venv"
python=$cache/venv/bin/python
"$python" -m pip install --quiet "maturin>=1.9,<2" numpy pytest
for extra in "$@"; do
    case $extra in
        --ray) "$python" -m pip install --quiet "ray[data]>=2.30" ;;
        --langchain) "$python" -m pip install --quiet "langchain-core>=0.3" ;;
        *) echo "unknown argument $extra" >&2; exit 2 ;;
    esac
done
if [ -z "${KINGLET:-}" ]; then
    cargo build --quiet --release --manifest-path "$root/Cargo.toml"
    KINGLET=${CARGO_TARGET_DIR:-$root/target}/release/kinglet
fi
export KINGLET
rm -rf "$cache/wheels"
"$cache/venv/bin/maturin" build --quiet --release --manifest-path "$here/Cargo.toml" --interpreter "$python" --out "$cache/wheels"
"$python" -m pip install --quiet --force-reinstall --no-deps "$cache"/wheels/*.whl
# From elsewhere, so that the package is the installed one.
cd "$cache" && "$python" -m pytest -q "$here/tests"
