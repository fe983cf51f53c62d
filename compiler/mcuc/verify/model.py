"""A compiled model against an oracle on given samples: all on the host, some on the emulated core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.image import build_image
from mcuc.ir import Array
from mcuc.pipeline import Compiled, Progress
from mcuc.request import Request
from mcuc.targets import load_board
from mcuc.verify import outside
from mcuc.verify.compare import (
    Difference,
    Outputs,
    difference,
    emulated,
    expected,
    first_difference_emulated,
    first_difference_host,
    first_wrong,
)
from mcuc.verify.given import Given, accuracy

EMULATED = 2
_OWN_REFERENCE = "no layer of the C code: it does what mcuc's reference does, and the oracle differs from both"


@dataclass(frozen=True)
class Verification:
    """host, emulated: samples compared there. elements: output elements compared there; differing, max_abs_diff:
    over all of them. first_diff_layer: None where all agree. accuracy: fraction of 1, None without labels.
    """

    model: str
    board: str
    oracle: str
    inputs: str
    host: int
    emulated: int
    elements: int
    differing: int
    max_abs_diff: int
    bit_exact: bool
    first_diff_layer: str | None
    first_diff_sample: int | None
    accuracy: float | None


def verify_compiled(
    compiled: Compiled,
    request: Request,
    source: outside.Oracle,
    given: Given,
    emulate: int,
    work: Path,
    progress: Progress,
) -> Verification:
    """Compares every given sample on the host and the first `emulate` ones on the emulated core with the oracle.

    A model with states takes the samples as one sequence, or each alone where they have labels. work: a folder to build
    in. Raises McucError where a program or the oracle fails; differences are no error.
    """
    graph = compiled.graph
    alone = bool(graph.states) and given.labels is not None
    progress(f"asking {source.label}")
    wanted = outside.answers(source, graph, given.samples, alone)
    progress("running the C code on the host")
    program = host.build(compiled.emitted, graph, work / "host")
    got = _on_host(program, given.samples, alone)
    found = [difference(got, wanted)]
    elements = sum(w.size for w in wanted)
    worst = first_wrong(got, wanted) if found[0].differing else None
    layer: str | None = None
    if worst is not None:
        layer = _name_layer(compiled, source, given.samples, got, worst, work, alone)
    core = CortexM(compiled.firmware.elf, load_board(request.board).chip, compiled.emitted.symbols)
    some = given.samples[:emulate]
    run = None
    for i, sample in enumerate(some):
        progress(f"emulating sample {i + 1} of {len(some)}")
        outs, run = emulated(core, graph, compiled.plan, sample, before=None if alone else run)
        gap = difference(outs, tuple(w[i : i + 1] for w in wanted))
        found.append(gap)
        elements += sum(o.size for o in outs)
        if gap.differing and layer is None:
            worst, layer = i, _emulated_layer(compiled, request, sample, work, [] if alone else some[:i])
    total = Difference(sum(d.differing for d in found), max(d.max_abs for d in found))
    right = None if given.labels is None else accuracy(got[0], given.labels)
    return Verification(
        compiled.emitted.name,
        compiled.report.board,
        source.label,
        given.source,
        len(given.samples),
        len(some),
        elements,
        total.differing,
        total.max_abs,
        total.differing == 0,
        layer,
        worst,
        right,
    )


def _on_host(program: host.HostModel, samples: Sequence[Sequence[Array]], alone: bool) -> Outputs:
    if not alone:
        return host.run(program, samples).outputs
    each = [host.run(program, [sample]).outputs for sample in samples]
    return tuple(np.concatenate(parts) for parts in zip(*each, strict=True))


def _name_layer(
    compiled: Compiled,
    source: outside.Oracle,
    samples: Sequence[Sequence[Array]],
    got: Outputs,
    index: int,
    work: Path,
    alone: bool,
) -> str:
    """Where the C code parts from the reference; where it does not, the operator at which the oracle does."""
    graph, sample = compiled.graph, samples[index]
    before = [] if alone or not graph.states else samples[:index]
    own = tuple(o[-1:] for o in expected(graph, [*before, sample]))
    if difference(own, tuple(g[index : index + 1] for g in got)).differing:
        where = work / "trace"
        return first_difference_host(graph, compiled.schedule, compiled.emitted, sample, where, before=before)
    return outside.first_difference(source, compiled.graph, sample) or _OWN_REFERENCE


def _emulated_layer(
    compiled: Compiled, request: Request, sample: Sequence[Array], work: Path, before: Sequence[Sequence[Array]]
) -> str:
    board = load_board(request.board)
    image = build_image(compiled.emitted, board, request, work / "traced", trace=True)
    traced = CortexM(image.elf, board.chip, compiled.emitted.symbols)
    return first_difference_emulated(compiled.graph, compiled.schedule, compiled.plan, traced, sample, before)
