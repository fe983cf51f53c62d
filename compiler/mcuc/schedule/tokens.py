"""Token blocks: a stream over tensors of one row whose members all compute the same columns, a block at a time.

Tokens of a transformer, or the pixels of an image of one row: every member reads of its inputs inside the stream just
the columns that it computes. Then nothing outlives a block but what is needed whole, so the lines are windows of one
block, and a line's bytes are free as soon as its last reader has run: lines whose times in a block do not meet share
them. A sink may go over an input of the same size that dies in the stream (a residual addition), whose columns are all
read before they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import ceil

from mcuc.ir import Graph
from mcuc.kernels._base import Columns
from mcuc.schedule import Layer, Line, Stream
from mcuc.schedule.access import grid
from mcuc.schedule.members import Member
from mcuc.schedule.select import in_place_inputs

COUNTS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 19, 25, 38, 57, 96, 128)  # of blocks; others have nearly as large ones


def one_row(members: Sequence[Member]) -> bool:
    """Whether these are tokens: rows of the same many columns, which no member computes from their neighbours."""
    width = members[0].width
    return width > 1 and all(
        m.height == 1 and m.width == width and m.layer.reduction is None
        and all(r.columns is None or _alone(r.columns) for r in m.inside.values())
        for m in members
    )


def in_lockstep(members: Sequence[Member]) -> bool:
    """Whether tokens, see one_row, can go through all members block by block: nobody waits for a whole row."""
    return all(r.columns is not None for m in members for r in m.inside.values())


def _alone(columns: Columns) -> bool:
    return (columns.taps, columns.stride, columns.pad) == (1, 1, 0)


def block_sizes(members: Sequence[Member]) -> Iterator[int]:
    """Columns at a time, the fewest first: multiples of what the kernels compute together."""
    width, together = members[0].width, max(m.together for m in members)
    sizes = (ceil(width / (n * together)) * together for n in reversed(COUNTS) if n <= width)
    yield from (size for size in dict.fromkeys(sizes) if size < width)


def token_stream(members: Sequence[Member], graph: Graph, block: int) -> Stream:
    """The stream over members in lockstep that takes so many columns at a time."""
    count = -(-members[0].width // block)
    inner = [m for m in members if not m.sink]
    lines = {
        m.output: Line(0, block, m.width, grid(graph, m.output).pixel_bytes, (0, count * len(members))) for m in inner
    }
    at, shared = _packed(tuple(_uses(members, graph, lines)))
    offsets = dict(zip(lines, at, strict=True))
    every = (1 << len(members)) - 1
    return Stream((every,), (block,) * len(members), lines, blocks=count, offsets=offsets, shared=shared)


def _uses(
    members: Sequence[Member], graph: Graph, lines: Mapping[str, Line]
) -> Iterator[tuple[int, int, int, int]]:
    """For each line: its bytes, the members that use it first and last, and the number of the line that it goes over,
    -1 for none: that of an in-place member's input which nobody reads behind it."""
    last: dict[str, int] = {}
    for j, m in enumerate(members):
        last |= dict.fromkeys((m.output, *m.inside), j)
    number = {name: i for i, name in enumerate(lines)}
    for j, m in enumerate(members):
        name = m.output
        if name not in lines:
            continue
        under = -1
        for source in in_place_inputs(m.layer, graph):
            if source in lines and last[source] == j and lines[source].bytes == lines[name].bytes:
                under = number[source]
                break
        yield (lines[name].bytes + 3) & ~3, j, last[name], under


def shared_pieces(members: Sequence[Member], stream: Stream) -> tuple[tuple[int, int, int, int], ...]:
    """What of the buffer that the lines share is in use when: (start, end, lower, upper), bytes and ticks of the
    stream, each byte from the first line in it of the first block to the last one of the last block."""
    count = len(members)
    last: dict[str, int] = {}
    for j, m in enumerate(members):
        last |= dict.fromkeys((m.output, *m.inside), j)
    used = []
    for j, m in enumerate(members):
        if m.output in stream.lines:
            start = stream.offsets[m.output]
            end = start + stream.lines[m.output].bytes
            used.append((start, end, j, (stream.blocks - 1) * count + last[m.output] + 1))
    cuts = sorted({at for start, end, *_ in used for at in (start, end)})
    found: list[tuple[int, int, int, int]] = []
    for low, high in pairwise(cuts):
        over = [(lower, upper) for start, end, lower, upper in used if start <= low and high <= end]
        if not over:
            continue
        piece = (low, high, min(lower for lower, _ in over), max(upper for _, upper in over))
        if found and found[-1][1:] == (low, *piece[2:]):
            piece = (found.pop()[0], *piece[1:])
        found.append(piece)
    return tuple(found)


@lru_cache(maxsize=4096)
def _packed(uses: tuple[tuple[int, int, int, int], ...]) -> tuple[tuple[int, ...], int]:
    """Offsets of the lines in one buffer, and its bytes: the largest first, each as high as those beside it allow, so
    that the low end is free most of the time: there ends what grows below. Lines that go over each other are one."""
    whole: dict[int, tuple[int, int, int]] = {}  # first line of a chain -> bytes, first and last member
    chain: list[int] = []
    for i, (size, first, last, under) in enumerate(uses):
        chain.append(i if under < 0 else chain[under])
        old = whole.get(chain[i], (size, first, last))
        whole[chain[i]] = (size, old[1], last)
    placed: dict[int, int] = {}
    for i in sorted(whole, key=lambda i: (-whole[i][0], i)):
        size, first, last = whole[i]
        beside = sorted(
            (at, at + whole[k][0]) for k, at in placed.items() if whole[k][1] <= last and first <= whole[k][2]
        )
        low = 0
        for start, end in beside:
            if start - low >= size:
                break
            low = max(low, end)
        placed[i] = low
    total = max((at + whole[i][0] for i, at in placed.items()), default=0)
    return tuple(total - placed[c] - whole[c][0] for c in chain), total


def laid_over(
    layers: Sequence[Layer], sinks: Sequence[str], graph: Graph, root: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Sink of a stream in lockstep -> inputs over which it may go if they die in the stream, its own first: those with
    as many bytes a token of which every reader takes the columns of the block alone and none runs behind the sink's
    layer, which itself may read them where it works in place. root: run-time tensor -> the tensor whose bytes it is, or
    is a part of."""
    last: dict[str, int] = {}
    whole: set[str] = set()
    for j, layer in enumerate(layers):
        names = graph.runtime_inputs(layer.node)
        last |= dict.fromkeys((root[n] for n in names), j)
        rows = [r for call, _ in layer.calls for r in call.rows]
        whole |= {root[names[r.input]] for r in rows if r.columns is None or not _alone(r.columns)}
    made = {layer.node.outputs[0] for layer in layers}
    given = list(dict.fromkeys(n for layer in layers for n in graph.runtime_inputs(layer.node) if n not in made))
    found = {}
    for j, layer in enumerate(layers):
        name = layer.node.outputs[0]
        if name in sinks:
            own = [n for n in in_place_inputs(layer, graph) if n in given]
            free = [n for n in given if last[root[n]] < j and grid(graph, n) == grid(graph, name)]
            ready = (n for n in own if last[root[n]] == j)
            found[name] = tuple(n for n in (*ready, *free) if root[n] not in whole)
    return found
