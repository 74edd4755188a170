"""Reference embeddings of all-MiniLM-L6-v2 for the 100 texts in tests/goldens/minilm/texts.json.

    python tests/reference/minilm.py MODEL_FOLDER

Hugging Face transformers in f32 with eager attention, one text at a time (no padding), mean over
tokens, scaled to length 1. The folder's sentence_bert_config.json truncates at 256 tokens; the
truncation and padding to 128 that tokenizer.json carries is overridden by it, as
sentence-transformers does. Written to tests/goldens/minilm:

  embeddings.f32    little-endian f32 [100][384], truncated at 256 tokens
  untruncated.f32   little-endian f32 [n][384] of the n texts longer than 256 tokens, in order,
                    truncated at 512 only (the model's positions)
  goldens.json      versions, the lengths in tokens (before truncation), the weights' SHA-256
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import tokenizers
import torch
import transformers

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "minilm"


def embed(model, ids):
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    mean = hidden.mean(0)
    return (mean / mean.norm()).numpy().astype("<f4")


def main():
    folder = pathlib.Path(sys.argv[1])
    limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert limit == 256, limit
    texts = json.loads((GOLDENS / "texts.json").read_text())
    tok = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tok.no_padding()
    tok.no_truncation()
    lengths = [len(tok.encode(text).ids) for text in texts]

    model = transformers.AutoModel.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32).eval()
    tok.enable_truncation(limit)
    truncated = [embed(model, tok.encode(text).ids) for text in texts]
    tok.enable_truncation(model.config.max_position_embeddings)
    whole = [embed(model, tok.encode(text).ids)
             for text, length in zip(texts, lengths) if length > limit]

    (GOLDENS / "embeddings.f32").write_bytes(np.stack(truncated).tobytes())
    (GOLDENS / "untruncated.f32").write_bytes(np.stack(whole).tobytes())
    (GOLDENS / "goldens.json").write_text(json.dumps({
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, "
                     f"tokenizers {tokenizers.__version__}",
        "model_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "max_seq_length": limit,
        "width": len(truncated[0]),
        "n_tokens": lengths,
    }, indent=1) + "\n")
    print(f"{len(texts)} texts of {min(lengths)} to {max(lengths)} tokens, {len(whole)} longer "
          f"than {limit}")
    for row, text in zip(whole, [i for i, n in enumerate(lengths) if n > limit]):
        print(f"  text {text}: cosine of whole and truncated {row @ truncated[text]:.4f}")


if __name__ == "__main__":
    main()
