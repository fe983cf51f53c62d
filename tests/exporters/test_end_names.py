"""The ends of an exported network have the names asked for; no two tensors ever share one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mcuc.exporters._names import with_end_names

sys.path.insert(0, str(Path(__file__).parent.parent / "importers"))
from onnx_models import Model, load


@pytest.mark.parametrize("wanted", ("image", "inner value", "inner value/inner", "same"))
def test_ends_take_their_names_and_no_tensor_is_lost(wanted: str) -> None:
    m = Model(3, opset=20)
    v = m.qdq(m.input([1, 6, 40]), scale=0.05, zero=4)
    v = m.qdq(m.node("Tanh", [v]), "int8", 1 / 128, 0)
    graph, _ = load(m.build(m.qdq(m.node("Abs", [v]), "int8", 0.04, -128)))
    inner = graph.nodes[0].outputs[0]
    goal = {"inner value": inner, "inner value/inner": f"{inner}/inner"}.get(wanted, wanted)
    names = {graph.inputs[0]: goal, graph.outputs[0]: inner if "/" in wanted else "out" if wanted != "same" else goal}
    named = with_end_names(graph, names)
    assert len(named.tensors) == len(graph.tensors) and all(k == t.name for k, t in named.tensors.items())
    if wanted == "same":  # two tensors cannot have one name
        assert named is graph
    else:
        assert named.inputs == (names[graph.inputs[0]],) and named.outputs == (names[graph.outputs[0]],)
        assert [n.op for n in named.nodes] == [n.op for n in graph.nodes]
        assert named.nodes[0].outputs == named.nodes[1].inputs != named.inputs
