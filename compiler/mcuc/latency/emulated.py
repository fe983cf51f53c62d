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
from importlib import resources
from pathlib import Path

import msgspec
from msgspec.structs import replace as replaced

from mcuc import cache
from mcuc.emit import environment
from mcuc.emit.layers import KernelPool, layer_context
from mcuc.emit.model import RUNTIME_HEADERS, emit
from mcuc.emit.tables import TablePool
from mcuc.emulate import counted, cycles, host
from mcuc.emulate.cortex_m import CortexM
from mcuc.ir import DType, Graph, Tensor
from mcuc.latency import flash
from mcuc.latency.flash import flash_cycles
from mcuc.plan import Plan
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.schedule.views import spread
from mcuc.targets import Board, Region
from mcuc.toolchain import Optimize, build_firmware, find, runtime_folder

BATCH = 24  # layers in one measuring firmware
# The emulator cuts blocks at its pages, and a dual-issue core's cost of a block depends on where it is cut: functions
# that begin with a page are cut alike wherever they lie. (GNU as aligns Thumb code to 64 bytes at most.)
PAGE = 1024
SPARE = 1 << 16  # bytes of stack, static data and startup code in a measuring firmware
# The distance of an output stage's shift (kernels/_linear.py) follows from the weights and costs the same in any case.
_DISTANCE = re.compile(r"(\bmcuc_(?:stage|pairs)\(.*, |\bssat .*, asr #)[1-9]\d*\b")
# A function's name and body in generated C; among its parameters no second level of parentheses.
_FUNCTION = re.compile(r"^[^\n;]*?\b(\w+)\((?:[^();{]|\([^();{]*\))*\)\n\{\n(.*?)^\}$", re.M | re.S)


@dataclass(frozen=True)
class LayerCost:
    """instructions, cycles: of one run of the layer; code: bytes of its functions (kernels shared by several layers
    are counted in each); kernels: a hash of each kernel's C, by which layers that share it are known -> its part of
    `code` in bytes. Most kernels are inlined, so that the code is shared out by the length of their C."""

    instructions: int
    cycles: int
    code: int
    kernels: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class NetworkCost:
    """cycles: sum over layers; latency_ms at the board's clock; code: bytes, shared kernels counted in each layer: what
    is linked is less, or a few hundredths more where the compiler knows less of the caller's buffers."""

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
        kept = _restored(cache.read_json("layers", key))
        if kept is not None:
            known[key] = kept
        else:
            missing[key] = entry
    todo = list(missing.items())
    for start in range(0, len(todo), BATCH):
        part = todo[start : start + BATCH]
        found = _measure([entry for _, entry in part], board, toolchain, optimize)
        for (key, _), cost in zip(part, found, strict=True):
            known[key] = cost
            cache.write_json("layers", key, [cost.instructions, cost.cycles, cost.code, cost.kernels])
    return [known[k] for k in keys]


def _restored(kept: object) -> LayerCost | None:
    """What write_json has kept; None where it is something else."""
    try:
        return LayerCost(*msgspec.convert(kept, tuple[int, int, int, tuple[tuple[str, int], ...]]))
    except msgspec.ValidationError:
        return None


def _key(graph: Graph, layer: Layer, board: Board, toolchain: str, optimize: str) -> str:
    text = "\n".join([_signature(graph, layer), str(board.chip), toolchain, optimize, rules()])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@memoize
def rules() -> str:
    """Changes when the runtime headers, how a layer is measured or what turns instructions into cycles do."""
    modules = (cycles.__file__, counted.__file__, flash.__file__, __file__)
    files = [*(runtime_folder() / name for name in RUNTIME_HEADERS), *map(Path, modules)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _signature(graph: Graph, layer: Layer) -> str:
    kernels, tables = KernelPool("s"), TablePool("s")
    names = [*graph.runtime_inputs(layer.node), *layer.node.outputs]
    plan = _stacked_plan(graph, layer)
    entry = layer_context(0, layer, graph, plan, "s", kernels, tables, dict.fromkeys(names, "p"))
    sizes = [f"{r['ctype']} {r['length']}" for r in tables.rows()]
    text = re.sub(r"/\*.*?\*/", "", "\n".join([*kernels.bodies(), entry["text"]]), flags=re.S)
    text = _DISTANCE.sub(r"\1n", text)
    return "\n".join([text, *sizes])


def _measure(
    layers: Sequence[tuple[Graph, Layer]], board: Board, toolchain: str, optimize: Optimize
) -> list[LayerCost]:
    """Each layer once, alone, many in one firmware.

    Every layer is a network in a source file of its own, so that what the compiler makes of it does not depend on the
    company it is measured in. All use the same bytes of the arena. The board's memories are as large as it takes: a
    layer that never runs whole on it is measured whole.
    """
    align = board.chip.arena_align
    alone = [_isolated(graph, layer) for graph, layer in layers]
    plans = [_stacked_plan(network, layer) for network, layer in alone]
    probes = [
        emit(network, Schedule(Segment("layers", (layer,))), plan, f"probe{i:02d}", "layer", align, 0)
        for i, ((network, layer), plan) in enumerate(zip(alone, plans, strict=True))
    ]
    arena = max(plan.arena for plan in plans)
    chip = board.chip
    board = _with_room(board, arena + SPARE, sum(p.weight_bytes for p in probes) + BATCH * 16 * PAGE + SPARE)
    with tempfile.TemporaryDirectory(prefix="mcuc-probe-") as scratch:
        work = Path(scratch)
        for probe in probes:
            host.write_sources(probe, work)
        tables, main = work / "tables.c", work / "probes_main.c"
        tables.write_text("".join(p.files[f"{p.name}_weights.c"] for p in probes), encoding="utf-8")
        main.write_text(_main([p.name for p in probes], arena, align), encoding="utf-8")
        sources = [*(work / f"{p.name}.c" for p in probes), tables]
        defines = {"MCUC_WEIGHTS_SECTION": "1"}
        firmware = build_firmware(
            sources,
            [work],
            board,
            work / "probe.elf",
            toolchain,
            optimize,
            defines,
            harness_sources=[main],
            extra_flags=[f"-falign-functions={PAGE if find(toolchain).id == 'zig' else 64}"],
        )
        entries = ["probes_next", *(symbol for p in probes for symbol in (f"{p.name}_run", *p.symbols))]
        core = CortexM(firmware.elf, board.chip, entries)
        counts = {count.symbol: count for count in core.run().layers}
        size = {s.name: s.size for s in core.image.functions}
    found = []
    for probe, (_, layer) in zip(probes, alone, strict=True):
        (symbol,) = probe.symbols
        count = counts[symbol]
        stream = flash_cycles(layer, chip)  # of the flash that the board has, however the probes are linked
        code, kernels = _code(size, probe.files[f"{probe.name}.c"], probe.name, symbol)
        found.append(LayerCost(count.instructions, count.cycles + stream, code, kernels))
    return found


def _with_room(board: Board, ram: int, flash: int) -> Board:
    """The board with one RAM and a flash of at least so many bytes, where Armv7-M has its SRAM and its code."""
    pages = [-(-size // PAGE) * PAGE for size in (ram, flash)]
    found = board.chip.flash_region
    regions = (
        replaced(found, size=max(found.size, pages[1])),
        Region("ram", "ram", 0x20000000, pages[0], dma=True, source="for measuring"),
    )
    chip = replaced(board.chip, regions=regions, linked_ram=("ram",), weights_in="")
    return replaced(board, chip=chip, reserved_sram=0)


def _main(names: Sequence[str], arena: int, align: int) -> str:
    template = resources.files("mcuc.latency").joinpath("probes.c.j2").read_text(encoding="utf-8")
    return environment().from_string(template).render(names=names, arena=arena, align=align)


def _code(size: Mapping[str, int], source: str, name: str, symbol: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    """LayerCost.code and LayerCost.kernels: of a layer's function and of the kernels that it calls, themselves or by
    another kernel, as far as they were not inlined into it. size: bytes of the linked functions."""
    found = {match[1]: match for match in _FUNCTION.finditer(source)}
    kernels, todo = set[str](), [symbol]
    while todo:
        named = set(re.findall(rf"\b{name}_k\d+_\w+", found[todo.pop()][2])) & found.keys()
        todo += named - kernels
        kernels |= named
    bytes_ = size.get(symbol, 0) + sum(
        n for f, n in size.items() if f.split(".")[0] in kernels or any(f == f"{k}_patch" for k in kernels)
    )
    texts = sorted(_DISTANCE.sub(r"\1n", re.sub(rf"\b{name}_k\d+_", "k_", found[k][0])) for k in kernels)
    whole = max(1, sum(map(len, texts)))
    return bytes_, tuple((hashlib.sha256(t.encode()).hexdigest()[:16], bytes_ * len(t) // whole) for t in texts)


def _isolated(graph: Graph, layer: Layer) -> tuple[Graph, Layer]:
    """A network of this layer only, with an input and an output that are nobody's.

    So the layer finds its tensors in the arena, as those of a whole network do: compilers know of such pointers that
    they are not NULL, and leave out the tests for rows of padding.
    """
    names = [n for n in (*layer.node.inputs, *layer.node.outputs) if n]
    rename = {n: f"layer:{n}" for n in names}
    node = replace(
        layer.node,
        inputs=tuple(rename.get(n, "") for n in layer.node.inputs),
        outputs=tuple(rename[n] for n in layer.node.outputs),
    )
    tensors = {end: Tensor(end, (4,), DType.INT8) for end in ("input", "output")}
    tensors |= {new: replace(graph.tensors[old], name=new) for old, new in rename.items()}
    network = Graph("probe", graph.profile, tensors, (node,), ("input",), ("output",))
    return network, replace(layer, node=node)


def _stacked_plan(graph: Graph, layer: Layer) -> Plan:
    """The layer's bytes from the arena's start: inputs, output, scratch."""
    tensors: dict[str, int] = {}
    at = 0
    for name in (*graph.runtime_inputs(layer.node), *layer.node.outputs):
        tensors[name] = at
        pitch = layer.pitch if name in layer.node.outputs else 0
        at += (spread(graph.tensors[name], pitch) + 3) & ~3
    arena = max(4, at + layer.scratch)
    for name in (*graph.inputs, *graph.outputs):
        tensors.setdefault(name, 0)
    return Plan(
        tensors=tensors,
        scratch={layer.node.name: at},
        lines={},
        state={},
        storage={n: n for n in tensors},
        buffers=(),
        offsets={},
        io=frozenset(),
        arena=arena,
        work=arena,
        lower_bound=arena,
        optimal=False,
        ranges=((0, 1),),
        live=(arena,),
    )
