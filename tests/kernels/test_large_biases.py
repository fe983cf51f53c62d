"""Biases at the ends of int32 take sums beyond it: as in the reference they wrap, and the C has no signed overflow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_conv_2d as conv
import test_depthwise_conv_2d as depthwise
import test_fully_connected as dense
from harness import STRICT, assert_equal, check_tflite, check_uint8, merged, ranked, run_reference, samples
from test_int4_weights import of_four_bits

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import DType, Graph, rebuild
from mcuc.plan import plan


def at_the_ends(graph: Graph) -> Graph:
    """The graph with the least and the most of int32 as biases, and outputs that still depend on the sums."""
    biases = [t for t in graph.tensors.values() if t.data is not None and t.dtype is DType.INT32]
    assert biases
    ends = np.array([2**31 - 1, -(2**31), 2**31 - 5000, 5000 - 2**31], np.int32)
    return rebuild(graph, graph.nodes, [replace(t, data=np.resize(ends, t.shape)) for t in biases])


def cases() -> list[Graph]:
    unsigned = replace(conv.CASES["plain"], per_channel=False)
    plain = [
        *(conv.graph_of(conv.CASES[n], 1) for n in ("plain", "1x1", "groups 2")),
        depthwise.graph_of(depthwise.CASES["plain"], 1),
        dense.graph_of(dense.CASES["plain"], 1),
        check_uint8(conv.graph_of(unsigned, 4, weight_zero=9)),
    ]
    return [at_the_ends(g) for g in (*plain, *(of_four_bits(g) for g in plain[:-1]))]


def test_tflite_micro_wraps_as_well() -> None:
    for graph in cases()[:2]:
        check_tflite(graph)


@pytest.mark.parametrize("rank", [None, 0])
def test_c_wraps(rank: int | None, tmp_path: Path) -> None:
    whole = merged(cases())
    inputs = samples(whole, 4)
    lowered = passes.optimize(whole)
    schedule = ranked(lowered, ((rank, "1-row"),))
    emitted = emit(lowered, schedule, plan(lowered, schedule), "case", "test", 16, 1024)
    model = host.build(emitted, lowered, tmp_path, sanitize=True, emulate_dsp=rank is not None, extra_flags=STRICT)
    found = host.run(model, inputs).outputs
    assert_equal(run_reference(whole, inputs), [[out[n] for out in found] for n in range(len(inputs))], "C")
