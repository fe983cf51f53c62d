"""What the translation of a float .tflite to ONNX builds, and the view that a translated operator has of its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array

OPSET = 20  # the first with Gelu; ONNX Runtime and mcuc's importer read it
NCHW, NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
# TFLite's fused activations: number -> Clip bounds (None: open); tanh apart.
CLIPS: dict[int, tuple[float | None, float | None]] = {1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
TANH = 4


def refuse(code: str, found: str, where: str, try_this: str) -> McucError:
    """An error of the translation."""
    return McucError(code, found, where=where, try_this=try_this)


@dataclass
class Building:
    """The ONNX graph so far. shapes: of every tensor of the file, by its name; constants: by name."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def name(self, wanted: str) -> str:
        """A name that nothing has yet."""
        candidate, number = wanted, 1
        while candidate in self.taken:
            candidate, number = f"{wanted}_{number}", number + 1
        self.taken.add(candidate)
        return candidate

    def constant(self, wanted: str, data: Array | np.float32) -> str:
        """Adds a constant; returns its name."""
        name = self.name(wanted)
        self.constants[name] = np.asarray(data)
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node of one output; returns the output's name."""
        from onnx import helper

        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"{len(self.nodes)}:{kind}", **attributes)
        )
        return output

    def step(self, kind: str, inputs: Sequence[str], near: str, **attributes: Any) -> str:
        """Adds a node whose output only the next one reads."""
        return self.add(kind, inputs, self.name(f"{near}/{kind.lower()}"), **attributes)


@dataclass(frozen=True, eq=False)
class Operation:
    """One operator of the file. inputs: names, "" where absent; outputs: names; options: TFLite's options object."""

    graph: Building
    kind: str
    options: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    where: str

    @property
    def out(self) -> str:
        return self.outputs[0]

    def shape(self, name: str) -> tuple[int, ...]:
        """The static shape of a tensor of the file."""
        return self.graph.shapes[name]

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.inputs[index])

    def constant(self, index: int) -> Array:
        """The data of a constant input. Raises McucError where it is computed at run time or absent."""
        if not self.has(index) or self.inputs[index] not in self.graph.constants:
            found = self.inputs[index] if self.has(index) else "nothing"
            raise refuse(
                "not-constant",
                f"{self.kind} needs a constant input {index}, found {found!r}",
                self.where,
                "freeze this input into a constant before converting",
            )
        return self.graph.constants[self.inputs[index]]

    def activated(self, value: str, fused: int) -> str:
        """The fused activation behind a value."""
        if fused == 0:
            return value
        if fused == TANH:
            return self.graph.step("Tanh", [value], self.out)
        if fused == 1:
            return self.graph.step("Relu", [value], self.out)
        if fused not in CLIPS:
            raise refuse(
                "unsupported-activation",
                f"fused activation number {fused}",
                self.where,
                "use RELU, RELU6, RELU_N1_TO_1, TANH or none",
            )
        return self.clipped(value, *CLIPS[fused])

    def clipped(self, value: str, low: float | None, high: float | None) -> str:
        """The value between two bounds."""
        bounds = ["" if b is None else self.graph.constant(f"{self.out}/bound", np.float32(b)) for b in (low, high)]
        return self.graph.step("Clip", [value, *bounds], self.out)

    def first(self, value: str) -> str:
        """A rank-4 value channels first."""
        return self.graph.step("Transpose", [value], self.out, perm=NCHW)

    def finish(self, value: str, fused: int = 0, channels_first: bool = False) -> None:
        """The output from a value: its fused activation, TFLite's order, its name."""
        value = self.activated(value, fused)
        if channels_first:
            self.graph.add("Transpose", [value], self.out, perm=NHWC)
        else:
            self.graph.add("Identity", [value], self.out)
