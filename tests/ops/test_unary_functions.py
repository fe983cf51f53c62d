"""Functions of one value agree with TFLite Micro, or LiteRT's reference kernels, for all 256 inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, as_uint8, assert_equal, check_c, check_tflite, run_reference, samples, tflite_graph

from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import Graph
from mcuc.verify import oracle

EVERY = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16)
MICRO = ("ABS", "ELU", "HARD_SWISH", "LEAKY_RELU", "RSQRT", "TANH")
LITERT = ("EXP", "GELU", "LOG", "NEG", "RELU_0_TO_1", "SQRT")
UNSIGNED = ("GELU", "HARD_SWISH", "LEAKY_RELU", "RELU_0_TO_1", "TANH")


def _case(kind: str, seed: int) -> Graph:
    """Random scales and zero points that the kind allows."""
    rng = RNG(seed)
    x_scale, y_scale = (float(s) for s in 2.0 ** rng.uniform(-10, (2.5, 1)))
    x_zero, y_zero = (int(z) for z in rng.integers(-128, 128, 2))
    fields: dict[str, Any] = {}
    if kind == "TANH":
        y_scale, y_zero = 1 / 128, 0
    elif kind in ("RSQRT", "SQRT"):
        x_zero = -128
    elif kind == "NEG":
        x_zero, y_zero, y_scale = 0, 0, x_scale
    elif kind == "HARD_SWISH":
        y_scale = float(np.clip(y_scale, x_scale / 100, x_scale * 100))
    elif kind == "LEAKY_RELU":
        fields = {"alpha": float(rng.uniform(-1, 2))}
    elif kind == "GELU":
        fields = {"approximate": bool(seed % 2)}
    elif kind == "ABS" and seed % 3 == 0:
        y_scale = x_scale
    return tflite_graph(kind, [activation("x", (1, 16, 16), x_scale, x_zero)],
                        activation("y", (1, 16, 16), y_scale, y_zero), **fields)


@pytest.mark.parametrize("kind", MICRO)
@pytest.mark.parametrize("seed", range(30))
def test_tflite_micro(kind: str, seed: int) -> None:
    check_tflite(_case(kind, seed), inputs=[[EVERY]])


@pytest.mark.parametrize("kind", LITERT)
@pytest.mark.parametrize("seed", range(30))
def test_litert_where_tflite_micro_has_none(kind: str, seed: int) -> None:
    check_tflite(_case(kind, seed), inputs=[[EVERY]], run=oracle.litert_reference)


@pytest.mark.parametrize("kind", UNSIGNED)
@pytest.mark.parametrize("seed", range(12))
def test_uint8(kind: str, seed: int) -> None:
    blob = as_uint8(exporter.export(_case(kind, seed)))
    again = importer.parse(blob, "case.tflite", "case")
    inputs = [[EVERY.view(np.uint8)]]
    assert_equal(oracle.litert_reference(blob, inputs), run_reference(again, inputs), "reference against LiteRT uint8")


REFUSED: dict[str, tuple[str, tuple[float, int], tuple[float, int], dict[str, Any]]] = {
    "tanh of another output scale": ("TANH", (0.1, 0), (0.01, 0), {}),
    "tanh of an input scale from 8 on": ("TANH", (8.0, 0), (1 / 128, 0), {}),
    "tanh of an input scale below 2^-27": ("TANH", (2.0**-28, 0), (1 / 128, 0), {}),
    "logistic of an input scale from 8 on": ("LOGISTIC", (8.0, 0), (1 / 256, -128), {}),
    "logistic of an input scale below 2^-27": ("LOGISTIC", (2.0**-28, 0), (1 / 256, -128), {}),
    "negation of shifted integers": ("NEG", (0.1, 3), (0.1, 3), {}),
    "negation to another scale": ("NEG", (0.1, 0), (0.2, 0), {}),
    "roots of values below zero": ("SQRT", (0.1, 0), (0.1, 0), {}),
    "inverse roots of values below zero": ("RSQRT", (0.1, -127), (0.1, 0), {}),
    "hard swish to a much finer scale": ("HARD_SWISH", (10.0, 0), (0.01, 0), {}),
    "an alpha that is no number": ("LEAKY_RELU", (0.1, 0), (0.1, 0), {"alpha": float("nan")}),
    "scales whose quotient is no float32": ("LEAKY_RELU", (1e30, 0), (1e-30, 0), {"alpha": 0.5}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    kind, x, y, fields = REFUSED[name]
    with pytest.raises(McucError) as caught:
        tflite_graph(kind, [activation("x", (1, 4), *x)], activation("y", (1, 4), *y), **fields)
    assert caught.value.code == "unsupported-quantization" and kind in caught.value.found


def test_kinds_that_tflite_has_no_uint8_kernel_for_are_refused() -> None:
    for kind in sorted({*MICRO, *LITERT} - {*UNSIGNED}):
        with pytest.raises(McucError, match="uint8"):
            importer.parse(as_uint8(exporter.export(_case(kind, 0))), "case.tflite", "case")


def test_a_table_that_no_operator_of_tflite_computes_is_exported_as_a_look_up() -> None:
    graph = _case("TANH", 0)
    node = graph.nodes[0]
    other = replace(graph, nodes=(replace(node, attrs=replace(node.attrs, table=node.attrs.table[::-1])),))
    blob, inputs = exporter.export(other), samples(graph)
    assert_equal(oracle.litert_reference(blob, inputs), run_reference(other, inputs), "LiteRT")


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([_case(kind, 3) for kind in (*MICRO, *LITERT)], tmp_path)
