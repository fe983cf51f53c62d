"""Latency of a network as the sum over its layers, each measured once on the emulated core and kept on disk.

A layer's signature is its generated C with neutral names, so two layers share a figure exactly when they are the same
code over tables of the same sizes. The key adds core, flash timing, toolchain version and optimization.
Evidence class of the cycles: estimated, from emulated instruction counts.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as memoize
from pathlib import Path

import numpy as np

from mcuc import cache
from mcuc.emit.layers import KernelPool, layer_context
from mcuc.emit.model import RUNTIME_HEADERS, emit
from mcuc.emit.tables import TablePool
from mcuc.emulate import cycles, host
from mcuc.emulate.cortex_m import CortexM
from mcuc.ir import DType, Graph, Node, Quant, Tensor
from mcuc.plan import Plan
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.targets import Board
from mcuc.toolchain import Optimize, build_firmware, find, runtime_folder

BATCH = 24  # layers in one measuring firmware


@dataclass(frozen=True)
class LayerCost:
    """instructions, cycles: of one run of the layer; code: bytes of its functions (kernels shared by several layers
    are counted in each)."""

    instructions: int
    cycles: int
    code: int


@dataclass(frozen=True)
class NetworkCost:
    """cycles: sum over layers; latency_ms at the board's clock; code: bytes, an upper bound of the linked code."""

    cycles: int
    latency_ms: float
    code: int


def network_cost(
    graph: Graph, schedule: Schedule, board: Board, toolchain: str = "auto", optimize: Optimize = "balanced"
) -> NetworkCost:
    """The cost of a schedule, measuring the layers that were never met before.

    Raises McucError where a measuring firmware cannot be built or run.
    """
    layers = [layer for layer in schedule.layers if layer.calls]
    found = layer_costs([(graph, layer) for layer in layers], board, toolchain, optimize)
    total = sum(c.cycles for c in found)
    return NetworkCost(total, 1000 * total / board.chip.clock_hz, sum(c.code for c in found))


def layer_costs(
    layers: Sequence[tuple[Graph, Layer]], board: Board, toolchain: str, optimize: Optimize
) -> list[LayerCost]:
    """One cost for each layer of its graph, in order; from the cache where it holds them."""
    label = find(toolchain).label
    keys = [_key(graph, layer, board, label, optimize) for graph, layer in layers]
    known: dict[str, LayerCost] = {}
    missing: dict[str, tuple[Graph, Layer]] = {}
    for key, entry in zip(keys, layers, strict=True):
        if key in known or key in missing:
            continue
        kept = cache.read_json("layers", key)
        if isinstance(kept, list) and len(kept) == 3:
            known[key] = LayerCost(*map(int, kept))
        else:
            missing[key] = entry
    todo = list(missing.items())
    for start in range(0, len(todo), BATCH):
        part = todo[start : start + BATCH]
        found = _measure([entry for _, entry in part], board, toolchain, optimize)
        for (key, _), cost in zip(part, found, strict=True):
            known[key] = cost
            cache.write_json("layers", key, [cost.instructions, cost.cycles, cost.code])
    return [known[k] for k in keys]


def _key(graph: Graph, layer: Layer, board: Board, toolchain: str, optimize: str) -> str:
    text = "\n".join([_signature(graph, layer), str(board.chip), toolchain, optimize, _rules()])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@memoize
def _rules() -> str:
    """Changes when the runtime headers, how a layer is measured or what turns instructions into cycles do."""
    files = [*(runtime_folder() / name for name in RUNTIME_HEADERS), Path(cycles.__file__), Path(__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _signature(graph: Graph, layer: Layer) -> str:
    kernels, tables = KernelPool("s"), TablePool("s")
    names = [*graph.runtime_inputs(layer.node), *layer.node.outputs]
    plan = _stacked_plan(graph, [layer])
    entry = layer_context(0, layer, graph, plan, "s", kernels, tables, dict.fromkeys(names, "p"))
    sizes = [f"{r['ctype']} {r['length']}" for r in tables.rows()]
    text = re.sub(r"/\*.*?\*/", "", "\n".join([*kernels.bodies(), entry["text"]]), flags=re.S)
    return "\n".join([text, *sizes])


def _measure(
    layers: Sequence[tuple[Graph, Layer]], board: Board, toolchain: str, optimize: Optimize
) -> list[LayerCost]:
    """Each layer once, alone, all in one firmware: inputs and outputs of all of them lie in the same bytes."""
    alone, network = _isolated(layers)
    schedule = Schedule(Segment("layers", tuple(alone)))
    emitted = emit(network, schedule, _stacked_plan(network, alone), "probe", "layers", board.chip.arena_align, 0)
    with tempfile.TemporaryDirectory(prefix="mcuc-probe-") as scratch:
        work = Path(scratch)
        sources = host.write_sources(emitted, work)
        main = work / "probe_harness.c"
        main.write_text(emitted.harness, encoding="utf-8")
        firmware = build_firmware(
            sources,
            [work],
            board,
            work / "probe.elf",
            toolchain,
            optimize,
            {"MCUC_WEIGHTS_SECTION": "1"},
            harness_sources=[main],
        )
        core = CortexM(firmware.elf, board.chip, emitted.symbols)
        run = core.run()
        size = {s.name: s.size for s in core.image.functions}
    streams = [round(cycles.stream_cycles(board.chip, layer.table_bytes)) for layer in alone]
    return [
        LayerCost(c.instructions, c.cycles + stream, _code(size, emitted.files["probe.c"], c.symbol))
        for c, stream in zip(run.layers[1:], streams, strict=True)
    ]


def _code(size: Mapping[str, int], source: str, symbol: str) -> int:
    """Bytes of a layer's function and of the kernels that it names and that were not inlined into it."""
    body = source.split(f"static void {symbol}(")[1].split("\n}\n")[0]
    kernels = set(re.findall(r"\bprobe_k\d+_\w+", body))
    return size.get(symbol, 0) + sum(
        n for name, n in size.items() if name.split(".")[0] in kernels or any(name == f"{k}_patch" for k in kernels)
    )


def _isolated(layers: Sequence[tuple[Graph, Layer]]) -> tuple[list[Layer], Graph]:
    """The layers with names of their own, so that one network holds them side by side.

    Its input and output are nobody's: the layers find their tensors in the arena, as those of a whole network do.
    Compilers know of such pointers that they are not NULL, and leave out the tests for rows of padding.
    """
    ends = [Tensor(name, (4,), DType.INT8) for name in ("input", "output")]
    tensors: dict[str, Tensor] = {t.name: t for t in ends}
    nodes, alone = [], []
    for i, (graph, layer) in enumerate(layers):
        rename = {n: f"{i}:{n}" for n in (*layer.node.inputs, *layer.node.outputs) if n}
        node = Node(
            f"{i}:{layer.node.name}",
            layer.node.op,
            tuple(rename.get(n, "") for n in layer.node.inputs),
            tuple(rename[n] for n in layer.node.outputs),
            layer.node.attrs,
        )
        for old, new in rename.items():
            tensors[new] = replace(graph.tensors[old], name=new)
        nodes.append(node)
        alone.append(replace(layer, node=node))
    network = Graph("probe", layers[0][0].profile, tensors, tuple(nodes), ("input",), ("output",))
    return alone, _with_scales(network)


def _with_scales(graph: Graph) -> Graph:
    tensors = {
        n: t
        if t.quant is not None or t.data is not None or t.dtype is DType.INT32
        else replace(t, quant=Quant((1.0,), (0,)))
        for n, t in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def _stacked_plan(graph: Graph, layers: Sequence[Layer]) -> Plan:
    """Every layer's bytes from the arena's start: inputs, output, scratch. Right for counting, not for results."""
    tensors: dict[str, int] = {}
    scratch: dict[str, int] = {}
    arena = 4
    for layer in layers:
        at = 0
        for name in (*graph.runtime_inputs(layer.node), *layer.node.outputs):
            tensors[name] = at
            at += (graph.tensors[name].bytes + 3) & ~3
        scratch[layer.node.name] = at
        arena = max(arena, at + layer.scratch)
    for name in (*graph.inputs, *graph.outputs):
        tensors.setdefault(name, 0)
    storage = {n: n for n in tensors}
    return Plan(
        tensors=tensors,
        scratch=scratch,
        storage=storage,
        buffers=(),
        offsets={},
        io=frozenset(),
        arena=arena,
        work=arena,
        lower_bound=arena,
        optimal=False,
        live=tuple(np.zeros(len(layers), int).tolist()),
    )
