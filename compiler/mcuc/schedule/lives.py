"""Which bytes layers need from each other, and the most that a unit of layers holds at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

from mcuc.ir import Graph
from mcuc.plan.accesses import Accesses, Pieces, latest
from mcuc.schedule import Layer
from mcuc.schedule.views import places, spread

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, eq=False)
class Common:
    """What all schedules of a network have in common. per_byte: cycles that a byte of a table takes; known: what
    units.py keeps of units that are alike, of whatever form and order of the network's layers."""

    per_byte: float = 0.0
    known: dict[Hashable, tuple[tuple[int, int, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Lives:
    """root: tensor -> the tensor whose storage it has (behind reshapes, see views.py); begins: its first byte there;
    last: layer number of a storage's last reader (number of layers for outputs); shared: storages that other tensors'
    layers write into or read in part. pieces: of each storage (start, end, layer number of the first writer of these
    bytes, -1 for model inputs, and of their last reader). attention: some layers multiply tokens by
    tokens."""

    root: Mapping[str, str]
    begins: Mapping[str, int]
    last: Mapping[str, int]
    shared: frozenset[str]
    pieces: Mapping[str, tuple[tuple[int, int, int, int], ...]]
    attention: bool = False
    common: Common = field(default_factory=Common)

    @cached_property
    def _at(self) -> list[dict[tuple[str, int], None]]:
        """For each layer the (storage, number of the piece) that are alive while it runs."""
        count = 1 + max(self.last.values(), default=0)
        found: list[dict[tuple[str, int], None]] = [{} for _ in range(count)]
        for root, pieces in self.pieces.items():
            for i, (_, _, first, last) in enumerate(pieces):
                for k in range(max(0, first), min(last, count - 1) + 1):
                    found[k][root, i] = None
        return found

    def alive(self, begin: int, end: int) -> list[tuple[str, int, int, int, int]]:
        """(storage, its piece) of the pieces that are alive in some of the layers [begin, end)."""
        keys = dict.fromkeys(key for k in range(begin, end) for key in self._at[k])
        return [(root, *self.pieces[root][i]) for root, i in keys]


def lives_of(
    layers: Sequence[Layer], graph: Graph, pushed: str | None = None, common: Common | None = None
) -> Lives:
    """Storages when every layer runs alone and nothing is in place. pushed: an input that is never held whole."""
    place = places(layers, graph)
    writes: dict[str, list[tuple[int, int, int]]] = {}
    reads: dict[str, list[tuple[int, int, int]]] = {}

    def touch(side: dict[str, list[tuple[int, int, int]]], name: str, k: int) -> None:
        begin = place[name].first
        side.setdefault(place[name].root, []).append((begin, begin + spread(graph.tensors[name], place[name].pitch), k))

    for name in graph.given:
        touch(writes, name, -1)
    for k, layer in enumerate(layers):
        names = graph.runtime_inputs(layer.node)
        for i in {rows.input for call, _ in layer.calls for rows in call.rows}:
            touch(reads, names[i], k)
        if layer.calls:
            touch(writes, layer.node.outputs[0], k)
    for name in graph.kept:
        touch(reads, name, len(layers))
    states = {n for s in graph.states for n in (s.current, s.next)}
    last = {root: max(k for *_, k in (*found, *reads.get(root, ()))) for root, found in writes.items()}
    last |= dict.fromkeys(states & last.keys(), len(layers))
    elsewhere = {pushed, *states}  # not in the arena
    pieces = {root: _pieces(found, reads.get(root, [])) for root, found in writes.items() if root not in elsewhere}
    shared = frozenset(layer.into for layer in layers if layer.into)
    root, begins = {n: v.root for n, v in place.items()}, {n: v.first for n, v in place.items()}
    attention = any(layer.node.op == "batch_matmul" for layer in layers)
    return Lives(root, begins, last, shared, pieces, attention, common or Common())


def _pieces(
    writes: Sequence[tuple[int, int, int]], reads: Sequence[tuple[int, int, int]]
) -> tuple[tuple[int, int, int, int], ...]:
    """(start, end, first writer, last reader or writer) of all written bytes, from (start, end, layer number)s."""
    cuts = sorted({at for start, end, _ in (*writes, *reads) for at in (start, end)})
    found: list[tuple[int, int, int, int]] = []
    for start, end in pairwise(cuts):
        written = [k for s, e, k in writes if s <= start and end <= e]
        if not written:
            continue
        last = max([*written, *(k for s, e, k in reads if s <= start and end <= e)])
        piece = (start, end, min(written), last)
        if found and found[-1][1:] == (start, *piece[2:]):
            piece = (found.pop()[0], *piece[1:])
        found.append(piece)
    return tuple(found)


def needed_whole(layers: Sequence[Layer], begin: int, end: int, graph: Graph, lives: Lives) -> frozenset[str]:
    """Outputs of layers [begin, end) that the model or later layers need, or that share bytes with other tensors."""
    made = {layer.node.outputs[0]: lives.root[layer.node.outputs[0]] for layer in layers[begin:end]}
    return frozenset(n for n, root in made.items() if lives.last[root] >= end or root in lives.shared)


def peak_of(
    touched: Accesses,
    begin: int,
    end: int,
    lives: Lives,
    fixed: Sequence[int],
    timed: Sequence[tuple[int, int, int]] = (),
    in_place: bool = False,
    over: Mapping[str, str] = NOTHING,
) -> int:
    """Most bytes alive in a tick of the unit: tensors that pass by, dying inputs, outputs that come, its own memory.
    in_place: its output is laid over a dying input; over: the same of a unit with several outputs, storage of the
    output -> storage of the input, which stays to the end.

    Whole buffers take whole words, but for the highest, of which it is not known which one that is.
    """
    ticks = touched.ticks
    change = [0] * (ticks + 1)
    reads, writes = _by_root(touched.reads, lives), _by_root(touched.writes, lives)
    base = sum((f + 3) & ~3 for f in fixed)
    rounded = [*fixed, *(size for *_, size in timed)]
    laid_over = set(over.values())
    for root, low, high, first, last in lives.alive(begin, end):
        if first >= begin and root in writes:
            if in_place or root in over:
                continue
            for s, e, t in _within(writes[root], low, high):
                change[t] += e - s
        elif first < begin and (last >= end or root in laid_over):
            whole = len(lives.pieces[root]) == 1
            base += (high + 3) & ~3 if whole else high - low
            rounded += [high] if whole else []
        elif first < begin:
            for s, e, t in _within(reads.get(root, ((low, high, ticks - 1),)), low, high):
                change[0] += e - s
                change[t + 1] -= e - s
    for lower, upper, size in timed:
        change[lower] += (size + 3) & ~3
        change[min(upper, ticks)] -= (size + 3) & ~3
    most = max(0, *accumulate(change[:ticks]))
    return base + most - max((-size % 4 for size in rounded), default=0)


def _by_root(touched: Mapping[str, Pieces], lives: Lives) -> dict[str, Pieces]:
    """The pieces of all tensors that share a storage, counted from its first byte."""
    found: dict[str, list[Pieces]] = {}
    for name, pieces in touched.items():
        if name in lives.root:
            at = lives.begins[name]
            found.setdefault(lives.root[name], []).append(tuple((at + s, at + e, t) for s, e, t in pieces))
    return {root: latest(parts) for root, parts in found.items()}


def _within(pieces: Pieces, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """What of the pieces lies in [low, high)."""
    for start, end, tick in pieces:
        if start < high and low < end:
            yield max(start, low), min(end, high), tick
