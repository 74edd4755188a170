#!/bin/sh
# Builds llama.cpp's own tools from the source package of llama-cpp-python.
#
#   build_llama_cpp.sh VENV FOLDER [avx2]
#
# VENV is a Python virtual environment (made when missing). The tools end up in FOLDER/build/bin,
# the Python module in FOLDER/python; both are used by
#   LLAMA_CPP_LIB_PATH=FOLDER/build/bin PYTHONPATH=FOLDER/python VENV/bin/python …
# They are built for this machine's CPU. With `avx2` the same tools are made a second time in
# FOLDER/build-avx2/bin, with kernels for AVX2, FMA and F16C and nothing above.
# Nothing is built when the tools are already there. Takes about ten minutes on two cores.
set -eu

version=0.3.36
venv=$1
folder=$2
kind=${3:-native}
tools="llama-bench llama-completion llama-perplexity llama-quantize"

configure() {
    cmake -S "$folder/python/vendor/llama.cpp" -G Ninja \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON \
        -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=ON "$@"
}

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH
if [ ! -f "$folder/build/built-$version" ]; then
    mkdir -p "$folder"
    pip install --quiet cmake ninja numpy jinja2 diskcache typing-extensions
    pip download --quiet --no-deps --no-binary llama-cpp-python -d "$folder" "llama-cpp-python==$version"
    rm -rf "$folder/python"
    mkdir "$folder/python"
    tar -xzf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder/python" --strip-components=1
    # GCC 12 believes that loading a tile configuration reads eight bytes, and leaves out the
    # stores of the others: products on AMX would end with an illegal instruction.
    sed -i 's/^    _tile_loadconfig(&tc);/    __asm__ volatile("" : : "r"(\&tc) : "memory");\n&/' \
        "$folder/python/vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp"
    configure -B "$folder/build" -DGGML_NATIVE=ON
    # shellcheck disable=SC2086
    cmake --build "$folder/build" --target $tools
    touch "$folder/build/built-$version"
fi
if [ "$kind" = avx2 ] && [ ! -f "$folder/build-avx2/built-$version" ]; then
    configure -B "$folder/build-avx2" -DGGML_NATIVE=OFF \
        -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON \
        -DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF -DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF
    cmake --build "$folder/build-avx2" --target ggml-cpu
    # Everything but the kernels is the same code.
    cp -an "$folder/build/bin/." "$folder/build-avx2/bin/"
    touch "$folder/build-avx2/built-$version"
fi
