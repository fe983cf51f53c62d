"""A float network and a scheme -> ONNX with QuantizeLinear and DequantizeLinear, as ONNX Runtime runs it in int8."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from mcuc.ir import Array, Quant
from mcuc.quantize.model import FloatModel, input_infos
from mcuc.quantize.params import Scheme, integer_bias
from mcuc.quantize.roles import OPERANDS, Roles, Weighted, quantized_as

REAL, DEQUANTIZED = "/real", "/dequantized"
MICROSOFT = "com.microsoft"


class _Writer:
    """Collects nodes and constants."""

    def __init__(self, model: FloatModel) -> None:
        self.model = model
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def constant(self, name: str, data: Array | np.float32) -> str:
        self.constants[name] = np.asarray(data)
        return name

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attrs: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}:{kind}", **attrs))

    def dequantized(self, name: str, integers: Array, scale: Array, zero: Array, axis: int | None = None) -> str:
        """A constant's real value behind DequantizeLinear."""
        args = [
            self.constant(f"{name}/integers", integers),
            self.constant(f"{name}/scale", scale),
            self.constant(f"{name}/zero_point", zero),
        ]
        self.add("DequantizeLinear", args, [f"{name}{DEQUANTIZED}"], **({} if axis is None else {"axis": axis}))
        return f"{name}{DEQUANTIZED}"

    def rounded(self, value: str, quant: Quant, to: str, wide: bool = False) -> None:
        """A value, rounded to its integers (wide: of int16) and real again."""
        params = [
            self.constant(f"{to}/scale", np.float32(quant.scale[0])),
            self.constant(f"{to}/zero_point", np.array(quant.zero_point[0], np.int16 if wide else np.int8)),
        ]
        domain = {"domain": MICROSOFT} if wide else {}  # whose operators know int16 in files of every opset
        self.add("QuantizeLinear", [value, *params], [f"{to}/integers"], **domain)
        self.add("DequantizeLinear", [f"{to}/integers", *params], [to], **domain)


def write(model: FloatModel, found: Roles, scheme: Scheme, only: Set[str] | None = None) -> bytes:
    """The ONNX file. only: outputs of the layers that are quantized (their weights and their outputs), None for all,
    inputs included. A value v of the float network is called v/dequantized behind its rounding and v before it, but a
    graph output v is the rounded one, and v/real before it."""
    import onnx
    from onnx import helper, numpy_helper

    w = _Writer(model)
    quantized = {v for v in found.groups if v in scheme.activations and (only is None or v in only)}
    current: dict[str, str] = {}
    readers = model.consumers()
    for name in model.inputs:
        if name in quantized:
            w.rounded(name, scheme.activations[name], f"{name}{DEQUANTIZED}", name in scheme.wide)
            current[name] = f"{name}{DEQUANTIZED}"
    for node in model.nodes:
        layer = found.weighted.get(node.outputs[0])
        inputs = [current.get(n, n) for n in node.inputs]
        narrow: dict[str, Quant] = {}
        if scheme.wide and quantized_as(node.outputs[0], found, readers) not in scheme.wide:
            narrow = {n: scheme.narrow[n] for n in node.inputs if n in scheme.wide and n in current}
            inputs = [_narrowed(w, n, i, narrow) for n, i in zip(node.inputs, inputs, strict=True)]
        if layer is not None and layer.name in scheme.weights and (only is None or _reaches(model, layer.name, only)):
            x = node.inputs[0]
            own = None if x not in quantized or x in scheme.wide else scheme.activations[x]
            inputs = _layer(w, layer, inputs, scheme, narrow.get(x, own))
        else:
            if node.kind in OPERANDS:
                inputs = [
                    _operand(w, n, scheme, only) if n in found.constants else i
                    for n, i in zip(node.inputs, inputs, strict=True)
                ]
            if layer is not None and layer.name in scheme.biases:
                inputs[2] = w.constant(f"{layer.name}/bias", scheme.biases[layer.name])
        outputs = [f"{o}{REAL}" if o in quantized and o in model.outputs else o for o in node.outputs]
        w.add(node.kind, inputs, outputs, **node.attrs)
        for value, written in zip(node.outputs, outputs, strict=True):
            if value in quantized:
                final = value if value in model.outputs else f"{value}{DEQUANTIZED}"
                w.rounded(written, scheme.activations[value], final, value in scheme.wide)
                current[value] = final
    used = {n for node in w.nodes for n in node.input}
    constants = {**{n: a for n, a in model.constants.items() if n in used}, **w.constants}
    body = helper.make_graph(
        w.nodes,
        model.name or "model",
        input_infos(model),
        [
            helper.make_tensor_value_info(n, model.types.get(n, onnx.TensorProto.FLOAT), model.shapes[n])
            if n in model.real or n in model.types
            else helper.make_empty_tensor_value_info(n)
            for n in model.outputs
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(a).reshape(np.shape(a)), n)
            for n, a in constants.items()
            if n in used
        ],
    )
    opsets = [helper.make_opsetid("", model.opset)]
    if scheme.wide:
        opsets.append(helper.make_opsetid(MICROSOFT, 1))
    proto = helper.make_model(body, opset_imports=opsets, ir_version=9, producer_name="mcuc")
    return bytes(proto.SerializeToString())


def _narrowed(w: _Writer, value: str, current: str, narrow: Mapping[str, Quant]) -> str:
    """An int16 value as a node in int8 reads it."""
    if value not in narrow:
        return current
    to = f"{value}/int8{DEQUANTIZED}"
    if f"{to}/scale" not in w.constants:
        w.rounded(current, narrow[value], to)
    return to


def _reaches(model: FloatModel, value: str, only: Set[str]) -> bool:
    """Whether a layer is among the chosen: by its output, or by that of the activation behind it."""
    if value in only:
        return True
    readers = model.consumers().get(value, [])
    return len(readers) == 1 and bool(set(readers[0][0].outputs) & only)


def _layer(w: _Writer, layer: Weighted, inputs: list[str], scheme: Scheme, x: Quant | None) -> list[str]:
    """The inputs of a layer in integers. x: of its input in int8, None where that is none."""
    weights = scheme.weights[layer.name]
    zero = np.zeros_like(weights.scale, np.int8)
    if weights.axis is None:
        weight = w.dequantized(f"{layer.name}/weight", weights.values, weights.scale.reshape(()), zero.reshape(()))
    else:
        weight = w.dequantized(f"{layer.name}/weight", weights.values, weights.scale, zero, weights.axis)
    found = [inputs[0], weight]
    real = scheme.biases.get(layer.name)
    if real is not None:
        if x is not None:
            bias, scale = integer_bias(real, x, weights)
            own = None if weights.axis is None else 0
            scale = scale if own is not None else scale.reshape(())
            found.append(w.dequantized(f"{layer.name}/bias", bias, scale, np.zeros_like(scale, np.int32), own))
        else:
            found.append(w.constant(f"{layer.name}/bias", real))
    return found


def _operand(w: _Writer, name: str, scheme: Scheme, only: Set[str] | None) -> str:
    """A constant operand; as it is where only some layers are quantized."""
    if only is not None or name not in scheme.operands:
        return name
    if f"{name}/integers" in w.constants:
        return f"{name}{DEQUANTIZED}"
    quant, real = scheme.operands[name], w.model.constants[name]
    scale, zero = np.float32(quant.scale[0]), quant.zero_point[0]
    integers = np.clip(np.rint(real / scale) + zero, -128, 127).astype(np.int8)
    return w.dequantized(name, integers, np.asarray(scale), np.array(zero, np.int8))
