"""A tiny random Moonshine, and what Hugging Face computes for it.

    python tests/reference/tiny_moonshine.py

Writes to tests/goldens/moonshine:
  config.json    of the checkpoint; its tokenizer is that of tiny/llama
  tensors.json   [name, shape, base, amplitude]: the weights follow, see tiny_models.py
  goldens.json   of the made-up sound of tiny_whisper.py: every fourth row of the encoder's states, every third
                 logit after each token of a text, and a greedy answer with the gap between the best two logits at
                 each token; the same states of a sound that is cut in the midst of a row

An answer is as long as the authors let it be: 6.5 tokens for a second of sound, the first one included.
"""

import json
import pathlib

import torch
import transformers

import tiny_models
from tiny_models import rounded, write_goldens, write_json
from tiny_whisper import N_SAMPLES, sound

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "moonshine"
START, END = 1, 2
TEXT = [START, 70, 33, 9, 254, 120, 17, 201, 88]
CUT = 20_001


def kind(name):
    """(base, amplitude) by the tensor's role."""
    if "norm" in name and name.endswith("weight"):
        return 1.0, 0.25
    if name.endswith("bias"):
        return 0.0, 0.25
    # Otherwise an answer says one token again and again: its own row of the tied table.
    if name.endswith("decoder.layers.2.mlp.fc2.weight"):
        return 0.0, 2.0
    if name.endswith("embed_tokens.weight"):
        return 0.0, 1.0
    return 0.0, 0.25


def build():
    config = transformers.MoonshineConfig(
        vocab_size=300, hidden_size=80, intermediate_size=104, encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=3, encoder_num_attention_heads=4, decoder_num_attention_heads=4,
        max_position_embeddings=64, pad_token_id=END)
    return transformers.MoonshineForConditionalGeneration(config)


def greedy(model, values, n):
    """The likeliest tokens, and how much likelier they are than the next ones."""
    out = model.generate(input_values=values, max_length=n, do_sample=False, num_beams=1,
                         output_logits=True, return_dict_in_generate=True)
    answer = [int(id) for id in out.sequences[0][1:] if id != END]
    best = [logits[0].topk(2).values for logits in out.logits]
    return answer, [float(two[0] - two[1]) for two in best]


def main():
    GOLDENS.mkdir(parents=True, exist_ok=True)
    model = build().float().eval()
    tiny_models.kind = lambda name, family: kind(name)
    table, state, config = tiny_models.fill(model, "moonshine")
    model = tiny_models.load(type(model), config, state)
    write_json(GOLDENS / "config.json", config, indent=2)
    rows = ",\n".join(json.dumps(row) for row in table)
    (GOLDENS / "tensors.json").write_text(f"[\n{rows}\n]\n")

    values = torch.from_numpy(sound())[None]
    golden = {"reference": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    with torch.no_grad():
        encoded = model.model.encoder(values)
        golden["n_rows"] = encoded.last_hidden_state.shape[1]
        golden["states"] = rounded(encoded.last_hidden_state[0][::4])
        golden["cut"] = CUT
        golden["cut_states"] = rounded(model.model.encoder(values[:, :CUT]).last_hidden_state[0][::4])
        golden["tokens"] = TEXT
        logits = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([TEXT])).logits[0]
        golden["logits"] = rounded(logits[:, ::3])
        golden["answer"], golden["gaps"] = greedy(model, values, int(N_SAMPLES * 6.5 / 16_000))
    write_goldens(GOLDENS / "goldens.json", golden)
    print(golden["answer"], min(golden["gaps"]), golden["n_rows"])


if __name__ == "__main__":
    main()
