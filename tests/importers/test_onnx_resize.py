"""Resize of ONNX: the reference equals ONNX Runtime byte for byte, the C equals the reference."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_models import Model, check_onnx, load

from mcuc import api
from mcuc.errors import McucError
from mcuc.exporters import onnx as exporter

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from harness import check_c

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
SIZES = [(8, 10), (3, 2), (7, 13), (1, 1), (9, 3)]


def resized(
    size: tuple[int, int], mode: str, dtype: str = "int8", out: float = 0.05, opset: int = 19, **attrs: object
) -> bytes:
    m = Model(sum(size), opset=opset)
    x = m.qdq(m.input([1, 3, 4, 5]), dtype, 0.05, 3 if dtype == "int8" else 131)
    y = m.node("Resize", [x, "", "", m.const([1, 3, *size], np.int64)], mode=mode, **attrs)
    return m.build(m.qdq(y, dtype, out, -9 if dtype == "int8" else 100))


def scaled(scales: list[float], mode: str) -> bytes:
    m = Model(5)
    x = m.qdq(m.input([1, 3, 4, 5]), "int8", 0.05, 3)
    y = m.node("Resize", [x, "", m.const(scales, np.float32)], mode=mode)
    return m.build(m.qdq(y, "int8", 0.05, 3))


@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("size", SIZES)
def test_linear(size: tuple[int, int], coordinate: str) -> None:
    check_onnx(resized(size, "linear", coordinate_transformation_mode=coordinate))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("by", [{"sizes": [1, 3, 17]}, {"scales": [1, 1, 2.4]}, {"scales": [0.6], "axes": [2]}])
def test_sequences(by: dict[str, list[float]], mode: str) -> None:
    m = Model(6, opset=19)
    x = m.qdq(m.input([1, 3, 10]), "int8", 0.05, 3)
    given = [m.const(by["scales"], np.float32)] if "scales" in by else ["", m.const(by["sizes"], np.int64)]
    y = m.node("Resize", [x, "", *given], mode=mode, **({"axes": by["axes"]} if "axes" in by else {}))
    check_onnx(m.build(m.qdq(y, "int8", 0.05, 3)), transposes=None)


@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("size", SIZES)
def test_cubic(size: tuple[int, int], coordinate: str) -> None:
    check_onnx(resized(size, "cubic", coordinate_transformation_mode=coordinate))


@pytest.mark.parametrize("dtype, out, a", [("uint8", 0.05, -0.75), ("uint8", 0.031, -0.5), ("int8", 0.11, -0.5)])
def test_cubic_into_other_integers(dtype: str, out: float, a: float) -> None:
    check_onnx(resized((7, 13), "cubic", dtype, out, cubic_coeff_a=a))


@pytest.mark.parametrize("dtype, out", [("uint8", 0.05), ("uint8", 0.031), ("int8", 0.11)])
def test_linear_into_other_integers(dtype: str, out: float) -> None:
    check_onnx(resized((7, 13), "linear", dtype, out))


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("size", SIZES)
def test_nearest(size: tuple[int, int], coordinate: str, nearest: str) -> None:
    check_onnx(resized(size, "nearest", coordinate_transformation_mode=coordinate, nearest_mode=nearest))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 0.6, 0.5], [1, 1, 1.7, 1]])
def test_scales(scales: list[float], mode: str) -> None:
    check_onnx(scaled(scales, mode))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("size", [(7, 8), (2, 5), (9, 9)])
def test_the_aspect_ratio_is_kept(size: tuple[int, int], policy: str, mode: str) -> None:
    m = Model(5, opset=18)
    x = m.qdq(m.input([1, 3, 4, 5]), "int8", 0.05, 3)
    y = m.node(
        "Resize", [x, "", "", m.const(size, np.int64)], mode=mode, axes=[2, 3], keep_aspect_ratio_policy=policy
    )
    check_onnx(m.build(m.qdq(y, "int8", 0.05, 3)))


def test_axes_name_height_and_width() -> None:
    m = Model(5, opset=18)
    x = m.qdq(m.input([1, 3, 4, 5]), "int8", 0.05, 3)
    y = m.node("Resize", [x, "", "", m.const([8, 3], np.int64)], mode="linear", axes=[3, 2])
    check_onnx(m.build(m.qdq(y, "int8", 0.05, 3)))


@pytest.mark.parametrize(
    "attrs",
    [
        {"mode": "cubic", "exclude_outside": 1},
        {"mode": "cubic", "coordinate_transformation_mode": "tf_crop_and_resize"},
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
        {"mode": "linear", "antialias": 1},
        {"mode": "cubic", "cubic_coeff_a": float("inf")},
        {"mode": "linear", "keep_aspect_ratio_policy": "as_you_like"},
    ],
)
def test_other_modes_are_refused(attrs: dict[str, object]) -> None:
    mode = str(attrs.pop("mode"))
    with pytest.raises(McucError, match="Resize"):
        load(resized((8, 10), mode, **attrs))


@pytest.mark.parametrize("mode, op", [("linear", "resize_bilinear"), ("cubic", "resize_cubic")])
def test_exported_resize_reads_back_the_same(mode: str, op: str) -> None:
    graph = load(resized((7, 13), mode, coordinate_transformation_mode="align_corners"))[0]
    again = load(exporter.export(graph))[0]
    found, wanted = ([n.attrs for n in g.nodes if n.op == op] for g in (again, graph))
    assert found == wanted and wanted


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_rows_between_rows_stream(mode: str, tmp_path: Path) -> None:
    """Rows above and below the image stand for its first and last, wherever their ring holds them."""
    m = Model(12, opset=19)
    x = m.qdq(m.input([1, 3, 12, 14]), "int8", 0.05, 3)
    a = m.qdq(m.layer("Conv", x, m.weights((4, 3, 3, 3)), 4, pads=[1, 1, 1, 1]), "int8", 0.1, 5)
    up = m.qdq(m.node("Resize", [a, "", "", m.const([1, 4, 19, 23], np.int64)], mode=mode), "int8", 0.1, 5)
    m.scales[up] = np.float32(0.1)
    y = m.qdq(m.layer("Conv", up, m.weights((2, 4, 3, 3)), 2, pads=[1, 1, 1, 1]), "int8", 0.2, 5)
    (tmp_path / "net.onnx").write_bytes(m.build(y))
    for rows_in in (False, True):
        made = api.compile(
            tmp_path / "net.onnx", board="mps2-an386", optimize="sram", rows_in=rows_in, out=tmp_path / str(rows_in)
        )
        assert made.report.verify.bit_exact and made.report.verify.emulated
        assert made.report.plan.peak < 19 * 23 * 4, "less than the resized image"
    assert api.verify(tmp_path / "net.onnx", board="mps2-an386", samples=5, emulate=1).bit_exact


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    blobs = [
        resized(size, "linear", dtype, 0.07, coordinate_transformation_mode=coordinate)
        for size, dtype, coordinate in zip(SIZES[:3], ("int8", "uint8", "int8"), COORDINATES, strict=False)
    ] + [resized(size, "cubic", "int8", 0.07) for size in SIZES[:3]]
    check_c([load(blob)[0] for blob in blobs], tmp_path, 3)
