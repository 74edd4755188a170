"""Vectors that sentence-transformers makes of texts, for every module that a folder can name.

    python tests/reference/sentence_modules.py

Writes tests/goldens/sentence.json: cases, each a tiny checkpoint of tests/goldens/tiny (`base`), the
files that are put into its folder (`files`), the weights of its dense modules (`dense`, by the rule of
tiny_models.py), and texts with their vectors (`runs`).
"""

import json
import pathlib
import tempfile

import sentence_transformers
import torch
import transformers
from safetensors.torch import save_file

from tiny_models import GOLDENS, rounded, weights

TARGET = GOLDENS.parent / "sentence.json"
TEXTS = ["the wren is small", "A model is data: blocks, norms and heads.", "king",
         "the king is small and the wren is in the model and the data is small"]


def pooling(mode, **more):
    return {"embedding_dimension": 64, "pooling_mode": mode, **more}


def legacy(mode, on=True):
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens",
             "weightedmean_tokens", "lasttoken"]
    return {"word_embedding_dimension": 64, **{f"pooling_mode_{m}": m == mode for m in modes}}


def modules(*kinds):
    return [{"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "",
             "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)]


def dense(inputs, outputs, bias, activation):
    return {"in_features": inputs, "out_features": outputs, "bias": bias,
            "activation_function": f"torch.nn.modules.{activation}"}


def tokenizer_config(**tokens):
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **tokens}


BERT = {"tokenizer_config.json": tokenizer_config(
    cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
    mask_token="[MASK]")}
ROBERTA = {"tokenizer_config.json": tokenizer_config(
    bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>",
    unk_token="<unk>", mask_token="<mask>")}
DECODER = {"tokenizer_config.json": tokenizer_config(
    bos_token="<s>", eos_token="</s>", pad_token="<pad>")}
PROMPTS = {"config_sentence_transformers.json": {
    "prompts": {"query": "find: ", "document": "", "title": "the title is small and data "},
    "default_prompt_name": "query", "similarity_fn_name": "cosine"}}


def cases():
    """(name, base, files, dense weights [folder, [name, dims]])"""
    plain = modules("Transformer", "Pooling")
    for config in [pooling("mean"), pooling("cls"), pooling("max"), pooling("lasttoken"),
                   pooling("mean_sqrt_len_tokens"), pooling("weightedmean"),
                   legacy("weightedmean_tokens"), legacy("mean_sqrt_len_tokens")]:
        mode = config.get("pooling_mode", "legacy")
        yield f"bert {mode}", "bert", {
            **BERT, "modules.json": plain, "1_Pooling/config.json": config}, []
    normalized = modules("Transformer", "Pooling", "Normalize")
    yield "roberta with prompts", "roberta", {
        **ROBERTA, **PROMPTS, "modules.json": normalized,
        "1_Pooling/config.json": pooling("mean")}, []
    for mode in ["mean", "weightedmean", "cls", "max"]:
        yield f"bert {mode} without its prompt", "bert", {
            **BERT, **PROMPTS, "modules.json": plain,
            "1_Pooling/config.json": pooling(mode, include_prompt=False)}, []
    yield "distilbert cut at 9", "distilbert", {
        **BERT, "modules.json": normalized, "1_Pooling/config.json": pooling("mean"),
        "sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": False}}, []
    yield "bert dense", "bert", {
        **BERT, "modules.json": modules("Transformer", "Pooling", "Dense"),
        "1_Pooling/config.json": pooling("cls"),
        "2_Dense/config.json": dense(64, 48, True, "activation.Tanh")}, [
            ["2_Dense", [["linear.weight", [48, 64]], ["linear.bias", [48]]]]]
    chain = modules("Transformer", "Pooling", "Dense", "Dense", "Normalize")
    yield "embeddinggemma", "embeddinggemma", {
        **DECODER, **PROMPTS, "modules.json": chain, "1_Pooling/config.json": pooling("mean"),
        "2_Dense/config.json": dense(64, 96, False, "linear.Identity"),
        "3_Dense/config.json": dense(96, 64, False, "linear.Identity")}, [
            ["2_Dense", [["linear.weight", [96, 64]]]],
            ["3_Dense", [["linear.weight", [64, 96]]]]]
    yield "qwen3-embedding", "qwen3-embedding", {
        **DECODER, **PROMPTS, "modules.json": normalized,
        "1_Pooling/config.json": pooling("lasttoken")}, []


def table(tensors):
    return [[name, dims, 0.0, 0.25] for name, dims in tensors]


def build(folder, base, files, dense_weights):
    source = GOLDENS / base
    for name in ["config.json", "tokenizer.json"]:
        (folder / name).write_bytes((source / name).read_bytes())
    save_table(json.loads((source / "tensors.json").read_text()), folder)
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
    (folder / "2_Normalize").mkdir(exist_ok=True)
    for name, tensors in dense_weights:
        save_table(table(tensors), folder / name)


def save_table(rows, folder):
    state = {row[0]: torch.from_numpy(weights(*row)).contiguous() for row in rows}
    save_file(state, str(folder / "model.safetensors"), {"format": "pt"})


def runs(model, has_prompts):
    """The model's own prompt, none, and one by its name."""
    for prompt in (["default", "none", "title"] if has_prompts else ["default"]):
        text = {"default": None, "none": ""}.get(prompt, model.prompts.get(prompt))
        name = prompt if prompt == "title" else None
        vectors = model.encode(TEXTS, prompt_name=name, prompt="" if prompt == "none" else None,
                               convert_to_tensor=True)
        if text is None:
            text = model.prompts.get(model.default_prompt_name or "", "")
        tokens = [len(model.tokenizer(text + t)["input_ids"]) for t in TEXTS]
        yield {"prompt": prompt, "tokens": tokens, "vectors": rounded(vectors)}


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    out = []
    for name, base, files, dense_weights in cases():
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            build(folder, base, files, dense_weights)
            model = sentence_transformers.SentenceTransformer(
                str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
            found = list(runs(model, "config_sentence_transformers.json" in files))
        print(name, [[round(x, 3) for x in row[:3]] for row in found[0]["vectors"][:2]],
              found[0]["tokens"])
        out.append({"name": name, "base": base, "files": files,
                    "dense": [[path, table(tensors)] for path, tensors in dense_weights],
                    "runs": found})
    reference = (f"sentence-transformers {sentence_transformers.__version__}, "
                 f"transformers {transformers.__version__}, torch {torch.__version__}")
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in out)
    head = json.dumps({"reference": reference, "texts": TEXTS}, separators=(",", ":"))
    TARGET.write_text(f'{head[:-1]},"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
