#!/bin/sh
# Builds llama.cpp's own tools from the source package of llama-cpp-python.
#
#   build_llama_cpp.sh VENV FOLDER
#
# VENV is a Python virtual environment (made when missing). The tools end up in FOLDER/build/bin,
# the Python module in FOLDER/python; both are used by
#   LLAMA_CPP_LIB_PATH=FOLDER/build/bin PYTHONPATH=FOLDER/python VENV/bin/python …
# Nothing is built when the tools are already there. Takes about ten minutes on two cores.
set -eu

version=0.3.36
venv=$1
folder=$2
tools="llama-bench llama-completion llama-perplexity llama-quantize"

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if [ -f "$folder/build/built-$version" ]; then
    exit 0
fi
mkdir -p "$folder"
"$venv/bin/pip" install --quiet cmake ninja numpy jinja2 diskcache typing-extensions
"$venv/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python -d "$folder" "llama-cpp-python==$version"
rm -rf "$folder/python"
mkdir "$folder/python"
tar -xzf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder/python" --strip-components=1
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH
cmake -S "$folder/python/vendor/llama.cpp" -B "$folder/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=ON \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=ON
# shellcheck disable=SC2086
cmake --build "$folder/build" --target $tools
touch "$folder/build/built-$version"
