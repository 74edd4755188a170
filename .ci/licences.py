"""Fails if a dependency has no licence under which Kinglet may be distributed."""

import json
import re
import subprocess
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
    # File by file: what is not changed may be linked with anything, and the registry has its sources.
    "MPL-2.0",
    # Of data: the certificates that browsers trust.
    "CDLA-Permissive-2.0",
}


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met: every AND term by one of its OR terms."""
    for term in re.split(r"\bAND\b", expression.replace("/", " OR ")):
        choices = re.split(r"\bOR\b", term.replace("(", " ").replace(")", " "))
        if not any(choice.strip() in ALLOWED for choice in choices):
            return False
    return True


metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"])
)
packages = [p for p in metadata["packages"] if p["source"]]
refused = [p for p in packages if not allowed(p["license"] or "")]
for package in refused:
    print(f'{package["name"]} {package["version"]}: {package["license"]}', file=sys.stderr)
print(f"{len(packages)} dependencies, {len(refused)} with a licence to look at")
sys.exit(bool(refused))
