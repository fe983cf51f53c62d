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
    first_wrong,
)
from mcuc.verify.samples import random_samples

ORACLE = "NumPy integer reference"
HOST_MACS = 200_000_000  # spent on the reference for random host samples
EMULATED_MACS = 40_000_000
HOST_MOST, EMULATED_MOST = 32, 2
EMULATED_SEQUENCE = 16  # runs of a model with states
FINDINGS_MOST = 20


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
    most = EMULATED_SEQUENCE if graph.states else EMULATED_MOST
    count = max(1, min(most, EMULATED_MACS // macs)) if emulate is None else emulate
    found: list[Difference] = []
    first: str | None = None
    for inside in (False, True):
        outs = host.run(program, samples, inside=inside).outputs
        found.append(difference(outs, wanted))
        if found[-1].differing and first is None:
            at = first_wrong(outs, wanted)
            where = work / "trace"
            first = first_difference_host(graph, schedule, emitted, samples[at], where, inside, samples[:at])
    host_gap = max(found, key=lambda d: d.differing)  # the modes see the same elements: counted once
    runs: list[EmulatedRun] = []
    core_gaps: list[Difference] = []
    for i, sample in enumerate(samples[:count]):
        outs, run = emulated(core, graph, plan, sample, audit=i == 0, before=runs[-1] if runs else None)
        runs.append(run)
        core_gaps.append(difference(outs, tuple(w[i : i + 1] for w in wanted)))
        if core_gaps[-1].differing and first is None:
            first = first_difference_emulated(graph, schedule, plan, traced(), sample, samples[:i])
    audit = runs[0].audit
    assert audit is not None
    gaps = [host_gap, *core_gaps]
    differing = sum(g.differing for g in gaps)
    verify = Verify(
        ORACLE,
        f"{len(samples)} random inputs (seed {seed})",
        differing == 0,
        max(g.max_abs for g in gaps),
        differing,
        first,
        len(samples),
        count,
        len(audit.findings),
        tuple(str(f) for f in audit.findings[:FINDINGS_MOST]),
    )
    return Answers(verify, runs[0])
