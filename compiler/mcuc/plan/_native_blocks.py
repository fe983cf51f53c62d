"""Blocks and their local search by machine code: `_blocks.c`, compiled once and kept in the user's cache; else Python.

Both make the same placements, so which one runs changes the time and nothing else.
"""

from __future__ import annotations

import ctypes
import time
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mcuc.cache import shared_library
from mcuc.plan import _blocks, _disjunctive, _local
from mcuc.plan._blocks import Blocks
from mcuc.plan._exact import Verdict
from mcuc.plan._local import Start
from mcuc.plan._native import VERDICTS
from mcuc.plan._problem import Part

# Below this many pairs of spans, blocks put down or revisions, Python ends before a compiled library would be loaded.
SMALL = 200


@cache
def load_disjunctive() -> ctypes.CDLL | None:
    """As `load`, of the exact search."""
    library = shared_library("disjunctive", Path(__file__).with_name("_disjunctive.c").read_bytes())
    if library is not None:
        library.mcuc_disjunctive.restype = ctypes.c_int64
    return library


@cache
def load() -> ctypes.CDLL | None:
    """The compiled code, or None where there is no compiler, no cache to write to, or nothing that loads."""
    library = shared_library("blocks", Path(__file__).with_name("_blocks.c").read_bytes())
    if library is not None:
        library.mcuc_clearances.restype = ctypes.c_int64
        library.mcuc_improve.restype = ctypes.c_int64
    return library


def _memory(values: array[int]) -> ctypes.Array[ctypes.c_int64]:
    """The array's own memory; one that is empty has none, and no element of it is read."""
    if not values:
        return (ctypes.c_int64 * 1)()
    return (ctypes.c_int64 * len(values)).from_buffer(values)


def blocks(part: Part) -> Blocks:
    """The part as blocks, with all clearances."""
    begin, spans = _blocks.spans_of(part)
    library = load() if len(spans) ** 2 > SMALL else None
    pairs = (
        _blocks.clearances(begin, spans, part.step) if library is None else clearances(library, begin, spans, part.step)
    )
    return _blocks.blocks(part, pairs)


def clearances(library: ctypes.CDLL, begin: array[int], spans: array[int], unit: int) -> array[int]:
    """As `_blocks.clearances`, by the given library. Raises MemoryError when it finds no memory."""
    room = len(begin) ** 2
    while True:
        pairs = array("q", bytes(32 * room))
        found = library.mcuc_clearances(
            ctypes.c_int64(len(begin) - 1),
            _memory(begin),
            _memory(spans),
            ctypes.c_int64(unit),
            _memory(pairs),
            ctypes.c_int64(room),
        )
        if found < 0:
            raise MemoryError("the placement search ran out of memory")
        if found <= room:
            return pairs[: 4 * found]
        room = found


def improve(
    found: Blocks,
    height: int,
    enough: int,
    step: int,
    starts: Sequence[Start],
    rounds: int,
    deadline: float,
    known: tuple[Sequence[int], int],
) -> tuple[list[int], int, int]:
    """As `_local.improve`, by the compiled search where that is worth starting and there is one."""
    if found.count * (len(starts) + rounds) <= SMALL or (library := load()) is None:
        return _local.improve(found, height, enough, step, starts, rounds, deadline, known)
    return improve_compiled(library, found, height, enough, step, starts, rounds, deadline, known)


def improve_compiled(
    library: ctypes.CDLL,
    found: Blocks,
    height: int,
    enough: int,
    step: int,
    starts: Sequence[Start],
    rounds: int,
    deadline: float,
    known: tuple[Sequence[int], int],
) -> tuple[list[int], int, int]:
    """As `_local.improve`, by the given library. Raises MemoryError when it finds no memory."""
    offsets, best = array("q", known[0]), ctypes.c_int64(known[1])
    done = library.mcuc_improve(
        ctypes.c_int64(found.count),
        *(_memory(a) for a in (found.size, found.align, found.capped)),
        *(_memory(a) for a in (found.begin, found.other, found.low, found.high)),
        ctypes.c_int64(height),
        ctypes.c_int64(enough),
        ctypes.c_int64(step),
        ctypes.c_int64(len(starts)),
        _memory(_local.as_array(starts)),
        ctypes.c_int64(rounds),
        ctypes.c_double(max(0.0, deadline - time.monotonic())),
        _memory(offsets),
        ctypes.byref(best),
    )
    if done < 0:
        raise MemoryError("the placement search ran out of memory")
    return list(offsets), best.value, done


def decide(
    found: Blocks, height: int, capped_height: int, revisions: int, deadline: float
) -> tuple[Verdict, list[int], int]:
    """As `_disjunctive.decide`, by the compiled search where that is worth starting and there is one."""
    if revisions <= SMALL or (library := load_disjunctive()) is None:
        return _disjunctive.decide(found, height, capped_height, revisions, deadline)
    return decide_compiled(library, found, height, capped_height, revisions, deadline)


def decide_compiled(
    library: ctypes.CDLL, found: Blocks, height: int, capped_height: int, revisions: int, deadline: float
) -> tuple[Verdict, list[int], int]:
    """As `_disjunctive.decide`, by the given library. Raises MemoryError when it finds no memory."""
    offsets, used = array("q", bytes(8 * found.count)), ctypes.c_int64()
    code = library.mcuc_disjunctive(
        ctypes.c_int64(found.count),
        *(_memory(a) for a in (found.size, found.align, found.capped)),
        *(_memory(a) for a in (found.begin, found.other, found.low, found.high)),
        ctypes.c_int64(height),
        ctypes.c_int64(capped_height),
        ctypes.c_int64(revisions),
        ctypes.c_double(max(0.0, deadline - time.monotonic())),
        _memory(offsets),
        ctypes.byref(used),
    )
    if code not in VERDICTS:
        raise MemoryError("the placement search ran out of memory")
    verdict = VERDICTS[code]
    return verdict, list(offsets) if verdict is Verdict.FITS else [], used.value
