"""The answers compared: NumPy reference, C on the host, C on the emulated core; the first layer that differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcuc.emit.arenas import arena_symbol
from mcuc.emit.model import RESUME, RESUME_SYMBOL, STATE_SYMBOL, Emitted
from mcuc.emit.traced import traced as traced_bytes
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM, Dump, EmulatedRun, Poke
from mcuc.errors import McucError
from mcuc.ir import Array, Graph
from mcuc.plan import Plan
from mcuc.schedule import Schedule
from mcuc.verify import reference

Outputs = tuple[Array, ...]


@dataclass(frozen=True)
class Difference:
    """Of one comparison over all samples: elements that differ and the largest difference in steps."""

    differing: int
    max_abs: int


def expected(graph: Graph, samples: Sequence[Sequence[Array]]) -> Outputs:
    """The reference's outputs, stacked per model output; a model with states takes the samples as one sequence."""
    found = [[values[n] for n in graph.outputs] for values in reference.sequence(graph, samples)]
    return tuple(np.stack([f[i] for f in found]) for i in range(len(graph.outputs)))


def difference(a: Outputs, b: Outputs) -> Difference:
    """Elements that differ between two sets of outputs."""
    gaps = [np.abs(x.astype(np.int64) - y.astype(np.int64)) for x, y in zip(a, b, strict=True)]
    return Difference(sum(int((g != 0).sum()) for g in gaps), max((int(g.max()) for g in gaps if g.size), default=0))


def emulated(
    core: CortexM,
    graph: Graph,
    plan: Plan,
    sample: Sequence[Array],
    audit: bool = False,
    timeout_s: float = 300,
    before: EmulatedRun | None = None,
) -> tuple[Outputs, EmulatedRun]:
    """One sample on the emulated core, input and output inside the arena; an input by rows comes row by row.

    before: the run whose states this one goes on from, None where it begins a sequence.

    Raises McucError("emulated-result") when the program ends with an error, and what CortexM.run raises.
    """
    pokes, file = _given(graph, plan, sample)
    pokes += _resumed(plan, before)
    dumps = [Dump(_arena(plan, n), plan.tensors[n], graph.tensors[n].bytes) for n in graph.outputs]
    dumps += [Dump(STATE_SYMBOL, 0, plan.state_bytes)] if plan.state_bytes else []
    run = core.run(pokes, dumps, timeout_s=timeout_s, audit=audit, file=file)
    if run.exit_code != 0:
        raise McucError(
            "emulated-result",
            f"the firmware ended with exit code {run.exit_code}",
            where=core.image.path.name,
            try_this="report this as a bug, with the model",
        )
    outs = tuple(
        np.frombuffer(data, graph.tensors[n].dtype.value).reshape(1, *graph.tensors[n].shape)
        for n, data in zip(graph.outputs, run.dumps, strict=False)  # a dump of the states may follow
    )
    return outs, run


def _resumed(plan: Plan, before: EmulatedRun | None) -> list[Poke]:
    """The states that an earlier run left, and the word that keeps the firmware from resetting them."""
    if not plan.state_bytes or before is None:
        return []
    return [Poke(STATE_SYMBOL, 0, before.dumps[-1]), Poke(RESUME_SYMBOL, 0, RESUME.to_bytes(4, "little"))]


def _given(graph: Graph, plan: Plan, sample: Sequence[Array]) -> tuple[list[Poke], bytes]:
    """The inputs in the arena, and the bytes of one that arrives by rows."""
    found, file = [], b""
    for name, a in zip(graph.inputs, sample, strict=True):
        data = np.ascontiguousarray(a, graph.tensors[name].dtype.value).tobytes()
        if name in plan.tensors:
            found.append(Poke(_arena(plan, name), plan.tensors[name], data))
        else:
            file = data
    return found, file


def _arena(plan: Plan, tensor: str) -> str:
    """The test firmware's arena that the tensor lies in."""
    return arena_symbol(plan, plan.arena_of(tensor))


def first_wrong(a: Outputs, b: Outputs) -> int:
    """Number of the first sample in which two sets of outputs differ."""
    wrong = [(x != y).reshape(len(x), -1).any(axis=1) for x, y in zip(a, b, strict=True)]
    return int(np.flatnonzero(np.any(wrong, axis=0))[0])


def first_difference_host(
    graph: Graph,
    schedule: Schedule,
    emitted: Emitted,
    sample: Sequence[Array],
    folder: Path,
    inside: bool = False,
    before: Sequence[Sequence[Array]] = (),
) -> str:
    """The first layer whose output on the host differs from the reference (built again with layer hashes).

    inside: with input and output inside the arena. before: the samples in front, where the model has states.
    """
    model = host.build(emitted, graph, folder, trace=True)
    run = [*(before if graph.states else ()), sample]
    hashes = host.run(model, run, inside=inside).hashes[-1]
    return _first(graph, schedule, run, [int(h) for h in hashes])


def first_difference_emulated(
    graph: Graph,
    schedule: Schedule,
    plan: Plan,
    traced: CortexM,
    sample: Sequence[Array],
    before: Sequence[Sequence[Array]] = (),
) -> str:
    """The first layer whose output on the emulated core differs; traced is the firmware built with MCUC_TRACE.

    before: the samples in front, where the model has states.
    """
    last = None
    for earlier in before if graph.states else ():
        _, last = emulated(traced, graph, plan, earlier, before=last)
    layers = [layer for layer in schedule.layers if layer.calls]
    pokes, file = _given(graph, plan, sample)
    run = traced.run([*pokes, *_resumed(plan, last)], [Dump("mcuc_trace_hash", 0, 4 * len(layers))], file=file)
    run_of = [*(before if graph.states else ()), sample]
    return _first(graph, schedule, run_of, np.frombuffer(run.dumps[0], np.uint32).tolist())


def _first(graph: Graph, schedule: Schedule, samples: Sequence[Sequence[Array]], hashes: Sequence[int]) -> str:
    """hashes: of the last sample's layers."""
    *_, values = reference.sequence(graph, samples)
    for (layer, data), found in zip(traced_bytes(schedule, graph, values), hashes, strict=True):
        if fnv1a(data) != found:
            return f"{layer.node.name}, tensor {layer.node.outputs[0]!r}"
    return "no layer: the outputs are overwritten after they are computed"


def fnv1a(data: bytes) -> int:
    """The hash that the test programs compute over a layer's output (FNV-1a, 32 bits)."""
    value = 2166136261
    for byte in data:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value
