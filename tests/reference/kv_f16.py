"""How far keys and values in f16 are from keys and values in f32: mean KL divergence and share of
equal most likely tokens, for docs/numerics.md.

    python tests/reference/kv_f16.py FOLDER [MODEL.gguf] [--chunks 8]

The model is Hugging Face's, in f32; keys (after their rotation) and values are rounded to f16 where
attention takes them. Needs torch, transformers and, for a GGUF file in FOLDER, gguf and accelerate.
"""

import argparse
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

TEXT = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "smollm2" / "text.txt"
CONTEXT = 512
ROUND = False


def attention(module, query, key, value, *args, **options):
    """Scaled dot-product attention over rounded keys and values."""
    if ROUND:
        key, value = key.half().float(), value.half().float()
    return sdpa_attention_forward(module, query, key, value, *args, **options)


parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("gguf", nargs="?")
parser.add_argument("--chunks", type=int, default=8)
arguments = parser.parse_args()

ALL_ATTENTION_FUNCTIONS["rounded"] = attention
options = {"gguf_file": arguments.gguf} if arguments.gguf else {}
tokenizer = AutoTokenizer.from_pretrained(arguments.folder, **options)
model = AutoModelForCausalLM.from_pretrained(
    arguments.folder, dtype=torch.float32, attn_implementation="rounded", **options
)
ids = tokenizer(TEXT.read_text())["input_ids"]
divergence, same, count, surprise = 0.0, 0, 0, 0.0
with torch.no_grad():
    for chunk in range(min(arguments.chunks, len(ids) // CONTEXT)):
        tokens = torch.tensor([ids[chunk * CONTEXT : (chunk + 1) * CONTEXT]])
        scores = []
        for ROUND in (False, True):
            logits = model(tokens).logits[0, CONTEXT // 2 : -1].double()
            scores.append(torch.log_softmax(logits, -1))
        p, q = scores
        divergence += (p.exp() * (p - q)).sum().item()
        same += (p.argmax(-1) == q.argmax(-1)).sum().item()
        surprise -= p.gather(-1, tokens[0, CONTEXT // 2 + 1 :, None]).sum().item()
        count += len(p)
print(
    f"{count} tokens: mean KL divergence {divergence / count:.3g}, "
    f"same most likely token {100 * same / count:.2f} %, "
    f"perplexity with f32 {torch.tensor(surprise / count).exp():.4f}"
)
