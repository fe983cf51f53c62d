"""The schedule: in which order, tiles and kernels a graph is executed. A tree of segments over layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mcuc.ir import Node
from mcuc.kernels._base import Call, Kernel


@dataclass(frozen=True)
class Tiling:
    """How a layer's loop is cut: columns and channels at a time, 0 for all of them."""

    columns: int = 0
    channels: int = 0


@dataclass(frozen=True, eq=False)
class Reduction:
    """A layer that averages a whole image, done while the image passes by: `accumulate` adds a row of pixels to
    `state_bytes` bytes of sums, `finish` turns the sums into the output."""

    accumulate: tuple[Call, Kernel]
    finish: tuple[Call, Kernel]
    state_bytes: int


@dataclass(frozen=True, eq=False)
class Layer:
    """One node with the kernel chosen for each of its calls; no calls where the output is the input's bytes.

    scratch: bytes of the arena that the kernels need while the layer runs. why: reason of the choice, for the
    manifest; refused: "kernel: reason" for those that were not taken. reduction: how a stream runs the layer where
    its calls would need the whole image at once.
    into: the tensor in whose bytes the output lies, from byte `at` on, "" where it has bytes of its own (see views.py);
    the layer's own output where other layers write all of it. pitch: bytes from one pixel of the output to the next
    where they lie apart in `into`, 0 where the output is one run of bytes. staged: the first table of its one call is
    copied to the end of the scratch before the layer runs (see staging.py); block: channels whose part of it is there
    at a time, for all pixels, 0 for all of it. again: another layer computes the same.
    """

    node: Node
    calls: tuple[tuple[Call, Kernel], ...]
    tiling: Tiling
    scratch: int
    macs: int
    why: str = ""
    refused: tuple[str, ...] = ()
    reduction: Reduction | None = None
    into: str = ""
    at: int = 0
    pitch: int = 0
    staged: bool = False
    block: int = 0
    again: bool = False

    @property
    def by_channels(self) -> bool:
        """Whether some of its channels are computed at a time, for all pixels that are there."""
        return self.tiling.channels > 0 or self.block > 0

    @property
    def table_bytes(self) -> int:
        """Weights and constants that the layer reads, in bytes."""
        return sum(table.bytes for call, kernel in self.calls for table in kernel.tables(call))


@dataclass(frozen=True)
class Line:
    """Where a stream keeps a tensor: row r in slot r % slots, and `window` columns of the row that is being written.

    window 0: rows are written straight into their slots. slots 0: no row outlives the window. width: columns, in
    strips those of the widest. pixel_bytes: with groups of channels those of a group. live: the stream's ticks
    [lower, upper) in which any byte of it is in use.
    """

    slots: int
    window: int
    width: int
    pixel_bytes: int
    live: tuple[int, int]

    @property
    def slots_bytes(self) -> int:
        """Of the whole rows, rounded up to words so that the window begins at one."""
        return (self.slots * self.width * self.pixel_bytes + 3) & ~3

    @property
    def bytes(self) -> int:
        """Of slots and window together."""
        return self.slots_bytes + self.window * self.pixel_bytes


@dataclass(frozen=True, eq=False)
class Stream:
    """How a segment's layers run together, row by row, nothing computed twice unless in strips.

    passes: bit j of an entry: member j computes its next output row in that pass, members in order. Bit len(members)
    of an entry: the next row of `pushed`, an input that arrives by rows, is taken in before. steps: the most columns
    that a member computes at a time, () for whole rows. lines: tensor inside the stream -> where its rows are.

    strips: the passes run once for each, from top to bottom of the image, and member j computes columns [begin, end)
    of its grid, the j-th pair; () for whole rows. recomputed: MACs of the pixels that several strips compute.
    group: the passes run once for each run of so many channels of the first member (see groups.py); 0 for all at once.
    blocks: of columns that all members compute in turns, one pass in all (see tokens.py), 0 where it is no such stream;
    then the lines lie in one buffer of `shared` bytes, each at its offset.
    """

    passes: tuple[int, ...]
    steps: tuple[int, ...]
    lines: Mapping[str, Line]
    pushed: str | None = None
    strips: tuple[tuple[tuple[int, int], ...], ...] = ()
    recomputed: int = 0
    group: int = 0
    blocks: int = 0
    offsets: Mapping[str, int] = field(default_factory=dict)
    shared: int = 0

    @property
    def line_bytes(self) -> int:
        """Of all lines, or of the buffer that they share."""
        return self.shared if self.blocks else sum(line.bytes for line in self.lines.values())

    @property
    def ticks(self) -> int:
        """Steps of time of the lifetimes: a pass; where the passes run once a group of channels, those of the last
        group, and one tick before them for all other groups; a member's run over a block of tokens."""
        if self.blocks:
            return self.blocks * len(self.steps)
        return len(self.passes) * max(1, len(self.strips)) + (self.group > 0)


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of layers executed together. kind "layers": one after the other, each whole; "stream", "strips" and
    "groups": as `stream` says."""

    kind: str
    members: tuple[Layer | Segment, ...]
    stream: Stream | None = None


@dataclass(frozen=True, eq=False)
class Schedule:
    """The tree, and its layers in execution order."""

    root: Segment

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(_flatten(self.root))

    @property
    def recomputed(self) -> int:
        """MACs that are computed more than once, in total."""
        layers = sum(layer.macs for layer in self.layers if layer.again)
        return layers + sum(u.stream.recomputed for u in self.segments if isinstance(u, Segment) and u.stream)

    @property
    def segments(self) -> tuple[Layer | Segment, ...]:
        """The layers that run alone and the streams, in execution order."""
        return tuple(_units(self.root))


def _flatten(segment: Segment) -> Iterator[Layer]:
    for member in segment.members:
        if isinstance(member, Segment):
            yield from _flatten(member)
        else:
            yield member


def _units(segment: Segment) -> Iterator[Layer | Segment]:
    for member in segment.members:
        if isinstance(member, Segment) and member.stream is None:
            yield from _units(member)
        else:
            yield member
