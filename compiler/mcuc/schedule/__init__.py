"""The schedule: in which order, tiles and kernels a graph is executed. A tree of segments over layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcuc.ir import Node
from mcuc.kernels._base import Call, Kernel


@dataclass(frozen=True)
class Tiling:
    """How a layer's loop is cut: columns and channels at a time, 0 for all of them."""

    columns: int = 0
    channels: int = 0


@dataclass(frozen=True, eq=False)
class Layer:
    """One node with the kernel chosen for each of its calls; no calls where the output is the input's bytes.

    scratch: bytes of the arena that the kernels need while the layer runs. why: reason of the choice, for the
    manifest; refused: "kernel: reason" for those that were not taken.
    """

    node: Node
    calls: tuple[tuple[Call, Kernel], ...]
    tiling: Tiling
    scratch: int
    macs: int
    why: str = ""
    refused: tuple[str, ...] = ()

    @property
    def table_bytes(self) -> int:
        """Weights and constants that the layer reads, in bytes."""
        return sum(table.bytes for call, _ in self.calls for table in call.tables)


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of layers executed together. kind "layers": one after the other, each whole."""

    kind: str
    members: tuple[Layer | Segment, ...]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The tree, and its layers in execution order."""

    root: Segment

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(_flatten(self.root))


def _flatten(segment: Segment) -> Iterator[Layer]:
    for member in segment.members:
        if isinstance(member, Segment):
            yield from _flatten(member)
        else:
            yield member
