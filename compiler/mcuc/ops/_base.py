"""The protocol of an operator: one folder, one Operator value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Imported:
    """One node of a model file, as an operator's from_tflite / from_onnx sees it.

    kind: the file format's name. options: TFLite's options object or ONNX's attribute mapping. Tensors are the
    project's own, already int8 where the file had uint8 (unsigned says so); absent optional inputs are None. hybrid:
    the file is of a dynamic-range model, float but for its weights.
    """

    kind: str
    options: Any
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    where: str
    unsigned: bool = False
    opset: int = 0
    hybrid: bool = False

    def input(self, index: int) -> Tensor:
        """The index-th input. Raises McucError when it is absent."""
        if index >= len(self.inputs) or self.inputs[index] is None:
            raise McucError(
                "broken-model",
                f"{self.kind} lacks its input {index}",
                where=self.where,
                try_this="check that the model file is complete",
            )
        tensor = self.inputs[index]
        assert tensor is not None
        return tensor

    def optional(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> Array:
        """The data of a constant input. Raises McucError when it is computed at run time."""
        tensor = self.input(index)
        if tensor.data is None:
            raise McucError(
                "not-constant",
                f"{self.kind} needs a constant input {index}, found tensor {tensor.name!r} computed at run time",
                where=self.where,
                try_this="freeze this input into a constant before exporting",
            )
        return tensor.data


@dataclass(frozen=True, eq=False)
class Built:
    """What an operator makes of an imported node: its own name, inputs by tensor name, attributes, new constants.

    notes: what the user should know about this node (they go into the report). states: inputs that are variables, which
    the node writes as its outputs behind the first, in this order.
    """

    op: str
    inputs: tuple[str, ...]
    attrs: Any
    constants: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A node as the TFLite exporter writes it.

    kind: builtin operator name; options: name of the options table without its T ("" for none); fields: its values;
    inputs: tensor names in file order where they differ from the node's. intermediates: tensors that are neither read
    nor written, whose scales the operator looks up.
    """

    kind: str
    options: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] | None = None
    constants: tuple[Tensor, ...] = ()
    intermediates: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Cost:
    """macs: nominal multiply-accumulates (padding included), 0 for data movement."""

    macs: int = 0


Limit = Callable[[Node, Graph], str | None]


@dataclass(frozen=True)
class Operator:
    """Everything about one operator.

    infer(attrs, inputs): output shapes. reference(attrs, arrays): the integer reference, arrays in input order,
    None where absent. limits: each returns what was found when the node is outside it, and its docstring says
    the limit. lower(node, graph): calls of kernel families; None when the operator only exists to be folded
    into constants. from_tflite / from_onnx: from a file's node; to_tflite / to_onnx: for the exporters.
    in_place: the output may lie over a dying input of the same size; over: the only one of its inputs, by index, None
    for any of them. alias: the output is the input's bytes.
    expand(node, graph): nodes of other operators that compute the same, and their new tensors; the pass spell_out puts
    them in the node's place, which then needs no lower.
    reduction(node, graph): for an average over a whole image, the calls that add a row of it to sums and that finish;
    None where this node is none. as_tflite: the TFLite operator that computes the same real function as a node of
    profile onnx, with other rounding; to_tflite where that says it too. wide: its activations are int16 (TFLite's
    16x8); the TFLite names it gives are those of such nodes.
    """

    name: str
    summary: str
    infer: Callable[[Any, Sequence[Tensor]], tuple[Shape, ...]]
    reference: Callable[[Any, Sequence[Array | None]], tuple[Array, ...]]
    cost: Callable[[Node, Graph], Cost]
    lower: Callable[[Node, Graph], tuple[Call, ...]] | None
    limits: tuple[Limit, ...] = ()
    tflite: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    from_tflite: Callable[[Imported], Built] | None = None
    from_onnx: Callable[[Imported], Built] | None = None
    to_tflite: Callable[[Node, Graph], Exported] | None = None
    to_onnx: Callable[[Node, Graph], Any] | None = None
    in_place: bool = False
    over: int | None = None
    alias: bool = False
    expand: Callable[[Node, Graph], tuple[tuple[Node, ...], tuple[Tensor, ...]]] | None = None
    reduction: Callable[[Node, Graph], tuple[Call, Call] | None] | None = None
    as_tflite: Callable[[Node, Graph], Exported] | None = None
    wide: bool = False


def overlaid(operator: Operator, node: Node) -> tuple[str, ...]:
    """The inputs of an in-place operator's node over which its output may lie; "" for absent ones."""
    return node.inputs if operator.over is None else node.inputs[operator.over : operator.over + 1]


def no_cost(node: Node, graph: Graph) -> Cost:
    """Moves data only."""
    return Cost()


def scale_of(tensor: Tensor, where: str) -> float:
    """The per-tensor scale. Raises McucError when the tensor is not quantized per tensor."""
    if tensor.quant is None or len(tensor.quant.scale) != 1:
        raise McucError(
            "not-quantized",
            f"tensor {tensor.name!r} ({tensor.dtype.value}) has no per-tensor quantization",
            where=where,
            try_this="quantize the model to full int8 (weights and activations) before compiling",
        )
    return tensor.quant.scale[0]


def zero_point_of(tensor: Tensor, where: str) -> int:
    """The per-tensor zero point; McucError as scale_of."""
    scale_of(tensor, where)
    assert tensor.quant is not None
    return tensor.quant.zero_point[0]


def int8_runtime(node: Node, graph: Graph) -> str | None:
    """Activations are int8 (uint8 models are shifted to int8 on import)."""
    for name in (*graph.runtime_inputs(node), *node.outputs):
        tensor = graph.tensors[name]
        if tensor.dtype.value != "int8":
            return f"tensor {name!r} is {tensor.dtype.value}"
    return None


def int16_runtime(node: Node, graph: Graph) -> str | None:
    """Activations are int16 with zero point 0 (TFLite's 16x8)."""
    for name in (*graph.runtime_inputs(node), *node.outputs):
        tensor = graph.tensors[name]
        if tensor.dtype.value != "int16":
            return f"tensor {name!r} is {tensor.dtype.value}"
    return None
