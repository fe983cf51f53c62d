"""How many bytes are alive while a node runs, as a function of the set of nodes that have run.

Sets of nodes are bit masks, a node's bit is 1 << its index in the graph. What is counted is what order.peak says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_

from mcuc import ops
from mcuc.ir import Graph
from mcuc.ops._base import overlaid

WORD = 4  # every tensor takes whole words, as in plan.lifetimes


@dataclass(frozen=True)
class Memory:
    """What the search needs to know of a graph. Sets of nodes are bit masks, a node's bit is 1 << its index.

    Per node: before (direct predecessors), after (indices of direct successors), ancestors and descendants, written
    (bytes of its outputs), unused (bytes of those that nobody reads), reads (the storages it reads, as readers and
    bytes), over (readers of the storages that its output may be laid over once they die), sharing (where this is not
    0 and none of its nodes has run, the output takes bytes that are alive already).
    storages: writer (-1 for a model input), readers and bytes of everything that is alive for a while; readers has
    the bit after the last node's where the storage is alive to the end. at_start: bytes of the model inputs that are
    read, unread: of those that are not, which are alive while the first node runs.
    """

    before: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    ancestors: tuple[int, ...]
    descendants: tuple[int, ...]
    written: tuple[int, ...]
    unused: tuple[int, ...]
    reads: tuple[tuple[tuple[int, int], ...], ...]
    over: tuple[tuple[int, ...], ...]
    sharing: tuple[int, ...]
    storages: tuple[tuple[int, int, int], ...]
    at_start: int
    unread: int


@dataclass(frozen=True)
class Segment:
    """The nodes first..end-1 of the file, which every order runs after the set `done`, with held bytes alive."""

    first: int
    end: int
    done: int
    held: int

    @property
    def goal(self) -> int:
        return (1 << self.end) - 1


def memory_of(graph: Graph) -> Memory:
    """The graph's storages, sizes and dependences, as the search reads them."""
    nodes, end = graph.nodes, 1 << len(graph.nodes)
    runtime = [graph.runtime_inputs(node) for node in nodes]
    writer = dict.fromkeys(graph.given, -1) | {n: i for i, node in enumerate(nodes) for n in node.outputs}
    root, forever, sharing = _storages(graph, writer)
    size = dict.fromkeys(root.values(), 0)
    for name, storage in root.items():
        size[storage] = max(size[storage], -(-graph.tensors[name].bytes // WORD) * WORD)
    for state in graph.states:  # outside the arena
        size[root[state.current]] = size[root[state.next]] = 0
    readers = {storage: end if storage in forever else 0 for storage in size}
    for i, names in enumerate(runtime):
        for name in names:
            readers[root[name]] |= 1 << i
    fresh = [[n for n in node.outputs if root[n] == n] for node in nodes]

    def laid_over(i: int) -> list[str]:
        """As schedule.select.in_place_inputs, from the operator alone: its kernels are not chosen yet."""
        out = fresh[i][0] if len(fresh[i]) == 1 else None
        operator = ops.get(nodes[i].op)
        if out is None or out in forever or not operator.in_place:
            return []
        may = overlaid(operator, nodes[i])
        whole = [n for n in runtime[i] if n in may and graph.tensors[n].bytes == graph.tensors[out].bytes]
        return [root[n] for n in whole if root[n] not in graph.given and runtime[i].count(n) == 1]

    before = [set_of(writer[n] for n in names if writer[n] >= 0) for names in runtime]
    for state in graph.states:  # its readers run before the node that writes it
        i = writer[state.next]
        before[i] |= readers[root[state.current]] & ~end & ~(1 << i)
    after: list[list[int]] = [[] for _ in nodes]
    ancestors: list[int] = []
    for i, direct in enumerate(before):
        ancestors.append(direct | union(ancestors[j] for j in bits(direct)))
        for j in bits(direct):
            after[j].append(i)
    descendants = [0] * len(nodes)
    for i in reversed(range(len(nodes))):
        descendants[i] = set_of(after[i]) | union(descendants[j] for j in after[i])
    return Memory(
        before=tuple(before),
        after=tuple(map(tuple, after)),
        ancestors=tuple(ancestors),
        descendants=tuple(descendants),
        written=tuple(sum(size[n] for n in names) for names in fresh),
        unused=tuple(sum(size[n] for n in names if not readers[n]) for names in fresh),
        reads=tuple(tuple((readers[s], size[s]) for s in dict.fromkeys(root[n] for n in names)) for names in runtime),
        over=tuple(tuple(readers[s] for s in laid_over(i)) for i in range(len(nodes))),
        sharing=tuple(sharing),
        storages=tuple((writer[s], readers[s], size[s]) for s in size if writer[s] < 0 or not sharing[writer[s]]),
        at_start=sum(size[n] for n in graph.given if readers[n]),
        unread=sum(size[n] for n in graph.given if not readers[n]),
    )


def _storages(graph: Graph, writer: Mapping[str, int]) -> tuple[dict[str, str], set[str], list[int]]:
    """Storage of each run-time tensor, the storages that are alive to the end, and Memory.sharing.

    Of the caller's tensors (model inputs and outputs) that would have the same bytes, the first keeps them and each
    further one is a copy, as in schedule.explore. Which output is first depends on the order: hence `sharing`.
    """
    nodes, outputs = graph.nodes, set(graph.kept)
    aliasing = [i for i, n in enumerate(nodes) if ops.get(n.op).alias and graph.tensors[n.inputs[0]].data is None]
    group = {name: name for name in writer}  # tensor -> first tensor with the same bytes, copies included
    for i in aliasing:
        group[nodes[i].outputs[0]] = group[nodes[i].inputs[0]]
    callers: dict[str, list[str]] = {}
    for name in writer:
        if name in outputs or name in graph.given:
            callers.setdefault(group[name], []).append(name)
    root = {name: name for name in writer}
    sharing = [0] * len(nodes)
    for i in aliasing:
        out = nodes[i].outputs[0]
        others = [n for n in callers.get(group[out], []) if n != out]
        if out not in outputs or not others:
            root[out] = root[nodes[i].inputs[0]]
        elif group[out] not in graph.given:
            sharing[i] = set_of(writer[n] for n in others)
    # of a group without a model input, one output will keep the first tensor's bytes
    forever = {root[name] for name in outputs if name in root}
    return root, forever | {name for name in callers if name not in graph.given}, sharing


def bits(nodes: int) -> Iterator[int]:
    """The indices of a set, lowest first."""
    while nodes:
        low = nodes & -nodes
        yield low.bit_length() - 1
        nodes ^= low


def set_of(indices: Iterable[int]) -> int:
    """The set of these nodes."""
    return union(1 << i for i in indices)


def union(sets: Iterable[int]) -> int:
    """The nodes of any of the sets."""
    return reduce(or_, sets, 0)


def needed(memory: Memory, node: int) -> int:
    """Bytes that every order holds while the node runs: what an ancestor wrote and the node or a descendant reads."""
    own, later = 1 << node, memory.descendants[node]
    forever = 1 << len(memory.before)
    total = 0
    if not memory.sharing[node] or memory.sharing[node] & memory.ancestors[node]:
        total = 0 if any(not readers & later for readers in memory.over[node]) else memory.written[node]
    for writer, readers, size in memory.storages:
        if (writer < 0 or memory.ancestors[node] >> writer & 1) and readers & (own | later | forever):
            total += size
    return total


def segments_of(memory: Memory) -> list[Segment]:
    """The file's order cut wherever all nodes that follow need all nodes before."""
    count = len(memory.before)
    common = [0] * count + [(1 << count) - 1]  # ancestors that all nodes from i on have
    for i in reversed(range(count)):
        common[i] = common[i + 1] & memory.ancestors[i]
    found: list[Segment] = []
    first, held, start = 0, memory.at_start, memory.at_start
    for i in range(count):
        _, held = run(memory, i, (1 << i) - 1, held)
        done = (2 << i) - 1
        if done & ~common[i + 1] == 0:
            found.append(Segment(first, i + 1, (1 << first) - 1, start))
            first, start = i + 1, held
    return found


def run(memory: Memory, node: int, done: int, held: int) -> tuple[int, int]:
    """Bytes alive while the node runs after the set done with held bytes, and after it."""
    now = done | 1 << node
    written = memory.written[node]
    sharing = memory.sharing[node]
    if sharing and not sharing & done:
        written = 0
    during = held + written
    for readers in memory.over[node]:
        if readers | now == now:
            during = held
            break
    if not done:
        during += memory.unread
    after = held + written - memory.unused[node]
    for readers, size in memory.reads[node]:
        if readers | now == now:
            after -= size
    return during, after


def replay(memory: Memory, nodes: Iterable[int], done: int, held: int) -> tuple[int, int]:
    """Most bytes alive while the nodes run in this order, and the bytes alive after them."""
    most = 0
    for node in nodes:
        during, held = run(memory, node, done, held)
        done |= 1 << node
        most = max(most, during)
    return most, held
