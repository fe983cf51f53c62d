"""EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER and GREATER_EQUAL of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.numerics import multiply_by_quantized_multiplier, quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation
from mcuc.ops.compare.attrs import FUNCTIONS, CompareAttrs, Kind, ranked

TFLITE: dict[str, Kind] = {
    "EQUAL": "equal",
    "NOT_EQUAL": "not_equal",
    "LESS": "less",
    "LESS_EQUAL": "less_equal",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_equal",
}
_OPTIONS = {"EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions", "LESS": "LessOptions",
            "LESS_EQUAL": "LessEqualOptions", "GREATER": "GreaterOptions", "GREATER_EQUAL": "GreaterEqualOptions"}
_LEFT_SHIFT = 8  # headroom that TFLite gives the operands before rescaling them
_PLAIN = (DType.BOOL, DType.INT32, DType.INT64)


def _worth(x: Tensor, where: str) -> Array:
    """The operand's 256 values as TFLite rescales them: by its own scale, which must be below 1."""
    scale = scale_of(x, where)
    if scale >= 1.0:
        raise McucError(
            "unsupported-quantization",
            f"a comparison of tensor {x.name!r} with scale {scale:g}; TFLite aborts on scales of 1 and more",
            where=where,
            try_this="compare values of a smaller range, or after a division",
        )
    multiplier, shift = quantize_multiplier(scale)
    steps = (np.arange(-128, 128) - zero_point_of(x, where)) << _LEFT_SHIFT
    return multiply_by_quantized_multiplier(steps, multiplier, shift)


def _attrs(kind: Kind, a: Tensor, b: Tensor, where: str) -> CompareAttrs:
    return ranked(kind, _worth(a, where), _worth(b, where))


def from_tflite(node: Imported) -> Built:
    """int8 operands are rescaled; bool, int32 and int64 ones compared as they are."""
    a, b = node.input(0), node.input(1)
    if a.dtype in _PLAIN and a.dtype is b.dtype:
        return Built("compare", (a.name, b.name), CompareAttrs(TFLITE[node.kind]))
    checked_activation(node, 0), checked_activation(node, 1)
    if node.unsigned and a.quant != b.quant:
        raise McucError(
            "unsupported-operator",
            f"{node.kind} of uint8 tensors of different scales is not supported",
            where=node.where,
            try_this="convert the model again with int8 activations",
        )
    return Built("compare", (a.name, b.name), _attrs(TFLITE[node.kind], a, b, node.where))


def as_tflite(node: Node, graph: Graph) -> Exported:
    """Of a node of profile onnx: where it compares with a constant float, that becomes a step of the other operand,
    the first with the same answers. Raises McucError where none has."""
    constant = next((i for i, n in enumerate(node.inputs) if graph.tensors[n].data is not None), None)
    if constant is None or graph.tensors[node.inputs[constant]].quant is not None or not node.attrs.left:
        return to_tflite(node, graph)
    x, number = graph.tensors[node.inputs[1 - constant]], graph.tensors[node.inputs[constant]]
    kind = next(k for k, v in TFLITE.items() if v == node.attrs.kind)
    steps, worth = np.arange(-128, 128), _worth(x, node.name)
    ranks = [np.roll(np.frombuffer(t, "<i2"), 128) for t in (node.attrs.left, node.attrs.right)]
    wanted = FUNCTIONS[node.attrs.kind](*(r if i != constant else r[128] for i, r in enumerate(ranks)))
    for step, own in zip(steps, worth, strict=True):
        if np.array_equal(FUNCTIONS[node.attrs.kind](*((own, worth) if constant == 0 else (worth, own))), wanted):
            known = Tensor(f"{number.name}/step", (1,), DType.INT8, x.quant, np.array([step], np.int8))
            names = tuple(known.name if i == constant else n for i, n in enumerate(node.inputs))
            return Exported(kind, _OPTIONS[kind], {}, names, (known,))
    raise McucError(
        "not-exportable",
        f"{node.attrs.kind} with a number that no step of tensor {x.name!r} stands for has no TFLite form",
        where=node.name,
        try_this="compare with a number inside the values' range, or export to ONNX",
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """The operator of the same name. Raises McucError where reading the file again would give other attributes."""
    attrs: CompareAttrs = node.attrs
    kind = next(k for k, v in TFLITE.items() if v == attrs.kind)
    a, b = (graph.tensors[n] for n in node.inputs)
    if a.dtype is DType.INT8 and _attrs(attrs.kind, a, b, node.name) != attrs:
        raise McucError(
            "not-exportable",
            "the operands are not rescaled as TFLite does",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported(kind, _OPTIONS[kind])
