"""The road from a model file to verified firmware, top to bottom."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mcuc import passes, ram
from mcuc.choice import fit_or_refuse, memory_notes, pushed_input, schedule_goal, weights_in_ram
from mcuc.emit.deliver import check_ours, os_errors
from mcuc.emit.model import Emitted, emit
from mcuc.emit.names import checked_identifier, identifier
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.emulate.stack import bound_of
from mcuc.importers import load
from mcuc.ir import Array, Graph
from mcuc.plan import Plan
from mcuc.report.budgets import check_budgets
from mcuc.report.make import deliver, make_report
from mcuc.report.types import Accuracy, ParetoPoint, Report
from mcuc.request import Request
from mcuc.schedule import Schedule
from mcuc.schedule.explore import explore
from mcuc.targets import Board, load_board
from mcuc.toolchain import Firmware, build_firmware
from mcuc.verify.answers import Answers, check_answers, host_samples

DEFAULT_STACK = 1024  # bytes, what the first header says until the stack is measured
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Compiled:
    """Everything on the road, for callers that go on from here. out: the folder delivered."""

    graph: Graph
    schedule: Schedule
    plan: Plan
    emitted: Emitted
    firmware: Firmware
    answers: Answers
    report: Report
    out: Path


@dataclass(frozen=True, eq=False)
class Labelled:
    """Test samples x [n, ...] in the input's integers, labels [n], and whether the float model had each right."""

    x: Array
    y: Array
    float_right: Array


@dataclass(frozen=True, eq=False)
class Extra:
    """What a search adds to its winner's folder and report."""

    labelled: Labelled | None = None
    pareto: tuple[ParetoPoint, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()


def quiet(stage: str) -> None:
    """Progress to nobody."""


def compile_file(model: Path, request: Request, out: Path | None = None, progress: Progress = quiet) -> Compiled:
    """A .tflite or .onnx file to verified firmware in a folder. Raises McucError where anything does not hold."""
    progress("reading the model")
    with os_errors(model, "read"):
        graph = load(model, request.profile)
    return compile_graph(graph, request, model.name, out, progress)


def compile_graph(
    graph: Graph,
    request: Request,
    source: str,
    out: Path | None = None,
    progress: Progress = quiet,
    extra: Extra = Extra(),
) -> Compiled:
    """The road: passes, schedule and plan, C, firmware, emulation, verification, report, folder."""
    name = identifier(graph.name) if request.name is None else checked_identifier(request.name)
    folder = out or Path(f"{name}_mcuc")
    check_ours(folder)
    board = load_board(request.board)
    chosen = ram.chosen(board, request.regions)
    most = ram.most(board, chosen)
    budget = min(most, request.budget or most)

    progress("optimizing the graph")
    graph = passes.check_supported(passes.optimize(graph))

    progress("planning memory")
    explored = explore(graph, board.chip, schedule_goal(request), pushed_input(graph, request))
    beside = 0  # bytes of static data and stack, known once there is a firmware

    with os_errors(folder), tempfile.TemporaryDirectory(prefix="mcuc-") as scratch:
        work = Path(scratch)
        while True:
            regions = ram.room(board, chosen, beside, len(graph.nodes))
            fitted = fit_or_refuse(explored, board, budget, beside, request, regions)
            graph, schedule, plan = fitted.graph, fitted.schedule, fitted.plan

            progress("writing C")
            emitted = emit(graph, schedule, plan, name, source, board.chip.arena_align, DEFAULT_STACK)
            copied = weights_in_ram(emitted.weight_bytes, plan.arena, board, budget, request)

            progress("compiling for the board and the host")
            with ThreadPoolExecutor(2) as pool:
                image = pool.submit(build_image, emitted, board, request, work / "device", weights_in_ram=copied)
                program = pool.submit(host.build, emitted, graph, work / "host")
                samples, wanted = host_samples(graph, schedule, request.seed)
                firmware, program_built = image.result(), program.result()
            core = CortexM(firmware.elf, board.chip, emitted.symbols)
            found = beside_arena(core, board, firmware, f"{name}_run")
            holds = ram.holds(ram.room(board, chosen, found, len(graph.nodes)), plan)
            if (plan.arena + found <= budget and holds) or found <= beside:
                break
            beside = found

        progress("verifying on the host and the emulated core")

        def traced() -> CortexM:
            elf = build_image(emitted, board, request, work / "traced", True, copied).elf
            return CortexM(elf, board.chip, emitted.symbols)

        answers = check_answers(
            graph, schedule, plan, emitted, program_built, core, samples, wanted, traced, work, seed=request.seed
        )
        stack, stack_notes = stack_bytes(core, board, f"{name}_run", answers)
        memory = memory_notes(explored, fitted, board, budget, request)
        if copied:
            memory += (
                f"weights: {firmware.sizes.weights_in_ram:,} bytes are copied to SRAM at start, where no read waits; "
                "they count as static data (your own build does the same with -DMCUC_WEIGHTS_IN_RAM)",
            )
        built = f"{firmware.toolchain} for {board.chip.core}, --optimize {request.optimize}"
        emitted = emit(graph, schedule, plan, name, source, board.chip.arena_align, stack, built)

        progress("writing the report")
        accuracy = None if extra.labelled is None else measure_accuracy(program_built, extra.labelled)
        report = make_report(
            graph,
            schedule,
            plan,
            emitted,
            board,
            firmware,
            answers,
            request,
            stack,
            budget,
            extra,
            accuracy,
            (*stack_notes, *memory, *ram.notes(board, plan)),
        )
        check_budgets(report, request.latency_ms)
        deliver(folder, emitted, firmware, report, schedule, extra.files)
    return Compiled(
        graph, schedule, plan, emitted, replace(firmware, elf=folder / "firmware.elf"), answers, report, folder
    )


def beside_arena(core: CortexM, board: Board, firmware: Firmware, function: str) -> int:
    """Bytes of SRAM besides the arena: static data, and the stack where it has a static bound."""
    sizes = firmware.sizes
    return sizes.data + sizes.bss + (bound_of(core.image, board.chip, function).bytes or 0)


def stack_bytes(core: CortexM, board: Board, function: str, answers: Answers) -> tuple[int, tuple[str, ...]]:
    """The larger of measured stack and static bound, in bytes; a note where there is no bound."""
    bound = bound_of(core.image, board.chip, function)
    if bound.bytes is None:
        note = f"the stack has no static bound, only what was measured: {'; '.join(bound.unbounded)}"
        return answers.run.stack_bytes, (note,)
    return max(answers.run.stack_bytes, bound.bytes), ()


def measure_accuracy(program: host.HostModel, labelled: Labelled) -> Accuracy:
    """The C's accuracy over labelled samples, on the host."""
    outs = host.run(program, [[x] for x in labelled.x]).outputs[0]
    right = outs.reshape(len(outs), -1).argmax(axis=1) == labelled.y
    flips = int((labelled.float_right & ~right).sum())
    return Accuracy(float(labelled.float_right.mean()), float(right.mean()), flips, len(right))


def build_image(
    emitted: Emitted, board: Board, request: Request, folder: Path, trace: bool = False, weights_in_ram: bool = False
) -> Firmware:
    """The test firmware of the model for the board. trace: with a hash of every layer's output; weights_in_ram: copied
    there at start."""
    sources = host.write_sources(emitted, folder)
    main = folder / f"{emitted.name}_harness.c"
    main.write_text(emitted.harness, encoding="utf-8")
    defines = {"MCUC_WEIGHTS_IN_RAM" if weights_in_ram else "MCUC_WEIGHTS_SECTION": "1"}
    defines |= {"MCUC_TRACE": "1"} if trace else {}
    return build_firmware(
        sources,
        [folder],
        board,
        folder / "firmware.elf",
        request.toolchain,
        request.optimize,
        defines,
        harness_sources=[main],
        arenas=ram.sections(emitted, board),
    )
