"""The encoder's states of a spectrogram that is cut, by the tiny Whisper of tiny_whisper.py.

    python tests/reference/whisper_cut.py

Writes to tests/goldens/whisper:
  cut.json   how many rows the encoder makes, every ninth of them and the last, and logits of the text of
             goldens.json that read them

The reference takes whole spectrograms alone: its table of positions is cut to the rows that are left, which
are the first ones.
"""

import json

import torch
import transformers

import tiny_models
import tiny_whisper
from tiny_models import rounded, write_goldens
from tiny_whisper import GOLDENS, N_MELS

N_ROWS = 161


def main():
    model = tiny_whisper.build().float().eval()
    tiny_models.kind = lambda name, family: tiny_whisper.kind(name)
    _, state, config = tiny_models.fill(model, "whisper")
    model = tiny_models.load(type(model), config, state)
    encoder = model.model.encoder
    encoder.config.max_source_positions = N_ROWS
    weight = encoder.embed_positions.weight[:N_ROWS].clone()
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(weight)
    rows = [*range(0, N_ROWS, 9), N_ROWS - 1]
    tokens = json.loads((GOLDENS / "goldens.json").read_text())["tokens"]
    with torch.no_grad():
        encoded = encoder(tiny_whisper.spectrogram(N_MELS)[:, :, :2 * N_ROWS])
        assert encoded.last_hidden_state.shape[1] == N_ROWS
        logits = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens])).logits[0]
    golden = {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "n_rows": N_ROWS, "rows": rows, "states": rounded(encoded.last_hidden_state[0][rows]),
        "logits": rounded(logits[:, ::7]),
    }
    write_goldens(GOLDENS / "cut.json", golden)


if __name__ == "__main__":
    main()
