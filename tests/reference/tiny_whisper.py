"""A tiny random Whisper, and what Hugging Face computes for it.

    python tests/reference/tiny_whisper.py

Writes to tests/goldens/whisper:
  config.json, generation_config.json, tokenizer.json   of the checkpoint
  tensors.json   [name, shape, base, amplitude]: the weights follow, see tiny_models.py
  goldens.json   of a made-up sound: frames of its log-mel spectrograms (80 and 128 bands), rows of
                 the encoder's states, logits of a text, and a greedy answer with timestamps, decoded
                 with the reference's own rules; the gap between the best two logits at each token

The sound is the tensor "sound" by the rule for weights, which grows louder twice.
"""

import json
import pathlib
import tempfile

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

import tiny_models
from tiny_models import rounded, weights, write_goldens, write_json

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "whisper"
N_SAMPLES = 48_000
N_MELS = 16
SPECIALS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|haw|>", "<|translate|>",
            "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
END, START, ENGLISH, GERMAN = 256, 257, 258, 259
TRANSLATE, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = 261, 262, 264, 265, 266
FIRST_TIMESTAMP = 267
VOCAB = FIRST_TIMESTAMP + 1501
# Frames and rows that are written down: edges, and some between.
FRAMES = [0, 1, 2, 57, 150, 298, 299, 300, 301, 302, 2999]
ROWS = [0, 1, 74, 148, 149, 150, 151, 700, 1498, 1499]


def sound():
    loudness = (np.arange(N_SAMPLES, dtype=np.float32) % 24_000) / np.float32(48_000)
    return weights("sound", [N_SAMPLES], 0.0, 0.5) * loudness


def spectrogram(n_mels):
    extractor = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    features = extractor(sound(), sampling_rate=16_000, return_tensors="np").input_features
    return torch.from_numpy(features)


def kind(name):
    """(base, amplitude) by the tensor's role."""
    if name.endswith("layer_norm.weight"):
        return 1.0, 0.25
    if name.endswith(".bias"):
        return 0.0, 0.25
    if name.endswith("embed_tokens.weight"):
        return 0.0, 1.0
    return 0.0, 0.25


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert len(alphabet) == 256
    tok = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(SPECIALS)
    assert tok.token_to_id("<|notimestamps|>") == NO_TIMESTAMPS
    return tok


def build():
    config = transformers.WhisperConfig(
        vocab_size=VOCAB, num_mel_bins=N_MELS, d_model=48, encoder_layers=2, decoder_layers=3,
        encoder_attention_heads=4, decoder_attention_heads=3, encoder_ffn_dim=104,
        decoder_ffn_dim=88, max_source_positions=1500, max_target_positions=80,
        pad_token_id=END, bos_token_id=END, eos_token_id=END, decoder_start_token_id=START)
    return transformers.WhisperForConditionalGeneration(config)


def generation():
    suppressed = [1, 2, 7, 8, 9, START, TRANSLATE, TRANSCRIBE, PREVIOUS, NO_SPEECH]
    return {
        "suppress_tokens": suppressed, "begin_suppress_tokens": [220, END],
        "is_multilingual": True, "eos_token_id": END, "no_timestamps_token_id": NO_TIMESTAMPS,
        "alignment_heads": [[1, 0], [1, 2], [2, 1]],
    }


def greedy(model, encoded, n):
    """The reference's answer: its processors, and the likeliest token."""
    prompt = [START, ENGLISH, TRANSCRIBE]
    said = generation()
    config = transformers.GenerationConfig(
        eos_token_id=END, no_timestamps_token_id=NO_TIMESTAMPS, max_initial_timestamp_index=50)
    processors = [
        SuppressTokensAtBeginLogitsProcessor(said["begin_suppress_tokens"], len(prompt)),
        SuppressTokensLogitsProcessor(said["suppress_tokens"]),
        WhisperTimeStampLogitsProcessor(config, len(prompt), _detect_timestamp_from_logprob=True),
    ]
    answer, gaps = [], []
    while len(answer) < n:
        ids = torch.tensor([prompt + answer])
        scores = model(encoder_outputs=encoded, decoder_input_ids=ids).logits[:, -1].float()
        for processor in processors:
            scores = processor(ids, scores)
        best = scores[0].topk(2)
        token = int(best.indices[0])
        gaps.append(min(float(best.values[0] - best.values[1]), 1e3))
        if token == END:
            break
        answer.append(token)
    return answer, gaps


def main():
    GOLDENS.mkdir(parents=True, exist_ok=True)
    model = build().float().eval()
    tiny_models.kind = lambda name, family: kind(name)
    table, state, config = tiny_models.fill(model, "whisper")
    model = tiny_models.load(type(model), config, state)
    write_json(GOLDENS / "config.json", config, indent=2)
    write_json(GOLDENS / "generation_config.json", generation(), indent=2)
    tokenizer().save(str(GOLDENS / "tokenizer.json"))
    rows = ",\n".join(json.dumps(row) for row in table)
    (GOLDENS / "tensors.json").write_text(f"[\n{rows}\n]\n")

    golden = {"reference": f"transformers {transformers.__version__}, torch {torch.__version__}",
              "frames": FRAMES, "rows": ROWS}
    for n_mels in (80, 128):
        frames = spectrogram(n_mels)[0].T
        golden[f"mel_{n_mels}"] = rounded(frames[FRAMES])
    with torch.no_grad():
        encoded = model.model.encoder(spectrogram(N_MELS))
        golden["states"] = rounded(encoded.last_hidden_state[0][ROWS])
        said = [START, ENGLISH, TRANSCRIBE, FIRST_TIMESTAMP, 65, 66, 32, 67, FIRST_TIMESTAMP + 40]
        golden["tokens"] = said
        logits = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([said])).logits[0]
        golden["logits"] = rounded(logits[:, ::7])
        first = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([[START]])).logits[0, -1]
        golden["no_speech"] = float(first.softmax(-1)[NO_SPEECH])
        golden["languages"] = [float(first[id]) for id in (ENGLISH, GERMAN, GERMAN + 1)]
        golden["answer"], golden["gaps"] = greedy(model, encoded, 40)
    write_goldens(GOLDENS / "goldens.json", golden)
    print(golden["answer"], min(golden["gaps"]), golden["no_speech"], golden["languages"])


if __name__ == "__main__":
    main()
