"""Einsum of two values as a product of matrices, which has kernels and, with a constant, weights of its own.

The indices of an Einsum are of four kinds: in both operands and the result (batch), in both operands only (summed), in
one operand and the result (rows, columns). With the operands as [batch, rows, summed] and [batch, summed, columns] it
is one MatMul.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from mcuc.quantize._steps import Steps
from mcuc.quantize.model import FloatModel, FloatNode


def einsums(model: FloatModel) -> FloatModel:
    """Each Einsum of two operands whose indices are of these kinds as Transpose, Reshape and MatMul; others stay."""
    nodes: list[FloatNode] = []
    consumers, taken = model.consumers(), set[str]()
    for node in model.nodes:
        if node.name in taken:
            continue
        readers = consumers.get(node.outputs[0], []) if node.outputs[0] not in model.outputs else []
        add = readers[0][0] if len(readers) == 1 and readers[0][0].kind == "Add" else None
        steps = _product(node, model, add) if node.kind == "Einsum" else None
        if steps is None:
            nodes.append(node)
            continue
        if add is not None and f"{steps.name}/bias" in steps.constants:
            taken.add(add.name)
            node = add
        nodes += steps.instead_of(node)
        model = steps.added(model)
    return replace(model, nodes=tuple(nodes))


def _product(node: FloatNode, model: FloatModel, add: FloatNode | None) -> Steps | None:
    """add: the addition of a constant behind it, which may be the bias of a dense layer."""
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

    steps = Steps(node.outputs[0])
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
    constant = next((n for n in add.inputs if n in model.constants), "") if add is not None else ""
    bias = ""
    if constant and data[1] is not None and not first and columns and out.endswith("".join(columns)):
        values = model.constants[constant]
        if values.shape == tuple(size[i] for i in columns):
            bias = f"{steps.name}/bias"
            steps.constants[bias] = np.ascontiguousarray(values.reshape(-1))
    inputs, kind = ((*operands, bias), "Gemm") if bias else (tuple(operands), "MatMul")
    product = steps.put(kind, inputs, (*first, count(rows), count(columns)))
    made = [*batch, *rows, *columns]
    spread = steps.shaped(product, (*first, count(rows), count(columns)), tuple(size[i] for i in made))
    steps.moved(spread, tuple(size[i] for i in made), [made.index(i) for i in out])
    return steps
