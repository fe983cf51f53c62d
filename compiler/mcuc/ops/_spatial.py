"""Windows over height and width: padding rules, output extents, patches. Shared by conv, depthwise and pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.kernels._base import Columns, Rows


@dataclass(frozen=True)
class Window:
    """A sliding window: kernel, stride, dilation (height, width) and pad (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Output (height, width); 0 or less when the window does not fit."""
        span_h = (self.kernel[0] - 1) * self.dilation[0] + 1
        span_w = (self.kernel[1] - 1) * self.dilation[1] + 1
        return (
            (height + self.pad[0] + self.pad[2] - span_h) // self.stride[0] + 1,
            (width + self.pad[1] + self.pad[3] - span_w) // self.stride[1] + 1,
        )


def window_rows(window: Window, height: int, width: int, channels: int) -> Rows:
    """The rows and columns that a window reads of its first run-time input, a dense height x width x channels."""
    columns = Columns(channels, (window.kernel[1] - 1) * window.dilation[1] + 1, window.stride[1], window.pad[1])
    kernel, stride, dilation, pad = window.kernel[0], window.stride[0], window.dilation[0], window.pad[0]
    return Rows(0, width * channels, height, kernel, stride, dilation, pad, columns=columns)


def same_padding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    lower: bool = False,
) -> tuple[int, int, int, int]:
    """TensorFlow's SAME (the odd element goes after; before when lower, ONNX SAME_LOWER): top, left, bottom, right."""
    before, after = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        span = (k - 1) * d + 1
        total = max((-(-n // s) - 1) * s + span - n, 0)
        first = (total + 1) // 2 if lower else total // 2
        before.append(first)
        after.append(total - first)
    return before[0], before[1], after[0], after[1]


def tflite_window(options: object, size: tuple[int, int], kernel: tuple[int, int], where: str) -> Window:
    """The window of a TFLite options object (strideH, strideW, padding, dilation factors where it has them)."""
    stride = (int(getattr(options, "strideH", 0)), int(getattr(options, "strideW", 0)))
    dilation = (int(getattr(options, "dilationHFactor", 1)), int(getattr(options, "dilationWFactor", 1)))
    if min(*stride, *dilation, *kernel) < 1:
        raise McucError(
            "broken-model",
            f"stride {stride}, dilation {dilation}, kernel {kernel} must be positive",
            where=where,
            try_this="check that the model file is complete",
        )
    for extent, k, d in zip(size, kernel, dilation, strict=True):
        if (k - 1) * d > 64 + 4 * extent:  # only padding beyond; a damaged file would ask for gigabytes of it
            raise McucError(
                "unsupported-window",
                f"kernel {kernel} with dilation {dilation} on an input of {size[0]}x{size[1]}",
                where=where,
                try_this="use a window no larger than the input",
            )
    padding = getattr(options, "padding", 1)
    pad = same_padding(size, kernel, stride, dilation) if padding == 0 else (0, 0, 0, 0)
    return Window(kernel, stride, dilation, pad)


def windows(x: Array, window: Window, fill: int) -> Array:
    """x [h, w, c] as each output sees it, [oh, ow, c, kh, kw], fill outside; a view."""
    top, left, bottom, right = window.pad
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    seen = np.lib.stride_tricks.sliding_window_view(padded, ((kh - 1) * dh + 1, (kw - 1) * dw + 1), axis=(0, 1))
    found: Array = seen[::sh, ::sw, :, ::dh, ::dw]
    return found


def taps(x: Array, window: Window, fill: int) -> Iterator[tuple[int, int, Array]]:
    """For each kernel position (ky, kx): x [h, w, c] as the output sees it, [oh, ow, c], fill outside."""
    seen = windows(x, window, fill)
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            yield ky, kx, seen[..., ky, kx]
