"""Norms and softmax in elementary operators become one node again.

Like the functions of one value (patterns.py) they are recognised by what they compute, not by how it is spelled: a run
of element-by-element nodes and reductions is evaluated on random rows and compared. What is left is a factor and an
offset for each element, which are measured: gamma and beta, wherever the spelling has put them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize._norm_nodes import RMS, RowFunction, depends_on, with_function
from mcuc.quantize._regions import (
    EVALUATE,
    REDUCE,
    RESHAPE,
    Region,
    evaluated,
    reduced_axes,
    regions,
)
from mcuc.quantize.model import FloatModel, FloatNode

CLOSE = 2e-5  # constants in files are float32
MOST_ELEMENTS = 1 << 22  # of a value that random rows stand for: 32 MB in float64
DRAWS = 5
SMALLEST_ROW = 3  # a normalised row of two says nothing but which is larger
ROOTS, POWERS = {"Sqrt", "Pow", "ReduceL2", "InstanceNormalization"}, {"Exp", "ReduceLogSumExp"}


def row_functions(model: FloatModel) -> FloatModel:
    """Layer norms, root-mean-square norms, second norms, instance and group norms, softmax and its logarithm as nodes
    of their own, until nothing changes."""
    while True:
        producers, consumers = model.producers(), model.consumers()
        order = {n.name: i for i, n in enumerate(model.nodes)}

        def allowed(node: FloatNode, model: FloatModel = model) -> bool:
            return _takes_part(node, model)

        for last in reversed(model.nodes):
            if last.kind not in (*EVALUATE, "Reshape", "Transpose") or last.outputs[0] not in model.real:
                continue
            candidates = regions(model, last, producers, consumers, order, allowed)
            matches = [f for r in candidates if (f := _row_function(r, model)) is not None]
            # The longest: a layer norm is a root-mean-square norm of differences, too.
            found = next((f for f in reversed(matches) if not f.perm), matches[-1] if matches else None)
            if found is not None:
                model = with_function(model, last, found)
                break
        else:
            return model


def _takes_part(node: FloatNode, model: FloatModel) -> bool:
    if node.kind in REDUCE:
        return reduced_axes(node, model) is not None
    if node.kind == "Transpose":
        return True
    if node.kind == "InstanceNormalization":
        return all(n in model.constants for n in node.inputs[1:])
    return (node.kind in EVALUATE or node.kind in RESHAPE) and node.outputs[0] in model.real


def _row_function(region: Region, model: FloatModel) -> RowFunction | None:
    """What the run computes of its source, where it is one of these functions, with its axes in any order."""
    shape, to = model.shapes.get(region.source, ()), model.shapes[region.nodes[-1].outputs[0]]
    rows = [n for n in region.nodes if n.kind in (*REDUCE, "InstanceNormalization") and n.inputs[0] in model.shapes]
    if not rows or region.source not in model.real or len(shape) < 2 or len(shape) != len(to):
        return None
    if any(math.prod(model.shapes.get(v, ())) > MOST_ELEMENTS for v in (region.source, *_values(region))):
        return None
    turns = {tuple(n.attrs["perm"]) for n in region.nodes if n.kind == "Transpose" and "perm" in n.attrs}
    perms = {p for p in turns if len(p) == len(shape)}
    perms |= {tuple(int(i) for i in np.argsort(p)) for p in perms}
    over = {(model.shapes[n.inputs[0]], _axes(n, model)) for n in rows}
    for perm in ((), *sorted(perms)):
        if tuple(shape[p] for p in perm or range(len(shape))) == to:
            found = _function(_Run(region, model, perm), over, sorted(perms))
            if found is not None:
                return replace(found, perm=perm)
    return None


def _values(region: Region) -> list[str]:
    return [node.outputs[0] for node in region.nodes]


@dataclass(frozen=True, eq=False)
class _Run:
    """A run whose result lies in the order `perm` of its source's axes, () for the same."""

    region: Region
    model: FloatModel
    perm: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.model.shapes[self.region.source]

    def __call__(self, x: Array) -> Array:
        y = evaluated(self.region, self.model, x)
        return y.transpose(np.argsort(self.perm)) if self.perm else y


def _function(
    run: _Run, over: Set[tuple[tuple[int, ...], tuple[int, ...]]], perms: Sequence[tuple[int, ...]]
) -> RowFunction | None:
    """over: shape and axes of each reduction in the run."""
    shape, kinds = run.shape, {n.kind for n in run.region.nodes}
    axes = {along for inner, along in over if len(inner) == len(shape)}
    axes |= {tuple(sorted(perm[a] for a in along)) for along in axes for perm in perms}
    for along in sorted(axes):
        if along and np.prod([shape[a] for a in along]) >= SMALLEST_ROW:
            found = _softmax(run, along) if kinds & POWERS else _norm(run, along) if kinds & ROOTS else None
            if found is not None:
                return found
    for inner, along in sorted(over) if kinds & ROOTS and len(shape) > 2 else ():
        groups = _groups(shape, inner, along)
        found = _norm(run, tuple(range(1, len(shape))), *groups) if groups is not None else None
        if found is not None:
            return found
    return None


def _axes(node: FloatNode, model: FloatModel) -> tuple[int, ...]:
    if node.kind == "InstanceNormalization":
        return tuple(range(2, len(model.shapes[node.inputs[0]])))
    return reduced_axes(node, model) or ()


def _groups(shape: tuple[int, ...], inner: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, int] | None:
    """Number of groups and axis of the channels, where a reduction of the reshaped value is one over groups of them."""
    rank = len(inner)
    if rank > 2 and inner[0] == shape[0] and np.prod(inner) == np.prod(shape):
        if axes == tuple(range(2, rank)) and shape[1] % inner[1] == 0:
            return inner[1], 1
        last = shape[-1] == inner[-1] * inner[-2] and inner[:-2] == shape[:-1]
        if last and axes == (*range(1, rank - 2), rank - 1):
            return inner[-2], len(shape) - 1
    return None


def _softmax(run: _Run, axes: tuple[int, ...]) -> RowFunction | None:
    if len(axes) != 1:
        return None
    x = np.random.default_rng(0).normal(0, 2, run.shape)
    got, shifted = run(x), x - x.max(axes, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axes, keepdims=True))
    for kind, wanted in (("Softmax", np.exp(log)), ("LogSoftmax", log)):
        if np.allclose(got, wanted, CLOSE, CLOSE):
            return RowFunction(kind, run.region.source, axes)
    return None


def _norm(run: _Run, axes: tuple[int, ...], groups: int = 0, channels: int = 1) -> RowFunction | None:
    rng, shape = np.random.default_rng(0), run.shape
    drawn = [rng.normal(0.3, 1.5, shape) for _ in range(DRAWS)] + [rng.normal(0.002, 0.004, shape)]
    answers = [run(x) for x in drawn]  # the last is small, so that epsilon counts
    if not all(np.isfinite(y).all() for y in answers):
        return None
    for epsilon in (*_numbers(run.region, run.model), 0.0):
        for kind in ("GroupNormalization",) if groups else ("LayerNormalization", RMS):
            rows = [_rows(x, groups, channels) for x in drawn] if groups else drawn
            along = (2,) if groups else axes
            normal = [_normalised(x, along, epsilon, kind) for x in rows]
            pairs = [(_unrows(n, y.shape, channels) if groups else n, y) for n, y in zip(normal, answers, strict=True)]
            gamma, beta = _line(pairs[:DRAWS])
            size = max(float(np.abs(y).max()) for y in answers)
            if all(np.allclose(gamma * n + beta, y, CLOSE, CLOSE * size) for n, y in pairs):
                narrow = (_narrow(gamma, size), _narrow(beta, size))
                found = RowFunction(kind, run.region.source, axes, epsilon, *narrow, groups, channels)
                return found if not groups or depends_on(found.gamma) | depends_on(found.beta) <= {channels} else None
    return None


def _numbers(region: Region, model: FloatModel) -> Iterator[float]:
    """What may be the epsilon of a norm: small positive numbers that are added."""
    for node in region.nodes:
        if node.kind == "InstanceNormalization":
            yield float(node.attrs.get("epsilon", 1e-5))
        for name in node.inputs if node.kind in ("Add", "Sum") else ():
            data = model.constants.get(name)
            if data is not None and data.size == 1 and 0 < float(data.reshape(-1)[0]) < 1:
                yield float(data.reshape(-1)[0])


def _rows(x: Array, groups: int, channels: int) -> Array:
    """[batch, groups, what is normalised together]."""
    return np.moveaxis(x, channels, 1).reshape(len(x), groups, -1)


def _unrows(rows: Array, shape: tuple[int, ...], channels: int) -> Array:
    first = (shape[0], shape[channels], *(n for i, n in enumerate(shape) if i not in (0, channels)))
    return np.moveaxis(rows.reshape(first), 1, channels)


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float, kind: str) -> Array:
    centred = x if kind == RMS else x - x.mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon))


def _line(pairs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Slope and offset of each element over the pairs (n, y): least squares."""
    n, y = (np.stack(values) for values in zip(*pairs, strict=True))
    centre, level = n.mean(0), y.mean(0)
    slope = ((n - centre) * (y - level)).sum(0) / np.maximum(((n - centre) ** 2).sum(0), 1e-30)
    return slope, level - slope * centre


def _narrow(values: Array, size: float) -> Array:
    """The array with size 1 on each axis along which it does not change; zero where it is nothing against `size`."""
    if np.abs(values).max() < CLOSE * size:
        return np.zeros((1,) * values.ndim, np.float32)
    for axis in range(values.ndim):
        first = values.take([0], axis)
        if np.allclose(values, first, CLOSE, CLOSE * size):
            values = first
    return np.asarray(values, np.float32)
