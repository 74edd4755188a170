#!/bin/sh
# The clients that people have, against `kinglet serve` with real models.
#
#   tests/clients/run.sh
#
# KINGLET names the program, otherwise it is built. Python's and Node's packages go into Kinglet's cache folder.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${KINGLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kinglet}/clients
mkdir -p "$cache"
if [ -z "${KINGLET:-}" ]; then
    cargo build --quiet --release --manifest-path "$root/Cargo.toml"
    KINGLET=${CARGO_TARGET_DIR:-$root/target}/release/kinglet
fi

[ -x "$cache/venv/bin/python" ] || python3 -m venv "$cache/venv"
"$cache/venv/bin/pip" install --quiet openai==2.46.0 langchain-openai==1.4.3
(cd "$cache" && npm install --silent --no-audit --no-fund --prefix "$cache" openai@6)

log=$cache/serve.log
"$KINGLET" serve smollm2-135m all-minilm-l6-v2 whisper-tiny.en --port 0 --api-key secret 2> "$log" &
server=$!
trap 'kill $server 2> /dev/null || true' EXIT
for _ in $(seq 600); do
    url=$(sed -n 's/^serving .* at \(http[^;]*\);.*/\1/p' "$log")
    [ -z "$url" ] || break
    kill -0 $server || { cat "$log" >&2; exit 1; }
    sleep 0.2
done
export OPENAI_BASE_URL="$url/v1" OPENAI_API_KEY=secret
"$cache/venv/bin/python" "$root/tests/clients/python.py" "$root/tests/goldens/whisper/english.flac"
NODE_PATH="$cache/node_modules" node "$root/tests/clients/node.cjs"

# Stopped, it ends in good order.
kill -INT $server
wait $server && code=0 || code=$?
trap - EXIT
[ "$code" = 0 ] || { echo "the server ended with $code" >&2; exit 1; }
echo "clients: all is well"
