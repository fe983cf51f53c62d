"""The schedule that a request gets: what is explored for it, which candidate fits, what is said where none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcuc import outside, ram, targets
from mcuc.errors import McucError
from mcuc.image import Image
from mcuc.ir import Graph
from mcuc.latency.flash import flash_cycles
from mcuc.plan import Plan
from mcuc.plan import plan as make_plan
from mcuc.request import Request
from mcuc.schedule import Schedule
from mcuc.schedule.explore import Candidate, Explored, explore
from mcuc.schedule.fit import Fitted, Room, fit, inside, least, over_budget
from mcuc.schedule.remedies import OTHER_STACK, SHOWN, larger, remedies
from mcuc.schedule.staging import staged, staged_bytes
from mcuc.targets import Board
from mcuc.toolchain import Sizes, bytes_over

WORTH_FLASH = 32768  # bytes of code that --optimize flash may save
LINK_ROOM = 2560  # bytes beside the arena with which a firmware links
Key = tuple[Candidate, str]  # a schedule, and Fitted.weights


@dataclass(frozen=True)
class Limits:
    """What a request may take of a board. regions: RAM that the arenas may lie in, () for one in the linked RAM."""

    board: Board
    regions: tuple[targets.Region, ...]
    request: Request

    @property
    def most(self) -> int:
        """Bytes of SRAM that arenas, static data and stack may take at all."""
        return ram.most(self.board, self.regions)

    @property
    def budget(self) -> int:
        """Bytes of SRAM that they may take together."""
        return min(self.most, self.request.budget or self.most)

    def room(self, graph: Graph, beside: int) -> Room:
        """What arenas may take beside so many bytes of static data and stack."""
        beside = max(beside, sum(graph.tensors[s.current].bytes for s in graph.states))  # those are static data
        return Room(self.budget - beside, ram.room(self.board, self.regions, beside, len(graph.nodes)))

    def hold(self, fitted: Fitted, beside: int) -> bool:
        """Whether a planned schedule fits with so many bytes of static data and stack."""
        room = self.room(fitted.graph, beside)
        return fitted.plan.arena <= room.arena and ram.holds(room.regions, fitted.plan)


def schedule_goal(request: Request) -> str:
    """What the schedule is chosen for: a budget in bytes wants the fastest that fits it, else --optimize decides."""
    return "latency" if request.budget is not None and request.optimize == "balanced" else request.optimize


def pushed_input(graph: Graph, request: Request) -> str | None:
    """The input that arrives by rows, None where none was asked for. McucError("rows-in") for several inputs."""
    if not request.rows_in:
        return None
    if len(graph.inputs) != 1:
        raise McucError(
            "rows-in",
            f"the model has {len(graph.inputs)} inputs, one can arrive by rows",
            where=", ".join(graph.inputs),
            try_this="compile without --rows-in",
        )
    return graph.inputs[0]


def fit_or_refuse(explored: Explored, limits: Limits, tried: Mapping[Key, int]) -> Fitted:
    """The schedule to build next: the first by the goal that may fit, or the smallest where none is asked for by goal.

    tried: bytes of static data and stack of the schedules that were built, each by where its weights are read; the
    others are taken to need none but copied weights, so that none is passed over which fits.
    Where the smallest is asked for, it is the smallest that computes nothing twice: strips can save a little more at
    twice the MACs, which is worth it only to meet a budget.
    Raises McucError("over-budget") with what would help, once the smallest is known not to fit.
    """

    def room_of(candidate: Candidate) -> Room:
        return limits.room(candidate.graph, tried.get((candidate, "flash"), 0))

    def room_with_weights(candidate: Candidate) -> Room:
        weights = sum(layer.table_bytes for layer in candidate.layers)
        return limits.room(candidate.graph, tried.get((candidate, "copied"), weights))

    def room_with_copies(candidate: Candidate) -> Room:
        both = (tried.get((candidate, weights), 0) for weights in ("flash", "staged"))
        return limits.room(candidate.graph, max(both))

    try:
        found = None
        if limits.board.chip.weights_in and not limits.request.least:  # what copies save is worth a smaller schedule
            found = _wanted(explored.candidates, limits.request, room_with_copies)
        found = found or _wanted(explored.candidates, limits.request, room_of)
        if copies_weights(limits):
            copied = fit([c for c in explored.candidates if weights_wait(c, limits)], room_with_weights)
            if copied is not None and (
                found is None or copied.candidate.cost < _cost_from_flash(found.candidate, limits)
            ):
                return replace(copied, weights="copied")
        if found is not None and found.plan.arena <= room_of(found.candidate).arena:
            known = (found.candidate, "staged") in tried
            return found if known else with_staging(found, limits, room_of(found.candidate))
        smallest = least(explored.candidates, room_of)
    except McucError as error:  # the regions are too small, together or one by one
        ways = remedies(explored, limits.board, _planned_within(limits, 0))
        said = [error.try_this, *_all_regions(explored, limits), *ways]
        raise McucError(error.code, error.found, error.where, "; ".join(said)) from error
    if (smallest.candidate, "flash") not in tried:
        return smallest  # to be refused with its stack and static data counted
    beside = tried[smallest.candidate, "flash"]
    total = smallest.plan.arena + beside
    ways = remedies(explored, limits.board, _planned_within(limits, beside))
    ways += larger(explored, limits.board, total, total <= limits.most)
    raise over_budget(smallest, beside, limits.budget, ways[:SHOWN])


def _planned_within(limits: Limits, beside: int) -> Callable[[Explored], int | None]:
    """For remedies: the arena that a network takes in what is allowed beside so many bytes, None where it does not
    fit."""

    def arena(explored: Explored) -> int | None:
        if not limits.regions:
            peak = min(c.peak for c in explored.candidates)
            return peak if peak <= limits.budget - beside - OTHER_STACK else None
        try:
            found = least(explored.candidates, lambda c: limits.room(c.graph, beside))
        except McucError:
            return None
        return found.plan.arena if found.plan.arena <= limits.budget - beside - OTHER_STACK else None

    return arena


def _all_regions(explored: Explored, limits: Limits) -> list[str]:
    """The remedy of naming every region inside the chip, where that helps."""
    every = replace(limits, regions=ram.chosen(limits.board, ("all",)))
    arena = None if every.regions == limits.regions else _planned_within(every, 0)(explored)
    return [] if arena is None else [f"--regions all: arenas of {arena:,} bytes"]


def copies_at_start(limits: Limits) -> bool:
    """Whether weights and code may be copied to RAM at start: where speed is asked for and the flash waits. Not with
    named RAM regions, which are for buffers."""
    request = limits.request
    waits = limits.board.chip.flash.wait_states > 0
    return request.optimize == "latency" and not request.regions and not request.least and waits


def copies_weights(limits: Limits) -> bool:
    """The same of weights. Those outside the chip cannot be read before the application has set up their flash, which
    start-up code is too early for."""
    return copies_at_start(limits) and not limits.board.chip.weights_in


def weights_wait(candidate: Candidate, limits: Limits) -> bool:
    """Whether no data cache holds all of the weights."""
    return sum(layer.table_bytes for layer in candidate.layers) > limits.board.chip.caches.dcache_bytes


def _cost_from_flash(candidate: Candidate, limits: Limits) -> float:
    """Cycles beyond the fastest schedule with its weights in SRAM, about."""
    return candidate.cost + sum(flash_cycles(layer, limits.board.chip) for layer in candidate.layers)


def with_staging(found: Fitted, limits: Limits, room: Room) -> Fitted:
    """The schedule with weights staged in bytes of the arena that are free while a layer runs; not where little code is
    asked for."""
    graph, chip = found.graph, limits.board.chip
    if limits.request.optimize == "flash":
        return found
    outside = any(chip.region(a.name).external for a in found.plan.arenas)
    regions = room.regions if outside else inside(room.regions)

    def place(schedule: Schedule) -> Plan:
        return make_plan(graph, schedule, regions=regions, most=room.arena)

    grow = chip.weights_in and not limits.request.least and limits.request.optimize in ("balanced", "latency")
    most = room.arena - LINK_ROOM if grow else 0  # blocks of weights from outside are worth some more SRAM
    schedule, plan = staged(found.schedule, found.plan, chip, place, most)
    return found if schedule is found.schedule else replace(found, schedule=schedule, plan=plan, weights="staged")


def _wanted(candidates: Sequence[Candidate], request: Request, room_of: Callable[[Candidate], Room]) -> Fitted | None:
    """What the request asks for: the smallest, or the first that fits; None where nothing fits.

    Raises McucError("over-budget") where the smallest fits no region.
    """
    return least(candidates, room_of, once=True) if request.least else fit(candidates, room_of)


def built_or_refused(build: Callable[[], Image], fitted: Fitted, limits: Limits) -> Image | None:
    """What build returns; None where weights and code are more than the chip's flash and the board has another, where
    the weights are to go then. Raises the other errors of build; of a flash that is too small with the SRAM that is
    missing too, and with a board that has enough of both."""
    try:
        return build()
    except McucError as error:
        over, board = bytes_over(error), limits.board
        if error.code != "over-flash" or over is None:
            raise
        if outside.moved(board, limits.request.flash) is not None:
            return None
        sram = f" Its smallest arena takes {fitted.plan.arena:,} bytes of SRAM, {limits.budget:,} are allowed."
        ways = [] if limits.request.optimize == "flash" or over > WORTH_FLASH else ["--optimize flash"]
        ways += outside.without_limit(board, limits.request.flash)
        ways += outside.larger_boards(board, fitted.schedule, over, fitted.plan.arena + LINK_ROOM)
        found = error.found + outside.refused(board, fitted.schedule) + ("" if limits.hold(fitted, 0) else sram)
        raise McucError(error.code, found, error.where, "; ".join([*ways, "a smaller model"])) from error


def code_within(limits: Limits) -> int:
    """Bytes that arena, static data and stack may take with the code copied to RAM at start; 0 where it stays in
    flash, or the chip has no RAM for code."""
    return limits.budget if copies_at_start(limits) and limits.board.chip.code_ram is not None else 0


def staging_notes(sizes: Sizes, board: Board, schedule: Schedule) -> tuple[str, ...]:
    """What the report says of weights and code that are copied to RAM, at start or while a layer runs."""
    found = []
    parts = [layer for layer in schedule.layers if layer.block]
    if parts:
        size = max(layer.scratch for layer in parts)
        found.append(
            f"weights: {len(parts)} layers copy theirs to the arena a block of channels at a time, so that each byte "
            "is read from flash once, in a stream once a block of tokens; the arena has up to "
            f"{size:,} bytes of scratch for it"
        )
    layers = [layer for layer in schedule.layers if layer.staged and not layer.block]
    if layers:
        found.append(
            f"weights: {staged_bytes(layers):,} bytes of {len(layers)} layers are copied to the arena while the layer "
            "runs, where no read waits; they lie in bytes that are free just then"
        )
    if sizes.weights_in_ram:
        found.append(
            f"weights: {sizes.weights_in_ram:,} bytes are copied to SRAM at start, where no read waits; they count as "
            "static data (your own build does the same with -DMCUC_WEIGHTS_IN_RAM)"
        )
    place = board.chip.code_ram
    if sizes.code_in_ram and place is not None:
        found.append(
            f"code: {sizes.code_in_ram:,} bytes are copied to {place.name} at start, where no fetch waits; they count "
            "as static data (in your own build the linker script places .text of the generated C there)"
        )
    return tuple(found)


def memory_notes(explored: Explored, fitted: Fitted, limits: Limits, beside: int) -> tuple[str, ...]:
    """What the report says of the order of layers, and of the SRAM that rows in saves. beside: bytes of static data and
    stack."""
    ordered, request = explored.ordered, limits.request
    notes = []
    if not ordered.exact:
        notes.append(
            f"order of layers: {ordered.peak:,} bytes layer by layer, no order is proven below {ordered.bound:,} bytes"
        )
    lowest = min(explored.candidates, key=lambda c: c.peak)
    if request.least and lowest.peak < fitted.plan.arena and lowest.recomputed:
        arena = make_plan(lowest.graph, lowest.schedule).arena
        if arena < fitted.plan.arena:
            notes.append(
                f"a smaller --budget gets schedules that compute MACs twice: an arena of {arena:,} bytes takes "
                f"{lowest.recomputed:,} more"
            )
    if request.rows_in:
        notes.append(_rows_in_note(explored, fitted, limits, beside))
    return tuple(notes)


def _rows_in_note(explored: Explored, fitted: Fitted, limits: Limits, beside: int) -> str:
    """The arena beside that of the schedule which the same request would get with its input held whole."""
    goal = schedule_goal(limits.request)
    whole = explore(explored.graph, limits.board.chip, goal, tuned=explored.tuned).candidates

    def room_of(candidate: Candidate) -> Room:
        return limits.room(candidate.graph, beside)

    said = f"rows in: the arena takes {fitted.plan.arena:,} bytes"
    try:
        held = _wanted(whole, limits.request, room_of) or least(whole, room_of)
    except McucError:  # the regions do not hold it
        return f"{said}; with the input held whole no schedule fits"
    saved = "" if fitted.plan.arena < held.plan.arena else ": no memory is saved here"
    return f"{said}, {held.plan.arena:,} bytes with the input held whole{saved}"
