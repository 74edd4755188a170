"""What published ONNX models answer, and which parameters are in them.

    python tests/reference/onnx_models.py MINILM.onnx MINILM_FOLDER T5_FOLDER VIT.onnx

The files are those that tests/src/real.rs names: all-MiniLM-L6-v2 with int8 weights and the folder of
its other release, which has the tokenizer and texts' limits; FLAN-T5 (`encoder.onnx`, `decoder.onnx`,
`tokenizer.json`), quantized with its activations; a vision transformer. Written to
tests/goldens/onnx_models:

  minilm.f32         little-endian f32 [34][384]: every third text of goldens/minilm/texts.json, by
                     onnxruntime from the file, mean over tokens, scaled to length 1
  t5.json            token ids; the likeliest tokens and their logits as t5_float.f32
  t5_float.f32       encoder states [n][512] by onnxruntime from the file's graph, where its products of
                     integers are products of floats; transformers with the recovered parameters agrees
  t5_int8.f32        the same by onnxruntime from the file itself, which rounds activations to 8 bits
  t5.txt, vit.txt    name and dimensions of each parameter
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import tokenizers
import torch
import transformers
from onnx import numpy_helper

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"
OUT = GOLDENS / "onnx_models"
TEXTS = ["summarize: The kinglet is the smallest bird that wears a crown.",
         "Fix the crash when a file with no header is opened twice"]
TARGET = "A small bird with"


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def minilm(path, folder):
    texts = json.loads((GOLDENS / "minilm" / "texts.json").read_text())[::3]
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])
    model, vectors = session(path), []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = model.run(None, inputs)[0][0].mean(0)
        vectors.append(mean / np.linalg.norm(mean))
    (OUT / "minilm.f32").write_bytes(np.stack(vectors).astype("<f4").tobytes())


def parameters(path, wrapper, prefix):
    """The parameters of a file of `quantize_dynamic`, without the module that held the model."""
    model = onnx.load(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    users = {name: node for node in model.graph.node for name in node.input
             if node.op_type in ("MatMulInteger", "MatMul")}
    found = {}
    for name, value in tensors.items():
        if name.endswith("_quantized"):
            stem = name[:-len("_quantized")]
            zero, scale = tensors[stem + "_zero_point"], tensors[stem + "_scale"]
            value = (value.astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale
            if stem.startswith("onnx::"):
                stem = ".".join(users[name].name.strip("/").split("/")[:-1]) + ".weight"
                value = value.T
        elif "." in name and "/" not in name and not name.endswith(("_scale", "_zero_point")):
            stem = name
        elif name.startswith("onnx::MatMul") and name in users and value.ndim == 2:
            stem, value = ".".join(users[name].name.strip("/").split("/")[:-1]) + ".weight", value.T
        else:
            continue
        found[prefix + stem.removeprefix(wrapper)] = torch.from_numpy(np.ascontiguousarray(value))
    return found


def with_float_activations(path):
    """The file's own graph, whose products of integers are products of floats instead."""
    model = onnx.load(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers = {name: node for node in model.graph.node for name in node.input}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type != "MatMulInteger":
            continue
        stem = node.input[1].removesuffix("_quantized")
        zero, scale = tensors[stem + "_zero_point"], tensors[stem + "_scale"]
        value = (tensors[node.input[1]].astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale
        model.graph.initializer.append(numpy_helper.from_array(value, stem + "_float"))
        x = makers[node.input[0]].input[0]
        result = readers[readers[node.output[0]].output[0]]
        assert result.op_type == "Mul", result
        nodes.append(onnx.helper.make_node("MatMul", [x, stem + "_float"], list(result.output)))
        result.output[0] += "_unused"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def listing(name, found):
    lines = [f"{key} {list(value.shape)}" for key, value in sorted(found.items())]
    (OUT / name).write_text("\n".join(lines) + "\n")


def t5_by_transformers(found, ids, target):
    config = transformers.T5Config(vocab_size=32128, d_model=512, d_kv=64, d_ff=1024, num_layers=8,
                                   num_decoder_layers=8, num_heads=6, feed_forward_proj="gated-gelu",
                                   tie_word_embeddings=False, decoder_start_token_id=0)
    # What the class makes of it is that the head's scale is left out; the head stays tied.
    config.tie_word_embeddings = False
    model = transformers.T5ForConditionalGeneration(config).eval()
    found = found | {"decoder.embed_tokens.weight": found["shared.weight"]}
    missing = model.load_state_dict(found, strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys, missing
    with torch.no_grad():
        states = model.encoder(input_ids=torch.tensor([ids])).last_hidden_state
        logits = model(encoder_outputs=(states,), decoder_input_ids=torch.tensor([target])).logits[0]
    return states[0].numpy(), logits.numpy()


def t5_by_onnxruntime(encoder, decoder, ids, target):
    mask = np.ones((1, len(ids)), np.int64)
    names = [i.name for i in encoder.get_inputs()]
    states = encoder.run(None, dict(zip(names, [np.array([ids]), mask])))[0]
    logits = decoder.run(None, {"input_ids": np.array([target]), "encoder_hidden_states": states,
                                "encoder_attention_mask": mask})[0]
    return states[0], logits[0]


def t5(folder):
    found = parameters(folder / "encoder.onnx", "enc.", "encoder.")
    found |= parameters(folder / "decoder.onnx", "m.", "")
    listing("t5.txt", found)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    rounding = [session(folder / name) for name in ("encoder.onnx", "decoder.onnx")]
    exact = [with_float_activations(folder / name) for name in ("encoder.onnx", "decoder.onnx")]
    target = [0] + tokenizer.encode(TARGET, add_special_tokens=False).ids
    about, floats, ints = {"target": target, "sources": []}, [], []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        states, logits = t5_by_onnxruntime(*exact, ids, target)
        rounded, rounded_logits = t5_by_onnxruntime(*rounding, ids, target)
        for other, its_logits, what in [(rounded, rounded_logits, "activations of 8 bits"),
                                        (*t5_by_transformers(found, ids, target), "transformers")]:
            cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(states, other)]
            print(f"t5, {what}: cosine of states at least {min(cosines):.6f}, mean {np.mean(cosines):.6f}; "
                  f"logits differ by {np.abs(its_logits - logits).max():.4f} of {np.abs(logits).max():.1f}")
        top = np.argsort(-logits, 1)[:, :8]
        about["sources"].append({"text": text, "ids": ids, "top_ids": top.tolist(),
                                 "top_logits": np.take_along_axis(logits, top, 1).tolist()})
        floats.append(states)
        ints.append(rounded)
    (OUT / "t5.json").write_text(json.dumps(about) + "\n")
    (OUT / "t5_float.f32").write_bytes(np.concatenate(floats).astype("<f4").tobytes())
    (OUT / "t5_int8.f32").write_bytes(np.concatenate(ints).astype("<f4").tobytes())


def vit(path):
    found = parameters(path, "", "")
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    # The table of positions is cut into those of the class and of the patches.
    parts = [value for name, value in tensors.items() if value.ndim == 3 and name.startswith("onnx::")]
    parts.sort(key=lambda part: part.shape[1])
    found["backbone.embeddings.position_embeddings"] = torch.from_numpy(np.concatenate(parts, 1))
    listing("vit.txt", found)
    kept = {name.removeprefix("backbone."): value for name, value in found.items()
            if name.startswith("backbone.")}
    print("vit:", len(kept), "parameters of the backbone")


def main():
    OUT.mkdir(exist_ok=True)
    minilm_file, minilm_folder, t5_folder, vit_file = map(pathlib.Path, sys.argv[1:])
    minilm(minilm_file, minilm_folder)
    t5(t5_folder)
    vit(vit_file)


if __name__ == "__main__":
    main()
