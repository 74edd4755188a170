"""Reference figures of Gemma 3 270M (base) from llama.cpp, written to tests/goldens/gemma3.

    python tests/reference/gemma3.py MODEL.q4_k_m.gguf --bin LLAMA_CPP/build/bin --work FOLDER

As smollm2.py, without chat: the base model has no use for a template.
"""

import smollm2

if __name__ == "__main__":
    smollm2.main(smollm2.GOLDENS.parent / "gemma3", chat=False, original=None,
                 what=__doc__.splitlines()[0])
