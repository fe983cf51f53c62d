"""Random networks of inception and dense blocks: images of one size, joined along their channels and otherwise.

The structure follows from one random number: drawn choice by choice, few networks would have nested concatenations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from harness import RNG, activation, bias, constant, weights
from hypothesis import strategies as st
from random_networks import SAME, Growing, add_step

from mcuc.ir import Graph, Tensor, check

MOST = 600  # elements of a tensor
STEPS = ("conv", "conv", "depthwise", "pool", "relu", "logistic", "softmax", "add", "pad", "cut", "swap", "reshape")
WINDOW = {"padding": SAME, "strideH": 1, "strideW": 1}


class Dice(Growing):
    """A growing network whose structure is drawn from its random numbers."""

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def choose(self, options: Sequence[Any]) -> Any:
        return options[self.rng.integers(len(options))]


def image(g: Growing, shape: Sequence[int]) -> Tensor:
    """A new tensor; all have the quantization of a sigmoid, so that parts need no table unless they are meant to."""
    return activation(f"t{len(g.values)}", shape, 1 / 256, -128)


def conv(g: Growing, x: Tensor, outs: int, size: int) -> Tensor:
    w = weights(g.rng, (outs, size, size, x.shape[3]))
    out = image(g, (*x.shape[:3], outs))
    add_step(g, "CONV_2D", (x, w, bias(g.rng, x, w, outs)), out, **WINDOW, dilationHFactor=1, dilationWFactor=1)
    return out


def depthwise(g: Growing, x: Tensor) -> Tensor:
    w = weights(g.rng, (1, 3, 3, x.shape[3]), axis=3)
    out = image(g, x.shape)
    add_step(g, "DEPTHWISE_CONV_2D", (x, w, bias(g.rng, x, w, x.shape[3])), out, **WINDOW, depthMultiplier=1,
             dilationHFactor=1, dilationWFactor=1)
    return out


def pool(g: Growing, x: Tensor) -> Tensor:
    out = replace(image(g, x.shape), quant=x.quant)
    add_step(g, "MAX_POOL_2D", (x,), out, **WINDOW, filterHeight=3, filterWidth=3)
    return out


def unary(g: Growing, x: Tensor, kind: str) -> Tensor:
    out = image(g, x.shape)
    add_step(g, kind, (x,), out, **({"beta": 1.0} if kind == "SOFTMAX" else {}))
    return out


def join(g: Growing, parts: Sequence[Tensor], axis: int, rescaled: bool = False) -> Tensor:
    shape = [sum(p.shape[axis] for p in parts) if i == axis else n for i, n in enumerate(parts[0].shape)]
    out = activation(f"t{len(g.values)}", shape, 1 / 200, -100) if rescaled else image(g, shape)
    add_step(g, "CONCATENATION", parts, out, axis=axis)
    return out


def cut(g: Growing, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    out = image(g, size)
    add_step(g, "SLICE", (x, *(constant("", np.array(v, np.int32)) for v in (begin, size))), out)
    return out


def _step(g: Growing, x: Tensor, kind: str) -> None:
    _, h, w, c = x.shape
    if kind == "conv":
        conv(g, x, g.pick(1, 6), g.choose([1, 1, 3]))
    elif kind == "depthwise":
        depthwise(g, x)
    elif kind == "pool":
        pool(g, x)
    elif kind in ("relu", "logistic", "softmax"):
        unary(g, x, kind.upper())
    elif kind == "add":
        other = g.choose([t for t in g.values if t.shape == x.shape])
        add_step(g, "ADD", (x, other), image(g, x.shape))
    elif kind == "pad":
        pads = np.array([[0, 0], [0, 0], [0, 0], [0, g.pick(1, 2)]], np.int32)
        add_step(g, "PAD", (x, constant("", pads)), image(g, (1, h, w, c + int(pads[3, 1]))))
    elif kind == "cut":
        axis = g.pick(1, 3)
        first = g.pick(0, x.shape[axis] - 1)
        begin, size = [0, 0, 0, 0], list(x.shape)
        begin[axis], size[axis] = first, g.pick(1, x.shape[axis] - first)
        cut(g, x, begin, size)
    elif kind == "swap":
        add_step(g, "TRANSPOSE", (x, constant("", np.array([0, 2, 1, 3], np.int32))), image(g, (1, w, h, c)))
    else:
        shape = g.choose([(1, w, h, c), (1, h, w, c), (1, h * w, 1, c)])
        add_step(g, "RESHAPE", (x, constant("", np.array(shape, np.int32))), image(g, shape))


@st.composite
def joined_blocks(draw: Callable[..., Any]) -> Graph:
    """Four to sixteen steps, every third of them a concatenation, mostly along the channels and of unread tensors."""
    g = Dice(draw, RNG(draw(st.integers(0, 2**32 - 1))))
    inputs = [image(g, (1, g.pick(1, 4), g.pick(1, 4), g.pick(1, 4)))]
    g.values.append(inputs[0])
    if g.pick(0, 3) == 0:
        inputs.append(image(g, inputs[0].shape))
        g.values.append(inputs[1])
    g.tensors.update({x.name: x for x in inputs})
    for _ in range(g.pick(4, 16)):
        x = g.choose(g.values[-4:] if g.pick(0, 2) else g.values)
        if g.pick(0, 2) == 0:
            axis = g.choose([3, 3, 3, 1, 2])
            fits = [t for t in g.values if all(t.shape[i] == x.shape[i] for i in range(4) if i != axis)]
            read = {i for n in g.nodes for i in n.inputs}
            unread = [t for t in fits if t.name not in read][-3:]
            parts = unread if g.pick(0, 3) and len(unread) > 1 else [x, *(g.choose(fits) for _ in range(g.pick(1, 3)))]
            if sum(p.elements for p in parts) <= MOST:
                join(g, g.choose([parts, parts[::-1]]), axis, rescaled=g.pick(0, 9) == 0)
        else:
            _step(g, x, g.choose(STEPS) if x.elements <= MOST // 2 else "cut")
    made = [n.outputs[0] for n in g.nodes]
    read = {i for n in g.nodes for i in n.inputs}
    outputs = [n for n in made if n not in read or g.pick(0, 9) == 0]
    used = {i for n in g.nodes for i in (*n.inputs, *n.outputs)} | {t.name for t in inputs}
    return check(Graph("net", "tflite", {k: v for k, v in g.tensors.items() if k in used}, tuple(g.nodes),
                       tuple(t.name for t in inputs), tuple(outputs)))
