"""Nodes that take the place of one: what a function of ONNX consists of, with the values in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode

Shape = tuple[int, ...]


@dataclass
class Steps:
    """Nodes, constants and shapes in the making; names begin with `name`, a value's."""

    name: str
    nodes: list[FloatNode] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def put(self, kind: str, inputs: tuple[str, ...], to: Shape, attrs: Mapping[str, object] | None = None) -> str:
        """The value of one more node."""
        value = f"{self.name}/{kind}{len(self.nodes)}"
        self.nodes.append(FloatNode(value, kind, inputs, (value,), attrs or {}))
        self.shapes[value] = to
        return value

    def const(self, data: Array) -> str:
        """One more constant."""
        name = f"{self.name}/constant{len(self.constants)}"
        self.constants[name] = data
        return name

    def moved(self, value: str, shape: Shape, perm: list[int]) -> tuple[str, Shape]:
        """The value with its axes in that order."""
        to = tuple(shape[p] for p in perm)
        return (value, shape) if perm == sorted(perm) else (self.put("Transpose", (value,), to, {"perm": perm}), to)

    def shaped(self, value: str, shape: Shape, to: Shape) -> str:
        """The value in another shape."""
        return value if shape == to else self.put("Reshape", (value, self.const(np.array(to, np.int64))), to)

    def instead_of(self, node: FloatNode) -> list[FloatNode]:
        """The nodes, the last with that node's name and output."""
        last = self.nodes[-1]
        del self.shapes[last.outputs[0]]
        return [*self.nodes[:-1], replace(last, name=node.name, outputs=node.outputs)]

    def added(self, model: FloatModel) -> FloatModel:
        """The model with the constants and the values in between."""
        return replace(
            model,
            constants={**model.constants, **self.constants},
            shapes={**model.shapes, **self.shapes},
            real=model.real | frozenset(self.shapes),
        )
