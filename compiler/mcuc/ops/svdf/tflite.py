"""SVDF of TFLite, the integer form as TFLite Micro computes it (svdf_common.cc); it ignores the fused activation."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops.svdf.attrs import SvdfAttrs


def from_tflite(node: Imported) -> Built:
    """Raises McucError for float and hybrid layers, and where the shapes do not go together."""
    if node.unsigned:
        raise McucError("unsupported-operator", "SVDF of uint8 tensors is not supported", where=node.where,
                        try_this="convert the model again with int8 activations")
    x, features, time, bias, memory = (node.input(i) for i in range(5))
    for index in (1, 2, 3):
        node.constant(index)
    for tensor, allowed in ((x, "int8"), (features, "int8"), (bias, "int32"), (node.outputs[0], "int8"),
                            (time, "int8 int16"), (memory, time.dtype.value)):
        if tensor.dtype.value not in allowed.split():
            raise McucError("not-quantized", f"tensor {tensor.name!r} of SVDF is {tensor.dtype.value}, "
                            f"{allowed.replace(' ', ' or ')} is needed", where=node.where,
                            try_this="convert with full integer quantization to int8")
    rank = int(node.options.rank)
    filters = features.shape[0] if len(features.shape) == 2 else 0
    fits = len(x.shape) == len(time.shape) == 2 and filters > 0 and rank > 0 and filters % rank == 0
    if not fits or time.shape[0] != filters or bias.shape != (filters // rank,) or features.shape[1] != x.shape[1] or (
            memory.elements != x.shape[0] * time.elements):
        raise McucError("broken-model", "SVDF has tensors whose shapes do not go together", where=node.where,
                        try_this="check that the model file is complete")
    for tensor in (features, time):
        if zero_point_of(tensor, node.where) != 0:
            raise McucError("unsupported-quantization", f"weights {tensor.name!r} have a zero point", where=node.where,
                            try_this="quantize weights symmetrically")
    if zero_point_of(memory, node.where) != 0:  # versions of TFLite Micro differ: older ones let the sum wrap around
        raise McucError("unsupported-quantization", f"the memory {memory.name!r} has a zero point of "
                        f"{zero_point_of(memory, node.where)}", where=node.where, try_this="quantize it symmetrically")
    names = tuple(t.name for t in (x, features, time, bias, memory))
    return Built("svdf", names, _attrs(x, features, time, memory, node.outputs[0], rank, node.where),
                 states=(memory.name,))


def _attrs(x: Tensor, features: Tensor, time: Tensor, memory: Tensor, out: Tensor, rank: int,
           where: str) -> SvdfAttrs:
    """Both scales are products and quotients in float32 (PrepareSvdf)."""

    def scale(a: Tensor, b: Tensor, c: Tensor) -> tuple[int, int]:
        product = np.float32(scale_of(a, where)) * np.float32(scale_of(b, where))
        return quantize_multiplier(float(np.float32(product) / np.float32(scale_of(c, where))))

    zeros = zero_point_of(x, where), zero_point_of(out, where)
    return SvdfAttrs(rank, *zeros, scale(x, features, memory), scale(memory, time, out))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SVDF; the memory is a variable tensor."""
    return Exported("SVDF", "SVDFOptions", {"rank": node.attrs.rank, "fusedActivationFunction": 0})
