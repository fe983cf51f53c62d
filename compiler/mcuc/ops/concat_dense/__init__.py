"""A dense layer over several tensors of tokens side by side, none of which is moved for that.

Only the pass split_heads makes it: of a concatenation along the channels and the dense layer that reads it. Inputs: the
parts, [1, 1, tokens, depth] each, weights [oc, parts * depth], bias [oc]. Each part is a row of a window as high as
there are parts, so that a part may lie anywhere or be there only a few tokens at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops import fully_connected
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import ConvAttrs, dot_call, require_folded
from mcuc.ops._spatial import Window


def infer(attrs: ConvAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """Parts [1, 1, tokens, depth] -> [1, 1, tokens, oc]."""
    return ((*inputs[0].shape[:-1], inputs[-2].shape[0]),)


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: fully_connected's of the parts one behind the other."""
    parts, constants = [a for a in arrays[:-2] if a is not None], arrays[-2:]
    (out,) = fully_connected.reference(attrs, (np.concatenate(parts, -1), *constants))
    return (out.reshape(*parts[0].shape[:-1], -1),)


def cost(node: Node, graph: Graph) -> Cost:
    """Output elements times the channels of all parts."""
    return Cost(graph.tensors[node.outputs[0]].elements * graph.tensors[node.inputs[-2]].shape[1])


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the dot family with a set of rows for each part."""
    require_folded(node)
    weights, count = graph.tensors[node.inputs[-2]], len(node.inputs) - 2
    _, _, tokens, depth = graph.tensors[node.inputs[0]].shape
    channels = weights.shape[0]
    attrs = replace(node.attrs, window=Window((count, 1)))
    w = graph.const(weights.name).reshape(channels, count, 1, depth)
    bias = graph.const(node.inputs[-1]) if node.inputs[-1] else np.zeros(channels, np.int32)
    call = dot_call(attrs, (count, tokens, depth), w, bias, (1, tokens, channels), int4=weights.int4)
    (rows,) = call.rows
    return (replace(call, rows=tuple(replace(rows, input=i, height=1, count=1) for i in range(count))),)


def alike_parts(node: Node, graph: Graph) -> str | None:
    """Parts are images of one row with as many tokens and channels as each other, and distinct tensors."""
    shapes = {graph.tensors[n].shape for n in node.inputs[:-2]}
    if len(shapes) != 1 or len(set(node.inputs[:-2])) != len(node.inputs) - 2:
        return f"parts of the shapes {sorted(shapes)}"
    return None


OPERATOR = Operator(
    name="concat_dense",
    summary="dense layer over tensors side by side, of a concatenation and a dense layer",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, alike_parts),
)
