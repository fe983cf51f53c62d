"""Networks of ONNX that move data, exported as TFLite: TFLite Micro (or LiteRT) computes what the ONNX graph says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parent.parent / "importers"), str(Path(__file__).parent.parent / "ops")]

import test_onnx_picks as picks  # noqa: E402
from harness import assert_equal, run_reference  # noqa: E402
from onnx_models import load, samples  # noqa: E402

from mcuc import passes  # noqa: E402
from mcuc.errors import McucError  # noqa: E402
from mcuc.exporters import tflite as exporter  # noqa: E402
from mcuc.importers import tflite as importer  # noqa: E402
from mcuc.quantize.retarget import retarget  # noqa: E402
from mcuc.verify import oracle  # noqa: E402

# what TFLite has no operator for: channels of [c, block, block], positions that are no mirror image
NOT_THERE = {"depth to space, columns first", "edge", "edge of channels"}
SCALED = {c for c in picks.TAILS if c.startswith("scatter") or c == "concat of a constant"}  # rounded: not only moved
MOVED = {
    **{c: picks.behind(tail) for c, tail in picks.TAILS.items() if c not in SCALED},
    **{c: picks.behind(tail, shape) for c, (shape, tail) in picks.RANKS.items()},
}


@pytest.mark.parametrize("case", [c for c in MOVED if c not in NOT_THERE])
def test_moves_are_exact(case: str) -> None:
    graph = passes.spell_out(load(MOVED[case])[0])
    blob = exporter.export(retarget(graph))
    inputs = samples(graph)
    found = importer.parse(blob, "case.tflite", "case")
    beyond = any("TILE" in n.name or max(len(found.tensors[o].shape) for o in n.outputs) > 5 for n in found.nodes)
    run = oracle.litert_reference if beyond else oracle.tflite_micro
    assert_equal(run(blob, inputs), run_reference(graph, inputs), run.__name__)
    assert_equal(run_reference(found, inputs), run_reference(graph, inputs), "the file read back")


@pytest.mark.parametrize("case", sorted(NOT_THERE))
def test_what_tflite_has_no_operator_for_is_refused(case: str) -> None:
    with pytest.raises(McucError, match="TFLite has no"):
        retarget(passes.spell_out(load(MOVED[case])[0]))


@pytest.mark.parametrize("coordinate", ["half_pixel", "align_corners", "asymmetric"])
def test_a_linear_resize_differs_by_rounding_alone(coordinate: str) -> None:
    graph = load(_equal_scales(coordinate))[0]
    blob = exporter.export(retarget(graph))
    inputs = samples(graph)
    wanted, found = run_reference(graph, inputs), oracle.tflite_micro(blob, inputs)
    gaps = [np.abs(a[0].astype(int) - b[0].astype(int)).max() for a, b in zip(wanted, found, strict=True)]
    assert max(gaps) <= 2


def _equal_scales(coordinate: str) -> bytes:
    m = picks.Model(7, opset=19)
    x = m.qdq(m.input([1, 3, 4, 5]), "int8", 0.05, 3)
    sizes = m.const([1, 3, 7, 13], np.int64)
    y = m.node("Resize", [x, "", "", sizes], mode="linear", coordinate_transformation_mode=coordinate)
    return m.build(m.qdq(y, "int8", 0.05, 3))
