"""A model file through mcuc in a child of its own: what came of it, however it ended.

The child is forked from a process that has imported everything, with an address-space limit above what it has then, and
limits on the CPU seconds of each step and on the time that it is waited for.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcuc import checking, passes
from mcuc.errors import McucError
from mcuc.importers import load
from mcuc.plan import plan
from mcuc.quantize.network import convert, input_shapes, read_float
from mcuc.quantize.quantizer import Options
from mcuc.quantize.samples import load_samples
from mcuc.schedule import Tiling
from mcuc.schedule.explore import explore, layer_by_layer
from mcuc.targets import load_board

MEMORY = 1 << 30  # bytes above those of the interpreter with everything imported
CPU_SECONDS = 10  # of one step; the runtime of the float road is a process of its own, with a time limit of its own
WAIT_SECONDS = 600.0  # on a machine that does other things
BOARD = "mps2-an386"
EXPLORED = 30  # layers up to which every schedule is explored; larger networks are planned layer by layer
QUICK = Options(methods=("minmax",), equalize=(False,), compensate=False)


@dataclass(frozen=True)
class Outcome:
    """check, front, float: "accepted" or the code of the McucError, "" where it was not tried; check also "says why
    not", node by node. failure: what else happened, "" where nothing did."""

    check: str = ""
    front: str = ""
    float: str = ""
    failure: str = ""


def judged(path: Path, quantizes: bool) -> Outcome:
    """`mcuc check`, the front half of `mcuc compile` and, where asked, of `mcuc build MODEL`, in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(path, quantizes, writer)
    os.close(writer)
    said, late = _read(reader)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if late:
        return Outcome(failure=f"hangs: not done after {WAIT_SECONDS:g} s")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Outcome(failure=f"hangs: {CPU_SECONDS} s of CPU" if name == "SIGXCPU" else f"crashed: {name}")
    try:
        return Outcome(**json.loads(said))
    except ValueError:
        return Outcome(failure=f"exit status {os.WEXITSTATUS(status)} without an answer")


def _read(reader: int) -> tuple[bytes, bool]:
    said, deadline = b"", time.monotonic() + WAIT_SECONDS
    with selectors.DefaultSelector() as ready, os.fdopen(reader, "rb", 0) as stream:
        ready.register(stream, selectors.EVENT_READ)
        while ready.select(deadline - time.monotonic()):
            part = stream.read(1 << 16)
            if not part:
                return said, False
            said += part
    return said, True


def _child(path: Path, quantizes: bool, writer: int) -> None:
    """Never returns."""
    faulthandler.disable()  # a crash is reported by its signal
    try:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))  # the runtime's child sets one of its own
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        found: dict[str, str] = {}
        steps: list[tuple[str, Callable[[Path], Any]]] = [("check", _check), ("front", _front)]
        for name, step in [*steps, *([("float", _float)] if quantizes else [])]:
            spent = int(time.process_time())
            resource.setrlimit(resource.RLIMIT_CPU, (spent + CPU_SECONDS, resource.RLIM_INFINITY))
            try:
                found[name] = step(path) or "accepted"
            except McucError as error:
                found[name] = error.code
                if not (error.code and error.found and error.where and error.try_this):
                    raise AssertionError(f"an incomplete error: {error!r}") from error
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    except BaseException as error:
        lines = "".join(traceback.format_exception(error))[-1500:]
        os.write(writer, json.dumps({"failure": f"{type(error).__name__}: {str(error)[:300]}\n{lines}"}).encode())
        os._exit(0)
    finally:
        os._exit(1)


def _check(path: Path) -> str:
    return "" if checking.check_file(path, BOARD).supported else "says why not"


def _front(path: Path) -> None:
    """All that happens before C is written; the plan's own validator runs in it."""
    graph = passes.check_supported(passes.optimize(load(path)))
    chip = load_board(BOARD).chip
    if len(graph.nodes) > EXPLORED:
        plan(graph, layer_by_layer(graph, chip, Tiling()), fast=True)
        return
    candidate = explore(graph, chip, "balanced").candidates[0]
    plan(candidate.graph, candidate.schedule, fast=True)


def _float(path: Path) -> None:
    proto = read_float(path)
    shapes = input_shapes(proto)
    rng, file = np.random.default_rng(0), path.with_suffix(".npz")
    made = {f"x{i}" if len(shapes) > 1 else "x": _samples(rng, shape) for i, shape in enumerate(shapes)}
    if sum(a.nbytes for a in made.values()) > 64 << 20:  # nobody has samples of that size
        made = {"x": np.zeros((2, 4), np.float32)}
    np.savez(file, **made)
    samples = load_samples(str(file), shapes)
    convert(proto, path.stem, str(path), samples.calibration, QUICK)


def _samples(rng: np.random.Generator, shape: tuple[int | None, ...]) -> Any:
    dims = [2, *(min(d or 1, 4096) for d in shape[1:])]
    size = 1
    for i, d in enumerate(dims):
        size *= d
        if size > 1 << 22:
            dims[i:] = [1] * (len(dims) - i)
            break
    return rng.normal(size=dims[:30]).astype(np.float32)


if __name__ == "__main__":
    print(judged(Path(sys.argv[1]), "--float" in sys.argv))
