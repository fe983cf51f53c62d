"""ArgMax and ArgMin of ONNX; their indices of 64 bits are kept in 32."""

from __future__ import annotations

from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import activation
from mcuc.ops.argmax.attrs import ArgmaxAttrs

KINDS = ("ArgMax", "ArgMin")


def from_onnx(node: Imported) -> Built:
    """options: axis (stored), last, keep_dims. Quantization keeps the order, so the integers decide."""
    o = node.options
    attrs = ArgmaxAttrs(int(o["axis"]), node.kind == "ArgMin", bool(o["last"]), bool(o["keep_dims"]))
    return Built("argmax", (activation(node, 0).name,), attrs)
