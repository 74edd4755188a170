#!/usr/bin/env bash
# Builds the package and tests it in Node and in Chromium. Installs what is missing (Debian, as root).
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
sources=lib/rustlib/src/rust/library
if [ ! -d "$(rustc --print sysroot)/$sources" ] && [ ! -d "/usr/$sources" ] && [ ! -d /usr/lib/rustlib/src/rust ]; then
  packages+=(rustc-web rust-web-src)
fi
command -v "${CHROMIUM:-chromium}" > /dev/null || packages+=(chromium)
if [ ${#packages[@]} -gt 0 ]; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
fi

npm install --silent --no-audit --no-fund
npm run --silent build
npm test
