"""Plain descriptions of a float network, the meeting point of the search and the quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
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


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A layer with its weights, batch normalisation folded in.

    weight: conv [oc, k, k, ic], depthwise [1, k, k, c], dense [oc, ic]; bias: [oc]; None for layers without.
    """

    layer: Layer
    weight: F32 | None = None
    bias: F32 | None = None


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A network from uint8 images to class probabilities; its real input is pixel / 255.

    input_shape: (h, w, c). layers are in execution order, the last one is a softmax.
    """

    name: str
    input_shape: Shape3
    layers: tuple[FloatLayer, ...]
    classes: tuple[str, ...]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TFLite's SAME: (before, after) for one axis; the odd one goes after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
