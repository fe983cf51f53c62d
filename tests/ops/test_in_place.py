"""Element-wise layers laid over their dying inputs compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness import (
    RNG,
    STRICT,
    TILINGS,
    activation,
    assert_equal,
    constant,
    run_reference,
    samples,
    tflite_graph,
)

from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Graph, Tensor, check
from mcuc.plan import plan
from mcuc.schedule.explore import layer_by_layer

SHAPE = (1, 5, 6, 7)
FIXED_SCALE = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0),
               "LOG_SOFTMAX": (1 / 16, 127), "L2_NORMALIZATION": (1 / 128, 0)}


def chain(steps: Sequence[tuple[str, Sequence[str], str]], extra: Sequence[Tensor] = ()) -> Graph:
    """A graph of nodes (kind, inputs, output) over tensors of one shape; x is the input, the last output is y."""
    known = {t.name: t for t in extra}
    for n, name in enumerate(["x", *(out for _, _, out in steps)]):
        known[name] = activation(name, SHAPE, 0.03 + 0.004 * n, 5 * n - 20)
    nodes, tensors = [], dict(known)
    for number, (kind, inputs, out) in enumerate(steps):
        if kind in FIXED_SCALE:
            tensors[out] = known[out] = activation(out, SHAPE, *FIXED_SCALE[kind])
        fields = {"beta": 1.0} if kind == "SOFTMAX" else {}
        (node,) = tflite_graph(kind, [known[n] for n in inputs], known[out], **fields).nodes
        nodes.append(replace(node, name=str(number)))
    return check(Graph("case", "tflite", tensors, tuple(nodes), ("x",), (steps[-1][2],)))


@pytest.mark.parametrize("who", TILINGS)
def test_in_place(who: str, tmp_path: Path) -> None:
    channel = constant("k", RNG(0).integers(-128, 128, (7,)).astype("int8"), (0.02,), (3,))
    graph = chain([("QUANTIZE", ["x"], "a"), ("RELU", ["a"], "b"), ("ADD", ["b", "k"], "c"), ("QUANTIZE", ["c"], "d"),
                   ("MUL", ["c", "d"], "e"), ("SOFTMAX", ["e"], "f"), ("LOGISTIC", ["f"], "g"),
                   ("QUANTIZE", ["g"], "h"), ("PRELU", ["h", "k"], "i"), ("TANH", ["i"], "j"),
                   ("L2_NORMALIZATION", ["j"], "l"), ("LOG_SOFTMAX", ["l"], "m"), ("QUANTIZE", ["m"], "y")], [channel])
    schedule = layer_by_layer(graph, None, TILINGS[who])
    placed = plan(graph, schedule)
    assert {placed.tensors[n] for n in "abc"} == {placed.tensors["a"]}, "the chain shares one place"
    model = host.build(emit(graph, schedule, placed, "case", "test", 16, 1024), graph, tmp_path, sanitize=True,
                       extra_flags=STRICT)
    inputs = samples(graph)
    for inside in (False, True):
        found = host.run(model, inputs, inside=inside).outputs
        assert_equal(run_reference(graph, inputs), [[out[n] for out in found] for n in range(len(inputs))], who)
