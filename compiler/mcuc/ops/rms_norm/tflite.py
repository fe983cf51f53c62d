"""An RMS norm without epsilon and with one factor for all is L2_NORMALIZATION in TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.fixed_point import Norm
from mcuc.ir import Graph, Node
from mcuc.ops._base import Exported, scale_of


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As L2_NORMALIZATION. Raises McucError where the rows' lengths do not become 1."""
    norm: Norm = node.attrs.norm
    bits = norm.base + 10 - norm.fraction // 2
    gain = graph.const(node.inputs[1]).astype(np.float64)
    length = gain * 2.0 ** (bits - 32 - norm.shift) * scale_of(graph.tensors[node.outputs[0]], node.name)
    if norm.epsilon or node.attrs.axes != 1 or np.abs(length - 1).max() > 1e-4:
        raise McucError(
            "not-exportable",
            "TFLite has no RMS norm",
            where=node.name,
            try_this="compile with --profile onnx",
        )
    return Exported("L2_NORMALIZATION", "L2NormOptions", inputs=node.inputs[:1])
