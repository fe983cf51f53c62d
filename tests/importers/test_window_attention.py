"""Attention in windows, in grids (Tu et al. 2022, "MaxViT") and in shifted windows (Liu et al. 2021, "Swin
Transformer"), cut out of a map of features in two usual ways, as PyTorch's exporters write them: from float to the
emulated core."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks are PyTorch's")

import onnx  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from onnx_models import check_onnx  # noqa: E402
from torch import nn  # noqa: E402

import mcuc  # noqa: E402
from mcuc.importers.torch import to_onnx  # noqa: E402
from mcuc.passes import check_supported, optimize  # noqa: E402
from mcuc.quantize.network import Converted, convert  # noqa: E402
from mcuc.quantize.quantizer import STANDARD  # noqa: E402
from mcuc.schedule.explore import explore  # noqa: E402

CHEAP = replace(STANDARD, methods=("minmax",), equalize=(False,), compensate=False)
SIDE, C, HEADS, DEPTH, WINDOW, CLASSES = 12, 8, 2, 4, 3, 5  # maps of 6 x 6, four windows
TOKENS = WINDOW**2


class Attention(nn.Module):
    """Tokens [..., TOKENS, C], each window by itself, with a bias for each distance of two tokens."""

    def __init__(self, einsum: bool, mask: torch.Tensor | None = None) -> None:
        super().__init__()
        self.qkv, self.proj, self.einsum = nn.Linear(C, 3 * C), nn.Linear(C, C), einsum
        self.table = nn.Parameter(torch.randn((2 * WINDOW - 1) ** 2, HEADS))
        at = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
        apart = at[:, None] - at[None] + WINDOW - 1
        self.register_buffer("distance", (apart[..., 0] * (2 * WINDOW - 1) + apart[..., 1]).flatten())
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.table[self.distance].reshape(TOKENS, TOKENS, HEADS).permute(2, 0, 1)[None]
        if self.einsum:  # five axes: images, windows, heads, tokens, channels
            parts = self.qkv(x).chunk(3, -1)
            q, k, v = (t.reshape(*x.shape[:3], HEADS, DEPTH).permute(0, 1, 3, 2, 4) for t in parts)
            scores = torch.einsum("BGHID,BGHJD->BGHIJ", q, k * DEPTH**-0.5) + bias
            o = torch.einsum("BGHIJ,BGHJD->BGHID", scores.softmax(-1), v).permute(0, 1, 3, 2, 4)
            return self.proj(o.reshape(x.shape))
        q, k, v = self.qkv(x).reshape(-1, TOKENS, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4)
        scores = (q * DEPTH**-0.5) @ k.transpose(-2, -1) + bias
        if self.mask is not None:  # [windows, TOKENS, TOKENS]
            count = len(self.mask)
            scores = (scores.view(-1, count, HEADS, TOKENS, TOKENS) + self.mask[None, :, None]).flatten(0, 1)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))


class Part(nn.Module):
    """A map [n, h, w, C] -> the same: windows of neighbours or, grid, of tokens as far apart as they can be."""

    def __init__(self, grid: bool) -> None:
        super().__init__()
        self.grid, self.norm, self.attention = grid, nn.LayerNorm(C), Attention(False)
        self.norm2, self.mlp = nn.LayerNorm(C), nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, _ = x.shape
        a, b, p = h // WINDOW, w // WINDOW, WINDOW
        shape, there = (
            ((n, p, a, p, b, C), (0, 2, 4, 1, 3, 5)) if self.grid else ((n, a, p, b, p, C), (0, 1, 3, 2, 4, 5))
        )
        back = (0, 3, 1, 4, 2, 5) if self.grid else (0, 1, 3, 2, 4, 5)
        t = x.view(*shape).permute(*there).reshape(-1, TOKENS, C)
        t = t + self.attention(self.norm(t))
        t = t + self.mlp(self.norm2(t))
        return t.view(n, a, b, p, p, C).permute(*back).reshape(n, h, w, C)


class ChannelsFirst(nn.Module):
    """The same of a map [n, C, h, w], with one axis for all windows, and products by Einsum."""

    def __init__(self, grid: bool) -> None:
        super().__init__()
        self.grid, self.norm, self.attention = grid, nn.LayerNorm(C), Attention(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        p = h // WINDOW if self.grid else WINDOW
        t = x.reshape(n, C, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, p * p, C)
        t = t.swapaxes(-2, -3) if self.grid else t
        t = t + self.attention(self.norm(t))
        t = t.swapaxes(-2, -3) if self.grid else t
        return t.reshape(n, h // p, w // p, p, p, C).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


class Shifted(Part):
    """Windows of a map rolled by a token, in which tokens from opposite edges do not see each other."""

    def __init__(self, fill: float) -> None:
        super().__init__(False)
        side = SIDE // 2
        edge = (torch.arange(side) >= side - WINDOW).int() + (torch.arange(side) >= side - 1).int()
        region = (3 * edge[:, None] + edge[None]).view(2, WINDOW, 2, WINDOW).permute(0, 2, 1, 3).reshape(-1, TOKENS)
        self.attention = Attention(False, torch.where(region[:, None] == region[:, :, None], 0.0, fill))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.roll((-1, -1), (1, 2))).roll((1, 1), (1, 2))


class MBConv(nn.Module):
    """An inverted bottleneck whose channels are weighted by what all places hold."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep, self.narrow = (
            nn.Conv2d(C, 2 * C, 1),
            nn.Conv2d(2 * C, 2 * C, 3, 1, 1, groups=2 * C),
            nn.Conv2d(2 * C, C, 1),
        )
        self.norm, self.down, self.up = nn.BatchNorm2d(2 * C), nn.Conv2d(2 * C, 4, 1), nn.Conv2d(4, 2 * C, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = F.gelu(self.deep(F.gelu(self.norm(self.wide(x)))))
        gate = self.up(F.silu(self.down(t.mean((2, 3), keepdim=True)))).sigmoid()
        return x + self.narrow(t * gate)


class Net(nn.Module):
    """Image [n, 3, SIDE, SIDE] -> logits."""

    def __init__(self, *parts: nn.Module, convolution: bool = False) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, C, 3, 2, 1), MBConv() if convolution else nn.Identity()
        self.parts, self.norm, self.head = nn.Sequential(*parts), nn.LayerNorm(C), nn.Linear(C, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(F.gelu(self.stem(x)))
        first = isinstance(self.parts[0], ChannelsFirst)
        x = self.parts(x if first else x.permute(0, 2, 3, 1))
        return self.head(self.norm(x.mean((2, 3) if first else (1, 2))))


def network(kind: str) -> Net:
    torch.manual_seed(0)
    if kind == "maxvit":
        return Net(Part(False), Part(True), convolution=True).eval()
    if kind == "einsum":
        return Net(ChannelsFirst(False), ChannelsFirst(True)).eval()
    return Net(Part(False), Shifted(float("-inf"))).eval()


def written(net: Net, dynamo: bool) -> Any:
    """The network's ONNX model by the newer exporter, or by the older one."""
    x = torch.zeros(1, 3, SIDE, SIDE)
    if dynamo:
        return to_onnx(net, (x,))
    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), held, dynamo=False, opset_version=17)
    return onnx.load_from_string(held.getvalue())


SAMPLES = np.random.default_rng(0).random((16, 3, SIDE, SIDE), np.float32)


@cache
def converted(kind: str, dynamo: bool) -> Converted:
    return convert(written(network(kind), dynamo), "net", "net", (SAMPLES[:, None],), CHEAP)


CASES = [
    pytest.param("maxvit", False, id="maxvit"),
    pytest.param("einsum", True, id="einsum", marks=pytest.mark.slow),
    pytest.param("swin, -inf", False, id="swin"),
]


@pytest.mark.parametrize(("kind", "dynamo"), CASES)
def test_windows_are_quantized_and_the_reference_answers_as_onnx_runtime(kind: str, dynamo: bool) -> None:
    """Layer norm may differ by a step, so logits may."""
    made = converted(kind, dynamo)
    assert made.quantized.snr > 30
    graph = check_onnx(made.onnx, count=8, transposes=None, steps=1, share=0.1)
    assert sum(n.op == "batch_matmul" for n in graph.nodes) == 4


@pytest.mark.parametrize(("kind", "dynamo"), CASES)
def test_heads_of_windows_are_layers_of_their_own_without_moves_between_them(kind: str, dynamo: bool) -> None:
    graph = check_supported(optimize(converted(kind, dynamo).graph))
    names = [n.op for n in graph.nodes]
    assert names.count("batch_matmul") == 4 * HEADS
    assert names.count("transpose") <= 6, "what cuts windows out and puts them back"
    peaks = [c.peak for c in explore(graph, None, "latency").candidates]
    assert peaks[-1] < 0.9 * peaks[0], "window by window"


@pytest.mark.parametrize("kind", ["swin, -inf", pytest.param("maxvit", marks=pytest.mark.slow)])
def test_windows_one_by_one_are_exact_on_the_emulated_core(kind: str, tmp_path: Path) -> None:
    (tmp_path / "int8.onnx").write_bytes(converted(kind, False).onnx)
    done = mcuc.compile(tmp_path / "int8.onnx", board="nucleo-h743zi", optimize="sram", out=tmp_path / "out")
    assert done.report.verify.bit_exact and done.report.verify.host and done.report.verify.emulated
