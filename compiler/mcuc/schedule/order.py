"""The execution order of a graph's nodes with the lowest peak memory, exactly where the search ends in time.

A state is the set of nodes that have run: the bytes alive between two nodes depend on that set alone, not on the
order within it, so that the best peak of every set is found once (dynamic programming over downsets, as in Ahn et
al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired Neural Networks for Edge Devices", MLSys 2020).
Sets are visited by rising peak (Dijkstra's algorithm for bottleneck paths), so that where the search is stopped, the
peak it has reached is a lower bound. Three things keep the number of sets small:

- where every order must pass through one set, the graph falls into segments that are ordered one by one;
- a chain of nodes that stays within the peak already paid and ends with no more bytes alive than before runs at once;
- a beam search finds a peak first, and only sets below it are visited.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, replace
from typing import Any

from mcuc.ir import Graph, check
from mcuc.schedule._memory import Memory, Segment, bits, memory_of, needed, replay, run, segments_of, set_of

# Limits in nodes tried behind a set, so that the result depends on no clock; a try takes 5 to 10 us in CPython.
TRIES = 1_000_000  # by the exact search, all segments together
QUICK_TRIES, WIDE_TRIES = 30_000, 250_000  # by the beam search, before the exact search and after it
CLOCK = 256  # sets between two looks at the clock


@dataclass(frozen=True, eq=False)
class Ordered:
    """The graph with its nodes reordered (the same object where the file's order is not beaten).

    peak: most bytes of run-time tensors alive while a node runs; bound: proven lower bound of the peak over all
    orders; exact: they are equal; states: sets of nodes that the exact search visited.
    """

    graph: Graph
    peak: int
    bound: int
    exact: bool
    states: int


def order(graph: Graph, time_limit_s: float = 10.0) -> Ordered:
    """The order of graph.nodes with the lowest layer-by-layer peak, in bytes; ties keep the graph's own order.

    What is counted is what peak() says. The search ends after a fixed number of tries, which take less than ten
    seconds of one core; the time limit is for slower machines, and only where it strikes does the result depend on the
    clock. An order that is not proven best is still never worse than the graph's own.
    """
    memory = memory_of(graph)
    deadline = time.monotonic() + time_limit_s
    segments = segments_of(memory)
    own = [replay(memory, range(s.first, s.end), s.done, s.held)[0] for s in segments]
    floors = [max(needed(memory, node) for node in range(s.first, s.end)) for s in segments]
    reached = bound = max(floors, default=0)
    share = max(1, sum(most > reached for most in own))
    states, tries = 0, TRIES
    found: dict[int, list[int]] = {}
    # the segment that needs most first: what it costs is free for all others
    for i in sorted(range(len(segments)), key=lambda i: (-floors[i], i)):
        if own[i] <= reached:
            continue
        path, cap = _beam(memory, segments[i], reached, own[i], QUICK_TRIES // share)
        if cap > reached:
            result = _search(memory, segments[i], reached, cap, tries, deadline)
            states += result.states
            tries -= result.tries
            path, cap = result.path or path, result.peak
            if result.bound > reached:
                bound = max(bound, result.bound)
            if cap > max(reached, result.bound):
                wider, cap = _beam(memory, segments[i], max(reached, result.bound), cap, WIDE_TRIES // share)
                path = wider or path
        reached = max(reached, cap)
        if path is not None:
            found[i] = path
    nodes: list[int] = []
    for i, segment in enumerate(segments):
        nodes += range(segment.first, segment.end) if own[i] <= reached else found[i]
    lowest, _ = replay(memory, nodes, 0, memory.at_start)
    same = nodes == list(range(len(graph.nodes)))
    ordered = graph if same else check(replace(graph, nodes=tuple(graph.nodes[i] for i in nodes)))
    return Ordered(ordered, lowest, bound, lowest == bound, states)


def peak(graph: Graph) -> int:
    """Most bytes of run-time tensors alive while a node of the graph runs, in the graph's order.

    A tensor is alive from the node that writes it to the last that reads it, a model input from the start, a model
    output to the end, each rounded up to whole words. Tensors that share bytes count once: what an aliasing node
    (reshape) writes and reads, unless both are the caller's (a model input, a model output), and what an in-place
    node writes and an input of the same size that dies in it, unless one is the caller's. Constants and scratch do not
    count.
    """
    memory = memory_of(graph)
    return replay(memory, range(len(graph.nodes)), 0, memory.at_start)[0]


def _ready(memory: Memory, segment: Segment, node: int, ready: int, now: int) -> int:
    """The nodes of the segment that can run, once the node has: now is the set with it."""
    ready ^= 1 << node
    for i in memory.after[node]:
        if i < segment.end and memory.before[i] | now == now:
            ready |= 1 << i
    return ready


def _first_ready(memory: Memory, segment: Segment) -> int:
    done = segment.done
    return set_of(i for i in range(segment.first, segment.end) if memory.before[i] | done == done)


def _beam(memory: Memory, segment: Segment, level: int, cap: int, tries: int) -> tuple[list[int] | None, int]:
    """An order of the segment with a peak below cap, and that peak; (None, cap) where none is found.

    Of the sets of each length, those of the lowest peak and the fewest bytes alive are kept, as many as the tries
    allow. Peaks up to level are as good as level.
    """
    length = segment.end - segment.first
    # set -> (peak, bytes alive, set, nodes that can run, (last node, the entry before it))
    entry = (level, segment.held, segment.done, _first_ready(memory, segment), None)
    kept: list[Any] = [entry]
    for _ in range(length):
        found: dict[int, Any] = {}
        left = tries // length
        for entry in kept:
            most, held, done, ready, _ = entry
            for node in bits(ready):
                during, after = run(memory, node, done, held)
                now = done | 1 << node
                higher = max(most, during)
                if higher < cap and (now not in found or higher < found[now][0]):
                    found[now] = (higher, after, now, _ready(memory, segment, node, ready, now), (node, entry))
            left -= ready.bit_count()
            if left <= 0:
                break
        kept = sorted(found.values(), key=lambda e: e[:3])
    if not kept:
        return None, cap
    path: list[int] = []
    most, link = kept[0][0], kept[0][4]
    while link is not None:
        path.append(link[0])
        link = link[1][4]
    return path[::-1], most


@dataclass(frozen=True)
class _Found:
    """path: an order of this peak, below the cap, or None and the cap; bound: what every order of the segment needs,
    proven where it is above the level that the search began with; states, tries: sets visited, nodes tried."""

    path: list[int] | None
    peak: int
    bound: int
    states: int
    tries: int


def _search(memory: Memory, segment: Segment, level: int, cap: int, most_tries: int, deadline: float) -> _Found:
    """The lowest peak of the segment below cap; peaks up to level are as good as level."""
    start, goal = segment.done, segment.goal
    queue = [(level, 0, segment.held, start, _first_ready(memory, segment))]
    best = {start: level}
    came: dict[int, tuple[int, tuple[int, ...]]] = {}
    states = tries = 0
    while queue:
        most, _, held, done, ready = heapq.heappop(queue)
        if best[done] < most:
            continue
        if tries >= most_tries or (states % CLOCK == CLOCK - 1 and time.monotonic() > deadline):
            return _Found(None, cap, most, states, tries)
        states += 1
        tries += ready.bit_count()
        ran, held, ready, now = _run_ahead(memory, segment, most, held, done, ready)
        if ran:
            if best.get(now, cap) <= most:
                continue
            best[now], came[now] = most, (done, ran)
            done = now
        if done == goal:
            return _Found(_path(came, start, goal), most, most, states, tries)
        for node in bits(ready):
            during, after = run(memory, node, done, held)
            now, higher = done | 1 << node, max(most, during)
            if higher < best.get(now, cap):
                best[now], came[now] = higher, (done, (node,))
                heapq.heappush(queue, (higher, -now.bit_count(), after, now, _ready(memory, segment, node, ready, now)))
    return _Found(None, cap, cap, states, tries)


def _path(came: dict[int, tuple[int, tuple[int, ...]]], start: int, goal: int) -> list[int]:
    path: list[int] = []
    while goal != start:
        goal, ran = came[goal]
        path[:0] = ran
    return path


def _run_ahead(
    memory: Memory, segment: Segment, level: int, held: int, done: int, ready: int
) -> tuple[tuple[int, ...], int, int, int]:
    """Runs every chain that no order at or above level loses by running now: (nodes, held, ready, done) after them.

    Each node of such a chain needs the one before; the chain stays within level and ends, for the first time, with no
    more bytes alive than before it. The bytes alive are a submodular function f of the set that has run: a storage
    counts f = [written] - [written and all readers have run]. So for any set T that an order reaches from here,
    f(T + chain) <= f(T) + f(here + chain) - f(here + what T has of the chain) <= f(T): with the chain in front, that
    order never holds more. Nodes that may share bytes with an earlier output break this and never run ahead.
    """
    ran: list[int] = []
    again = True
    while again:
        again = False
        for first in bits(ready):
            chain, bytes_now, now, then, node = [], held, done, ready, first
            while not memory.sharing[node]:
                during, bytes_now = run(memory, node, now, bytes_now)
                if during > level:
                    break
                chain.append(node)
                now |= 1 << node
                ready_before, then = then, _ready(memory, segment, node, then, now)
                if bytes_now <= held:
                    ran += chain
                    held, done, ready, again = bytes_now, now, then, True
                    break
                fresh = then & ~ready_before
                if not fresh or fresh & (fresh - 1):
                    break
                node = fresh.bit_length() - 1
            if again:
                break
    return tuple(ran), held, ready, done
