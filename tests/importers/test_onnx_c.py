"""The generated C of ONNX networks equals the reference (which equals ONNX Runtime), through every tiling."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from onnx_models import Model, load

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))

import test_onnx_import as cases
from harness import check_c

GROUPS = {
    "conv": [
        cases.qdq_conv(pads=[1, 1, 1, 1]),
        cases.qdq_conv("uint8", "uint8", axis=None, zero=77),
        cases.qdq_conv(group=4, oc=8),
        cases.gemm(),
        cases.qlinear_conv("uint8", "int8"),
    ],
    "binary": [
        cases.binary(kind, dtype, *shapes)
        for kind in ("Add", "Mul")
        for dtype in ("int8", "uint8")
        for shapes in cases.BROADCASTS[:3]
    ],
    "average": [
        cases.pool("AveragePool", dtype, **cases.POOLS[case]) for dtype in ("int8", "uint8") for case in cases.POOLS
    ]
    + [
        cases.pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        cases.pool("GlobalAveragePool", out=0.004),
    ],
}


def softmax(classes: int) -> bytes:
    m = Model(17)
    return m.build(m.qdq(m.node("Softmax", [m.qdq(m.input([1, 3, classes]), "int8", 0.1)]), "int8", 1 / 255, -128))


GROUPS["softmax"] = [softmax(n) for n in (2, 10, 100, 197)]


@pytest.mark.parametrize("group", GROUPS)
def test_c_equals_reference(group: str, tmp_path: Path) -> None:
    check_c([load(blob)[0] for blob in GROUPS[group]], tmp_path, optimize=True)
