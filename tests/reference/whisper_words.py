"""When words of a text are spoken, by the tiny Whisper of tiny_whisper.py.

    python tests/reference/whisper_words.py

Writes to tests/goldens/whisper:
  words.json   the text, its tokens, for each of them the row of the encoder at which it begins and its
               probability; and the row at which the last one ends

The attention is that of transformers; it is filtered and warped by the functions that its
`return_timestamps="word"` uses, as OpenAI's reference has it: weights of the rows that the sound takes, the token for
"no timestamps" before the text, the end behind it.
"""

import json

import torch
import transformers
from tokenizers import Tokenizer
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

import tiny_models
import tiny_whisper
from tiny_whisper import END, ENGLISH, GOLDENS, N_MELS, N_SAMPLES, NO_TIMESTAMPS, START, TRANSCRIBE

TEXT = " The wren sings, and hears \"a bird\" (or two), loudly!"
HOP = 160


def main():
    model = tiny_whisper.build().float().eval()
    tiny_models.kind = lambda name, family: tiny_whisper.kind(name)
    _, state, config = tiny_models.fill(model, "whisper")
    model = tiny_models.load(type(model), config, state)
    model.set_attn_implementation("eager")
    tokens = Tokenizer.from_file(str(GOLDENS / "tokenizer.json")).encode(TEXT).ids
    begin = [START, ENGLISH, TRANSCRIBE]
    ids = torch.tensor([begin + [NO_TIMESTAMPS] + tokens + [END]])
    with torch.no_grad():
        encoded = model.model.encoder(tiny_whisper.spectrogram(N_MELS))
        out = model(encoder_outputs=encoded, decoder_input_ids=ids, output_attentions=True)
    heads = tiny_whisper.generation()["alignment_heads"]
    n = N_SAMPLES // HOP // 2
    weights = torch.stack([out.cross_attentions[layer][0, head, :, :n] for layer, head in heads])
    weights = weights / weights.sum(dim=-1, keepdim=True)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    matrix = _median_filter((weights - mean) / std, 7).mean(dim=0)[len(begin):-1]
    rows, slots = _dynamic_time_warping(-matrix.double().numpy())
    begins = [int(slot) for i, slot in enumerate(slots) if i == 0 or rows[i] != rows[i - 1]]
    assert len(begins) == len(tokens) + 1
    logits = out.logits[0, len(begin):-2, :END]
    probabilities = logits.softmax(-1)[range(len(tokens)), tokens]
    golden = {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "text": TEXT.strip(), "tokens": tokens, "begins": begins,
        "probabilities": [float(f"{p:.6g}") for p in probabilities.tolist()],
    }
    (GOLDENS / "words.json").write_text(json.dumps(golden) + "\n")
    print(begins)


if __name__ == "__main__":
    main()
