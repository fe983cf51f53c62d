"""CAST at run time agrees with TFLite Micro; with LiteRT where Micro lacks the pair of types."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import assert_equal, check_c, check_tflite, run_reference, samples, tflite_graph

from mcuc import ops
from mcuc.exporters import tflite as exporter
from mcuc.ir import DType, Graph, Tensor
from mcuc.verify import oracle

TYPES = ("bool", "int8", "int16", "int32")
PAIRS = [(a, b) for a in TYPES for b in TYPES if a != b]
MICRO = [("int8", "int16"), ("int8", "int32"), ("int16", "int8"), ("int16", "int32"), ("int32", "int8"),
         ("int32", "int16")]


def graph_of(source: str, target: str) -> Graph:
    shape = (1, 3, 4, 5)
    return tflite_graph("CAST", [Tensor("x", shape, DType(source))], Tensor("y", shape, DType(target)),
                        inDataType=0, outDataType=0)


@pytest.mark.parametrize("pair", MICRO, ids=str)
def test_integers(pair: tuple[str, str]) -> None:
    check_tflite(graph_of(*pair))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_litert_agrees(pair: tuple[str, str]) -> None:
    graph = graph_of(*pair)
    inputs, blob = samples(graph), exporter.export(graph)
    assert_equal(oracle.litert_reference(blob, inputs), run_reference(graph, inputs), "reference against LiteRT")


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([graph_of(*pair) for pair in PAIRS], tmp_path)


def test_float_is_refused() -> None:
    graph = graph_of("int8", "float32")
    assert "float32" in (ops.get("cast").limits[0](graph.nodes[0], graph) or "")
