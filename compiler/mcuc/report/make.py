"""The report of one compiled model, and its output folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mcuc import __version__
from mcuc.emit.deliver import GENERATOR, staging
from mcuc.emit.model import RUNTIME_HEADERS, Emitted
from mcuc.emit.tables import Content
from mcuc.inside import contents
from mcuc.ir import Graph
from mcuc.latency.flash import flash_cycles, table_reads
from mcuc.plan import ArenaPlan, Plan
from mcuc.report.html import to_html
from mcuc.report.json import to_json
from mcuc.report.memory import memory_svg
from mcuc.report.segments import memory_map, segment_reports
from mcuc.report.types import (
    Flash,
    FlashRegionReport,
    LayerReport,
    PlanReport,
    RegionReport,
    Report,
    Sram,
    Weights,
)
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.targets import Board, Chip
from mcuc.toolchain import Firmware, Sizes, runtime_folder
from mcuc.verify.answers import Answers

if TYPE_CHECKING:
    from pathlib import Path

    from mcuc.accuracy.judge import Judged
    from mcuc.pipeline import Extra
    from mcuc.request import Request

EVIDENCE = {
    "sram": "planned; stack emulated and bounded statically",
    "flash": "linked ELF",
    "instructions": "emulated",
    "cycles": "estimated",
    "latency_ms": "estimated",
}


def make_report(
    graph: Graph,
    schedule: Schedule,
    plan: Plan,
    emitted: Emitted,
    board: Board,
    firmware: Firmware,
    answers: Answers,
    request: Request,
    stack: int,
    budget: int,
    extra: Extra,
    judged: Judged | None,
    notes: tuple[str, ...] = (),
) -> Report:
    """All figures of one model. stack: bytes, the larger of measured and bounded; budget: SRAM bytes allowed."""
    run, sizes = answers.run, firmware.sizes
    static = sizes.data + sizes.bss
    inside = None if sizes.weights_in_ram else contents(emitted, firmware)
    layers = _layers(schedule, plan, answers, board, inside)
    cycles = run.layers[0].cycles + sum(layer.cycles for layer in layers)
    return Report(
        model=emitted.name,
        board=board.name,
        core=board.chip.core,
        clock_hz=board.chip.clock_hz,
        toolchain=firmware.toolchain,
        profile=graph.profile,
        optimize=request.optimize,
        sram=Sram(
            plan.arena,
            plan.work,
            static,
            stack,
            plan.arena + static + stack,
            budget,
            _regions(plan, board, static + stack),
            plan.state_bytes,
        ),
        flash=Flash(
            sizes.weights, sizes.code, sizes.flash, request.flash or board.all_flash_bytes, _flashes(sizes, board)
        ),
        macs=sum(layer.macs for layer in schedule.layers if not layer.again),
        instructions=run.instructions,
        cycles=cycles,
        cycles_band=run.cycles_band,
        latency_ms=round(1000 * cycles / board.chip.clock_hz, 4),
        evidence=EVIDENCE,
        verify=answers.verify,
        layers=layers,
        accuracy=None if judged is None else judged.accuracy,
        plan=PlanReport(plan.lower_bound, plan.arena, plan.optimal, _schedules(schedule)),
        memory_map=memory_map(graph, schedule, plan),
        notes=(*graph.notes, *notes, *extra.notes, *(() if judged is None else judged.notes)),
        pareto=extra.pareto,
        mix=dict(run.mix),
        segments=segment_reports(graph, schedule, plan, board.chip),
        options=_options(request, extra),
        weights=_together([layer.weights for layer in layers if layer.weights]),
    )


def _options(request: Request, extra: Extra) -> dict[str, str]:
    """What was asked for, but for what stands elsewhere in the report or changes no figure; as text."""
    given = {k: v for k, v in asdict(request).items() if k not in ("board", "optimize", "name")}
    words = {k: ", ".join(v) if isinstance(v, tuple) else str(v) for k, v in given.items() if v not in (None, ())}
    return words | dict(extra.options)


def _schedules(schedule: Schedule) -> str:
    """The class of schedules that the bound is proven for."""
    streams = sum(isinstance(unit, Segment) for unit in schedule.segments)
    if not streams:
        return "this order of layers"
    return f"this order of layers and its {f'{streams} streams' if streams > 1 else 'stream'}"


def _regions(plan: Plan, board: Board, beside: int) -> tuple[RegionReport, ...]:
    """The RAM regions in use, where any was named; beside: bytes of static data and stack."""
    if not plan.arenas:
        return ()
    held = {a.name: a for a in plan.arenas}
    found = []
    for region in board.data_regions:
        at_home = region.name == board.home.name
        if region.name in held or at_home:
            a = held.get(region.name, ArenaPlan(region.name, 0, 0))
            size = board.usable_bytes(region)
            found.append(RegionReport(region.name, a.bytes, a.work, beside if at_home else 0, size))
    return tuple(found)


def _flashes(sizes: Sizes, board: Board) -> tuple[FlashRegionReport, ...]:
    """The chip's flash and the one outside it, where weights lie there."""
    if not board.chip.weights_in:
        return ()
    inside, outside = board.chip.flash_region, board.chip.weights_region
    return (
        FlashRegionReport(inside.name, sizes.weights_inside, sizes.code, inside.size),
        FlashRegionReport(outside.name, sizes.weights - sizes.weights_inside, 0, outside.size),
    )


def _layers(
    schedule: Schedule, plan: Plan, answers: Answers, board: Board, inside: Collection[Content] | None
) -> tuple[LayerReport, ...]:
    """inside: tables in the chip's own flash where others lie outside it; None where all are copied to RAM."""
    counts = iter(answers.run.layers[1:])
    found = []
    for layer, live in zip(schedule.layers, plan.live, strict=True):
        count = next(counts) if layer.calls else None
        kernel = "+".join(dict.fromkeys(k.id for _, k in layer.calls)) or "none"
        instructions = 0 if count is None else count.instructions
        waits = 0 if inside is None or count is None else flash_cycles(layer, board.chip, inside)
        cycles = 0 if count is None else count.cycles + waits
        weights = _weights(layer, board.chip, waits)
        found.append(
            LayerReport(
                layer.node.name, layer.node.op, kernel, layer.why, layer.macs, instructions, cycles, live, weights
            )
        )
    return tuple(found)


def _weights(layer: Layer, chip: Chip, waits: int) -> Weights | None:
    reads = [read for read in table_reads(layer, chip) if read.table.bytes]
    if not reads:
        return None
    size, total = sum(read.table.bytes for read in reads), sum(read.bytes for read in reads)
    return Weights(size, total, float(max(read.times for read in reads)), round(total / size, 4), waits)


def _together(found: Sequence[Weights]) -> Weights | None:
    if not found:
        return None
    size, total = sum(w.bytes for w in found), sum(w.bytes_read for w in found)
    most = max(w.reads_max for w in found)
    return Weights(size, total, most, round(total / size, 4), sum(w.waits for w in found))


def deliver(
    folder: Path,
    emitted: Emitted,
    firmware: Firmware,
    report: Report,
    schedule: Schedule,
    files: tuple[tuple[str, bytes], ...],
) -> None:
    """The output folder in one step. Raises McucError where it is not ours or cannot be written."""
    with staging(folder) as stage:
        for name, text in emitted.files.items():
            (stage / name).write_text(text, encoding="utf-8")
        for header in RUNTIME_HEADERS:
            (stage / header).write_bytes((runtime_folder() / header).read_bytes())
        (stage / "firmware.elf").write_bytes(firmware.elf.read_bytes())
        (stage / "report.json").write_text(to_json(report), encoding="utf-8")
        (stage / "report.html").write_text(to_html(report), encoding="utf-8")
        (stage / "memory.svg").write_text(memory_svg(report), encoding="utf-8")
        for name, data in files:
            (stage / name).write_bytes(data)
        names = sorted(p.name for p in stage.iterdir())
        (stage / "manifest.json").write_text(_manifest(emitted, report, schedule, names), encoding="utf-8")


def _manifest(emitted: Emitted, report: Report, schedule: Schedule, names: list[str]) -> str:
    """What was generated and why: files, and the kernel choice of every layer with what was refused."""
    content: dict[str, Any] = {
        "generator": GENERATOR,
        "version": __version__,
        "model": emitted.name,
        "board": report.board,
        "toolchain": report.toolchain,
        "profile": report.profile,
        "files": names,
        "layers": [
            {
                "name": layer.node.name,
                "op": layer.node.op,
                "kernels": [k.id for _, k in layer.calls],
                "scratch": layer.scratch,
                "why": layer.why,
                "refused": list(layer.refused),
            }
            for layer in schedule.layers
        ],
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
