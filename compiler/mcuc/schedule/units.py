"""A unit of a partition: a layer that runs alone or a stream, with its peak of SRAM and its cost in instructions."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcuc.ir import Graph
from mcuc.plan.accesses import Accesses, Pieces, accesses, stream_accesses
from mcuc.plan.lifetimes import CACHE_LINE, FEED_STATE, LINE_STATE
from mcuc.schedule import Layer, Stream
from mcuc.schedule.access import grid
from mcuc.schedule.groups import PROJECT, bottleneck
from mcuc.schedule.lives import Lives, peak_of
from mcuc.schedule.select import in_place_inputs
from mcuc.schedule.stream import Member, make_stream, replay
from mcuc.schedule.strips import computed_columns
from mcuc.schedule.tokens import block_sizes, in_lockstep, laid_over, one_row, shared_pieces, token_stream

BLOCKS = (0, 8, 2)  # columns at a time: whole rows, and two sizes that trade speed for windows of fewer pixels

# Instructions, from emulated Cortex-M4 streams, rounded up (benchmarks/memory.py shows what they really cost).
PER_RUN = 160  # a member's call: row pointers, limits, the kernel's entry and its first pixels
PER_PASS = 30  # the loop, for each member
PER_BYTE = 3.0  # a byte that leaves a window, and what moves up behind it
PER_SINGLE = 0.25  # a MAC of a column that kernels for several have left over
# By groups of channels:
PER_SUM = 20  # a sum of the project, loaded and stored again for every group
PER_TAP = 8  # the depthwise convolution looks for its kernel positions anew
PER_PIXEL = 30  # a pixel that the expansion goes to again


@dataclass(frozen=True, eq=False)
class Unit:
    """Layers [begin, end). block: None for a layer alone, else the stream's columns at a time (0: whole rows).
    peak: bytes; cost: instructions beyond those of the layers alone. strips, group: of the stream, 0 for none.
    recomputed: MACs that its strips compute again."""

    begin: int
    end: int
    block: int | None
    peak: int
    cost: float
    strips: int = 0
    group: int = 0
    recomputed: int = 0


def alone(layers: Sequence[Layer], begin: int, graph: Graph, lives: Lives) -> Unit:
    """The layer that begins there, whole."""
    layer = layers[begin]
    out = layer.node.outputs[0]
    shared = set()
    if layer.calls and out not in graph.kept:
        dying = (n for n in in_place_inputs(layer, graph) if lives.last[lives.root[n]] == begin)
        shared = {lives.root[n] for n in dying if lives.root[n] not in graph.given}
    touched = accesses(layer, graph)
    if lives.attention and layer.calls and _by_tokens_alone(layer, graph):
        touched = Accesses(1, _whole(touched.reads, 0), _whole(touched.writes, 0))
    peak = peak_of(touched, begin, begin + 1, lives, [layer.scratch], in_place=bool(shared))
    return Unit(begin, begin + 1, None, peak, 0.0)


def _by_tokens_alone(layer: Layer, graph: Graph) -> bool:
    """Whether the layer computes tokens: what beside it dies and grows token by token, others seldom find room in."""
    g = grid(graph, layer.node.outputs[0])
    return g.height == 1 and g.width > 1


def streams_over(
    begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives, pushed: str | None, worst: int
) -> Iterator[Unit]:
    """The streams over layers [begin, end) in all blocks. pushed: an input that arrives by rows; worst: the highest
    peak of these layers alone."""
    if pushed is None and one_row(members):
        if in_lockstep(members):
            yield from _by_tokens(begin, end, members, graph, lives, worst)
        return
    arriving = None if pushed is None else (pushed, grid(graph, pushed).height)
    played = replay(members, arriving)
    touched: Accesses | None = None
    # a reader that waits for a whole row keeps back all that runs beside it, which the estimate does not see
    waits = any(r.columns is None for m in members for r in m.inside.values())
    for block in BLOCKS:
        stream = make_stream(members, graph, block, pushed, played, exact=waits)
        touched = touched or stream_accesses(stream, members, graph)
        yield stream_unit(begin, end, block, members, stream, touched, graph, lives)


def _by_tokens(
    begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives, worst: int
) -> Iterator[Unit]:
    """In blocks of tokens, of every size that lowers the peak below that of the layers alone, `worst`. Networks repeat
    their blocks: what is worked out of one is kept for the others."""
    key = (worst, *_alike(begin, end, members, graph, lives))
    if key not in lives.common.known:
        lives.common.known[key] = tuple(_peaks(begin, end, members, graph, lives, worst))
    for block, peak, cost in lives.common.known[key]:
        yield Unit(begin, end, block, peak, cost)


def _alike(begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives) -> tuple[Hashable, ...]:
    """The same for units with the same peaks and costs: what they read and write, and what is alive beside."""
    number: dict[str, int] = {}

    def of(name: str) -> int:
        return number.setdefault(lives.root.get(name, name), len(number))

    parts: list[Hashable] = []
    for m in members:
        rows = [(r.input, r.height, r.row_bytes, r.columns) for call, _ in m.layer.calls for r in call.rows]
        names = tuple(
            (of(n), lives.begins.get(n), graph.tensors[n].shape) for n in graph.runtime_inputs(m.layer.node)
        )
        over = tuple(map(of, in_place_inputs(m.layer, graph)))
        layer = m.layer
        own = (m.width, m.together, m.sink, grid(graph, m.output).pixel_bytes, layer.scratch, layer.table_bytes)
        place = (lives.begins.get(m.output), layer.by_channels)
        parts.append((own, place, layer.macs, of(m.output), names, over, tuple(rows)))
    kept = {lives.root.get(n, n) for n in (*graph.given, *graph.kept)}
    alive = sorted(
        (number.get(root, -1), low, high, first < begin, last >= end, lives.last[root] >= end, root in lives.shared,
         root in kept, len(lives.pieces[root]))
        for root, low, high, first, last in lives.alive(begin, end)
    )  # fmt: skip
    return (*parts, *alive)


def _peaks(
    begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives, worst: int
) -> Iterator[tuple[int, int, float]]:
    """(tokens of a block, peak, cost) from the smallest block on, while the peak stays below the worst."""
    layers = [m.layer for m in members]
    over: dict[str, str] = {}  # storage of a sink -> that of the input which it goes over
    ends = {lives.root[n] for n in (*graph.given, *graph.kept) if n in lives.root}
    sinks = [m.output for m in members if m.sink]
    for sink, inputs in laid_over(layers, sinks, graph, lives.root).items():
        taken = {*over.values(), *ends, *lives.shared}
        roots = [lives.root[n] for n in inputs if lives.begins[n] == 0]
        free = [r for r in roots if lives.last[r] < end and r not in taken and len(lives.pieces.get(r, ())) == 1]
        if free and sink not in ends and lives.root[sink] == sink:
            over[sink] = free[0]
    growing = [sink for sink in sinks if lives.root.get(sink, sink) not in over]
    scratch = max((layer.scratch for layer in layers), default=0)
    blocked = sum(layer.table_bytes for layer in layers if layer.by_channels)  # read once a block, others anyway
    single = sum(PER_SINGLE * m.layer.macs / m.width for m in members if m.together > 1 and m.width % m.together)
    for block in block_sizes(members):
        stream = token_stream(members, graph, block)
        fixed = [LINE_STATE * len(members), scratch]
        touched = stream_accesses(stream, members, graph)
        dying = [n for n, pieces in touched.reads.items() if len(pieces) > 1 and lives.last[lives.root[n]] < end]
        touched = _rigid(touched, growing, dying)
        timed = [(0, stream.ticks, stream.shared)]
        if len(growing) > 1 or not dying:
            timed = [(lower, upper, high - low) for low, high, lower, upper in shared_pieces(members, stream)]
        peak = peak_of(touched, begin, end, lives, fixed, timed, over=over)
        if peak >= worst:
            return
        cost = stream.blocks * (PER_RUN + PER_PASS) * len(members) + single
        yield block, peak, cost + (stream.blocks - 1) * lives.common.per_byte * blocked


def _rigid(touched: Accesses, growing: Sequence[str], dying: Sequence[str]) -> Accesses:
    """The accesses as a placement can make use of them: of several outputs that grow side by side only one lies over
    bytes that die or leaves room for others, and one output grows over no more than one of the inputs that die."""
    largest = max(growing, key=lambda name: touched.writes[name][-1][1], default="")
    at_once = _whole({name: touched.writes[name] for name in growing if name != largest}, 0)
    longest = max(dying, key=lambda name: touched.reads[name][-1][1], default="") if len(growing) == 1 else ""
    kept = {name: pieces for name, pieces in touched.reads.items() if name == longest}
    return Accesses(touched.ticks, {**_whole(touched.reads, touched.ticks - 1), **kept}, {**touched.writes, **at_once})


def _whole(touched: Mapping[str, Pieces], tick: int) -> dict[str, Pieces]:
    """All bytes of each tensor in one tick."""
    return {name: ((pieces[0][0], pieces[-1][1], tick),) for name, pieces in touched.items()}


def stream_unit(
    begin: int,
    end: int,
    block: int,
    members: Sequence[Member],
    stream: Stream,
    touched: Accesses,
    graph: Graph,
    lives: Lives,
) -> Unit:
    """The unit of a stream over layers [begin, end). touched: its stream_accesses."""
    pushed = stream.pushed
    row = 0 if pushed is None else grid(graph, pushed).row_bytes
    fixed = [
        row + -row % CACHE_LINE,
        LINE_STATE * (len(members) + (pushed is not None)) + (FEED_STATE if pushed else 0),
        max((m.layer.scratch for m in members if m.layer.reduction is None), default=0),
        *(m.layer.reduction.state_bytes for m in members if m.layer.reduction is not None),
    ]
    timed = [(*line.live, line.bytes) for line in stream.lines.values()]
    cost = _stream_cost(members, stream, block, graph)
    if stream.group:
        found = bottleneck(members, stream.group)
        assert found is not None
        done = [1 + p for p, mask in enumerate(stream.passes) if mask >> PROJECT & 1]
        timed += [(0, tick + 1, found.row_bytes) for tick in done]
    peak = peak_of(touched, begin, end, lives, fixed, timed)
    return Unit(begin, end, block, peak, cost, len(stream.strips), stream.group, stream.recomputed)


def _stream_cost(members: Sequence[Member], stream: Stream, block: int, graph: Graph) -> float:
    total = 0.0
    rounds = max(1, len(stream.strips))
    columns = computed_columns(members, stream.strips)
    for j, m in enumerate(members):
        runs = m.height * (-(-columns[j] // stream.steps[j]) if block else rounds)
        total += runs * PER_RUN
        if stream.strips:
            again = m.layer.macs * (columns[j] - m.width) // m.width
            total += m.layer.calls[0][1].per_mac * max(0, again)
        if m.together > 1:
            total += PER_SINGLE * m.layer.macs * (columns[j] % m.together) / m.width
        if block and not m.sink:
            total += PER_BYTE * m.height * columns[j] * grid(graph, m.output).pixel_bytes
    if stream.group:
        total = _group_cost(members, stream.group)
        rounds = -(-members[0].layer.calls[0][0].channels // stream.group)
    return total + PER_PASS * len(members) * len(stream.passes) * rounds


def _group_cost(members: Sequence[Member], group: int) -> float:
    """What the groups after the first take more than one group of all channels, and the members' calls."""
    expand, depthwise, project = (m.layer.calls[0][0] for m in members)
    groups = -(-expand.channels // group)
    taps = int(depthwise.params["kh"] * depthwise.params["kw"])
    again = PER_PIXEL * expand.height * expand.width + PER_TAP * taps * depthwise.height * depthwise.width
    again += PER_SUM * project.height * project.width * project.channels
    return (groups - 1) * again + groups * PER_RUN * sum(m.height for m in members)
