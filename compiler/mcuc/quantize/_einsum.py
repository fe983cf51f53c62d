"""Einsum of two values as a product of matrices, which has kernels and, with a constant, weights of its own.

The indices of an Einsum are of four kinds: in both operands and the result (batch), in both operands only (summed), in
one operand and the result (rows, columns). With the operands as [batch, rows, summed] and [batch, summed, columns] it
is one MatMul.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode

Shape = tuple[int, ...]


@dataclass
class _Steps:
    """Nodes, constants and shapes that are added for one Einsum."""

    name: str
    nodes: list[FloatNode] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def moved(self, value: str, shape: Shape, perm: list[int]) -> tuple[str, Shape]:
        """The value with its axes in that order."""
        to = tuple(shape[p] for p in perm)
        return (value, shape) if perm == sorted(perm) else (self._put("Transpose", (value,), to, {"perm": perm}), to)

    def shaped(self, value: str, shape: Shape, to: Shape) -> str:
        """The value in another shape."""
        if shape == to:
            return value
        name = f"{self.name}/shape{len(self.nodes)}"
        self.constants[name] = np.array(to, np.int64)
        return self._put("Reshape", (value, name), to, {})

    def product(self, a: str, b: str, to: Shape) -> str:
        """Their matrix product."""
        return self._put("MatMul", (a, b), to, {})

    def _put(self, kind: str, inputs: tuple[str, ...], to: Shape, attrs: dict[str, object]) -> str:
        value = f"{self.name}/{kind}{len(self.nodes)}"
        self.nodes.append(FloatNode(f"{self.name}/{kind}{len(self.nodes)}", kind, inputs, (value,), attrs))
        self.shapes[value] = to
        return value


def einsums(model: FloatModel) -> FloatModel:
    """Each Einsum of two operands whose indices are of these kinds as Transpose, Reshape and MatMul; others stay."""
    nodes: list[FloatNode] = []
    for node in model.nodes:
        steps = _product(node, model) if node.kind == "Einsum" else None
        if steps is None:
            nodes.append(node)
            continue
        last = replace(steps.nodes[-1], name=node.name, outputs=node.outputs)
        del steps.shapes[steps.nodes[-1].outputs[0]]
        nodes += [*steps.nodes[:-1], last]
        model = replace(
            model,
            constants={**model.constants, **steps.constants},
            shapes={**model.shapes, **steps.shapes},
            real=model.real | frozenset(steps.shapes),
        )
    return replace(model, nodes=tuple(nodes))


def _product(node: FloatNode, model: FloatModel) -> _Steps | None:
    equation = bytes(node.attrs["equation"]).decode().replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or "." in equation or any(len(set(t)) != len(t) for t in (*terms, out)):
        return None
    a, b = terms
    batch, rows = [i for i in out if i in a and i in b], [i for i in out if i in a and i not in b]
    columns, summed = [i for i in out if i not in a], [i for i in a if i in b and i not in out]
    if set(a) != {*batch, *rows, *summed} or set(b) != {*batch, *columns, *summed}:
        return None
    data = [model.constants.get(n) for n in node.inputs]
    shapes = [d.shape if d is not None else model.shapes[n] for n, d in zip(node.inputs, data, strict=True)]
    size = {i: n for term, shape in zip(terms, shapes, strict=True) for i, n in zip(term, shape, strict=True)}
    if any(size[i] != n for term, shape in zip(terms, shapes, strict=True) for i, n in zip(term, shape, strict=True)):
        return None

    def count(indices: list[str]) -> int:
        return prod(size[i] for i in indices)

    steps = _Steps(node.outputs[0])
    first = tuple(size[i] for i in batch) if any(size[i] != 1 for i in batch) else ()
    wanted = (
        (a, [*batch, *rows, *summed], (*first, count(rows), count(summed))),
        (b, [*batch, *summed, *columns], (*first, count(summed), count(columns))),
    )
    operands: list[str] = []
    for (term, order, to), name, array, shape in zip(wanted, node.inputs, data, shapes, strict=True):
        perm = [term.index(i) for i in order]
        if array is not None:
            operand = f"{steps.name}/operand{len(operands)}"
            steps.constants[operand] = np.ascontiguousarray(array.transpose(perm).reshape(to))
        else:
            operand = steps.shaped(*steps.moved(name, shape, perm), to)
        operands.append(operand)
    product = steps.product(operands[0], operands[1], (*first, count(rows), count(columns)))
    made = [*batch, *rows, *columns]
    spread = steps.shaped(product, (*first, count(rows), count(columns)), tuple(size[i] for i in made))
    steps.moved(spread, tuple(size[i] for i in made), [made.index(i) for i in out])
    return steps
