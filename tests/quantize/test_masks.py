"""Masks in front of a softmax cost integers nothing, however exporters spell them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.quantize.masks import bounded_masks
from mcuc.quantize.model import from_proto, to_proto, with_shapes
from mcuc.quantize.network import convert
from mcuc.quantize.quantizer import Options
from mcuc.quantize.runtime import Runtime

QUICK = Options(methods=("minmax",), equalize=(False,), compensate=False)
LEAST = float(np.finfo(np.float32).min)
CAUSAL = np.triu(np.ones((6, 6), bool), 1)[None]
SPELLINGS: dict[str, list[tuple[str, list[str]]]] = {
    "where": [("Where", ["causal", "far", "s"])],
    "where, -inf": [("Where", ["causal", "inf", "s"])],
    "where not": [("Where", ["allowed", "s", "far"])],
    "added": [("Add", ["s", "added"])],
    "added to a bias": [("Add", ["mixed", "s"])],
    "by a product": [("Cast", ["m"]), ("Sub", ["one", "*"]), ("Mul", ["*", "least"]), ("Add", ["s", "*"])],
    "by a choice": [("Where", ["m", "zero", "inf"]), ("Add", ["*", "s"])],
}


def network(spelling: str) -> tuple[ModelProto, list[Array]]:
    """Attention of x [1, 6, 8] to itself, under a causal mask or one that is given."""
    rng = np.random.default_rng(1)
    bias = rng.uniform(-1, 1, (1, 6, 6)).astype(np.float32)
    numbers = {
        "causal": CAUSAL,
        "allowed": ~CAUSAL,
        "far": np.float32(-1e9),
        "inf": np.float32(-np.inf),
        "least": np.float32(LEAST),
        "zero": np.float32(0),
        "one": np.float32(1),
        "added": np.where(CAUSAL, np.float32(LEAST), np.float32(0)),
        "mixed": np.where(CAUSAL, np.float32(-1e4), bias),
    }
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), helper.make_node("MatMul", ["x", "t"], ["s"])]
    last = ""
    for i, (kind, inputs) in enumerate(SPELLINGS[spelling]):
        names = [last if n == "*" else n for n in inputs]
        last = f"v{i}"
        nodes.append(helper.make_node(kind, names, [last], **({"to": 1} if kind == "Cast" else {})))
    nodes += [helper.make_node("Softmax", [last], ["p"], axis=-1), helper.make_node("MatMul", ["p", "x"], ["y"])]
    used = {n for node in nodes for n in node.input}
    given = [("x", TensorProto.FLOAT, [1, 6, 8]), ("m", TensorProto.BOOL, [1, 1, 6])]
    ends = [helper.make_tensor_value_info(*one) for one in given if one[0] in used]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 8])]
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in numbers.items() if n in used]
    graph = helper.make_graph(nodes, "attention", ends, out, constants)
    x = rng.normal(0, 0.8, (16, 1, 6, 8)).astype(np.float32)
    mask = (rng.random((16, 1, 1, 6)) < 0.7) | (np.arange(6) == 0)
    columns = [x, mask.astype(np.float32)][: len(ends)]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), columns


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_mask_is_near_and_still_hides(spelling: str) -> None:
    proto, columns = network(spelling)
    with Runtime("net") as runtime:
        model = from_proto(with_shapes(proto, columns, "net"), "net", "net", runtime)
        runtime.set_samples(columns)
        near = bounded_masks(model, runtime)
        before, after = (runtime.outputs(runtime.open(to_proto(m)), ["y"])[0] for m in (model, near))
    assert np.abs(before - after).max() < 0.02
    used = {n for node in near.nodes for n in node.inputs}
    assert all(a.dtype != np.float32 or a.min(initial=0) > -60 for n, a in near.constants.items() if n in used)
    assert convert(proto, "net", "net", columns, QUICK).quantized.snr > 28


def test_an_infinite_number_elsewhere_is_refused() -> None:
    proto, columns = network("added")
    proto.graph.node[-2].op_type = "Identity"
    del proto.graph.node[-2].attribute[:]
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.where(CAUSAL, -np.inf, 0).astype(np.float32), "added")
    )
    with pytest.raises(McucError, match="not finite"):
        convert(proto, "net", "net", columns, QUICK)
