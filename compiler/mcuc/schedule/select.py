"""Kernel choice: for every call of a layer the first kernel of its family that applies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from mcuc import kernels, ops
from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.kernels._base import Call, Kernel, No, Rows
from mcuc.ops._base import overlaid
from mcuc.ops._unary import table_call
from mcuc.schedule import Layer, Reduction, Tiling
from mcuc.targets import Chip

# By what --optimize asks for. A depthwise layer has few weights, and taking them apart doubles its time.
WIDE: dict[str, tuple[str, ...]] = {"latency": ("depthwise", "dot"), "flash": ()}
SELDOM_WIDE = ("depthwise",)
IDENTITY = bytes(range(256))


def wide_for(optimize: str) -> tuple[str, ...]:
    """The families whose weights of four bits are spread to bytes where --optimize asks for that."""
    return WIDE.get(optimize, SELDOM_WIDE)


def select(
    node: Node,
    graph: Graph,
    chip: Chip | None,
    tiling: Tiling,
    copy: bool = False,
    small: bool = False,
    alike: bool = False,
    wide: tuple[str, ...] = (),
) -> Layer:
    """The layer of a node. copy: an aliasing node that must move its bytes after all (from input to output). small:
    with kernels that compute a pixel at a time, for little scratch and short windows. alike: with inner loops that all
    layers can share, for little code. wide: families whose weights of four bits are spread to bytes, which kernels read
    faster.

    Raises McucError("unsupported") when the operator cannot be lowered.
    """
    operator = ops.get(node.op)
    if operator.lower is None:
        raise McucError(
            "unsupported",
            f"{node.op} cannot run on the device: its inputs are not constants",
            where=f"{node.name}, tensor {node.outputs[0]!r}",
            try_this="export the model with fixed shapes, so that shape arithmetic folds away",
        )
    calls: tuple[Call, ...] = ()
    if operator.alias and copy:
        out = graph.tensors[node.outputs[0]]
        calls = (table_call(IDENTITY, out.shape if out.dtype.bytes == 1 else (*out.shape, out.dtype.bytes)),)
    elif not operator.alias:
        calls = operator.lower(node, graph)
    chosen, refused = [], list[str]()
    if alike:
        calls = tuple(map(_own_shifts, calls))
    calls = tuple(_spread(call) if call.family in wide else call for call in calls)
    for call in calls:
        kernel, no = _first(call, chip, small)
        chosen.append((call, kernel))
        refused += no
    macs = operator.cost(node, graph).macs
    scratch = max((kernel.scratch(call) for call, kernel in chosen), default=0)
    why = "output is the input's bytes" if not chosen else "first that applies"
    reduction = None if copy else _reduction(node, graph, chip)
    return Layer(node, tuple(chosen), tiling, scratch, macs, why, tuple(dict.fromkeys(refused)), reduction)


def _own_shifts(call: Call) -> Call:
    """The call with an output stage that reads its shifts, so that none stands in the code (kernels/_linear.py)."""
    return replace(call, params={**call.params, "own_shifts": True})


def _spread(call: Call) -> Call:
    """The call without the mark that its weights fit four bits."""
    return replace(call, params={k: v for k, v in call.params.items() if k != "int4"})


def _reduction(node: Node, graph: Graph, chip: Chip | None) -> Reduction | None:
    reduce = ops.get(node.op).reduction
    found = None if reduce is None else reduce(node, graph)
    if found is None:
        return None
    accumulate, finish = ((call, _first(call, chip)[0]) for call in found)
    return Reduction(accumulate, finish, 4 * accumulate[0].channels)


def _first(call: Call, chip: Chip | None, small: bool = False) -> tuple[Kernel, list[str]]:
    refused: list[str] = []
    for kernel in kernels.get(call.family).kernels:
        if small and kernel.pixels > 1:
            refused.append(f"{kernel.id}: computes {kernel.pixels} pixels at a time, one takes less SRAM")
            continue
        verdict = kernel.applies(call, chip)
        if not isinstance(verdict, No):
            return kernel, refused
        refused.append(f"{kernel.id}: {verdict.reason}")
    raise McucError(
        "internal",
        f"no kernel of family {call.family} applies: {'; '.join(refused)}",
        where=f"a layer of family {call.family}",
        try_this="report this as a bug of mcuc, with the model",
    )


def with_kernels(layer: Layer, chosen: Sequence[Kernel], why: str = "", refused: tuple[str, ...] = ()) -> Layer:
    """The same layer with other kernels, one for each of its calls. why, refused: for the manifest."""
    calls = tuple((call, kernel) for (call, _), kernel in zip(layer.calls, chosen, strict=True))
    scratch = max((kernel.scratch(call) for call, kernel in calls), default=0)
    return replace(layer, calls=calls, scratch=scratch, why=why or layer.why, refused=refused or layer.refused)


@lru_cache(maxsize=4096)
def in_place_inputs(layer: Layer, graph: Graph) -> tuple[str, ...]:
    """Inputs over which the layer's output may be laid, when they die in it: same size, every kernel in place."""
    operator = ops.get(layer.node.op)
    if not layer.calls or not operator.in_place or not all(k.in_place for _, k in layer.calls):
        return ()
    if layer.into:  # its place is taken already
        return ()
    out = graph.tensors[layer.node.outputs[0]]
    names = graph.runtime_inputs(layer.node)
    whole = {rows.input for call, _ in layer.calls for rows in call.rows if _reads_itself(call, rows)}
    may = overlaid(operator, layer.node)
    return tuple(
        n
        for i, n in enumerate(names)
        if i in whole and n in may and graph.tensors[n].bytes == out.bytes and names.count(n) == 1
    )


def _reads_itself(call: Call, rows: Rows) -> bool:
    """The output row y reads exactly the input row at the same place (no broadcast, no window)."""
    same_rows = call.height == 1 or (rows.row_bytes == call.out_row_bytes and rows.stride == 1)
    return rows.count == 1 and rows.pad == 0 and rows.offset == 0 and not rows.index and same_rows


def retile(layer: Layer, tiling: Tiling) -> Layer:
    """The same layer cut otherwise."""
    return replace(layer, tiling=tiling)
