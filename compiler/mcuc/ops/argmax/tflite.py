"""ARG_MAX of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops.argmax.attrs import ArgmaxAttrs

INT32 = 2  # TensorType of the schema


def from_tflite(node: Imported) -> Built:
    """Along the last axis, to int32. Raises McucError for another axis or type."""
    x, axis = node.input(0), int(np.asarray(node.constant(1)).reshape(-1)[0])
    if axis % max(1, len(x.shape)) != len(x.shape) - 1:
        raise McucError(
            "unsupported",
            f"ARG_MAX along axis {axis} of {len(x.shape)}; only the last is supported",
            where=node.where,
            try_this="transpose the tensor so that the axis is the last",
        )
    if node.outputs[0].dtype is not DType.INT32:
        raise McucError(
            "unsupported",
            f"ARG_MAX to {node.outputs[0].dtype.value}",
            where=node.where,
            try_this="ask for 32-bit indices: tf.argmax(..., output_type=tf.int32)",
        )
    return Built("argmax", (x.name,), ArgmaxAttrs())


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As ARG_MAX with the axis as a constant."""
    axis = len(graph.tensors[node.inputs[0]].shape) - 1
    constant = Tensor(f"{node.outputs[0]}/axis", (), DType.INT32, None, np.array(axis, np.int32))
    fields = {"outputType": INT32}
    return Exported("ARG_MAX", "ArgMaxOptions", fields, (node.inputs[0], constant.name), (constant,))
