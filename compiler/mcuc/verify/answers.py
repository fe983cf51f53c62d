"""Verification of one compiled model: the reference against the host's C and the emulated core's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcuc.emit.model import Emitted
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM, EmulatedRun
from mcuc.ir import Array, Graph
from mcuc.plan import Plan
from mcuc.report.types import Verify
from mcuc.schedule import Schedule
from mcuc.verify.compare import (
    Difference,
    Outputs,
    difference,
    emulated,
    expected,
    first_difference_emulated,
    first_difference_host,
)
from mcuc.verify.samples import random_samples

ORACLE = "NumPy integer reference"
HOST_MACS = 200_000_000  # spent on the reference for random host samples
EMULATED_MACS = 40_000_000
HOST_MOST, EMULATED_MOST = 32, 2


@dataclass(frozen=True, eq=False)
class Answers:
    """verify: for the report; run: the emulated inference that is counted (the first sample)."""

    verify: Verify
    run: EmulatedRun


def host_samples(graph: Graph, schedule: Schedule, seed: int) -> tuple[list[list[Array]], Outputs]:
    """Seeded random samples, as many as are worth their time, with the reference's outputs."""
    macs = max(1, sum(layer.macs for layer in schedule.layers))
    samples = random_samples(graph, max(2, min(HOST_MOST, HOST_MACS // macs)), seed)
    return samples, expected(graph, samples)


def check_answers(
    graph: Graph,
    schedule: Schedule,
    plan: Plan,
    emitted: Emitted,
    program: host.HostModel,
    core: CortexM,
    samples: Sequence[Sequence[Array]],
    wanted: Outputs,
    traced: Callable[[], CortexM],
    work: Path,
    emulate: int | None = None,
    seed: int = 0,
) -> Answers:
    """Every sample on the host, in buffers of the caller's own and inside the arena; the first ones emulated.

    emulate: how many samples run emulated, None for a number by the model's size. traced: builds the firmware with
    layer hashes, called only where the emulated core differs. Raises McucError where a program fails; a difference
    in numbers is no error here but stands in the answers.
    """
    macs = max(1, sum(layer.macs for layer in schedule.layers))
    count = max(1, min(EMULATED_MOST, EMULATED_MACS // macs)) if emulate is None else emulate
    found = [difference(host.run(program, samples, inside=inside).outputs, wanted) for inside in (False, True)]
    first: str | None = None
    if any(d.differing for d in found):
        first = first_difference_host(graph, schedule, emitted, samples[0], work / "trace")
    audited: EmulatedRun | None = None
    counted: EmulatedRun | None = None
    for i, sample in enumerate(samples[:count]):
        outs, run = emulated(core, graph, plan, sample)
        counted = counted or run
        gap = difference(outs, tuple(w[i : i + 1] for w in wanted))
        found.append(gap)
        if gap.differing and first is None:
            first = first_difference_emulated(graph, schedule, plan, traced(), sample)
    outs, audited = emulated(core, graph, plan, samples[0], audit=True)
    found.append(difference(outs, tuple(w[:1] for w in wanted)))
    assert counted is not None and audited.audit is not None
    total = Difference(sum(d.differing for d in found), max(d.max_abs for d in found))
    verify = Verify(
        ORACLE,
        f"{len(samples)} random inputs (seed {seed})",
        total.differing == 0,
        total.max_abs,
        total.differing,
        first,
        len(samples),
        count,
        len(audited.audit.findings),
    )
    return Answers(verify, counted)
