"""Attributes of a transposed convolution, and the plain convolutions that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from mcuc.ops._conv import ConvAttrs
from mcuc.ops._spatial import Window


@dataclass(frozen=True)
class TransposeConvAttrs(ConvAttrs):
    """out[y * stride - pad + k * dilation] += (x[y] - input_zero_point) * (w[k] - weight_zero_point), then as a
    convolution.

    size: output height and width; of window.pad only top and left count, what would lie beyond size is cut off.
    """

    size: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Phase:
    """Along one axis, the output positions first, first + stride, ...: a convolution of stride 1 with some of the taps.

    taps: kernel positions in the order of the input positions they read; empty where none reaches these outputs.
    dilation: distance of those input positions; pad: minus the first one, for output 0 (below 0: input is skipped).
    """

    first: int
    count: int
    taps: tuple[int, ...]
    dilation: int
    pad: int


def phases(window: Window, axis: int, size: int) -> tuple[Phase, ...]:
    """The phases of an axis (0: height, 1: width) with `size` output positions.

    Output o reads input y through tap k where y * stride = o + pad - k * dilation. For the outputs of one phase that
    leaves a fixed set of taps, every stride / gcd(stride, dilation)-th, and each of them reads inputs in steps of one.
    """
    stride, dilation, pad = window.stride[axis], window.dilation[axis], window.pad[axis]
    found = []
    for first in range(min(stride, size)):
        taps = [k for k in range(window.kernel[axis]) if (first + pad - k * dilation) % stride == 0]
        taps.reverse()  # the last tap reads the first input
        start = (first + pad - taps[0] * dilation) // stride if taps else 0
        step = dilation // gcd(stride, dilation)
        found.append(Phase(first, -(-(size - first) // stride), tuple(taps), step, -start))
    return tuple(found)
