"""Steps of random networks whose activations are int16 (TFLite's 16x8); a QUANTIZE leads there and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import random_networks as int8
from harness import constant, weights

from mcuc.ir import DType, Quant, Tensor

UNIT = 1 / 32768  # the scale of sigmoid, tanh and softmax
Step = Callable[["int8.Growing", Tensor], None]


def steps(x: Tensor) -> list[Step]:
    """What may follow on x."""
    if x.elements > int8.MOST:
        return [one_value, back, move]
    found: list[Step] = [one_value, one_value, two_values, two_values, back, move, mean]
    if len(x.shape) == 4:
        found += [conv, conv, depthwise, pool, transpose_conv]
    return [*found, dense, dense] if len(x.shape) == 2 else found


def fresh(g: int8.Growing, shape: Sequence[int], like: Tensor | None = None, scale: float = 0.0) -> Tensor:
    """A new int16 tensor of a random scale, of that scale, or of another one's quantization."""
    name = f"t{len(g.values)}"
    if like is not None:
        return replace(like, name=name, shape=tuple(shape))
    chosen = np.float32(scale or 2.0 ** g.rng.uniform(-13, -10))
    return Tensor(name, tuple(shape), DType.INT16, Quant((float(chosen),), (0,)))


def _bias(g: int8.Growing, x: Tensor, w: Tensor, channels: int) -> Tensor:
    assert x.quant is not None and w.quant is not None
    scales = [x.quant.scale[0] * s for s in w.quant.scale]
    return constant("b", g.rng.integers(-(1 << 24), 1 << 24, channels), scales, axis=0)


def conv(g: int8.Growing, x: Tensor) -> None:
    fields, kernel, size = int8._window(g, x)
    outs = g.pick(1, 7)
    w = weights(g.rng, (outs, *kernel, x.shape[3]))
    int8.add_step(g, "CONV_2D", (x, w, _bias(g, x, w, outs)), fresh(g, (1, *size, outs)), **fields, dilationHFactor=1,
                  dilationWFactor=1, fusedActivationFunction=g.choose([0, 1, 3]))


def depthwise(g: int8.Growing, x: Tensor) -> None:
    fields, kernel, size = int8._window(g, x)
    multiplier = g.choose([1, 1, 1, 2])
    outs = x.shape[3] * multiplier
    w = weights(g.rng, (1, *kernel, outs), axis=3)
    int8.add_step(g, "DEPTHWISE_CONV_2D", (x, w, _bias(g, x, w, outs)), fresh(g, (1, *size, outs)), **fields,
                  depthMultiplier=multiplier, dilationHFactor=1, dilationWFactor=1)


def transpose_conv(g: int8.Growing, x: Tensor) -> None:
    stride, outs = g.pick(1, 2), g.pick(1, 5)
    out = fresh(g, (1, *(n * stride for n in x.shape[1:3]), outs))
    w = weights(g.rng, (outs, 3, 3, x.shape[3]))
    shape = constant("", np.array(out.shape, np.int32))
    int8.add_step(g, "TRANSPOSE_CONV", (shape, w, x, _bias(g, x, w, outs)), out, padding=int8.SAME, strideH=stride,
                  strideW=stride)


def dense(g: int8.Growing, x: Tensor) -> None:
    outs = g.pick(1, 9)
    w = weights(g.rng, (outs, x.shape[1]), per_channel=False)
    int8.add_step(g, "FULLY_CONNECTED", (x, w, _bias(g, x, w, outs)), fresh(g, (x.shape[0], outs)))


def pool(g: int8.Growing, x: Tensor) -> None:
    fields, kernel, size = int8._window(g, x)
    kind = g.choose(["AVERAGE_POOL_2D", "MAX_POOL_2D"])
    int8.add_step(g, kind, (x,), fresh(g, (1, *size, x.shape[3]), like=x), **fields, filterHeight=kernel[0],
                  filterWidth=kernel[1])


def mean(g: int8.Growing, x: Tensor) -> None:
    axis = g.pick(1, len(x.shape) - 1)
    shape = [1 if i == axis else n for i, n in enumerate(x.shape)]
    kind = g.choose(["MEAN", "SUM"])
    int8.add_step(g, kind, (x, constant("", np.array([axis], np.int32))), fresh(g, shape), keepDims=True)


def one_value(g: int8.Growing, x: Tensor) -> None:
    kind = g.choose(["LOGISTIC", "TANH", "SOFTMAX", "LEAKY_RELU", "RELU", "ABS", "QUANTIZE"])
    out = fresh(g, x.shape, scale=UNIT if kind in ("LOGISTIC", "TANH", "SOFTMAX") else 0.0)
    more: dict[str, Any] = {"SOFTMAX": {"beta": 1.0}, "LEAKY_RELU": {"alpha": 0.2}}.get(kind, {})
    int8.add_step(g, kind, (x,), out, **more)


def two_values(g: int8.Growing, x: Tensor) -> None:
    """With a value of its shape, with one value a channel, or with a constant; minimum and maximum keep the scale."""
    kind = g.choose(["ADD", "ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "BATCH_MATMUL"])
    flat = (1,) * (len(x.shape) - 1) + x.shape[-1:]
    others = [t for t in int8.alike(g, x) if t.shape in (x.shape, flat)]
    if kind in ("MAXIMUM", "MINIMUM"):
        same = [t for t in others if t.quant == x.quant]
        int8.add_step(g, kind, (x, g.choose(same)), fresh(g, x.shape, like=x))
        return
    if kind == "BATCH_MATMUL":
        shape = (*x.shape[:-1], x.shape[-2])
        int8.add_step(g, kind, (x, x), fresh(g, shape, scale=2.0 ** g.rng.uniform(-7, -4)), adjX=False, adjY=True)
        return
    other = g.choose([*others, None])
    if other is None:
        other = constant("", g.rng.integers(-32768, 32768, x.shape[-1:]).astype(np.int16), (0.0003,))
    pair = (x, other) if g.pick(0, 1) else (other, x)
    fused = {} if kind == "SQUARED_DIFFERENCE" else {"fusedActivationFunction": g.pick(0, 1)}
    int8.add_step(g, kind, pair, fresh(g, x.shape), **fused)


def move(g: int8.Growing, x: Tensor) -> None:
    """Shape, order and parts of the elements."""
    kind = g.choose(["RESHAPE", "SLICE", "CONCATENATION", "PAD"])
    if kind == "RESHAPE":
        shape = g.choose([(1, x.elements), (1, x.elements // x.shape[-1], 1, x.shape[-1])])
        int8.add_step(g, kind, (x, constant("", np.array(shape, np.int32))), fresh(g, shape, like=x))
    elif kind == "SLICE":
        int8.cut(g, x)
    elif kind == "CONCATENATION" and x.elements <= int8.MOST:
        axis = g.pick(1, len(x.shape) - 1)
        shape = [n * (2 if i == axis else 1) for i, n in enumerate(x.shape)]
        int8.add_step(g, kind, (x, x), fresh(g, shape, like=x), axis=axis)
    elif len(x.shape) == 4 and x.elements <= int8.MOST:
        int8.pad(g, x)
    else:
        one_value(g, x)


def back(g: int8.Growing, x: Tensor) -> None:
    """To int8 again."""
    int8.add_step(g, "QUANTIZE", (x,), int8.fresh(g, x.shape))
