"""A transformer of the space as a float network that quantization works on: written as ONNX Runtime would simplify it,
so that the graph of the search's made-up weights and that of the trained ones are the same.

Heads of softmax attention are slices of one dense layer's channels; those of linear attention, which nothing joins
before the next dense layer, are written one by one, each with layers and scales of its own. A class token is picked
before the last norm, which treats tokens alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode
from mcuc.search.spaces.vit_lowrank import VitCandidate, dense_shapes, factors, least_total, padding

INPUT, OUTPUT = "input", "softmax"
ROWS = 32
HALVES = ("attention", "mlp")  # of a block
EPSILON = 1e-6
Shape = tuple[int, ...]


@dataclass
class _Writer:
    constants: dict[str, Array]
    nodes: list[FloatNode] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def put(self, kind: str, inputs: tuple[str, ...], name: str, shape: Shape, **attrs: Any) -> str:
        self.nodes.append(FloatNode(name, kind, inputs, (name,), attrs))
        self.shapes[name] = shape
        return name

    def ints(self, *values: int) -> str:
        name = "ints." + ".".join(map(str, values))
        self.constants[name] = np.array(values, np.int64)
        return name

    def reshape(self, x: str, name: str, *shape: int) -> str:
        return self.put("Reshape", (x, self.ints(*shape)), name, shape)

    def parts(self, name: str) -> list[str]:
        """Names of a dense layer's factors."""
        return [n for n in (f"{name}.{i}" for i in range(3)) if f"{n}.weight" in self.constants] or [name]

    def dense(self, x: str, name: str) -> str:
        """[1, n, in] -> [1, n, out], factor by factor. A bias makes it a Gemm, which takes matrices."""
        parts = self.parts(name)
        for part in parts:
            weight, bias, n = f"{part}.weight", f"{part}.bias", self.shapes[x][1]
            outs = len(self.constants[weight])
            self.constants[f"{weight}.T"] = np.ascontiguousarray(self.constants[weight].T)
            final = name if part == parts[-1] else part
            if bias not in self.constants:
                x = self.put("MatMul", (x, f"{weight}.T"), final, (1, n, outs))
                continue
            rows = self.reshape(x, f"{part}.rows", n, self.shapes[x][2])
            x = self.put("Gemm", (rows, f"{weight}.T", bias), f"{part}.sum", (n, outs))
            x = self.reshape(x, final, 1, n, outs)
        return x

    def norm(self, x: str, name: str) -> str:
        scale = (x, f"{name}.weight", f"{name}.bias")
        return self.put("LayerNormalization", scale, name, self.shapes[x], axis=-1, epsilon=EPSILON)

    def head(self, x: str, name: str, begin: int, heads: int, depth: int, turned: bool = False) -> str:
        """Channels [begin, begin + heads * depth) as matrices [1, heads, n, depth], or turned over."""
        n, ends = self.shapes[x][1], (self.ints(begin), self.ints(begin + heads * depth), self.ints(2))
        part = self.put("Slice", (x, *ends), f"{name}.slice", (1, n, heads * depth))
        part = self.reshape(part, f"{name}.heads", 1, n, heads, depth)
        perm, shape = ((0, 2, 3, 1), (depth, n)) if turned else ((0, 2, 1, 3), (n, depth))
        return self.put("Transpose", (part,), name, (1, heads, *shape), perm=list(perm))

    def attention(self, x: str, name: str, heads: int, depth: int, bias: str) -> str:
        n, embed, inside = self.shapes[x][1], self.shapes[x][2], heads * depth
        t = self.dense(self.norm(x, f"{name}.norm1"), f"{name}.qkv")
        q = self.head(t, f"{name}.q", 0, heads, depth)
        k = self.head(t, f"{name}.k", inside, heads, depth, turned=True)
        v = self.head(t, f"{name}.v", 2 * inside, heads, depth)
        scores = self.put("MatMul", (q, k), f"{name}.scores", (1, heads, n, n))
        if bias:
            scores = self.put("Add", (scores, bias), f"{name}.biased", (1, heads, n, n))
        share = self.put("Softmax", (scores,), f"{name}.share", (1, heads, n, n), axis=-1)
        o = self.put("MatMul", (share, v), f"{name}.attended", (1, heads, n, depth))
        o = self.put("Transpose", (o,), f"{name}.turned", (1, n, heads, depth), perm=[0, 2, 1, 3])
        o = self.dense(self.reshape(o, f"{name}.joined", 1, n, inside), f"{name}.proj")
        return self.put("Add", (x, o), f"{name}.add1", (1, n, embed))

    def linear(self, x: str, name: str, heads: int, depth: int, least: float, grid: int) -> str:
        """As mcuc.search.vit.network.linear_attention, head by head."""
        embed = self.shapes[x][2]
        t, last = self.norm(x, f"{name}.norm1"), f"{name}.qkv"
        for part in self.parts(last)[:-1]:
            weight = f"{part}.weight"
            self.constants[f"{weight}.T"] = np.ascontiguousarray(self.constants[weight].T)
            t = self.put("MatMul", (t, f"{weight}.T"), part, (*self.shapes[t][:2], len(self.constants[weight])))
        _, n, ins = self.shapes[t]
        rows = self.reshape(t, f"{name}.qkv.rows", n, ins)
        self.constants["least"] = np.array(least, np.float32)
        found = []
        for h in range(heads):
            one = f"{name}.h{h}"
            k, v = (self.part(rows, last, one, role, h, heads, depth) for role in "kv")
            turned = self.put("Transpose", (k,), f"{one}.turned", (1, depth, n), perm=[0, 2, 1])
            keys = self.put("ReduceSum", (turned, self.ints(2)), f"{one}.keys", (1, depth, 1), keepdims=1)
            pairs = self.put("MatMul", (turned, v), f"{one}.pairs", (1, depth, depth))
            near = self.near(v, name, one, h, grid)
            q = self.part(rows, last, one, "q", h, heads, depth)  # not there at once with keys and values
            total = self.put("MatMul", (q, keys), f"{one}.sum", (1, n, 1))
            total = self.put("Clip", (total, "least"), f"{one}.total", (1, n, 1))
            o = self.put("MatMul", (q, pairs), f"{one}.weighted", (1, n, depth))
            o = self.put("Div", (o, total), f"{one}.attended", (1, n, depth))
            found.append(self.put("Add", (o, near), f"{one}.both", (1, n, depth)))
        joined = self.put("Concat", tuple(found), f"{name}.joined", (1, n, heads * depth), axis=2)
        return self.put("Add", (x, self.dense(joined, f"{name}.proj")), f"{name}.add1", (1, n, embed))

    def part(self, rows: str, layer: str, name: str, role: str, head: int, heads: int, depth: int) -> str:
        """A head's queries, keys (relu of both) or values, [1, tokens, depth], of rows [tokens, channels]."""
        begin, final, n = ("qkv".index(role) * heads + head) * depth, self.parts(layer)[-1], self.shapes[rows][0]
        weight, bias = (self.constants[f"{final}.{c}"][begin : begin + depth] for c in ("weight", "bias"))
        self.constants[f"{name}.{role}.weight"] = np.ascontiguousarray(weight.T)
        self.constants[f"{name}.{role}.bias"] = bias
        x = self.put("Gemm", (rows, f"{name}.{role}.weight", f"{name}.{role}.bias"), f"{name}.{role}.sum", (n, depth))
        x = self.put("Relu", (x,), f"{name}.{role}.relu", (n, depth)) if role in "qk" else x
        return self.reshape(x, f"{name}.{role}", 1, n, depth)

    def near(self, v: str, block: str, name: str, head: int, grid: int) -> str:
        """The convolution of a head's values over the grid of patches; 0 for a class token."""
        _, n, depth = self.shapes[v]
        for part in ("weight", "bias"):
            whole = self.constants[f"{block}.local.{part}"]
            self.constants[f"{name}.local.{part}"] = whole[head * depth : (head + 1) * depth]
        first = n - grid**2
        if first:
            v = self.put("Slice", (v, self.ints(first), self.ints(n), self.ints(1)), f"{name}.patches",
                         (1, n - first, depth))  # fmt: skip
        x = self.reshape(v, f"{name}.grid", 1, grid, grid, depth)
        x = self.put("Transpose", (x,), f"{name}.image", (1, depth, grid, grid), perm=[0, 3, 1, 2])
        window = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "group": depth}
        weights = (f"{name}.local.weight", f"{name}.local.bias")
        x = self.put("Conv", (x, *weights), f"{name}.local", self.shapes[x], **window)
        x = self.put("Transpose", (x,), f"{name}.local.grid", (1, grid, grid, depth), perm=[0, 2, 3, 1])
        x = self.reshape(x, f"{name}.local.tokens", 1, n - first, depth)
        if first:
            x = self.put("Pad", (x, self.ints(0, first, 0, 0, 0, 0)), f"{name}.near", (1, n, depth))
        return x

    def mlp(self, x: str, name: str) -> str:
        h = self.dense(self.norm(x, f"{name}.norm2"), f"{name}.fc1")
        h = self.put("Gelu", (h,), f"{name}.gelu", self.shapes[h], approximate="none")
        return self.put("Add", (x, self.dense(h, f"{name}.fc2")), f"{name}.add2", self.shapes[x])


def float_model(
    name: str,
    candidate: VitCandidate,
    classes: int,
    channels: int,
    constants: Mapping[str, Array],
    halves: tuple[str, ...] = HALVES,
) -> FloatModel:
    """Input [1, channels, image, image], pixel / 255; output [1, classes] behind a softmax.

    constants: float32, of Vit's parameters by their names after merging; the queries' scale is in qkv. A dense layer of
    several factors has NAME.0.weight, NAME.1.weight ... and a bias at the last one's name. With relative positions:
    "bias.H" [1, H, tokens, tokens] for each number of heads H that a block with softmax has. halves: of the blocks,
    those that are there.
    """
    c, w = candidate, _Writer(dict(constants))
    w.shapes[INPUT] = (1, channels, c.image, c.image)
    pad, patches, embed = padding(c.image, c.patch), c.grid**2, c.embed
    window = {"kernel_shape": [c.patch] * 2, "strides": [c.patch] * 2, "pads": [pad] * 4, "group": 1}
    x = w.put("Conv", (INPUT, "patch.weight", "patch.bias"), "patch", (1, embed, c.grid, c.grid), **window)
    x = w.reshape(x, "patch.rows", 1, embed, patches)
    x = w.put("Transpose", (x,), "patches", (1, patches, embed), perm=[0, 2, 1])
    if c.pool == "token":
        x = w.put("Concat", ("token", x), "tokens", (1, c.tokens, embed), axis=1)
    if c.position == "absolute":
        x = w.put("Add", (x, "position"), "embedded", (1, c.tokens, embed))
    for i, b in enumerate(c.blocks):
        bias = f"bias.{b.heads}" if c.position == "relative" else ""
        if "attention" in halves and b.attention == "linear":
            x = w.linear(x, f"blocks.{i}", b.heads, c.head_dim, least_total(c), c.grid)
        elif "attention" in halves:
            x = w.attention(x, f"blocks.{i}", b.heads, c.head_dim, bias)
        x = w.mlp(x, f"blocks.{i}") if "mlp" in halves else x
    if c.pool == "token":
        x = w.put("Slice", (x, w.ints(0), w.ints(1), w.ints(1)), "first", (1, 1, embed))
        x = w.reshape(w.norm(x, "norm"), "pooled", 1, embed)
    else:
        x = w.put("ReduceMean", (w.norm(x, "norm"), w.ints(1)), "pooled", (1, embed), keepdims=0)
    w.constants["head.weight.T"] = np.ascontiguousarray(constants["head.weight"].T)
    x = w.put("Gemm", (x, "head.weight.T", "head.bias"), "head", (1, classes))
    w.put("Softmax", (x,), OUTPUT, (1, classes), axis=1)
    used = {n for node in w.nodes for n in node.inputs}
    kept = {n: a for n, a in w.constants.items() if n in used}
    return FloatModel(name, tuple(w.nodes), kept, (INPUT,), (OUTPUT,), w.shapes, frozenset(w.shapes))


def made_up(
    candidate: VitCandidate, classes: int, channels: int, keep_factors: bool = False, seed: int = 0
) -> dict[str, Array]:
    """Constants for float_model from the seed alone. What has one role and shape is the same in every block and
    candidate, so that what is worked out of it is worked out once; rows of weights repeat after ROWS."""
    c = candidate

    def draw(role: str, *shape: int, deviation: float = 1.0, mean: float = 0.0) -> Array:
        rng = np.random.default_rng([seed, *role.encode(), *shape])
        few = (min(shape[0], ROWS), *shape[1:])
        return np.resize(np.asarray(mean + deviation * rng.standard_normal(few), np.float32), shape)

    found = {
        "patch.weight": draw("patch", c.embed, channels, c.patch, c.patch, deviation=1 / c.patch),
        "patch.bias": draw("patch.bias", c.embed, deviation=0.1),
        "token": draw("token", 1, 1, c.embed),
        "position": draw("position", 1, c.tokens, c.embed, deviation=0.5),
        "norm.weight": draw("norm", c.embed, deviation=0.1, mean=1),
        "norm.bias": draw("norm.bias", c.embed, deviation=0.1),
        "head.weight": draw("head", classes, c.embed, deviation=c.embed**-0.5),
        "head.bias": draw("head.bias", classes, deviation=0.1),
    }
    found |= {f"bias.{b.heads}": draw("bias", 1, b.heads, c.tokens, c.tokens) for b in c.blocks}
    for i, block in enumerate(c.blocks):
        for layer, (ins, outs) in dense_shapes(c, block).items():
            count, k = 3 if keep_factors else factors(ins, outs, c.inner), c.inner
            widths = [ins, *[k] * (count - 1), outs]
            for j in range(count):
                name = f"blocks.{i}.{layer}" + (f".{j}" if count > 1 else "")
                a, b = widths[j], widths[j + 1]
                weight = draw(f"{layer}{j}", b, a, deviation=a**-0.5)
                if layer == "qkv" and j == count - 1:  # all heads alike
                    part = draw("qkv", 3, 1, c.head_dim, a, deviation=a**-0.5)
                    weight = np.repeat(part, block.heads, 1).reshape(b, a)
                found[f"{name}.weight"] = weight
            bias = draw(f"{layer}.bias", c.head_dim if layer == "qkv" else outs, deviation=0.1)
            found[f"{name}.bias"] = np.resize(bias, outs)
        if block.attention == "linear":  # all heads alike
            inside = block.heads * c.head_dim
            near = draw("local", c.head_dim, 1, 3, 3, deviation=1 / 3)
            found[f"blocks.{i}.local.weight"] = np.resize(near, (inside, 1, 3, 3))
            found[f"blocks.{i}.local.bias"] = np.resize(draw("local.bias", c.head_dim, deviation=0.1), inside)
        for norm in ("norm1", "norm2"):
            found[f"blocks.{i}.{norm}.weight"] = draw(norm, c.embed, deviation=0.1, mean=1)
            found[f"blocks.{i}.{norm}.bias"] = draw(f"{norm}.bias", c.embed, deviation=0.1)
    return found
