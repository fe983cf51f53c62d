"""SRAM and speed of vision transformers with random weights, compiled for several budgets: what attention head by head
and streams of tokens save.

    python benchmarks/transformers.py [--only NETWORK] [--cell CELL] [--folder FOLDER] [--again]

Writes benchmarks/results/transformers.json, a cell as soon as it is done; a cell that is there is run again only with
--again. SRAM is planned (stack: emulated and bounded), instructions are emulated, cycles estimated; every cell is
compared byte for byte with the reference on the host and on the emulated core. Quantizing and compiling the largest
takes the better part of an hour on two cores; the quantized files are kept in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

import mcuc
from mcuc.schedule import Segment
from models import commit

RESULTS = Path(__file__).parent / "results" / "transformers.json"
SMALL, DISCO, LARGE = "nucleo-h743zi", "stm32f746g-disco", "virtual-f746-64mb"
KB = 1024


@dataclass(frozen=True)
class Shape:
    """A DeiT-like network: square images of so many pixels, square patches, blocks. rank: of three factors that stand
    for each dense layer of a block, 0 for none."""

    image: int
    patch: int
    channels: int
    blocks: int
    heads: int
    ratio: int
    classes: int = 10
    depth: int = 64  # channels of a head
    rank: int = 0


NETWORKS = {
    "64 pixels, 4 blocks of 96 channels": Shape(64, 8, 96, 4, 3, 4, depth=32),
    "DeiT-tiny": Shape(224, 16, 192, 12, 3, 4),
    "T, factors merged": Shape(240, 16, 216, 14, 4, 4),
    "T, factors kept": Shape(240, 16, 216, 14, 4, 4, rank=205),
    "S, factors merged": Shape(240, 16, 448, 14, 7, 4),
    "S, factors kept": Shape(240, 16, 448, 14, 7, 4, rank=425),
}
Cell = tuple[str, dict[str, Any]]  # board, options of mcuc.compile
CELLS: dict[str, dict[str, Cell]] = {
    "64 pixels, 4 blocks of 96 channels": {
        "latency": (SMALL, {"optimize": "latency"}),
        "balanced": (SMALL, {}),
        "min": (SMALL, {"budget": "min"}),
        "min, rows in": (SMALL, {"budget": "min", "rows_in": True}),
    },
    "DeiT-tiny": {"104 KB, rows in": (DISCO, {"budget": 104 * KB, "rows_in": True})},
    "T, factors merged": {"136 KB, rows in": (DISCO, {"budget": 136 * KB, "rows_in": True})},
    "T, factors kept": {
        "148 KB, rows in": (DISCO, {"budget": 148 * KB, "rows_in": True}),
        "130 KB, rows in": (DISCO, {"budget": 130 * KB, "rows_in": True}),
    },
    "S, factors merged": {"238 KB, rows in": (LARGE, {"budget": 238 * KB, "rows_in": True})},
    "S, factors kept": {"276 KB, rows in": (LARGE, {"budget": 276 * KB, "rows_in": True})},
}


def linear(inputs: int, outputs: int, rank: int) -> nn.Module:
    """A dense layer, or the product of three factors in its place."""
    if not rank:
        return nn.Linear(inputs, outputs)
    inner = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, rank, bias=False)
    return nn.Sequential(*inner, nn.Linear(rank, outputs))


class Block(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        e, inner = s.channels, s.heads * s.depth
        self.heads, self.depth = s.heads, s.depth
        self.first, self.second = nn.LayerNorm(e, eps=1e-6), nn.LayerNorm(e, eps=1e-6)
        self.qkv, self.project = linear(e, 3 * inner, s.rank), linear(inner, e, s.rank)
        self.mlp = nn.Sequential(linear(e, s.ratio * e, s.rank), nn.GELU(), linear(s.ratio * e, e, s.rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        t = self.qkv(self.first(x)).reshape(batch, tokens, 3, self.heads, self.depth)
        q, k, v = t.permute(2, 0, 3, 1, 4).unbind(0)
        share = ((q * self.depth**-0.5) @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.project((share @ v).transpose(1, 2).reshape(batch, tokens, -1))
        return x + self.mlp(self.second(x))


class Transformer(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        tokens = (s.image // s.patch) ** 2 + 1
        self.patches = nn.Conv2d(3, s.channels, s.patch, s.patch)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, s.channels))
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, s.channels))
        self.blocks = nn.Sequential(*(Block(s) for _ in range(s.blocks)))
        self.norm, self.head = nn.LayerNorm(s.channels, eps=1e-6), nn.Linear(s.channels, s.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def quantized(name: str, folder: Path) -> Path:
    """The network in int8, made once."""
    stem, shape = name.replace(",", "").replace(" ", "-"), NETWORKS[name]
    out = folder / f"{stem}_int8.onnx"
    if not out.exists():
        torch.manual_seed(0)
        size = (1, 3, shape.image, shape.image)
        torch.onnx.export(Transformer(shape).eval(), (torch.zeros(size),), folder / f"{stem}.onnx", dynamo=True,
                          opset_version=20, external_data=False)  # fmt: skip
        samples = np.random.default_rng(0).normal(size=(4, *size[1:])).astype(np.float32)
        np.savez(folder / "samples.npz", x=samples)
        mcuc.export(folder / f"{stem}.onnx", out, data=folder / "samples.npz")
    return out


def measured(name: str, cell: Cell, folder: Path) -> dict[str, Any]:
    board, options = cell
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        made = mcuc.compile(quantized(name, folder), board=board, out=Path(out) / "out", **options)
    report, schedule = made.report, made.schedule
    assert report.verify.bit_exact and report.verify.audit == 0
    blocks = [u.stream.blocks for u in schedule.segments if isinstance(u, Segment) and u.stream is not None]
    return {
        "sram_total": report.sram.total,
        "arena": report.sram.arena,
        "stack": report.sram.stack,
        "flash": report.flash.total,
        "macs": report.macs,
        "macs_again": schedule.recomputed,
        "most_token_blocks": max(blocks, default=0),
        "weights": None if report.weights is None else msgspec.to_builtins(report.weights),
        "instructions": report.instructions,
        "cycles": report.cycles,
        "seconds": round(time.perf_counter() - start),
        "board": board,
        "evidence": dict(report.evidence),
        "notes": list(report.notes),
        "commit": commit(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--cell", help="one of the network's, such as 'min'")
    parser.add_argument("--again", action="store_true", help="also what is in the results already")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mcuc-transformers")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in [args.only] if args.only else NETWORKS:
        for cell, options in CELLS[name].items():
            table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            if args.cell not in (None, cell) or (cell in table.get(name, {}) and not args.again):
                continue
            table.setdefault(name, {})[cell] = found = measured(name, options, args.folder)
            RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(f"{name}, {cell}: {found['sram_total']:,} bytes, {found['cycles']:,} cycles", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
