"""ARG_MAX and ARG_MIN of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops.argmax.attrs import ArgmaxAttrs

INT32 = 2  # TensorType of the schema


def from_tflite(node: Imported) -> Built:
    """Along a constant axis, to int32. Raises McucError for an axis out of range or another type."""
    x, axis = node.input(0), int(np.asarray(node.constant(1)).reshape(-1)[0])
    rank = len(x.shape)
    if not -rank <= axis < rank:
        raise McucError(
            "broken-model",
            f"{node.kind} along axis {axis} of {rank}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    if node.outputs[0].dtype is not DType.INT32:
        raise McucError(
            "unsupported",
            f"{node.kind} to {node.outputs[0].dtype.value}",
            where=node.where,
            try_this="ask for 32-bit indices: tf.argmax(..., output_type=tf.int32)",
        )
    last = -1 if axis % rank == rank - 1 else axis % rank
    return Built("argmax", (x.name,), ArgmaxAttrs(last, node.kind == "ARG_MIN"))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As ARG_MAX or ARG_MIN with the axis as a constant."""
    attrs: ArgmaxAttrs = node.attrs
    axis = attrs.axis % len(graph.tensors[node.inputs[0]].shape)
    if attrs.last or attrs.keep_dims:
        raise McucError(
            "not-exportable",
            "TFLite has no index of the last of equal values, none that keeps its axis",
            where=node.name,
            try_this="export to ONNX instead",
        )
    constant = Tensor(f"{node.outputs[0]}/axis", (), DType.INT32, None, np.array(axis, np.int32))
    fields = {"outputType": INT32}
    kind, options = ("ARG_MIN", "ArgMinOptions") if attrs.smallest else ("ARG_MAX", "ArgMaxOptions")
    return Exported(kind, options, fields, (node.inputs[0], constant.name), (constant,))
