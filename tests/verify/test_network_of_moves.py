"""One network with a dilated convolution as Keras writes it, split, concatenation, mirrored padding, depth to space and
a bilinear resize: bit for bit LiteRT's answer, and all of it in one stream."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcuc import api
from mcuc.exporters import tflite as exporter
from mcuc.exporters.tflite import Entry
from mcuc.ir import DType, Tensor
from mcuc.ops._base import Exported

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from harness import RNG, activation, bias, constant, weights


class Network:
    """Entries of a file, one after the other; every value is int8 with one scale."""

    def __init__(self) -> None:
        self.rng = RNG(3)
        self.entries: list[Entry] = []

    def step(self, kind: str, inputs: list[Tensor], *shapes: tuple[int, ...], **fields: object) -> list[Tensor]:
        number = len(self.entries)
        outs = [activation(f"v{number}_{i}", s, 0.05, -7) for i, s in enumerate(shapes)]
        named = [t if t.data is None else replace(t, name=f"k{number}_{i}") for i, t in enumerate(inputs)]
        stem = "Conv2D" if kind == "CONV_2D" else "".join(p.capitalize() for p in kind.split("_"))
        options = "" if kind.endswith("_ND") else f"{stem}Options"
        self.entries.append(Entry(Exported(kind, options, fields), named, outs))
        return outs

    def conv(self, x: Tensor, outs: int, kernel: int, padding: int = 0) -> Tensor:
        w = weights(self.rng, (outs, kernel, kernel, x.shape[3]))
        n, h, wide, _ = x.shape
        less = (kernel - 1) * padding
        fields = {"padding": padding, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        return self.step("CONV_2D", [x, w, bias(self.rng, x, w, outs)], (n, h - less, wide - less, outs), **fields)[0]


def ints(values: object) -> Tensor:
    return constant("", np.array(values, np.int32))


def write(path: Path) -> Path:
    net, x = Network(), activation("x", (1, 16, 16, 3), 0.05, -7)
    wide = net.conv(x, 8, 3)
    (blocks,) = net.step("SPACE_TO_BATCH_ND", [wide, ints([2, 2]), ints([[2, 2], [2, 2]])], (4, 10, 10, 8))
    inner = net.conv(blocks, 8, 3, padding=1)
    (joined,) = net.step("BATCH_TO_SPACE_ND", [inner, ints([2, 2]), ints([[0, 0], [0, 0]])], (1, 16, 16, 8))
    axis = Tensor("", (), DType.INT32, None, np.array(3, np.int32))
    first, second = net.step("SPLIT", [axis, joined], (1, 16, 16, 4), (1, 16, 16, 4), numSplits=2)
    both = net.step("CONCATENATION", [net.conv(first, 4, 1), second], (1, 16, 16, 8), axis=3)[0]
    pads = ints([[0, 0], [1, 1], [1, 1], [0, 0]])
    (mirrored,) = net.step("MIRROR_PAD", [both, pads], (1, 18, 18, 8), mode=0)
    (large,) = net.step("DEPTH_TO_SPACE", [net.conv(mirrored, 12, 3)], (1, 36, 36, 3), blockSize=2)
    (sized,) = net.step("RESIZE_BILINEAR", [large, ints([20, 24])], (1, 20, 24, 3), halfPixelCenters=True)
    out = net.conv(sized, 2, 3)
    path.write_bytes(exporter.write("net", [x], [out], net.entries))
    return path


def test_it_is_what_litert_computes_on_host_and_core(tmp_path: Path) -> None:
    found = api.verify(write(tmp_path / "net.tflite"), board="mps2-an386", samples=6, emulate=1)
    assert found.bit_exact and "litert" in found.oracle.lower(), found


@pytest.mark.parametrize("rows_in", [False, True])
def test_no_image_of_it_is_ever_whole(rows_in: bool, tmp_path: Path) -> None:
    compiled = api.compile(
        write(tmp_path / "net.tflite"), board="mps2-an386", optimize="sram", rows_in=rows_in, out=tmp_path / "out"
    )
    assert compiled.report.verify.bit_exact and compiled.report.verify.emulated
    assert compiled.report.plan.peak < 36 * 36 * 3, "less than the largest value"
    assert "space_batch" not in {layer.op for layer in compiled.report.layers}
