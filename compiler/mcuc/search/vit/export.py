"""A transformer of the space as a float network that quantization works on: written as ONNX Runtime would simplify it,
so that the graph of the search's made-up weights and that of the trained ones are the same.

Heads are slices of one dense layer's channels; a class token is picked before the last norm, which treats tokens alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode
from mcuc.search.spaces.vit_lowrank import VitCandidate, check_attention, dense_shapes, factors, padding

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

    def dense(self, x: str, name: str) -> str:
        """[1, n, in] -> [1, n, out], factor by factor. A bias makes it a Gemm, which takes matrices."""
        parts = [n for n in (f"{name}.{i}" for i in range(3)) if f"{n}.weight" in self.constants] or [name]
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
    "bias.H" [1, H, tokens, tokens] for each number of heads H that a block has. halves: of the blocks, those that are
    there. Raises McucError("unsupported-attention").
    """
    check_attention(candidate)
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
        x = w.attention(x, f"blocks.{i}", b.heads, c.head_dim, bias) if "attention" in halves else x
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
        for norm in ("norm1", "norm2"):
            found[f"blocks.{i}.{norm}.weight"] = draw(norm, c.embed, deviation=0.1, mean=1)
            found[f"blocks.{i}.{norm}.bias"] = draw(f"{norm}.bias", c.embed, deviation=0.1)
    return found
