"""Attention by groups of heads, with the layers before queries, keys and values computed again for each group.

before: n = layer_norm(x); a = dense(n); b = dense(a); k_i, v_i, q_i = dense(b) and o_i = attention of each head i
after:  for each group of heads: n' = layer_norm(x); a' = dense(n'); b' = dense(a'); k_i, v_i, q_i = dense(b'), then
        o_i of the group's heads
Low-rank factors of the layer that computes queries, keys and values (MCUFormer, Liang et al. 2023) make such a chain.
Computed for all heads at once, it needs all queries, keys and values whole; for each head anew, most MACs. Between
the two, groups trade MACs for memory: while a group runs, its queries, keys and values are whole beside x and the
results of the groups before, which may lie where their queries were (schedule/tokens.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mcuc import ops
from mcuc.ir import Graph, Node, Tensor, rebuild
from mcuc.passes._tables import FUNCTIONS
from mcuc.passes.repeat_norms import NORMS

MOST_CHAIN = 8  # layers


@dataclass(frozen=True, eq=False)
class _Attention:
    """chain: what queries, keys and values of all heads are computed from, in order, the first reads x; heads: for each
    the layers up to k, v and q, each without the chain, and those of the attention itself."""

    chain: tuple[Node, ...]
    heads: tuple[tuple[tuple[Node, ...], tuple[Node, ...], tuple[Node, ...], tuple[Node, ...]], ...]


def group_heads(graph: Graph, passes: int, queries_apart: bool = False) -> tuple[Graph, frozenset[str]]:
    """The graph with the heads of each attention in so many groups, and the names of the nodes whose MACs are computed
    again. queries_apart: the last group's queries get a chain of their own, so that they need not be whole. The graph
    itself where no attention has a chain with dense layers."""
    consumers = graph.consumers()
    moved: dict[str, list[Node]] = {}  # name of the last node of an attention -> its nodes in their new order
    gone: set[str] = set()
    tensors: list[Tensor] = []
    again: set[str] = set()
    for found in _attentions(graph, consumers):
        if not any(ops.get(n.op).cost(n, graph).macs and n.op not in NORMS for n in found.chain):
            continue
        nodes: list[Node] = []
        groups = list(_groups(len(found.heads), min(passes, len(found.heads))))
        copy = 0
        for g, (begin, end) in enumerate(groups):
            heads, apart = found.heads[begin:end], queries_apart and g == len(groups) - 1
            parts = [[n for k, v, q, _ in heads for n in (*k, *v, *(() if apart else q))]]
            parts += [[n for _, _, q, _ in heads for n in q]] if apart else []
            for part in parts:
                chain = _copied(found.chain, f"/group{copy}" if copy else "", graph, tensors)
                again |= {n.name for n in chain if copy and n.op not in NORMS}
                old, new = found.chain[-1].outputs[0], chain[-1].outputs[0]
                nodes += chain
                nodes += [replace(n, inputs=tuple(new if i == old else i for i in n.inputs)) for n in part]
                copy += 1
            nodes += [n for *_, attend in heads for n in attend]
        old_names = {n.name for n in found.chain} | {n.name for head in found.heads for part in head for n in part}
        last = next(n.name for n in reversed(graph.nodes) if n.name in old_names)
        moved[last], gone = nodes, gone | old_names
    if not moved:
        return graph, frozenset()
    order: list[Node] = []
    for node in graph.nodes:
        order += moved.get(node.name, [] if node.name in gone else [node])
    return rebuild(graph, order, tensors), frozenset(again)


def most_heads(graph: Graph) -> int:
    """Heads of the attention that has the most of those that group_heads can divide."""
    return max((len(found.heads) for found in _attentions(graph, graph.consumers())), default=0)


def _groups(heads: int, passes: int) -> Iterator[tuple[int, int]]:
    """Heads [begin, end) of each group: while one of n heads runs behind m others, m + 3 n matrices are whole; that
    becomes as little as it can. The first groups are the larger ones."""
    for most in range(3, 4 * heads):
        cuts, done = [0], 0
        while done < heads and most - done >= 3:
            done = min(heads, done + (most - done) // 3)
            cuts.append(done)
        if done == heads and len(cuts) - 1 <= passes:
            while len(cuts) - 1 < passes:  # room for more groups: cut the last ones that have two heads
                k = next((k for k in reversed(range(1, len(cuts))) if cuts[k] - cuts[k - 1] > 1), 0)
                if not k:
                    break
                cuts.insert(k, cuts[k] - 1)
            yield from pairwise(cuts)
            return


def _copied(chain: Sequence[Node], suffix: str, graph: Graph, tensors: list[Tensor]) -> list[Node]:
    """The chain with other names."""
    if not suffix:
        return list(chain)
    names = {n.outputs[0]: n.outputs[0] + suffix for n in chain}
    tensors += [replace(graph.tensors[old], name=new) for old, new in names.items()]
    return [
        replace(n, name=n.name + suffix, inputs=tuple(names.get(i, i) for i in n.inputs),
                outputs=(names[n.outputs[0]],))
        for n in chain
    ]  # fmt: skip


def _attentions(graph: Graph, consumers: Mapping[str, list[Node]]) -> Iterator[_Attention]:
    """Those whose heads all come from one chain, in the order of the nodes."""
    made = graph.producers()
    by_source: dict[str, list[tuple[tuple[Node, ...], tuple[Node, ...], tuple[Node, ...], tuple[Node, ...]]]] = {}
    for scores in graph.nodes:
        if scores.op != "batch_matmul" or scores.attrs.adj_x or not scores.attrs.adj_y:
            continue
        share = _only(scores, graph, consumers)
        product = None if share is None else _only(share, graph, consumers)
        if share is None or product is None or product.op != "batch_matmul":
            continue
        names = scores.inputs[1], product.inputs[1], scores.inputs[0]
        k, v, q = (_back(name, graph, made, consumers) for name in names)
        if k is None or v is None or q is None or len({part[0].inputs[0] for part in (k, v, q)}) > 1:
            continue
        by_source.setdefault(k[0].inputs[0], []).append((k, v, q, (scores, share, product)))
    for source, heads in by_source.items():
        readers = {n.name for n in consumers[source]}
        chain = _chain(source, graph, made, consumers)
        if chain and readers == {part[0].name for head in heads for part in head[:3]} and source not in graph.kept:
            yield _Attention(chain, tuple(heads))


def _only(node: Node, graph: Graph, consumers: Mapping[str, list[Node]]) -> Node | None:
    name = node.outputs[0]
    return consumers[name][0] if len(consumers[name]) == 1 and name not in graph.kept else None


def _back(
    name: str, graph: Graph, made: Mapping[str, Node], consumers: Mapping[str, list[Node]]
) -> tuple[Node, ...] | None:
    """The dense layer that computes a matrix, and the functions of one element behind it."""
    way: list[Node] = []
    while name in made and len(consumers[name]) == 1 and name not in graph.kept:
        node = made[name]
        way.insert(0, node)
        if node.op == "fully_connected":
            return tuple(way)
        if node.op not in FUNCTIONS and node.op not in ("mul", "qlinear_mul"):
            return None
        (name, *rest) = graph.runtime_inputs(node)
        if rest:
            return None
    return None


def _chain(
    name: str, graph: Graph, made: Mapping[str, Node], consumers: Mapping[str, list[Node]]
) -> tuple[Node, ...]:
    """Layers that treat each token alike, each the only reader of the one before; the last one computes `name`."""
    way: list[Node] = []
    while name in made and len(way) < MOST_CHAIN:
        node = made[name]
        alone = not way or (len(consumers[name]) == 1 and name not in graph.kept)
        if not alone or node.op not in (*FUNCTIONS, *NORMS, "fully_connected") or len(graph.runtime_inputs(node)) > 1:
            break
        way.insert(0, node)
        name = graph.runtime_inputs(node)[0]
    return tuple(way)
