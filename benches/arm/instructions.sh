#!/usr/bin/env bash
# Instructions that one token of SmolLM2-135M takes with each ARM kernel set, counted by an
# emulator: the difference between answers of 36 and of 4 tokens after a prompt of 6, on one thread.
#
#   benches/arm/instructions.sh target/aarch64-unknown-linux-gnu/release/kinglet
#
# Needs root for what it installs. The static emulator that the tests use cannot load plugins; the
# other one is unpacked beside it.
set -euo pipefail
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
gcc -O2 -shared -fPIC -o "$folder/count.so" "$(dirname "$0")/count.c"
(
  cd "$folder"
  apt-get download -qq qemu-user libcapstone4
  for package in *.deb; do dpkg -x "$package" .; done
) 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
export LD_LIBRARY_PATH=$folder/usr/lib/x86_64-linux-gnu

executed() { # TYPE SET TOKENS
  KINGLET_ISA=$2 "$folder/usr/bin/qemu-aarch64" -plugin "$folder/count.so" -cpu max \
    -L /usr/aarch64-linux-gnu "$program" run smollm2-135m --type "$1" --raw --temp 0 -t 1 -q -n "$3" \
    "The quick brown fox jumps over" 2>&1 > /dev/null | sed -n 's/^instructions: //p'
}

printf '| weights | set | million instructions a token |\n|---|---|---|\n'
for case in "int8 neon" "int8 dotprod" "int8 i8mm" "f16 neon"; do
  read -r type set <<< "$case"
  few=$(executed "$type" "$set" 4)
  many=$(executed "$type" "$set" 36)
  printf '| %s | %s | %s |\n' "$type" "$set" "$(python3 -c "print(f'{($many - $few) / 32e6:.1f}')")"
done
