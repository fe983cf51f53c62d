"""The SRAM-latency front of one model on one board: every schedule worth having, built and run on the emulated core."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from mcuc import inside, outside, passes
from mcuc.choice import Limits, code_within, copies_weights, pushed_input, weights_wait, with_staging
from mcuc.emit.deliver import os_errors
from mcuc.emit.model import emit
from mcuc.emit.names import identifier
from mcuc.emulate.cortex_m import CortexM
from mcuc.errors import McucError
from mcuc.image import linked
from mcuc.importers import load
from mcuc.ir import Graph
from mcuc.latency.flash import flash_cycles
from mcuc.latency.tuning import tune
from mcuc.pipeline import DEFAULT_STACK, Progress, quiet
from mcuc.plan import plan
from mcuc.request import Request
from mcuc.schedule import Segment
from mcuc.schedule.explore import Candidate, explore
from mcuc.schedule.fit import Fitted, Room
from mcuc.schedule.select import wide_for
from mcuc.targets import Board, load_board
from mcuc.verify.compare import difference, emulated, expected
from mcuc.verify.samples import random_samples

MOST_POINTS = 8  # each is a firmware to build and an inference to emulate


@dataclass(frozen=True)
class Point:
    """One schedule. arena, total: bytes, planned (total: with static data and stack); flash: bytes, linked;
    instructions: emulated; cycles, latency_ms: estimated; streams: how many of its segments are streams; extra_macs:
    computed more than once; weights_in_ram, code_in_ram: bytes copied there at start, inside total."""

    arena: int
    total: int
    flash: int
    instructions: int
    cycles: int
    latency_ms: float
    streams: int
    extra_macs: int
    weights_in_ram: int
    code_in_ram: int


@dataclass(frozen=True)
class Copies:
    """What is copied to RAM at start."""

    weights: bool
    code: bool


NONE = Copies(False, False)


@dataclass(frozen=True)
class Tradeoff:
    """The front from the fastest point to the smallest. skipped: schedules between them that were not built."""

    model: str
    board: str
    toolchain: str
    cycles_band: float
    points: tuple[Point, ...]
    skipped: int


def tradeoff(model: Path, request: Request, progress: Progress = quiet) -> Tradeoff:
    """The front of a model file. Raises McucError where it cannot be compiled, or where no schedule fits the board."""
    progress("reading the model")
    with os_errors(model, "read"):
        graph = load(model, request.profile)
    board = load_board(request.board)
    graph = passes.check_supported(passes.optimize(graph))
    board = outside.settled(board, graph, request.flash)
    tuned = tune(graph, board, request, progress)
    progress("planning memory")
    goal = "flash" if request.optimize == "flash" else "latency"
    wide = wide_for(request.optimize)
    candidates = explore(graph, board.chip, goal, pushed_input(graph, request), tuned.choose, wide).candidates
    chosen = spread(candidates, MOST_POINTS)
    points, label, band = [], "", 0.0
    limits = Limits(board, (), request)
    copies = [Copies(w, c) for w in (False, True) for c in (False, True)]
    copies = [c for c in copies if c.weights <= copies_weights(limits) and c.code <= (code_within(limits) > 0)]
    with tempfile.TemporaryDirectory(prefix="mcuc-front-") as scratch:
        for i, (candidate, copied) in enumerate(product(chosen, copies)):
            progress(f"point {i + 1} of {len(chosen) * len(copies)}")
            found = build_point(candidate, board, request, model.name, Path(scratch) / str(i), copied)
            if found is not None:
                point, label, band = found
                points.append(point)
    if not points:
        smallest = min(c.peak for c in candidates)
        raise McucError(
            "over-budget",
            f"no schedule fits: the smallest takes an arena of at least {smallest:,} bytes; {board.name} has "
            f"{board.sram_bytes:,} bytes of SRAM for arena, static data and stack, and {board.all_flash_bytes:,} of "
            "flash",
            where=model.name,
            try_this="compile it without --pareto for what would make it fit",
        )
    return Tradeoff(identifier(graph.name), board.name, label, band, efficient(points), len(candidates) - len(chosen))


def spread(candidates: Sequence[Candidate], most: int) -> tuple[Candidate, ...]:
    """At most `most` of them, the first and the last among them, evenly apart."""
    if len(candidates) <= most:
        return tuple(candidates)
    return tuple(candidates[round(k * (len(candidates) - 1) / (most - 1))] for k in range(most))


def efficient(points: Sequence[Point]) -> tuple[Point, ...]:
    """Those that no other point beats in SRAM and in cycles, the fastest first."""
    kept: list[Point] = []
    for p in sorted(points, key=lambda p: (p.cycles, p.total)):
        if not kept or p.total < kept[-1].total:
            kept.append(p)
    return tuple(kept)


def build_point(
    candidate: Candidate, board: Board, request: Request, source: str, folder: Path, copied: Copies = NONE
) -> tuple[Point, str, float] | None:
    """One schedule built, run and compared with the reference, with the toolchain's name and the cycles' band.

    folder: to build in; copied: what is copied to RAM at start. None where the board cannot hold it, or where copying
    does not pay. Raises McucError where it cannot be built or run.
    """
    graph: Graph = candidate.graph
    limits = Limits(board, (), request)
    fitted = Fitted(candidate, plan(graph, candidate.schedule), candidate.schedule)
    if fitted.plan.arena > board.sram_bytes or (copied.weights and not weights_wait(candidate, limits)):
        return None
    if not copied.weights:
        fitted = with_staging(fitted, limits, Room(fitted.plan.arena))
    found, schedule = fitted.plan, fitted.schedule
    emitted = emit(
        graph,
        schedule,
        found,
        identifier(graph.name),
        source,
        board.chip.arena_align,
        DEFAULT_STACK,
        small_code=request.optimize == "flash",
    )
    try:
        within = board.sram_bytes if copied.code else 0
        keep = partial(inside.kept, emitted, schedule, board.chip)
        image = linked(emitted, found.arena, board, request, folder, copied.weights, within, keep)
    except McucError as error:
        if error.code not in ("over-sram", "over-flash"):
            raise
        moved = outside.moved(board, request.flash) if error.code == "over-flash" and not copied.weights else None
        return None if moved is None else build_point(candidate, moved, request, source, folder, copied)
    firmware = image.firmware
    if firmware is None:
        return None
    made = Copies(firmware.sizes.weights_in_ram > 0, firmware.sizes.code_in_ram > 0)
    if made != copied:  # not all of it fits the board
        return None
    core = CortexM(firmware.elf, board.chip, emitted.symbols)
    (sample,) = random_samples(graph, 1, request.seed)
    outs, run = emulated(core, graph, found, sample)
    if difference(outs, expected(graph, [sample])).differing:
        raise McucError(
            "internal",
            "the emulated answers of a schedule differ from the reference",
            where=source,
            try_this="report this as a bug, with the model",
        )
    coded = [layer for layer in schedule.layers if layer.calls]
    cycles = sum(layer.cycles for layer in run.layers)  # as a report adds them up
    near = inside.contents(emitted, firmware)
    cycles += 0 if copied.weights else sum(flash_cycles(layer, board.chip, near) for layer in coded)
    total = found.arena + image.beside
    streams = sum(isinstance(unit, Segment) for unit in schedule.segments)
    point = Point(
        found.arena,
        total,
        firmware.sizes.flash,
        run.instructions,
        cycles,
        round(1000 * cycles / board.chip.clock_hz, 4),
        streams,
        candidate.recomputed,
        firmware.sizes.weights_in_ram,
        firmware.sizes.code_in_ram,
    )
    return point, firmware.toolchain, run.cycles_band
