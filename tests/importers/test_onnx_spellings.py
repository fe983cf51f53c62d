"""Quantized ONNX as other quantizers than ONNX Runtime's write it: four-bit weights, Brevitas, PyTorch's PT2E."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, external_data_helper, helper, load_from_string, save
from onnx_models import Model, both, check_onnx, load

from mcuc.errors import McucError
from mcuc.importers import onnx as importer

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from harness import check_c

KINDS = {"int4": (TensorProto.INT4, -8, 7), "uint4": (TensorProto.UINT4, 0, 15)}


def narrow(m: Model, shape: tuple[int, ...], kind: str, axis: int | None, packed: str, eight: bool) -> str:
    """Dequantized weights of four bits, or the same numbers in eight."""
    code, low, high = KINDS[kind]
    data, n = m.rng.integers(low, high + 1, shape), 1 if axis is None else shape[axis]
    zeros, scale = np.full(n if axis is not None else (), 8 if kind == "uint4" else 0), m.rng.uniform(0.02, 0.1, n)
    real = m.const(scale if axis is not None else scale[0], np.float32)
    attrs = {} if axis is None else {"axis": axis}
    if eight:
        dtype = "int8" if kind == "int4" else "uint8"
        return m.node("DequantizeLinear", [m.const(data, dtype), real, m.const(zeros, dtype)], **attrs)
    names = [m.name("w"), m.name("z")]
    for name, values in zip(names, (data, zeros), strict=True):
        flat = values.reshape(-1)
        if packed == "raw":
            even = np.append(flat, 0)[: (flat.size + 1) // 2 * 2].reshape(-1, 2) & 15
            raw = (even[:, 0] | even[:, 1] << 4).astype(np.uint8).tobytes()
            m.initializers.append(helper.make_tensor(name, code, values.shape, raw, raw=True))
        else:
            m.initializers.append(helper.make_tensor(name, code, values.shape, flat.tolist()))
    return m.node("DequantizeLinear", [names[0], real, names[1]], **attrs)


def four_bits(kind: str, layer: str, packed: str = "raw", eight: bool = False, seed: int = 5) -> bytes:
    m = Model(seed, opset=21)
    if layer == "Gemm":
        x = m.qdq(m.input([3, 15]), "int8", 0.02, 0)
        return m.build(
            m.qdq(m.node("Gemm", [x, narrow(m, (7, 15), kind, 0, packed, eight)], transB=1), "int8", 0.05, 0)
        )
    if layer == "MatMul":
        x = m.qdq(m.input([3, 15]), "int8", 0.02, 0)
        return m.build(m.qdq(m.node("MatMul", [x, narrow(m, (15, 7), kind, None, packed, eight)]), "int8", 0.05, 0))
    x = m.qdq(m.input([1, 3, 7, 6]), "int8", 0.02, 3)
    w = narrow(m, (3, 1, 3, 3) if layer == "depthwise" else (8, 3, 3, 3), kind, 0, packed, eight)
    y = m.node("Conv", [x, w], pads=[1, 1, 1, 1], group=3 if layer == "depthwise" else 1)
    return m.build(m.qdq(y, "int8", 0.05, 0))


@pytest.mark.parametrize("layer", ("Conv", "depthwise", "Gemm", "MatMul"))
@pytest.mark.parametrize("kind", KINDS)
def test_four_bit_weights_are_the_same_numbers_in_eight_and_stay_in_four(kind: str, layer: str) -> None:
    """ONNX Runtime computes them in float; the same weights in eight bits it computes exactly, and so does this."""
    _, wanted, exact = both(four_bits(kind, layer, eight=True))
    assert all(np.array_equal(a, b) for s, t in zip(wanted, exact, strict=True) for a, b in zip(s, t, strict=True))
    for packed in ("raw", "numbers"):
        graph, _, found = both(four_bits(kind, layer, packed))
        assert all(np.array_equal(a, b) for s, t in zip(wanted, found, strict=True) for a, b in zip(s, t, strict=True))
        assert [t.int4 for t in graph.tensors.values() if t.name.endswith("weights")] == [True]


def test_four_bit_weights_beside_the_model(tmp_path: Path) -> None:
    model, path = load_from_string(four_bits("int4", "Conv")), tmp_path / "model.onnx"
    external_data_helper.convert_model_to_external_data(model, location="data", size_threshold=16)
    save(model, path)
    assert (tmp_path / "data").stat().st_size >= 8 * 27 // 2
    found, wanted = importer.load(path), load(four_bits("int4", "Conv"))[0]
    assert [(n.op, n.attrs) for n in found.nodes] == [(n.op, n.attrs) for n in wanted.nodes]


def test_what_four_bits_cannot_say_is_refused() -> None:
    model = load_from_string(four_bits("int4", "Conv"))
    short = ModelProto()
    short.CopyFrom(model)
    weights = next(t for t in short.graph.initializer if t.data_type == TensorProto.INT4 and len(t.dims) == 4)
    weights.raw_data = weights.raw_data[:-1]
    with pytest.raises(McucError, match="bytes of data"):
        load(short.SerializeToString())
    for end in model.graph.node:
        if end.op_type in ("QuantizeLinear", "DequantizeLinear") and end.input[2] != model.graph.node[2].input[2]:
            end.input[2] = "zero4"
    model.graph.initializer.append(helper.make_tensor("zero4", TensorProto.INT4, [], [0]))
    with pytest.raises(McucError, match="four bits are for constant weights"):
        load(model.SerializeToString())


def clipped(m: Model, x: str, dtype: str, scale: float, zero: int, low: int, high: int) -> str:
    """QuantizeLinear, Clip of the integers, DequantizeLinear."""
    p = m.params(dtype, scale, zero)
    q = m.node("QuantizeLinear", [x, *p])
    return m.node("DequantizeLinear", [m.node("Clip", [q, m.const(low, dtype), m.const(high, dtype)]), *p])


def brevitas(m: Model, floats: bool) -> bytes:
    """QCDQ: narrow ranges as Clip of integers; floats: weights are quantized by the file's own nodes."""
    x = clipped(m, m.input([1, 3, 8, 8]), "int8", 0.02, 0, -127, 127)
    scale, zero = m.const(m.rng.uniform(0.002, 0.01, 8), np.float32), m.const(np.zeros(8), np.int8)
    m.scales[scale] = next(np.frombuffer(i.raw_data, np.float32) for i in m.initializers if i.name == scale)
    data = m.const(m.rng.normal(0, 0.3, (8, 3, 3, 3)), np.float32) if floats else m.const(m.integers((8, 3, 3, 3)))
    held = m.node("QuantizeLinear", [data, scale, zero], axis=0) if floats else data
    held = m.node("Clip", [held, m.const(-127, np.int8), m.const(127, np.int8)])
    w = m.node("DequantizeLinear", [held, scale, zero], axis=0)
    m.scales |= {x: np.float32(0.02), w: m.scales[scale]}
    y = m.node("Relu", [m.node("Conv", [x, w, m.bias(8, x, w)], pads=[1, 1, 1, 1])])
    return m.build(clipped(m, y, "uint8", 0.09, 0, 0, 15))  # four bits of activation


def linear(m: Model, turned: bool, bias: str) -> bytes:
    """A linear layer over three axes, as PyTorch's exporters write it."""
    x = m.qdq(m.input([1, 4, 16]), "int8", 0.02, 0)
    w = m.weights([10, 16] if turned else [16, 10], axis=0 if turned else 1)
    w = m.node("Transpose", [w], perm=[1, 0]) if turned else w
    y = m.node("MatMul", [x, w])
    b = m.bias(10, x, w) if bias == "int32" else m.const(m.rng.normal(0, 0.2, 10), np.float32)
    return m.build(m.qdq(m.node("Add", [y, b] if bias != "first" else [b, y]), "int8", 0.05, 0))


CASES: dict[str, Callable[[Model], bytes]] = {
    "Brevitas, weights in eight bits": lambda m: brevitas(m, False),
    "Brevitas, weights in float": lambda m: brevitas(m, True),
    "a linear layer over three axes": lambda m: linear(m, False, "float"),
    "its weights turned, its bias first": lambda m: linear(m, True, "first"),
    "its bias in 32 bits": lambda m: linear(m, True, "int32"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_another_quantizer_is_computed_as_onnx_runtime_does(case: str) -> None:
    """Where a bias is float, ONNX Runtime adds in float: its rounding can differ on a tie."""
    in_float = "float" in case or "axes" in case or "turned" in case
    check_onnx(CASES[case](Model(3)), count=6, transposes=None, steps=int(in_float), share=0.005 if in_float else 0.0)


def test_an_enlargement_of_opset_10_counts_from_the_corners() -> None:
    m = Model(3, opset=10)
    scale, zero = m.params("int8", 0.02, 3)
    x = m.node("DequantizeLinear", [m.quantize(m.input([1, 3, 5, 4]), "int8", 0.02, 3), scale, zero])
    y = m.node("Resize", [x, m.const([1, 1, 2, 2], np.float32)], mode="linear")
    check_onnx(m.build(m.qdq(y, "int8", 0.02, 3)), transposes=None)


def exported() -> bytes:
    """torch.export of a module with PT2E's operators, written by PyTorch's exporter."""
    import torch
    import torch.ao.quantization.fx._decomposed  # registers the operators
    import torch.nn.functional as F

    made, rng = torch.ops.quantized_decomposed, np.random.default_rng(0)

    def held(*shape: int) -> torch.nn.Parameter:
        data = torch.from_numpy(rng.integers(-127, 128, shape).astype(np.int8))
        return torch.nn.Parameter(data, requires_grad=False)

    def activation(x: Any, scale: float, zero: int) -> Any:
        ends = (scale, zero, -128, 127, torch.int8)
        return made.dequantize_per_tensor(made.quantize_per_tensor(x, *ends), *ends)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.matrix = held(8, 3, 3, 3), held(10, 8)
            self.register_buffer("scales", torch.from_numpy(rng.uniform(0.002, 0.01, 8).astype(np.float32)))
            self.register_buffer("zeros", torch.zeros(8, dtype=torch.int64))
            self.bias = torch.nn.Parameter(torch.from_numpy(rng.normal(0, 0.3, 8).astype(np.float32)))

        def forward(self, x: Any) -> Any:
            narrow = (-127, 127, torch.int8)
            w = made.dequantize_per_channel(self.kernel, self.scales, self.zeros, 0, *narrow)
            y = F.relu(F.conv2d(activation(x, 0.02, 3), w, self.bias, padding=1))
            y = activation(activation(y, 0.03, -128).mean((2, 3)), 0.02, -128)
            return activation(F.linear(y, made.dequantize_per_tensor(self.matrix, 0.01, 0, *narrow)), 0.05, 0)

    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(Net().eval(), (torch.zeros(1, 3, 8, 8),), dynamo=True, verbose=False)
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def test_a_network_of_pt2e_exported_by_torch() -> None:
    graph = check_onnx(exported(), count=6, transposes=None, steps=1, share=0.01)
    assert [n.op for n in graph.nodes if n.op != "reshape"] == ["conv_2d", "mean", "fully_connected"]


def test_c_equals_the_reference(tmp_path: Path) -> None:
    blobs = [four_bits("uint4", "Conv"), four_bits("int4", "Gemm")]
    check_c([load(blob)[0] for blob in blobs], tmp_path, optimize=True)
