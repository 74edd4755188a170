"""Small ONNX files by the tools that people use, and the parameters that are in them.

    python tests/reference/onnx_files.py

A module of two layers with random parameters is exported by both exporters of torch.onnx, merged with a
second graph by optimum (`pip install --no-deps optimum optimum-onnx`) and quantized by onnxruntime's tools. Written to tests/goldens/onnx: the files, and for each the
parameters that it holds, as safetensors (`NAME.golden`). Those of exports are the module's own. Those
of quantized files are what numpy makes of the stored integers by the definition of the operators,
(q - zero) * scale in f32; for packed weights onnxruntime itself says what they are, as the product
with the identity.
"""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic,
                                      quantize_static)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from safetensors.numpy import save_file

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "onnx"
WIDTH = 16


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.query = torch.nn.Linear(WIDTH, WIDTH)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(WIDTH, 24, bias=False), torch.nn.GELU(),
                                       torch.nn.Linear(24, WIDTH))

    def forward(self, x):
        x = x + self.query(self.norm(x))
        return x + self.mlp(x)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = torch.nn.Embedding(10, WIDTH)
        self.layer = torch.nn.ModuleList([Layer(), Layer()])
        self.head = torch.nn.Linear(WIDTH, 3)

    def forward(self, ids):
        x = self.embeddings(ids)
        for layer in self.layer:
            x = layer(x)
        return self.head(x[:, 0])


class WithPast(Model):
    """The same parameters in a graph that has one more input."""

    def forward(self, ids, past):
        x = self.embeddings(ids) + past
        for layer in self.layer:
            x = layer(x)
        return self.head(x[:, 0])


def merge(module, path):
    """Both graphs as branches of one, which optimum makes of a decoder that begins and one that goes on."""
    from optimum.onnx import merge_decoders

    other = WithPast().eval()
    other.load_state_dict(module.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        first, second = pathlib.Path(folder, "first.onnx"), pathlib.Path(folder, "second.onnx")
        export(module, first, dynamo=False, opset_version=17)
        ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
        torch.onnx.export(other, (ids, torch.ones(2, 3, WIDTH)), str(second), dynamo=False,
                          opset_version=17, input_names=["ids", "past"], output_names=["y"])
        merge_decoders(first, second, save_path=path, strict=False)


def parameters_of(module):
    return {name: value.detach().to(torch.float32).numpy() for name, value in
            module.state_dict().items()}


def export(module, path, **options):
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    torch.onnx.export(module, (ids,), str(path), input_names=["ids"], output_names=["y"], **options)
    # Without the places in the exporter's sources, which are those of one machine.
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


class Samples(CalibrationDataReader):
    def __init__(self):
        self.left = [np.array([[i, 9 - i, i // 2], [3, i, 1]]) for i in range(10)]

    def get_next(self):
        return {"ids": self.left.pop()} if self.left else None


def stored(model):
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return tensors


def module_of(node):
    """`/layer.0/mlp/mlp.0/MatMul_quant` is of `layer.0.mlp.0`."""
    parts = node.name.strip("/").split("/")[:-1]
    kept = [p for p, after in zip(parts, parts[1:] + [""]) if not after.startswith(p + ".")]
    return ".".join(kept)


def number(q, zero, scale, axis=None):
    shape = [1] * q.ndim
    if axis is not None and scale.size > 1:
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((q.astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale).astype(np.float32)


def dynamic(model):
    """Parameters of `quantize_dynamic`'s files."""
    tensors, found = stored(model), {}
    for name, value in tensors.items():
        if name.endswith("_quantized"):
            stem = name[:-len("_quantized")]
            value = number(value, tensors[stem + "_zero_point"], tensors[stem + "_scale"], -1)
            if stem == "embeddings.weight":
                found[stem] = value
            elif stem == "head.weight_Transposed":
                found["head.weight"] = value.T
            else:
                user = next(n for n in model.graph.node if name in n.input)
                found[module_of(user) + ".weight"] = value.T
        elif "." in name and "/" not in name and not name.endswith(("_scale", "_zero_point")):
            found[name] = value
    return found


def static(model):
    """Parameters of `quantize_static`'s files: DequantizeLinear behind each tensor."""
    tensors, found, values = stored(model), {}, {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            q, scale, zero = (tensors[name] for name in node.input)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            values[node.output[0]] = number(q, zero, scale, axis)
            stem = node.input[0].removesuffix("_quantized")
            if "." in stem and "/" not in stem:
                found[stem] = values[node.output[0]]
        elif node.op_type == "MatMul" and node.input[1] in values:
            found[module_of(node) + ".weight"] = values[node.input[1]].T
    names = [name for name in tensors if "." in name and "/" not in name and
             not name.endswith(("_quantized", "_scale", "_zero_point"))]
    return {**{name: tensors[name] for name in names}, **found}


def by_identity(node, tensors):
    """The matrix [outputs, inputs] that onnxruntime multiplies with."""
    k = next(a.i for a in node.attribute if a.name == "K")
    n = next(a.i for a in node.attribute if a.name == "N")
    names = [name for name in node.input[1:] if name]
    graph = onnx.helper.make_graph(
        [node], "one", [onnx.helper.make_tensor_value_info(node.input[0], 1, [k, k])],
        [onnx.helper.make_tensor_value_info(node.output[0], 1, [k, n])],
        [numpy_helper.from_array(tensors[name], name) for name in names])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[
        onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {node.input[0]: np.eye(k, dtype=np.float32)})[0].T


def table_by_rows(node, tensors):
    names = [node.input[0], *node.input[2:]]
    graph = onnx.helper.make_graph(
        [node], "one", [onnx.helper.make_tensor_value_info(node.input[1], 7, [10])],
        [onnx.helper.make_tensor_value_info(node.output[0], 1, [10, WIDTH])],
        [numpy_helper.from_array(tensors[name], name) if tensors[name].dtype.kind != "V" else
         next(t for t in tensors["__proto__"] if t.name == name) for name in names if name])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[
        onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {node.input[1]: np.arange(10)})[0]


def packed(model):
    """Parameters of files with MatMulNBits and GatherBlockQuantized."""
    tensors, found, used = stored(model), {}, set()
    tensors["__proto__"] = model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            found[module_of(node) + ".weight"] = by_identity(node, tensors)
            used.update(node.input)
        elif node.op_type == "GatherBlockQuantized":
            found["embeddings.weight"] = table_by_rows(node, tensors)
            used.update(node.input)
    del tensors["__proto__"]
    rest = {name: value for name, value in tensors.items()
            if "." in name and "/" not in name and name not in used}
    return {**rest, **found}


def write(name, parameters):
    contiguous = {key: np.ascontiguousarray(value) for key, value in parameters.items()}
    save_file(contiguous, GOLDENS / f"{name}.golden")
    print(name, (GOLDENS / f"{name}.onnx").stat().st_size, len(parameters))


def main():
    GOLDENS.mkdir(exist_ok=True)
    torch.manual_seed(11)
    module = Model().eval()
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    path = lambda name: GOLDENS / f"{name}.onnx"

    export(module, path("scripted"), dynamo=False, opset_version=17)
    write("scripted", parameters_of(module))
    export(module, path("traced"), dynamo=True, external_data=False)
    write("traced", parameters_of(module))
    half = Model().eval()
    half.load_state_dict(module.state_dict())
    half.half()
    export(half, path("half"), dynamo=False, opset_version=17)
    write("half", parameters_of(half))

    merge(module, path("merged"))
    write("merged", parameters_of(module))

    quantize_dynamic(path("scripted"), path("dynamic"), weight_type=QuantType.QInt8, per_channel=True)
    write("dynamic", dynamic(onnx.load(path("dynamic"))))
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "m.onnx"
        onnx.save(onnx.load(path("scripted")), prepared)
        quantize_static(prepared, path("static"), Samples(), quant_format=QuantFormat.QDQ,
                        weight_type=QuantType.QInt8, per_channel=True)
    write("static", static(onnx.load(path("static"))))
    for name, bits, symmetric in [("packed4", 4, False), ("packed4_symmetric", 4, True),
                                  ("packed8", 8, False)]:
        options = {"op_types_to_quantize": ("MatMul", "Gather"),
                   "quant_axes": (("MatMul", 0), ("Gather", 1))} if bits == 4 else {}
        quantizer = MatMulNBitsQuantizer(onnx.load(path("scripted")), bits=bits, block_size=16,
                                         is_symmetric=symmetric, accuracy_level=1, **options)
        quantizer.process()
        quantizer.model.save_model_to_file(str(path(name)))
        write(name, packed(onnx.load(path(name))))


if __name__ == "__main__":
    main()
