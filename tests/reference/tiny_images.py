"""Tiny random checkpoints that read images, and what Hugging Face computes with them.

    python tests/reference/tiny_images.py [--only NAME,NAME]

Writes to tests/goldens/tiny/NAME what tiny_models.py writes for a family (config.json, tensors.json),
preprocessor_config.json, a tokenizer for those that read texts, and goldens.json: for some made-up images
the values that the processor makes of them, hidden states, logits or vectors; of two towers the texts'
vectors and the probabilities as well.

Writes to tests/goldens/images what Pillow makes of such images: resized.json lists width, height, filter,
new width and new height, resized.bin has the levels, one after another. The level of channel c at x, y is
`(x * (c + 3) + y * (5 - c) + x * y // 7) % 256`.
"""

import argparse
import hashlib
import json
import pathlib
import tempfile

import numpy as np
import PIL
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tiny_models import GOLDENS, text_for_tokenizers, weights, wordpiece_tokenizer, write_goldens, write_json

IMAGES = GOLDENS.parent / "images"
SIZES = [(45, 37), (20, 64), (97, 33), (32, 32), (7, 5)]
LABELS = {0: "wren", 1: "kinglet", 2: "robin", 3: "no bird, but a stone", 4: "owl"}
NAMED = dict(id2label=LABELS, label2id={v: k for k, v in LABELS.items()})
TEXTS = ["A photo of a small wren.", "the king!", "data: 42 birds in range(10), and the model's  norms", ""]
TOWER = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=88)
# Of pixels, this many are passed over for one that is kept.
STRIDE = 11


def made_up(width, height):
    y, x, c = np.indices((height, width, 3))
    return Image.fromarray(((x * (c + 3) + y * (5 - c) + x * y // 7) % 256).astype(np.uint8))


def kind(name):
    """(base, amplitude) by the tensor's role."""
    if name.endswith("logit_scale"):
        return 2.0, 0.25
    if name.endswith("logit_bias"):
        return -1.0, 0.25
    if "lambda1" in name or ("norm" in name.lower() or "layrnorm" in name) and name.endswith("weight"):
        return 1.0, 0.25
    if "patch_embedding" in name and name.endswith("weight"):
        return 0.0, 0.0625
    if any(part in name for part in ("fc2.weight", "output.dense.weight", "weights_out.weight", "out_proj.weight")):
        return 0.0, 0.125
    return 0.0, 0.25


def fill(model):
    """The list of [name, shape, base, amplitude], the values and the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        stored = load_file(f"{folder}/model.safetensors")
        config = json.loads(pathlib.Path(folder, "config.json").read_text())
    assert all(value.is_floating_point() for value in stored.values())
    table = [[name, list(stored[name].shape), *kind(name)] for name in sorted(stored)]
    state = {row[0]: torch.from_numpy(np.asarray(weights(*row))) for row in table}
    return table, state, config


def load(model_class, config, state):
    with tempfile.TemporaryDirectory() as folder:
        save_file({k: v.contiguous() for k, v in state.items()}, f"{folder}/model.safetensors", {"format": "pt"})
        write_json(pathlib.Path(folder, "config.json"), config)
        model, info = model_class.from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                                  attn_implementation="eager")
    assert not info["unexpected_keys"] and not info["mismatched_keys"] and not info["missing_keys"], info
    return model.eval()


def clip_tokenizer():
    tok = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tok.normalizer = normalizers.Sequence([
        normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(words), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(text_for_tokenizers(), trainers.BpeTrainer(
        vocab_size=598, end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    # As published, every byte may end a word, and the two have the last ids of the model's own vocabulary.
    made = json.loads(tok.to_str())
    for char in sorted(pre_tokenizers.ByteLevel.alphabet()):
        made["model"]["vocab"].setdefault(char + "</w>", len(made["model"]["vocab"]))
    for token in ["<|startoftext|>", "<|endoftext|>"]:
        made["model"]["vocab"][token] = len(made["model"]["vocab"])
    tok = Tokenizer.from_str(json.dumps(made))
    tok.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    begin, end = tok.token_to_id("<|startoftext|>"), tok.token_to_id("<|endoftext|>")
    tok.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", end), ("<|startoftext|>", begin), trim_offsets=False, add_prefix_space=False)
    return tok


def checkpoints():
    """For each name: model, processor's class and settings, tokenizer and its settings."""
    t = transformers
    vit = dict(TOWER, image_size=32, patch_size=8)
    dino = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2, patch_size=8)
    vision = dict(TOWER, image_size=32, patch_size=8)
    clip = clip_tokenizer()
    text = dict(hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=72)
    return {
        "vit-classifier": (
            lambda: t.ViTForImageClassification(t.ViTConfig(**vit, **NAMED)),
            "ViTImageProcessor", dict(size=dict(height=32, width=32)), None, None),
        "deit-teacher": (
            lambda: t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**vit, **NAMED)),
            "DeiTImageProcessor", dict(size=dict(height=40, width=36), crop_size=dict(height=32, width=32)), None, None),
        "dinov2": (
            lambda: t.Dinov2Model(t.Dinov2Config(**dino, image_size=56)),
            "BitImageProcessor", dict(
                size=dict(shortest_edge=36), crop_size=dict(height=32, width=32), resample=3,
                image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]), None, None),
        "dinov2-swiglu": (
            lambda: t.Dinov2ForImageClassification(t.Dinov2Config(**dino, image_size=24, use_swiglu_ffn=True, **NAMED)),
            "BitImageProcessor", dict(
                size=dict(shortest_edge=44), crop_size=dict(height=40, width=40), resample=1), None, None),
        "dinov2-registers": (
            lambda: t.Dinov2WithRegistersForImageClassification(t.Dinov2WithRegistersConfig(
                **dino, image_size=56, num_register_tokens=3, **NAMED)),
            "BitImageProcessor", dict(
                size=dict(shortest_edge=30), crop_size=dict(height=32, width=32), resample=3), None, None),
        "clip": (
            lambda: t.CLIPModel(t.CLIPConfig(
                text_config=dict(text, vocab_size=clip.get_vocab_size(), max_position_embeddings=24, bos_token_id=0,
                                 eos_token_id=2, pad_token_id=1),
                vision_config=vision, projection_dim=36)),
            "CLIPImageProcessor", dict(size=dict(shortest_edge=32), crop_size=dict(height=32, width=32)), clip,
            dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>",
                 unk_token="<|endoftext|>", model_max_length=24)),
        "siglip": (
            lambda: t.SiglipModel(t.SiglipConfig(
                text_config=dict(TOWER, vocab_size=300, max_position_embeddings=20),
                vision_config=dict(vision, image_size=30))),
            "SiglipImageProcessor", dict(size=dict(height=30, width=30)), wordpiece_tokenizer(),
            dict(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", model_max_length=20)),
    }


def rounded(values):
    return [[float(f"{v:.6g}") for v in row] for row in values.tolist()]


def towers(model, name, tokenizer, pixels):
    """Vectors of texts and images, and what they say of each other."""
    filled = model.config.text_config.max_position_embeddings
    tokenizer.enable_truncation(filled)
    ids = []
    for text in TEXTS:
        one = tokenizer.encode(text).ids
        ids.append(one + [0] * (filled - len(one)) if name == "siglip" else one)
    texts = []
    for one in ids:
        out = model(input_ids=torch.tensor([one]), pixel_values=pixels[:1])
        texts.append(out.text_embeds[0])
    out = model(input_ids=torch.tensor([ids[0]]), pixel_values=pixels)
    images = out.image_embeds
    scale, bias = model.logit_scale.exp(), model.logit_bias if name == "siglip" else 0.0
    logits = images @ torch.stack(texts).T * scale + bias
    # The reference's own, for the one text.
    assert torch.allclose(out.logits_per_image[:, 0], logits[:, 0], atol=1e-4)
    scores = logits.sigmoid() if name == "siglip" else logits.softmax(-1)
    vision = out.vision_model_output.last_hidden_state[0]
    hidden = vision if name == "siglip" else model.vision_model.post_layernorm(vision)
    return {"texts": TEXTS, "ids": ids, "hidden": rounded(hidden), "text_embeds": rounded(torch.stack(texts)),
            "image_embeds": rounded(images), "scores": rounded(scores)}


def make(name, build, processor_class, settings, tok, roles):
    model = build().float().eval()
    table, state, config = fill(model)
    model = load(type(model), config, state)
    folder = GOLDENS / name
    folder.mkdir(parents=True, exist_ok=True)
    config.pop("transformers_version", None)
    write_json(folder / "config.json", config, indent=2)
    rows = ",\n".join(json.dumps(row) for row in table)
    (folder / "tensors.json").write_text(f"[\n{rows}\n]\n")
    processor = getattr(transformers, processor_class + "Pil", None) or getattr(transformers, processor_class)
    processor = processor(**settings)
    with tempfile.TemporaryDirectory() as temporary:
        processor.save_pretrained(temporary)
        saved = json.loads(pathlib.Path(temporary, "preprocessor_config.json").read_text())
        file = pathlib.Path(temporary, "model.safetensors")
        save_file({k: v.contiguous() for k, v in state.items()}, str(file), {"format": "pt"})
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    write_json(folder / "preprocessor_config.json", saved, indent=2)
    if tok:
        tok.save(str(folder / "tokenizer.json"))
        write_json(folder / "tokenizer_config.json", roles, indent=2)

    pixels = torch.cat([processor(images=made_up(*size), return_tensors="pt")["pixel_values"] for size in SIZES])
    golden = {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, Pillow {PIL.__version__}",
        "processor": type(processor).__name__,
        "safetensors_sha256": sha256, "sizes": SIZES, "stride": STRIDE,
        "pixels": rounded(pixels.flatten(1)[:, ::STRIDE]),
    }
    with torch.no_grad():
        if tok:
            golden |= towers(model, name, tok, pixels)
        else:
            out = model(pixels, output_hidden_states=True)
            if hasattr(out, "pooler_output"):
                golden["hidden"] = rounded(out.last_hidden_state[0])
                golden["image_embeds"] = rounded(out.pooler_output)
            else:
                base = model.base_model
                golden["hidden"] = rounded(base(pixels[:1]).last_hidden_state[0])
                golden["logits"] = rounded(out.logits)
                golden["scores"] = rounded(out.logits.softmax(-1))
    write_goldens(folder / "goldens.json", golden)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {type(processor).__name__}, {size >> 10} KB, names such as {table[len(table) // 2][0]}")
    what = torch.tensor(golden.get("logits", golden.get("image_embeds")))
    print(f"  std {what.std():.3f}, between images {what.std(0).mean():.3f}")
    if "scores" in golden:
        print("  scores", golden["scores"][0])


def resized():
    filters = dict(lanczos=1, bilinear=2, bicubic=3, box=4, hamming=5)
    listed, levels = [], b""
    for width, height in SIZES:
        for to in [(16, 12), (9, 14), (width, 6), (50, 4)]:
            for name, number in filters.items():
                listed.append([width, height, name, *to])
                levels += np.asarray(made_up(width, height).resize(to, number)).tobytes()
    IMAGES.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(row) for row in listed)
    (IMAGES / "resized.json").write_text(f"[\n{rows}\n]\n")
    (IMAGES / "resized.bin").write_bytes(levels)
    print(f"resized: {len(listed)} images, {len(levels) >> 10} KB, Pillow {PIL.__version__}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="comma-separated names; all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    resized()
    for name, parts in checkpoints().items():
        if not args.only or name in args.only.split(","):
            make(name, *parts)


if __name__ == "__main__":
    main()
