"""A real classifier on all-MiniLM-L6-v2: the section of a Debian package, by its description.

    python tests/reference/sections.py MODEL_FOLDER

No trained classifier of texts is at hand that could be fetched as the catalog's models are. So one is
made: the checkpoint's own layers and pooler, and a linear classifier fitted here to descriptions of
packages (`apt-cache dumpavail`, on Debian). Written to tests/goldens/sections.json: the classifier, 200
texts that it was not fitted to, and the logits that Hugging Face transformers gives them in f32.
"""

import hashlib
import json
import pathlib
import subprocess
import sys

import torch
import transformers

TARGET = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "sections.json"
SECTIONS = ["database", "editors", "games", "graphics", "mail", "net", "science", "sound"]
N_FIT, N_TEXTS = 200, 25


def descriptions():
    """Of each section, different ones, in an order that says nothing."""
    found = {section: set() for section in SECTIONS}
    packages = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True)
    for package in packages.stdout.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in package.splitlines() if ": " in line[:40])
        if fields.get("Section") in found and 20 < len(fields.get("Description", "")):
            found[fields["Section"]].add(fields["Description"])
    key = lambda text: hashlib.sha256(text.encode()).digest()
    return {section: sorted(texts, key=key)[:N_FIT + N_TEXTS] for section, texts in found.items()}


def pooled(model, tokenizer, texts):
    with torch.no_grad():
        one = lambda text: model.bert(**tokenizer(text, return_tensors="pt")).pooler_output[0]
        return torch.stack([one(text) for text in texts])


def fit(x, y):
    """Logistic regression, with some decay of its weights."""
    layer = torch.nn.Linear(x.shape[1], len(SECTIONS))
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=300)

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(layer(x), y) + 1e-3 * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return layer


def main():
    torch.manual_seed(0)
    folder = pathlib.Path(sys.argv[1])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForSequenceClassification.from_pretrained(
        folder, num_labels=len(SECTIONS), attn_implementation="eager", dtype=torch.float32).eval()
    texts = descriptions()
    known = [(text, i) for i, name in enumerate(SECTIONS) for text in texts[name][:N_FIT]]
    held = [(text, i) for i, name in enumerate(SECTIONS) for text in texts[name][N_FIT:]]
    layer = fit(pooled(model, tokenizer, [text for text, _ in known]),
                torch.tensor([label for _, label in known]))
    # As the golden spells it.
    rounded = lambda tensor: [[float(f"{x:.5g}") for x in row] for row in tensor.tolist()]
    weight, bias = rounded(layer.weight), rounded(layer.bias[None])[0]
    with torch.no_grad():
        logits = torch.nn.functional.linear(
            pooled(model, tokenizer, [text for text, _ in held]), torch.tensor(weight),
            torch.tensor(bias))
    right = (logits.argmax(1) == torch.tensor([label for _, label in held])).float().mean()
    TARGET.write_text(json.dumps({
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "model_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "labels": SECTIONS, "weight": weight, "bias": bias,
        "texts": [text for text, _ in held],
        "logits": [[float(f"{x:.7g}") for x in row] for row in logits.tolist()],
    }, ensure_ascii=False).replace('], [', '],\n[') + "\n")
    gaps = logits.topk(2).values
    print(f"{len(known)} texts fitted, {len(held)} others: {right:.1%} right; least distance of the "
          f"two best logits {float((gaps[:, 0] - gaps[:, 1]).min()):.4f}; {TARGET.stat().st_size} B")


if __name__ == "__main__":
    main()
