"""Attention as int8 networks, in several spellings and with low-rank factors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness import RNG, activation, bias, tflite_graph, weights

from mcuc.ir import Graph, Node, Tensor, check
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.ops.slice import SliceAttrs
from mcuc.ops.transpose import TransposeAttrs

TOKENS, CHANNELS, HEADS, DEPTH = 48, 24, 2, 8
WIDTH = HEADS * DEPTH


class Builder:
    """A graph in the making: each method adds a layer and returns its output."""

    def __init__(self) -> None:
        self.rng = RNG(7)
        self.tensors: dict[str, Tensor] = {"x": activation("x", (1, TOKENS, CHANNELS), 0.04, 3)}
        self.nodes: list[Node] = []

    def made(
        self, kind: str, inputs: list[Tensor], shape: tuple[int, ...], scale: float, zero: int, **fields: Any
    ) -> Tensor:
        out = activation(f"t{len(self.nodes)}", shape, scale, zero)
        graph = tflite_graph(kind, inputs, out, **fields)
        self.tensors.update(graph.tensors)
        self.nodes.append(replace(graph.nodes[0], name=out.name))
        return out

    def move(self, op: str, attrs: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        out = replace(x, name=f"t{len(self.nodes)}", shape=shape)
        self.tensors[out.name] = out
        self.nodes.append(Node(out.name, op, (x.name,), (out.name,), attrs))
        return out

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        return self.move("reshape", ReshapeAttrs(shape), x, shape)

    def transpose(self, x: Tensor, *perm: int) -> Tensor:
        return self.move("transpose", TransposeAttrs(perm), x, tuple(x.shape[p] for p in perm))

    def slice(self, x: Tensor, axis: int, at: int) -> Tensor:
        begin, size = [0] * len(x.shape), list(x.shape)
        begin[axis], size[axis] = at, 1
        attrs = SliceAttrs(tuple(begin), tuple(size), (1,) * len(size), (axis,))
        return self.move("slice", attrs, x, tuple(n for i, n in enumerate(x.shape) if i != axis))

    def dense(self, x: Tensor, outputs: int) -> Tensor:
        name, columns = f"t{len(self.nodes)}", x.shape[-1]
        w = replace(weights(self.rng, (outputs, columns), per_channel=False), name=f"{name}/w")
        b = replace(bias(self.rng, x, w, outputs, 500), name=f"{name}/b")
        return self.made("FULLY_CONNECTED", [x, w, b], (x.elements // columns, outputs), 0.06, -5, keepNumDims=False)

    def graph(self, out: Tensor) -> Graph:
        return check(Graph("net", "tflite", self.tensors, tuple(self.nodes), ("x",), (out.name,)))


def attention(spelling: str) -> Graph:
    """One dense layer for all three or one for each, keys turned by a transpose or by the product, values scaled."""
    b = Builder()
    x = b.tensors["x"]
    if spelling == "one dense layer":
        t = b.transpose(b.reshape(b.dense(x, 3 * WIDTH), 1, TOKENS, 3, HEADS, DEPTH), 2, 0, 3, 1, 4)
        q, k, v = (b.slice(t, 0, i) for i in range(3))
    else:
        q, k, v = (b.transpose(b.reshape(b.dense(x, WIDTH), 1, TOKENS, HEADS, DEPTH), 0, 2, 1, 3) for _ in range(3))
    size = (1, HEADS, TOKENS)
    if spelling == "a function in between":
        v = b.made("LOGISTIC", [v], v.shape, 1 / 256, -128)
    if spelling == "turned keys":
        s = b.made("BATCH_MATMUL", [q, b.transpose(k, 0, 1, 3, 2)], (*size, TOKENS), 0.4, 3)
    else:
        s = b.made("BATCH_MATMUL", [q, k], (*size, TOKENS), 0.4, 3, adjY=True)
    p = b.made("SOFTMAX", [s], s.shape, 1 / 256, -128, beta=1.0)
    o = b.made("BATCH_MATMUL", [p, v], (*size, DEPTH), 0.05, 2)
    y = b.reshape(b.transpose(o, 0, 2, 1, 3), *((TOKENS, WIDTH) if spelling != "a relu behind" else (1, TOKENS, WIDTH)))
    if spelling == "a relu behind":
        return b.graph(b.made("RELU", [y], y.shape, 0.05, 2))
    return b.graph(b.dense(y, CHANNELS))


def low_rank_attention(heads: int) -> Graph:
    """Queries, keys and values from two dense layers more, what comes out behind one, all added to the input."""
    b = Builder()
    x = b.tensors["x"]
    t = b.dense(b.dense(b.dense(x, 20), 20), 3 * heads * DEPTH)
    t = b.transpose(b.reshape(t, 1, TOKENS, 3, heads, DEPTH), 2, 0, 3, 1, 4)
    q, k, v = (b.slice(t, 0, i) for i in range(3))
    s = b.made("BATCH_MATMUL", [q, k], (1, heads, TOKENS, TOKENS), 0.4, 3, adjY=True)
    p = b.made("SOFTMAX", [s], s.shape, 1 / 256, -128, beta=1.0)
    o = b.made("BATCH_MATMUL", [p, v], (1, heads, TOKENS, DEPTH), 0.05, 2)
    y = b.dense(b.reshape(b.transpose(o, 0, 2, 1, 3), TOKENS, heads * DEPTH), CHANNELS)
    return b.graph(b.made("ADD", [x, b.reshape(y, 1, TOKENS, CHANNELS)], x.shape, 0.08, 1))
