"""Random small networks with branches, for hypothesis: every step takes tensors that exist and adds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import random_int16
from harness import RNG, activation, bias, constant, tflite_graph, weights
from hypothesis import strategies as st

from mcuc.ir import DType, Graph, Node, Tensor, check

SAME, VALID = 0, 1
FIXED_SCALE = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0),
               "LOG_SOFTMAX": (1 / 16, 127), "L2_NORMALIZATION": (1 / 128, 0)}
Step = Callable[["Growing", Tensor], None]
MOST = 700  # elements of a tensor, so that many networks run in a second


@dataclass
class Growing:
    """A network under construction. draw: hypothesis' choices of structure; rng: weights and scales."""

    draw: Callable[..., Any]
    rng: np.random.Generator
    values: list[Tensor] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    exportable: ClassVar[bool] = False

    def pick(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def choose(self, options: Sequence[Any]) -> Any:
        return list(options)[self.pick(0, len(list(options)) - 1)]

    def steps(self, x: Tensor) -> list[Step]:
        """What may follow on x, an int8 value."""
        return [*ANY, *(IMAGE if len(x.shape) == 4 else ()), *((dense, dense, pack) if len(x.shape) == 2 else ())]


class Rolled(Growing):
    """Structure from the generator too, so that a seed is a network; only what a TFLite file can say."""

    exportable: ClassVar[bool] = True

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


def fresh(g: Growing, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """A new run-time tensor of a random scale, or of another one's quantization."""
    name = f"t{len(g.values)}"
    if like is not None:
        return replace(like, name=name, shape=tuple(shape))
    return activation(name, shape, float(2.0 ** g.rng.uniform(-5, -3)), int(g.rng.integers(-30, 30)))


def alike(g: Growing, x: Tensor) -> list[Tensor]:
    """The values of x's type, x among them."""
    return [t for t in g.values if t.dtype is x.dtype]


def add_step(g: Growing, kind: str, inputs: Sequence[Tensor], out: Tensor, **fields: Any) -> None:
    """One TFLite operator; constants get names of their own."""
    named = [t if t.data is None else replace(t, name=f"{out.name}/{i}") for i, t in enumerate(inputs)]
    made = tflite_graph(kind, named, out, **fields)
    g.tensors.update(made.tensors)
    g.nodes.append(replace(made.nodes[0], name=f"{len(g.nodes)}:{kind}"))
    g.values.append(out)


def _window(g: Growing, x: Tensor) -> tuple[dict[str, int], tuple[int, int], tuple[int, int]]:
    """Option fields, kernel and output size of a window that fits."""
    _, h, w, _ = x.shape
    k = g.choose([n for n in (1, 2, 3) if n <= min(h, w)])
    s, padding = g.choose([1, 1, 2]), g.choose([SAME, SAME, VALID])
    size = tuple(-(-n // s) if padding == SAME else (n - k) // s + 1 for n in (h, w))
    return {"padding": padding, "strideH": s, "strideW": s}, (k, k), (size[0], size[1])


def conv(g: Growing, x: Tensor) -> None:
    fields, kernel, size = _window(g, x)
    outs = g.pick(1, 7)
    w = weights(g.rng, (outs, *kernel, x.shape[3]))
    add_step(g, "CONV_2D", (x, w, bias(g.rng, x, w, outs)), fresh(g, (1, *size, outs)), **fields, dilationHFactor=1,
             dilationWFactor=1, fusedActivationFunction=g.pick(0, 3))


def depthwise(g: Growing, x: Tensor) -> None:
    fields, kernel, size = _window(g, x)
    multiplier = g.choose([1, 1, 1, 2])
    outs = x.shape[3] * multiplier
    w = weights(g.rng, (1, *kernel, outs), axis=3)
    add_step(g, "DEPTHWISE_CONV_2D", (x, w, bias(g.rng, x, w, outs)), fresh(g, (1, *size, outs)), **fields,
             depthMultiplier=multiplier, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=g.pick(0, 3))


def pool(g: Growing, x: Tensor) -> None:
    fields, kernel, size = _window(g, x)
    kind = g.choose(["AVERAGE_POOL_2D", "MAX_POOL_2D"])
    add_step(g, kind, (x,), fresh(g, (1, *size, x.shape[3]), like=x), **fields, filterHeight=kernel[0],
             filterWidth=kernel[1])


def mean(g: Growing, x: Tensor) -> None:
    add_step(g, "MEAN", (x, constant("", np.array([1, 2], np.int32))), fresh(g, (1, 1, 1, x.shape[3])), keepDims=True)


def pad(g: Growing, x: Tensor) -> None:
    pads = np.array([[0, 0], [g.pick(0, 1), g.pick(0, 1)], [g.pick(0, 1), g.pick(0, 1)], [0, g.pick(0, 1)]], np.int32)
    shape = [n + int(p.sum()) for n, p in zip(x.shape, pads, strict=True)]
    add_step(g, "PAD", (x, constant("", pads)), fresh(g, shape, like=x))


def transpose(g: Growing, x: Tensor) -> None:
    perm = g.choose([(0, 2, 1, 3), (0, 3, 1, 2), (0, 1, 3, 2)])
    add_step(g, "TRANSPOSE", (x, constant("", np.array(perm, np.int32))),
             fresh(g, [x.shape[p] for p in perm], like=x))


def element_wise(g: Growing, x: Tensor) -> None:
    kind = g.choose(["RELU", "QUANTIZE", "LOGISTIC", "SOFTMAX", "TANH", "HARD_SWISH", "LEAKY_RELU", "ABS",
                     "LOG_SOFTMAX", "L2_NORMALIZATION", "PRELU"])
    out = fresh(g, x.shape)
    if kind in FIXED_SCALE:
        out = activation(out.name, x.shape, *FIXED_SCALE[kind])
    inputs = [x]
    if kind == "PRELU":
        inputs.append(constant("", g.rng.integers(-128, 128, x.shape[-1:]).astype(np.int8), (0.01,), (4,)))
    add_step(g, kind, inputs, out, **{"SOFTMAX": {"beta": 1.0}, "LEAKY_RELU": {"alpha": 0.2}}.get(kind, {}))


def binary(g: Growing, x: Tensor) -> None:
    """With itself, with a tensor of its shape, with one value a channel, or with a constant."""
    others = [t for t in alike(g, x) if t.shape == x.shape or t.shape == (1,) * (len(x.shape) - 1) + x.shape[-1:]]
    other = g.choose([*others, None])
    if other is None:
        other = constant("", g.rng.integers(-128, 128, x.shape[-1:]).astype(np.int8), (0.03,), (4,))
    pair = (x, other) if g.pick(0, 1) else (other, x)
    kind = g.choose(["ADD", "ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"])
    plain = kind in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
    add_step(g, kind, pair, fresh(g, x.shape), **({} if plain else {"fusedActivationFunction": g.pick(0, 1)}))


def masked(g: Growing, x: Tensor) -> None:
    """A comparison, and a choice by it; no other step meets the truth values."""
    others = [t for t in alike(g, x) if t.shape == x.shape and t.quant is not None and t.quant.scale[0] < 1]
    if x not in others:  # TFLite compares no scales of 1 and more
        return element_wise(g, x)
    truth = Tensor(f"t{len(g.values)}/mask", x.shape, DType.BOOL)
    add_step(g, g.choose(["LESS", "GREATER_EQUAL", "EQUAL"]), (x, g.choose(others)), truth)
    g.values.pop()
    level = replace(x, name="", shape=x.shape[-1:], data=g.rng.integers(-128, 128, x.shape[-1:]).astype(np.int8))
    return add_step(g, "SELECT_V2", (truth, x, level), fresh(g, x.shape, like=x))


def reduction(g: Growing, x: Tensor) -> None:
    axis = g.pick(1, len(x.shape) - 1)
    shape = [1 if i == axis else n for i, n in enumerate(x.shape)]
    kind = g.choose(["SUM", "REDUCE_MAX", "REDUCE_MIN"])
    out = fresh(g, shape, like=None if kind == "SUM" else x)
    add_step(g, kind, (x, constant("", np.array([axis], np.int32))), out, keepDims=True)


def reshape(g: Growing, x: Tensor) -> None:
    n, c = x.elements, x.shape[-1]
    shape = g.choose([(1, n), (1, n // c, 1, c), (1, 1, n // c, c), (1, n // c, c), (1, 1, 1, n)])
    add_step(g, "RESHAPE", (x, constant("", np.array(shape, np.int32))), fresh(g, shape, like=x))


def concat(g: Growing, x: Tensor) -> None:
    """With itself or with a tensor that differs along the axis only; another quantization goes through a table, which
    uint8 files ask for only."""
    axis = g.pick(1, len(x.shape) - 1)
    fits = [t for t in alike(g, x) if len(t.shape) == len(x.shape)
            and all(a == b for i, (a, b) in enumerate(zip(t.shape, x.shape, strict=True)) if i != axis)]
    fits = [t for t in fits if t.quant == x.quant] if g.exportable else fits
    parts = [x, g.choose(fits)] if g.pick(0, 1) else [g.choose(fits), x, x]
    shape = [sum(t.shape[i] for t in parts) if i == axis else n for i, n in enumerate(x.shape)]
    out = fresh(g, shape, like=None if g.pick(0, 1) and not g.exportable else x)
    add_step(g, "CONCATENATION", parts, out, axis=axis)


def cut(g: Growing, x: Tensor) -> None:
    begin = [0, *(g.pick(0, (n - 1) // 2) for n in x.shape[1:])]
    size = [1, *(g.pick(1, n - b) for n, b in zip(x.shape[1:], begin[1:], strict=True))]
    ends = [constant("", np.array(v, np.int32)) for v in (begin, size)]
    add_step(g, "SLICE", (x, *ends), fresh(g, size, like=x))


def resize(g: Growing, x: Tensor) -> None:
    size = [max(1, n * g.pick(1, 4) // 2) for n in x.shape[1:3]]
    modes = g.choose([{}, {"alignCorners": True}, {"halfPixelCenters": True}])
    add_step(g, g.choose(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]), (x, constant("", np.array(size, np.int32))),
             fresh(g, (1, *size, x.shape[3]), like=x), **modes)


def rearrange(g: Growing, x: Tensor) -> None:
    """Depth to space, space to depth where it divides, mirrored padding, or a reversal."""
    _, h, w, c = x.shape
    if c % 4 == 0 and g.pick(0, 2):
        add_step(g, "DEPTH_TO_SPACE", (x,), fresh(g, (1, 2 * h, 2 * w, c // 4), like=x), blockSize=2)
    elif h % 2 == w % 2 == 0 and g.pick(0, 2):
        add_step(g, "SPACE_TO_DEPTH", (x,), fresh(g, (1, h // 2, w // 2, 4 * c), like=x), blockSize=2)
    elif g.pick(0, 1):
        pads = np.array([[0, 0], [g.pick(0, h - 1), g.pick(0, h - 1)], [g.pick(0, w - 1), 0], [0, 0]], np.int32)
        shape = [n + int(p.sum()) for n, p in zip(x.shape, pads, strict=True)]
        add_step(g, "MIRROR_PAD", (x, constant("", pads)), fresh(g, shape, like=x), mode=0)
    else:
        add_step(g, "REVERSE_V2", (x, constant("", np.array([g.pick(1, 3)], np.int32))), fresh(g, x.shape, like=x))


def gather(g: Growing, x: Tensor) -> None:
    axis = g.pick(1, len(x.shape) - 1)
    chosen = [g.pick(0, x.shape[axis] - 1) for _ in range(g.pick(1, 4))]
    shape = [len(chosen) if i == axis else n for i, n in enumerate(x.shape)]
    add_step(g, "GATHER", (x, constant("", np.array(chosen, np.int32))), fresh(g, shape, like=x), axis=axis)


def pack(g: Growing, x: Tensor) -> None:
    """With another of its shape, or with a constant; only a vector, so that no rank grows beyond four."""
    others = [t for t in alike(g, x) if t.shape == x.shape]
    other = g.choose([*others, None])
    if other is None:
        other = constant("", g.rng.integers(-128, 128, x.shape).astype(np.int8), (0.03,), (4,))
    axis = g.pick(1, 2)
    shape = [*x.shape[:axis], 2, *x.shape[axis:]]
    add_step(g, "PACK", (x, other), fresh(g, shape, like=x), axis=axis, valuesCount=2)


def dense(g: Growing, x: Tensor) -> None:
    outs = g.pick(1, 9)
    w = weights(g.rng, (outs, x.shape[1]), per_channel=False)
    add_step(g, "FULLY_CONNECTED", (x, w, bias(g.rng, x, w, outs)), fresh(g, (x.shape[0], outs)))


def transpose_conv(g: Growing, x: Tensor) -> None:
    kernel, stride, padding = (g.pick(1, 3), g.pick(1, 3)), (g.pick(1, 2), g.pick(1, 2)), g.choose([SAME, VALID])
    outs = g.pick(1, 5)
    size = [n * s if padding == SAME else (n - 1) * s + k
            for n, s, k in zip(x.shape[1:3], stride, kernel, strict=True)]
    w = weights(g.rng, (outs, *kernel, x.shape[3]))
    out = fresh(g, (1, *size, outs))
    shape = constant("", np.array(out.shape, np.int32))
    add_step(g, "TRANSPOSE_CONV", (shape, w, x, bias(g.rng, x, w, outs)), out, padding=padding, strideH=stride[0],
             strideW=stride[1], fusedActivationFunction=g.pick(0, 1))


def product(g: Growing, x: Tensor) -> None:
    """Of x and another tensor, itself or a constant, either of them swapped or not, batches broadcast."""
    if g.pick(0, 2) == 0:
        shape = (*g.choose([(), x.shape[:-2]]), x.shape[-1], g.pick(1, 5))
        others = [constant("", g.rng.integers(-128, 128, shape).astype(np.int8), (0.03,), (4,))]
    else:
        others = [t for t in alike(g, x) if len(t.shape) == len(x.shape)
                  and all(a == b or 1 in (a, b) for a, b in zip(t.shape[:-2], x.shape[:-2], strict=True))]
    ways = []
    for other in others:
        for adj_x, adj_y in ((False, False), (False, True), (True, False), (True, True)):
            (m, k), (depth, n) = (t.shape[-2:][::-1] if adj else t.shape[-2:]
                                  for t, adj in ((x, adj_x), (other, adj_y)))
            batch = np.broadcast_shapes(x.shape[:-2], other.shape[:-2])
            if k == depth and m * n * np.prod(batch) <= MOST:
                ways.append((other, adj_x, adj_y, (*map(int, batch), m, n)))
    if not ways:
        return element_wise(g, x)
    other, adj_x, adj_y, shape = g.choose(ways)
    out = replace(fresh(g, shape), quant=activation("", shape, float(2.0 ** g.rng.uniform(-2, 1)), 5).quant)
    return add_step(g, "BATCH_MATMUL", (x, other), out, adjX=adj_x, adjY=adj_y)


def to_int16(g: Growing, x: Tensor) -> None:
    """From here on in int16; see random_int16.py."""
    add_step(g, "QUANTIZE", (x,), random_int16.fresh(g, x.shape))


IMAGE = (conv, conv, depthwise, pool, mean, pad, transpose, transpose_conv, resize, rearrange)
ANY = (element_wise, element_wise, binary, binary, masked, reduction, reshape, reshape, concat, cut, gather, product,
       to_int16)


class RolledOnnx(Rolled):
    """Mostly what an ONNX file can say, too."""

    def steps(self, x: Tensor) -> list[Step]:
        return [element_wise, element_wise, binary, binary, reshape, concat, cut, gather,
                *((conv, conv, depthwise, pool, mean, pad, transpose) if len(x.shape) == 4 else ()),
                *((dense, dense) if len(x.shape) == 2 else ())]


def rolled(seed: int, onnx: bool = False) -> Graph:
    """The network of a seed, as a TFLite file holds it; onnx: mostly of steps that ONNX has, too."""
    return grow((RolledOnnx if onnx else Rolled)(lambda _: None, RNG(seed)))


@st.composite
def networks(draw: Callable[..., Any]) -> Graph:
    """Networks whose structure hypothesis chooses and shrinks."""
    return grow(Growing(draw, RNG(draw(st.integers(0, 2**32 - 1)))))


def grow(g: Growing) -> Graph:
    """A graph of profile tflite as a file holds it: one to three inputs, up to fourteen steps, one to four outputs.

    What nobody reads is an output or, now and then, dead; outputs may be read as well.
    """
    inputs = []
    for _ in range(g.pick(1, 3)):
        x = fresh(g, g.choose([(1, 5, 6, 3), (1, 4, 4, 4), (1, 24), (1, 7, 3, 1)]))
        inputs.append(x)
        g.values.append(x)
        g.tensors[x.name] = x
    for _ in range(g.pick(1, 14)):
        x = g.choose(g.values[-4:] if g.pick(0, 3) else g.values)
        if x.dtype is DType.INT16:
            steps = random_int16.steps(x)
        else:
            steps = g.steps(x) if x.elements <= MOST else [element_wise, reshape, cut]
        g.choose(steps)(g, x)
    made = [n.outputs[0] for n in g.nodes]
    read = {i for n in g.nodes for i in n.inputs}
    sinks = [n for n in made if n not in read]
    outputs = sinks[-3:] + ([g.choose(made)] if g.pick(0, 2) == 0 else [])
    used = {i for n in g.nodes for i in (*n.inputs, *n.outputs)} | {t.name for t in inputs}
    return check(Graph("net", "tflite", {k: v for k, v in g.tensors.items() if k in used}, tuple(g.nodes),
                       tuple(t.name for t in inputs), tuple(dict.fromkeys(outputs))))
