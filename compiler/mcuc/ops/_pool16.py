"""What average and max pooling of int16 activations share."""

from __future__ import annotations

from typing import Any

from mcuc.ir import Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Imported
from mcuc.ops._pool import PoolAttrs, window_attrs
from mcuc.ops._wide import wide_activation, wide_tensor, window_rows16


def from_tflite16(op: str, node: Imported) -> Built:
    """TFLite ignores that the scales may differ. Raises McucError for other types."""
    x = wide_activation(node, 0)
    wide_tensor(node, node.outputs[0])
    return Built(op, (x.name,), window_attrs(node, x))


def pool16_call(kind: str, node: Node, graph: Graph) -> Call:
    """A call of the pool16 family; kind is "max" or "average"."""
    attrs: PoolAttrs = node.attrs
    window = attrs.window
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    params: dict[str, Any] = {
        "kind": kind,
        "kh": window.kernel[0],
        "kw": window.kernel[1],
        "in_c": c,
        "in_w": width,
        "stride_w": window.stride[1],
        "pad_left": window.pad[1],
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    rows = window_rows16(window, h, width, c)
    return Call("pool16", params, (), (rows,), oh, ow, 2 * c, 2 * ow * c, 2 * c, whole_channels=True)
