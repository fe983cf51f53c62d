"""A network of the search as a plain list of layers: what is trained, written as ONNX, and planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Op = Literal["conv_2d", "depthwise_conv_2d", "add", "mean", "fully_connected", "softmax"]
Shape3 = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """One layer. Shapes are (h, w, c); vectors are (1, 1, c). Padding is TFLite's SAME.

    inputs: names of earlier layers, or "input". relu: max(0, .) on the result.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    in_shape: Shape3
    out_shape: Shape3
    kernel: int = 1
    stride: int = 1
    relu: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included."""
        h, w, c = self.out_shape
        if self.op == "conv_2d":
            return h * w * c * self.kernel**2 * self.in_shape[2]
        if self.op == "depthwise_conv_2d":
            return h * w * c * self.kernel**2
        return self.in_shape[2] * c if self.op == "fully_connected" else 0

    @property
    def weights(self) -> int:
        """Weights without biases."""
        c = self.out_shape[2]
        if self.op == "conv_2d":
            return c * self.kernel**2 * self.in_shape[2]
        if self.op == "depthwise_conv_2d":
            return c * self.kernel**2
        return self.in_shape[2] * c if self.op == "fully_connected" else 0


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TFLite's SAME: (before, after) for one axis; the odd one goes after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
