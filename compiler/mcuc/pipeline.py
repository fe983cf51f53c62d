"""The road from a model file to verified firmware, top to bottom."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mcuc import inside, outside, passes, ram
from mcuc.accuracy.judge import Forms, Trial, judge
from mcuc.choice import (
    Key,
    Limits,
    built_or_refused,
    code_within,
    fit_or_refuse,
    memory_notes,
    pushed_input,
    schedule_goal,
    staging_notes,
)
from mcuc.emit.deliver import check_ours, os_errors
from mcuc.emit.model import Emitted, emit
from mcuc.emit.names import checked_identifier, identifier
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.image import Image, build_image, linked
from mcuc.importers import load
from mcuc.ir import Array, Graph
from mcuc.latency.tuning import tune
from mcuc.plan import Plan
from mcuc.report.budgets import check_budgets
from mcuc.report.make import deliver, make_report
from mcuc.report.types import ParetoPoint, Report
from mcuc.request import Request
from mcuc.schedule import Schedule
from mcuc.schedule.explore import Explored, explore
from mcuc.schedule.select import wide_for
from mcuc.targets import Board, load_board, weights_outside
from mcuc.toolchain import Firmware
from mcuc.verify.answers import Answers, check_answers, host_samples
from mcuc.verify.compare import Outputs

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
class Extra:
    """What a search or a quantization adds to the folder and the report. trial: by what the network is judged;
    options: what was asked for besides the request."""

    trial: Trial | None = None
    pareto: tuple[ParetoPoint, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


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
    small_code = request.optimize == "flash"

    progress("optimizing the graph")
    graph = passes.optimize(graph)
    graph = passes.check_supported(passes.answer_argmax(graph) if request.argmax else graph)

    board = outside.settled(board, graph, request.flash)
    tuned = tune(graph, board, request, progress)

    progress("planning memory")
    original = graph

    def explored_on(board: Board) -> Explored:
        goal, pushed = schedule_goal(request), pushed_input(original, request)
        return explore(original, board.chip, goal, pushed, tuned.choose, wide_for(request.optimize))

    explored = explored_on(board)
    limits = Limits(board, ram.chosen(board, request.regions), request)
    within = code_within(limits)
    asked: tuple[list[list[Array]], Outputs] | None = None  # samples and the reference's answers
    tried: dict[Key, int] = {}  # bytes of static data and stack of each firmware that did not fit

    with os_errors(folder), tempfile.TemporaryDirectory(prefix="mcuc-") as scratch:
        work = Path(scratch)
        while True:
            fitted = fit_or_refuse(explored, limits, tried)
            graph, schedule, plan = fitted.graph, fitted.schedule, fitted.plan

            progress("writing C")
            emitted = emit(
                graph, schedule, plan, name, source, board.chip.arena_align, DEFAULT_STACK, small_code=small_code
            )

            progress("compiling for the board and the host")
            with ThreadPoolExecutor(2) as pool:
                copied = fitted.weights == "copied"
                keep = partial(inside.kept, emitted, schedule, board.chip)
                device = pool.submit(linked, emitted, plan.arena, board, request, work / "device", copied, within, keep)
                # the first schedule mostly fits; of later ones only that which does gets a program for the host
                ahead = None if tried else pool.submit(host.build, emitted, graph, work / "host")
                samples, wanted = asked = asked or host_samples(graph, schedule, request.seed)
                image = built_or_refused(device.result, fitted, limits)
            if image is None:
                board = weights_outside(board) or board
                explored, limits, tried = explored_on(board), replace(limits, board=board), {}
                continue
            firmware = image.firmware
            if firmware is not None and limits.hold(fitted, image.beside):
                program = host.build(emitted, graph, work / "host") if ahead is None else ahead.result()
                break
            tried[fitted.candidate, fitted.weights] = image.beside

        core = CortexM(firmware.elf, board.chip, emitted.symbols)
        progress("verifying on the host and the emulated core")

        def traced() -> CortexM:
            weights, code = firmware.sizes.weights_in_ram > 0, firmware.sizes.code_in_ram > 0
            where = work / "traced"
            elf = build_image(
                emitted, board, request, where, True, weights_in_ram=weights, code_in_ram=code, keep_inside=keep
            ).elf
            return CortexM(elf, board.chip, emitted.symbols)

        answers = check_answers(
            graph, schedule, plan, emitted, program, core, samples, wanted, traced, work, seed=request.seed
        )
        stack, stack_notes = stack_bytes(image, answers)
        memory = memory_notes(explored, fitted, limits, image.beside)
        memory += staging_notes(firmware.sizes, board, schedule)
        built = f"{firmware.toolchain} for {board.chip.core}, --optimize {request.optimize}"
        emitted = emit(graph, schedule, plan, name, source, board.chip.arena_align, stack, built, small_code)

        judged = None
        if extra.trial is not None:
            progress("judging float, C, exported files and the emulated core")
            macs = sum(layer.macs for layer in schedule.layers)
            forms = Forms(graph, plan, program, core, board.chip.core, max(1, macs), work)
            judged = judge(extra.trial, forms)

        progress("writing the report")
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
            limits.budget,
            extra,
            judged,
            (*stack_notes, *memory, *outside.notes(firmware.sizes, board), *ram.notes(board, plan)),
        )
        check_budgets(report, request.latency_ms)
        files = (*extra.files, *(() if judged is None else judged.files), *outside.images(firmware, board))
        deliver(folder, emitted, firmware, report, schedule, files)
    return Compiled(
        graph, schedule, plan, emitted, replace(firmware, elf=folder / "firmware.elf"), answers, report, folder
    )


def stack_bytes(image: Image, answers: Answers) -> tuple[int, tuple[str, ...]]:
    """The larger of measured stack and static bound, in bytes; a note where there is no bound."""
    bound = image.stack
    if bound.bytes is None:
        note = f"the stack has no static bound, only what was measured: {'; '.join(bound.unbounded)}"
        return answers.run.stack_bytes, (note,)
    return max(answers.run.stack_bytes, bound.bytes), ()
