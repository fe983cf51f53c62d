"""What quantization means for each node: which values get integers, which share their scale, what the weights are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcuc.quantize.model import FloatModel, FloatNode

# Operators that hand elements on: input 0 and the outputs have one scale (TFLite demands it of most of them).
SAME = frozenset(
    (
        "AveragePool",
        "CenterCropPad",
        "DepthToSpace",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "Resize",
        "ReverseSequence",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
    )
)
# Whose constant operands become integers too.
OPERANDS = frozenset(
    ("Add", "Concat", "Div", "Einsum", "Gather", "MatMul", "Max", "Min", "Mul", "PRelu", "Sub", "Where")
)
CLIPS = ("Relu", "Clip")
# Whose output a Relu or Clip behind it can clamp, so that what lies between the two never exists.
CLAMPED = frozenset(("Add", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Sub", "Div"))
# Outputs whose range the function itself gives, as TFLite fixes it: scale, zero point.
FIXED: Mapping[str, tuple[float, int]] = {
    "HardSigmoid": (1 / 256, -128),
    "LogSoftmax": (16 / 256, 127),
    "LpNormalization": (1 / 128, 0),
    "Sigmoid": (1 / 256, -128),
    "Softmax": (1 / 256, -128),
    "Tanh": (1 / 128, 0),
}


@dataclass(frozen=True)
class Weighted:
    """A node with constant weights. weight, bias: names ("" without bias); axis: of the output channels in the file's
    order. kind: conv, transposed or dense."""

    node: FloatNode
    kind: str
    weight: str
    bias: str
    axis: int

    @property
    def name(self) -> str:
        return self.node.outputs[0]


@dataclass(frozen=True)
class Roles:
    """groups: quantized value -> the representative of all values that share its scale; fixed: representative ->
    (scale, zero point); weighted: by output; constants: float constants that are operands of element-wise nodes."""

    groups: Mapping[str, str]
    fixed: Mapping[str, tuple[float, int]]
    weighted: Mapping[str, Weighted]
    constants: frozenset[str]


def roles(model: FloatModel, given: Mapping[str, tuple[float, int]] | None = None) -> Roles:
    """What each value and constant of the network is. given: scale and zero point of values that are not to choose."""
    producers, consumers = model.producers(), model.consumers()
    hidden = {v for v in model.real if _is_hidden(model, v, producers, consumers)}
    values = [v for v in (*model.inputs, *(o for n in model.nodes for o in n.outputs)) if v in model.real - hidden]
    parent = {v: v for v in values}

    def find(v: str) -> str:
        while parent[v] != v:
            v = parent[v]
        return v

    fixed: dict[str, tuple[float, int]] = dict(given or {})
    for node in model.nodes:
        if node.kind in FIXED and node.outputs[0] in parent:
            fixed[node.outputs[0]] = FIXED[node.kind]
    for node in model.nodes:
        tied = [v for v in (*node.inputs[:1], *node.outputs) if v in parent] if node.kind in SAME else []
        if node.kind == "Concat":
            parts = [v for v in node.inputs if v in parent]
            if not any(find(v) in fixed or v in model.inputs for v in parts):
                tied = [*parts, *node.outputs]
        for other in tied[1:]:
            a, b = find(tied[0]), find(other)
            if a != b:
                parent[b] = a
                if b in fixed:
                    fixed.setdefault(a, fixed[b])
    weighted = {w.name: w for node in model.nodes if (w := _weighted(node, model)) is not None}
    taken = {n for w in weighted.values() for n in (w.weight, w.bias)}
    operands = frozenset(
        n
        for node in model.nodes
        if node.kind in OPERANDS
        for n in node.inputs
        if n in model.constants and n not in taken and model.constants[n].dtype == "float32"
    )
    return Roles({v: find(v) for v in values}, {find(v): p for v, p in fixed.items()}, weighted, operands)


def quantized_as(
    value: str, found: Roles, consumers: Mapping[str, Sequence[tuple[FloatNode, int]]]
) -> str | None:
    """The quantized value that a value of the network is: itself, or that of the activation fused into its node."""
    while value not in found.groups:
        readers = consumers.get(value, [])
        if len(readers) != 1:
            return None
        value = readers[0][0].outputs[0]
    return value


def _is_hidden(
    model: FloatModel,
    value: str,
    producers: Mapping[str, FloatNode],
    consumers: Mapping[str, list[tuple[FloatNode, int]]],
) -> bool:
    producer, readers = producers.get(value), consumers.get(value, [])
    return (
        producer is not None
        and producer.kind in CLAMPED
        and len(readers) == 1
        and value not in model.outputs
        and readers[0][0].kind in CLIPS
        and readers[0][1] == 0
    )


def _weighted(node: FloatNode, model: FloatModel) -> Weighted | None:
    kinds = {
        "Conv": ("conv", 0),
        "ConvTranspose": ("transposed", 1),
        "MatMul": ("dense", 1),
        "Gemm": ("dense", 0 if node.attrs.get("transB") else 1),
    }
    if node.kind not in kinds or node.inputs[1] not in model.constants:
        return None
    kind, axis = kinds[node.kind]
    if kind == "dense" and model.constants[node.inputs[1]].ndim != 2:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    return Weighted(node, kind, node.inputs[1], bias if bias in model.constants else "", axis)
