"""Absolute value, element by element: the skeleton of an operator. Copy the folder and replace, top to bottom.

It works and is tested, but no list names it: an operator exists once its folder's name stands in mcuc.ops.NAMES (what
reads absolute values from files is ops/unary).
Keep the order of this file: attributes, infer, reference, cost, lower, limits, reduction, expand, OPERATOR. What only a
file format knows stands in tflite.py and onnx.py; leave a file out where the format has no such operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.numerics import requantize
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._template.attrs import AbsoluteAttrs
from mcuc.ops._template.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops._template.tflite import from_tflite, to_tflite
from mcuc.ops._unary import make_table, table_call


def infer(attrs: AbsoluteAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape. One shape for each output; ValueError where the inputs do not go together."""
    return (inputs[0].shape,)


def reference(attrs: AbsoluteAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape. Exactly the oracle's answer, from the attributes alone.

    Rounding comes from mcuc.numerics, which mcuc_math.h mirrors; a new rule goes there, never here.
    """
    x = arrays[0]
    assert x is not None  # None stands for an optional input that is absent
    steps = np.abs(x.astype(np.int64) - attrs.input_zero_point)  # int64: no sum of int8 products overflows it
    out = requantize(steps.reshape(-1, 1), attrs.requant, attrs.output_zero_point, -128, 127)
    return (out.reshape(x.shape),)


def cost(node: Node, graph: Graph) -> Cost:
    """Multiply-accumulates, as papers count them; no_cost where data only moves or a table is looked up."""
    return Cost()


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """Calls of kernel families. A function of one byte is a table of 256, computed here by the reference itself.

    Everything known now is computed now: tables, folded constants, packed weights. Any tensor may be seen as
    height x width x channels; table_call sees it as one row.
    """
    (values,) = reference(node.attrs, (np.arange(-128, 128).astype(np.int8),))
    return (table_call(make_table(values), graph.tensors[node.outputs[0]].shape),)


def has_elements(node: Node, graph: Graph) -> str | None:
    """Tensors have at least one element."""
    # The first line above is the limit as docs/operators.md and `mcuc check` print it; what is returned is what was
    # found, None where the node is within the limit. int8_runtime, used below, is such a function as well.
    tensor = graph.tensors[node.outputs[0]]
    return None if tensor.elements else f"tensor {tensor.name!r} has shape {tensor.shape}"


def reduction(node: Node, graph: Graph) -> tuple[Call, Call] | None:
    """Only for averages over a whole image (see ops/mean): the calls that add a row to sums, and that finish."""
    return None


def expand(node: Node, graph: Graph) -> tuple[tuple[Node, ...], tuple[Tensor, ...]]:
    """Only for operators that are others in disguise (see ops/split): the nodes that compute the same, new tensors."""
    return (node,), ()


OPERATOR = Operator(
    name="_template",  # the folder's name
    summary="absolute value",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,  # None: the operator exists only to be folded into constants (see ops/shape)
    limits=(int8_runtime, has_elements),
    tflite=("ABS",),  # the builtin operators that from_tflite reads
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    in_place=True,  # output element i needs input element i only, so it may lie over a dying input
    over=0,  # which input it may lie over; leave it out where any may be
    alias=False,  # True: the output is the input's bytes and nothing is computed (see ops/reshape)
    expand=expand,  # leave it out where the operator is computed as it is
    as_tflite=to_tflite,  # of a node of profile onnx; leave it out where to_tflite says it as well
    reduction=reduction,  # leave it out where the operator is no average
)
