"""ONNX operators of the simplified float network in PyTorch, for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F

from mcuc.quantize.model import FloatNode

Arguments = Sequence[Any]
Shapes = Sequence[tuple[int, ...]]
Run = Callable[[FloatNode, Arguments, Shapes], Sequence[torch.Tensor]]


def _one(function: Callable[[FloatNode, Arguments], torch.Tensor]) -> Run:
    return lambda node, a, shapes: (function(node, a),)


def _padded(node: FloatNode, x: torch.Tensor, value: float = 0.0) -> tuple[torch.Tensor, list[int]]:
    """x with the part of the padding that differs between the sides; the part that is the same on both."""
    top, left, bottom, right = node.attrs.get("pads", (0, 0, 0, 0))
    same = [min(top, bottom), min(left, right)]
    extra = (left - same[1], right - same[1], top - same[0], bottom - same[0])
    return (F.pad(x, extra, value=value) if any(extra) else x), same


def _conv(node: FloatNode, a: Arguments) -> torch.Tensor:
    x, pad = _padded(node, a[0])
    bias = a[2] if len(a) > 2 else None
    return F.conv2d(
        x,
        a[1],
        bias,
        list(node.attrs.get("strides", (1, 1))),
        pad,
        list(node.attrs.get("dilations", (1, 1))),
        int(node.attrs.get("group", 1)),
    )


def _gemm(node: FloatNode, a: Arguments) -> torch.Tensor:
    w = a[1] if node.attrs.get("transB") else a[1].T
    return F.linear(a[0], w, a[2] if len(a) > 2 else None)


def _average(node: FloatNode, a: Arguments) -> torch.Tensor:
    kernel, strides = list(node.attrs["kernel_shape"]), list(node.attrs.get("strides", (1, 1)))
    x, pad = _padded(node, a[0])
    if x.shape != a[0].shape:  # padding of one side only: what is inside counts
        ones, _ = _padded(node, torch.ones_like(a[0]))
        total = F.avg_pool2d(x, kernel, strides, pad, divisor_override=1)
        return total / F.avg_pool2d(ones, kernel, strides, pad, divisor_override=1)
    return F.avg_pool2d(x, kernel, strides, pad, count_include_pad=bool(node.attrs.get("count_include_pad", 0)))


def _max(node: FloatNode, a: Arguments) -> torch.Tensor:
    x, pad = _padded(node, a[0], float("-inf"))
    return F.max_pool2d(x, list(node.attrs["kernel_shape"]), list(node.attrs.get("strides", (1, 1))), pad)


def _clip(node: FloatNode, a: Arguments) -> torch.Tensor:
    low = a[1] if len(a) > 1 else None
    high = a[2] if len(a) > 2 else None
    return torch.clamp(a[0], None if low is None else float(low), None if high is None else float(high))


def _reshape(node: FloatNode, a: Arguments, shapes: Shapes) -> Sequence[torch.Tensor]:
    """To the static shape, its batch of one being the batch at hand."""
    shape = shapes[0]
    if a[0].numel() == prod(shape):
        return (a[0].reshape(shape),)
    batch = a[0].numel() // prod(shape) if shape and shape[0] == 1 else shape[0] if shape else 1
    return (a[0].reshape(batch, *shape[1:]),)


def rows(node: FloatNode, a: Arguments, shapes: Shapes) -> Sequence[torch.Tensor]:
    """A reshape to a matrix whose rows are those of all samples, one sample after the other."""
    return (a[0].reshape(-1, shapes[0][1]),)


def _concat(node: FloatNode, a: Arguments) -> torch.Tensor:
    """Constants stand beside every sample."""
    batch = max(x.shape[0] for x in a)
    axis = int(node.attrs["axis"])
    return torch.cat([x.expand(batch, *x.shape[1:]) if axis and len(x) == 1 else x for x in a], axis)


def _reduce(function: Callable[..., torch.Tensor]) -> Run:
    def run(node: FloatNode, a: Arguments, shapes: Shapes) -> Sequence[torch.Tensor]:
        given = a[1].tolist() if len(a) > 1 and a[1] is not None else node.attrs.get("axes")
        axes = [int(i) for i in (range(a[0].ndim) if given is None else given)]
        return (function(a[0], axes, bool(node.attrs.get("keepdims", 1))),)

    return run


def _pad(node: FloatNode, a: Arguments) -> torch.Tensor:
    pads, rank = a[1].tolist(), a[0].ndim
    order = [p for i in range(rank - 1, -1, -1) for p in (pads[i], pads[i + rank])]
    return F.pad(a[0], order, value=float(a[2]) if len(a) > 2 and a[2] is not None else 0.0)


def _layer_norm(node: FloatNode, a: Arguments) -> torch.Tensor:
    return F.layer_norm(
        a[0], a[1].shape, a[1], a[2] if len(a) > 2 else None, float(node.attrs.get("epsilon", 1e-5))
    )


def _rms_norm(node: FloatNode, a: Arguments) -> torch.Tensor:
    return F.rms_norm(a[0], a[1].shape, a[1], float(node.attrs.get("epsilon", 1e-5)))


def _slice(node: FloatNode, a: Arguments) -> torch.Tensor:
    """Forwards, along axes that are not the batch's."""
    starts, ends = a[1].tolist(), a[2].tolist()
    axes = a[3].tolist() if len(a) > 3 and a[3] is not None else range(len(starts))
    steps = a[4].tolist() if len(a) > 4 and a[4] is not None else [1] * len(starts)
    x: torch.Tensor = a[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1 or axis % x.ndim == 0:
            raise RuntimeError(f"a slice of axis {axis} by steps of {step}")
        x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
    return x


def _split(node: FloatNode, a: Arguments, shapes: Shapes) -> Sequence[torch.Tensor]:
    axis = int(node.attrs.get("axis", 0))
    return torch.split(a[0], [s[axis] for s in shapes], axis)


RUN: dict[str, Run] = {
    "Abs": _one(lambda n, a: a[0].abs()),
    "Add": _one(lambda n, a: a[0] + a[1]),
    "AveragePool": _one(_average),
    "Clip": _one(_clip),
    "Concat": _one(_concat),
    "Conv": _one(_conv),
    "Div": _one(lambda n, a: a[0] / a[1]),
    "Elu": _one(lambda n, a: F.elu(a[0], float(n.attrs.get("alpha", 1.0)))),
    "Flatten": _reshape,
    "Gelu": _one(lambda n, a: F.gelu(a[0], approximate="tanh" if n.attrs.get("approximate") == b"tanh" else "none")),
    "Gemm": _one(_gemm),
    "GroupNormalization": _one(
        lambda n, a: F.group_norm(a[0], int(n.attrs["num_groups"]), a[1], a[2], float(n.attrs.get("epsilon", 1e-5)))
    ),
    "GlobalAveragePool": _one(lambda n, a: a[0].mean((2, 3), keepdim=True)),
    "GlobalMaxPool": _one(lambda n, a: a[0].amax((2, 3), keepdim=True)),
    "HardSigmoid": _one(
        lambda n, a: (float(n.attrs.get("alpha", 0.2)) * a[0] + float(n.attrs.get("beta", 0.5))).clamp(0, 1)
    ),
    "HardSwish": _one(lambda n, a: F.hardswish(a[0])),
    "Identity": _one(lambda n, a: a[0]),
    "InstanceNormalization": _one(
        lambda n, a: F.instance_norm(a[0], weight=a[1], bias=a[2], eps=float(n.attrs.get("epsilon", 1e-5)))
    ),
    "LayerNormalization": _one(_layer_norm),
    "LeakyRelu": _one(lambda n, a: F.leaky_relu(a[0], float(n.attrs.get("alpha", 0.01)))),
    "LogSoftmax": _one(lambda n, a: F.log_softmax(a[0], int(n.attrs.get("axis", -1)))),
    "LpNormalization": _one(lambda n, a: F.normalize(a[0], dim=int(n.attrs.get("axis", -1)))),
    "MatMul": _one(lambda n, a: a[0] @ a[1]),
    "Max": _one(lambda n, a: torch.maximum(a[0], a[1])),
    "MaxPool": _one(_max),
    "Min": _one(lambda n, a: torch.minimum(a[0], a[1])),
    "Mish": _one(lambda n, a: F.mish(a[0])),
    "Mul": _one(lambda n, a: a[0] * a[1]),
    "Neg": _one(lambda n, a: -a[0]),
    "PRelu": _one(lambda n, a: torch.where(a[0] >= 0, a[0], a[0] * a[1])),
    "Pad": _one(_pad),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep)),
    "Relu": _one(lambda n, a: F.relu(a[0])),
    "Reshape": _reshape,
    "Sigmoid": _one(lambda n, a: torch.sigmoid(a[0])),
    "RMSNormalization": _one(_rms_norm),
    "SimplifiedLayerNormalization": _one(_rms_norm),
    "Softmax": _one(lambda n, a: F.softmax(a[0], int(n.attrs.get("axis", -1)))),
    "Softplus": _one(lambda n, a: F.softplus(a[0])),
    "Softsign": _one(lambda n, a: F.softsign(a[0])),
    "Slice": _one(_slice),
    "Split": _split,
    "Squeeze": _reshape,
    "Sub": _one(lambda n, a: a[0] - a[1]),
    "Tanh": _one(lambda n, a: torch.tanh(a[0])),
    "Transpose": _one(lambda n, a: a[0].permute(list(n.attrs["perm"]))),
    "Unsqueeze": _reshape,
    "Where": _one(lambda n, a: torch.where(a[0], a[1], a[2])),
}
