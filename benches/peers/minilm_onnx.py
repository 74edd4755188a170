"""MiniLM as an ONNX graph in f32, written from its safetensors file, and its dynamic int8 export.

The graph is the one that an exporter would write for a BERT encoder (opset 17), so that
onnxruntime's optimizer finds the patterns it knows: attention, layer norm, GELU.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

import models


class Graph:
    """Nodes and constants as they are added; each operation gives the name of its result."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name, value):
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, value):
        return self.constant(f"f32_{value}", np.array(value, np.float32))

    def integers(self, *values):
        return self.constant("i64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def __call__(self, operator, *inputs, **attributes):
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


def bert(config, weights):
    graph = Graph()
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    size = hidden // heads

    def weight(name):
        return graph.constant(name, weights[name])

    def linear(x, name):
        product = graph("MatMul", x, graph.constant(f"{name}.weight_t", weights[f"{name}.weight"].T))
        return graph("Add", weight(f"{name}.bias"), product)

    def layer_norm(x, name):
        return graph("LayerNormalization", x, weight(f"{name}.weight"), weight(f"{name}.bias"),
                     axis=-1, epsilon=config["layer_norm_eps"])

    def gelu(x):
        erf = graph("Erf", graph("Div", x, graph.number(2 ** 0.5)))
        return graph("Mul", graph("Mul", x, graph("Add", erf, graph.number(1.0))),
                     graph.number(0.5))

    length = graph("Gather", graph("Shape", "input_ids"), graph.integers(1), axis=0)
    positions = graph("Slice", graph.constant(
        "positions", np.arange(config["max_position_embeddings"], dtype=np.int64)[None]),
        graph.integers(0), length, graph.integers(1))
    embedded = [graph("Gather", weight(f"embeddings.{table}.weight"), ids, axis=0)
                for table, ids in [("word_embeddings", "input_ids"),
                                   ("token_type_embeddings", "token_type_ids"),
                                   ("position_embeddings", positions)]]
    x = graph("Add", graph("Add", embedded[0], embedded[1]), embedded[2])
    x = layer_norm(x, "embeddings.LayerNorm")
    mask = graph("Cast", graph("Unsqueeze", "attention_mask", graph.integers(1, 2)),
                 to=TensorProto.FLOAT)
    mask = graph("Mul", graph("Sub", graph.number(1.0), mask), graph.number(-1e9))

    def split(x, permutation):
        x = graph("Reshape", x, graph.integers(0, 0, heads, size))
        return graph("Transpose", x, perm=permutation)

    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        q = split(linear(x, f"{layer}.attention.self.query"), [0, 2, 1, 3])
        k = split(linear(x, f"{layer}.attention.self.key"), [0, 2, 3, 1])
        v = split(linear(x, f"{layer}.attention.self.value"), [0, 2, 1, 3])
        scores = graph("Div", graph("MatMul", q, k), graph.number(size ** 0.5))
        scores = graph("Softmax", graph("Add", scores, mask), axis=-1)
        mixed = graph("Transpose", graph("MatMul", scores, v), perm=[0, 2, 1, 3])
        mixed = graph("Reshape", mixed, graph.integers(0, 0, hidden))
        mixed = linear(mixed, f"{layer}.attention.output.dense")
        x = layer_norm(graph("Add", mixed, x), f"{layer}.attention.output.LayerNorm")
        inner = gelu(linear(x, f"{layer}.intermediate.dense"))
        x = layer_norm(graph("Add", linear(inner, f"{layer}.output.dense"), x),
                       f"{layer}.output.LayerNorm")

    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
              for name in ("input_ids", "attention_mask", "token_type_ids")]
    graph("Identity", x)
    graph.nodes[-1].output[0] = "last_hidden_state"
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT,
                                           ["batch", "length", hidden])
    made = helper.make_graph(graph.nodes, "bert", inputs, [output], graph.constants.values())
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def files():
    """(f32, dynamic int8), made when missing."""
    f32, dynamic = models.MODELS / "minilm.f32.onnx", models.MODELS / "minilm.dynamic.onnx"
    if not dynamic.exists():
        folder = models.source("minilm")
        weights = load_file(folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        onnx.save(bert(config, weights), f32)
        part = dynamic.with_suffix(".part")
        quantize_dynamic(f32, part, weight_type=QuantType.QInt8)
        part.rename(dynamic)
    return f32, dynamic
