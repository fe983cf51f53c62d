"""Random image networks: chains of convolutions with branches, as networks for microcontrollers have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from harness import RNG, bias, constant, weights
from hypothesis import strategies as st
from random_networks import SAME, VALID, Growing, add_step, dense, element_wise, fresh

from mcuc.ir import Graph, Tensor, check

MOST = 1600  # elements of a tensor
PLAIN = {"dilationHFactor": 1, "dilationWFactor": 1}


@dataclass
class Rolled(Growing):
    """Choices of structure from the generator of the weights, for long runs outside hypothesis."""

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def choose(self, options: Sequence[Any]) -> Any:
        return list(options)[self.pick(0, len(list(options)) - 1)]


def rolled(seed: int) -> Graph:
    """The chain of a seed."""
    return grow(Rolled(lambda _: None, RNG(seed)))


@st.composite
def chains(draw: Callable[..., Any]) -> Graph:
    """Chains whose structure hypothesis chooses and shrinks."""
    return grow(Growing(draw, RNG(draw(st.integers(0, 2**32 - 1)))))


def _axis(g: Growing, size: int, kernels: Sequence[int]) -> tuple[int, int, int]:
    """Kernel, stride and dilation along an axis of `size`; kernels may be larger than the image."""
    k = g.choose(kernels)
    return k, g.choose([1, 1, 1, 2, 3]), 2 if k > 1 and g.pick(0, 9) == 0 else 1


def _window(
    g: Growing, x: Tensor, kernels: Sequence[int], dilated: bool = True
) -> tuple[dict[str, int], tuple[int, int], tuple[int, int]]:
    """Option fields, kernel and output size; square or not, SAME or, where it fits, VALID."""
    _, h, w, _ = x.shape
    (kh, sh, dh), (kw, sw, dw) = _axis(g, h, kernels), _axis(g, w, kernels)
    if g.pick(0, 2):
        kw, sw, dw = kh, sh, dh
    if not dilated:
        dh = dw = 1
    spans = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    fits = spans[0] <= h and spans[1] <= w
    padding = VALID if fits and g.pick(0, 2) == 0 else SAME
    axes = zip((h, w), spans, (sh, sw), strict=True)
    size = [-(-n // s) if padding == SAME else (n - k) // s + 1 for n, k, s in axes]
    fields = {"padding": padding, "strideH": sh, "strideW": sw}
    if dilated:
        fields |= {"dilationHFactor": dh, "dilationWFactor": dw}
    return fields, (kh, kw), (size[0], size[1])


def _convolve(
    g: Growing, x: Tensor, outs: int, kernel: tuple[int, int], size: tuple[int, int], fields: dict[str, int]
) -> None:
    w = weights(g.rng, (outs, *kernel, x.shape[3]), per_channel=bool(g.pick(0, 3)))
    add_step(g, "CONV_2D", (x, w, bias(g.rng, x, w, outs)), fresh(g, (1, *size, outs)), **fields,
             fusedActivationFunction=g.choose([0, 1, 3]))


def conv(g: Growing, x: Tensor) -> None:
    fields, kernel, size = _window(g, x, [1, 2, 3, 3, 4, 5])
    _convolve(g, x, g.pick(1, 7), kernel, size, fields)


def pointwise(g: Growing, x: Tensor, outs: int = 0) -> None:
    fields = {"padding": SAME, "strideH": 1, "strideW": 1, **PLAIN}
    _convolve(g, x, outs or g.pick(1, 7), (1, 1), (x.shape[1], x.shape[2]), fields)


def depthwise(g: Growing, x: Tensor, keep: bool = False) -> None:
    """keep: of the input's size and channels."""
    fields, kernel, size = _window(g, x, [1, 2, 3, 3, 4, 5])
    multiplier = g.choose([1, 1, 1, 2, 3])
    if keep:
        fields, multiplier, size = {**fields, "padding": SAME, "strideH": 1, "strideW": 1}, 1, (x.shape[1], x.shape[2])
    outs = x.shape[3] * multiplier
    w = weights(g.rng, (1, *kernel, outs), axis=3)
    add_step(g, "DEPTHWISE_CONV_2D", (x, w, bias(g.rng, x, w, outs)), fresh(g, (1, *size, outs)), **fields,
             depthMultiplier=multiplier, fusedActivationFunction=g.choose([0, 1, 3]))


def pool(g: Growing, x: Tensor) -> None:
    fields, kernel, size = _window(g, x, [1, 2, 2, 3, 4], dilated=False)
    add_step(g, g.choose(["AVERAGE_POOL_2D", "MAX_POOL_2D"]), (x,), fresh(g, (1, *size, x.shape[3]), like=x), **fields,
             filterHeight=kernel[0], filterWidth=kernel[1])


def join(g: Growing, x: Tensor, other: Tensor) -> None:
    pair = (x, other) if g.pick(0, 1) else (other, x)
    kind = g.choose(["ADD", "ADD", "SUB", "MUL", "MAXIMUM", "SQUARED_DIFFERENCE"])
    plain = kind in ("MAXIMUM", "SQUARED_DIFFERENCE")
    add_step(g, kind, pair, fresh(g, x.shape), **({} if plain else {"fusedActivationFunction": g.pick(0, 1)}))


def residual(g: Growing, x: Tensor) -> None:
    """A join with whatever earlier tensor has this shape, itself included."""
    join(g, x, g.choose([t for t in g.values if t.shape == x.shape]))


def bottleneck(g: Growing, x: Tensor) -> None:
    """Expand, depthwise, project, and often the sum with the input."""
    pointwise(g, x, g.pick(x.shape[3], x.shape[3] + 6))
    depthwise(g, g.values[-1], keep=bool(g.pick(0, 2)))
    pointwise(g, g.values[-1], x.shape[3])
    if g.values[-1].shape == x.shape and g.pick(0, 3):
        join(g, g.values[-1], x)


def branches(g: Growing, x: Tensor) -> None:
    """Two or three ways of one size from x, joined along the channels or added."""
    ways = []
    for _ in range(g.pick(2, 3)):
        g.choose([lambda: pointwise(g, x), lambda: depthwise(g, x, keep=True), lambda: element_wise(g, x)])()
        if g.pick(0, 1):
            depthwise(g, g.values[-1], keep=True)
        ways.append(g.values[-1])
    if ways[0].shape == ways[1].shape and g.pick(0, 2) == 0:
        join(g, ways[0], ways[1])
    else:
        together(g, ways)


def together(g: Growing, parts: Sequence[Tensor]) -> None:
    """Along the channels; parts of the output's own quantization are copied, others go through a table."""
    like = parts[0]
    if g.pick(0, 1):  # what runtimes demand of a concatenation: one quantization
        parts = [_requantized(g, t, like) for t in parts]
    shape = (*like.shape[:3], sum(t.shape[3] for t in parts))
    add_step(g, "CONCATENATION", parts, fresh(g, shape, like=g.choose([like, like, None])), axis=3)


def _requantized(g: Growing, t: Tensor, like: Tensor) -> Tensor:
    if t.quant == like.quant:
        return t
    add_step(g, "QUANTIZE", (t,), replace(fresh(g, t.shape), quant=like.quant))
    return g.values[-1]


def concat(g: Growing, x: Tensor) -> None:
    together(g, [x, g.choose([t for t in g.values if t.shape[:3] == x.shape[:3]])])


def pad(g: Growing, x: Tensor) -> None:
    amounts = [[0, 0], [g.pick(0, 2), g.pick(0, 2)], [g.pick(0, 3), g.pick(0, 3)], [0, g.choose([0, 0, 1])]]
    pads = np.array(amounts, np.int32)
    shape = [n + int(p.sum()) for n, p in zip(x.shape, pads, strict=True)]
    add_step(g, "PAD", (x, constant("", pads)), fresh(g, shape, like=x))


def resize(g: Growing, x: Tensor) -> None:
    size = [g.choose([max(1, n // 2), n, n + 1, 2 * n]) for n in x.shape[1:3]]
    modes = [(False, False), (True, False), (False, True)]
    kind, (align, half) = g.choose([(k, m) for k in ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR") for m in modes])
    add_step(g, kind, (x, constant("", np.array(size, np.int32))), fresh(g, (1, *size, x.shape[3]), like=x),
             alignCorners=align, halfPixelCenters=half)


def cut(g: Growing, x: Tensor) -> None:
    """A box; now and then every second row, column or channel, forwards or backwards."""
    begin = [0, *(g.pick(0, (n - 1) // 2) for n in x.shape[1:])]
    if g.pick(0, 2):
        begin[3] = 0
    step = [1, *(g.choose([1, 1, 1, 2]) for _ in range(3))]
    size = [1, *(g.pick(1, -(-(n - b) // s)) for n, b, s in zip(x.shape[1:], begin[1:], step[1:], strict=True))]
    axis = g.choose([0, 0, 1, 2])
    if axis:
        begin[axis], step[axis], size[axis] = x.shape[axis] - 1, -1, g.pick(1, x.shape[axis])
    out = fresh(g, size, like=x)
    if step == [1, 1, 1, 1]:
        ends = [constant("", np.array(v, np.int32)) for v in (begin, size)]
        add_step(g, "SLICE", (x, *ends), out)
        return
    stop = [b + n * s for b, n, s in zip(begin, size, step, strict=True)]
    mask = sum(1 << i for i, v in enumerate(stop) if v < 0)
    ends = [constant("", np.array(v, np.int32)) for v in (begin, [max(v, 0) for v in stop], step)]
    add_step(g, "STRIDED_SLICE", (x, *ends), out, endMask=mask)


def squeeze(g: Growing, x: Tensor) -> None:
    """Squeeze and excite: a factor for every channel, from the channels' means."""
    _mean(g, x)
    pointwise(g, g.values[-1], x.shape[3])
    add_step(g, "LOGISTIC", (g.values[-1],), replace(fresh(g, g.values[-1].shape), quant=_UNIT))
    add_step(g, "MUL", (x, g.values[-1]), fresh(g, x.shape), fusedActivationFunction=0)


_UNIT = fresh(Growing(lambda _: None, RNG(0)), (1,)).quant
_UNIT = replace(_UNIT, scale=(1 / 256,), zero_point=(-128,)) if _UNIT is not None else None


def _mean(g: Growing, x: Tensor) -> None:
    add_step(g, "MEAN", (x, constant("", np.array([1, 2], np.int32))), fresh(g, (1, 1, 1, x.shape[3])), keepDims=True)


def _global_pool(g: Growing, x: Tensor) -> None:
    _, h, w, c = x.shape
    add_step(g, "AVERAGE_POOL_2D", (x,), fresh(g, (1, 1, 1, c), like=x), padding=VALID, strideH=h, strideW=w,
             filterHeight=h, filterWidth=w)


def head(g: Growing, x: Tensor) -> None:
    """The end of a classifier: an average, or none, and then perhaps a dense layer and a softmax."""
    g.choose([_mean, _mean, _global_pool, lambda g, x: None])(g, x)
    if g.pick(0, 1):
        x = g.values[-1]
        shape = (1, x.elements)
        add_step(g, "RESHAPE", (x, constant("", np.array(shape, np.int32))), fresh(g, shape, like=x))
        dense(g, g.values[-1])
        if g.pick(0, 1):
            out = fresh(g, g.values[-1].shape)
            add_step(g, "SOFTMAX", (g.values[-1],), replace(out, quant=_UNIT), beta=1.0)


STEPS = (conv, conv, conv, pointwise, depthwise, depthwise, pool, residual, residual, bottleneck, bottleneck, branches,
         branches, concat, pad, resize, cut, squeeze, element_wise)


def grow(g: Growing) -> Graph:
    """A graph of profile tflite: one image, seldom two, up to nine steps of one to ten layers, and often a classifier's
    end; what nobody reads is an output, and now and then a tensor that is read as well."""
    inputs = []
    for _ in range(g.choose([1, 1, 1, 1, 2])):
        x = fresh(g, (1, g.pick(1, 14), g.pick(1, 16), g.pick(1, 5)))
        inputs.append(x)
        g.values.append(x)
        g.tensors[x.name] = x
    for _ in range(g.pick(1, 9)):
        x = g.values[-1] if g.pick(0, 3) else g.choose(g.values[-5:])
        if x.elements <= MOST:
            g.choose(STEPS)(g, x)
    if g.pick(0, 2) or not g.nodes:
        head(g, g.values[-1])
    if not g.nodes:
        element_wise(g, g.values[-1])
    made = [n.outputs[0] for n in g.nodes]
    read = {i for n in g.nodes for i in n.inputs}
    outputs = [n for n in made if n not in read][-4:] + ([g.choose(made)] if g.pick(0, 3) == 0 else [])
    used = {i for n in g.nodes for i in (*n.inputs, *n.outputs)} | {t.name for t in inputs}
    tensors = {k: v for k, v in g.tensors.items() if k in used}
    return check(Graph("net", "tflite", tensors, tuple(g.nodes), tuple(t.name for t in inputs),
                       tuple(dict.fromkeys(outputs))))
