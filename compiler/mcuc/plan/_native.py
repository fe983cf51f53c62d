"""The exact search as machine code: `_solver.c`, compiled once and kept in the user's cache; else the Python one.

Both visit the same nodes in the same order, so which one runs changes the time and nothing else.
"""

from __future__ import annotations

import ctypes
import time
from functools import cache
from pathlib import Path

from mcuc.cache import shared_library
from mcuc.plan import _exact
from mcuc.plan._exact import Problem, Verdict

# Below this many buffers times nodes, the Python search ends before a compiler would have started.
SMALL = 10_000
# Both recurse once a buffer: beyond these, the stack or Python's 1000 frames run short.
NATIVE_BUFFERS, PYTHON_BUFFERS = 1500, 250
VERDICTS = {0: Verdict.IMPOSSIBLE, 1: Verdict.FITS, 2: Verdict.UNDECIDED}


@cache
def load() -> ctypes.CDLL | None:
    """The compiled search, or None where there is no compiler, no cache to write to, or nothing that loads."""
    library = shared_library("solver", Path(__file__).with_name("_solver.c").read_bytes())
    if library is not None:
        library.mcuc_decide.restype = ctypes.c_int
    return library


def decide(
    problem: Problem, height: int, capped_height: int, width: int, node_limit: int, deadline: float
) -> tuple[Verdict, list[int], int]:
    """As `_exact.decide`, by the compiled search where that is worth starting and there is one."""
    count = problem.count
    if count * node_limit > SMALL and count <= NATIVE_BUFFERS and (library := load()) is not None:
        return decide_compiled(library, problem, height, capped_height, width, node_limit, deadline)
    if count > PYTHON_BUFFERS:
        return Verdict.UNDECIDED, [], node_limit
    return _exact.decide(problem, height, capped_height, width, node_limit, deadline)


def decide_compiled(
    library: ctypes.CDLL,
    problem: Problem,
    height: int,
    capped_height: int,
    width: int,
    node_limit: int,
    deadline: float,
) -> tuple[Verdict, list[int], int]:
    """As `_exact.decide`, by the given library. Raises MemoryError when it finds no memory."""
    count = problem.count
    offsets = (ctypes.c_int64 * count)()
    nodes = ctypes.c_int64()
    code = library.mcuc_decide(
        ctypes.c_int32(count),
        ctypes.c_int32(problem.sections),
        (ctypes.c_int32 * count)(*problem.first),
        (ctypes.c_int32 * count)(*problem.end),
        (ctypes.c_int64 * count)(*problem.size),
        (ctypes.c_int64 * count)(*problem.align),
        (ctypes.c_uint8 * count)(*problem.capped),
        ctypes.c_int64(height),
        ctypes.c_int64(capped_height),
        ctypes.c_int32(width),
        ctypes.c_int64(node_limit),
        ctypes.c_double(max(0.0, deadline - time.monotonic())),
        offsets,
        ctypes.byref(nodes),
    )
    if code not in VERDICTS:
        raise MemoryError("the placement search ran out of memory")
    verdict = VERDICTS[code]
    return verdict, list(offsets) if verdict is Verdict.FITS else [], nodes.value
