"""What the layers of one block of a vision transformer cost, each alone on the emulated core, by kernel.

    python benchmarks/transformer_kernels.py [--board BOARD] [--as LABEL] [--folder FOLDER]

Writes benchmarks/results/transformer_kernels.json under LABEL (default: now) and the board: of every kind of layer its
kernels, multiply-accumulates, instructions and cycles, with what weights in flash cost. Instructions are emulated,
cycles estimated. Weights are random, heads have 64 channels. Every figure is of the layer whole, as it runs from the
arena, on inputs of zeros; `blocks` are layers called for so many tokens at a time, as streams call them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import mcuc
from mcuc import passes
from mcuc.importers import load
from mcuc.ir import Graph
from mcuc.latency.emulated import layer_costs
from mcuc.latency.tuning import tune
from mcuc.request import Request
from mcuc.schedule import Layer, Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.select import retile
from mcuc.targets import Board, load_board
from models import commit

RESULTS = Path(__file__).parent / "results" / "transformer_kernels.json"
BOARDS = ("stm32f746g-disco", "nucleo-l4r5zi", "nucleo-u575zi-q")


@dataclass(frozen=True)
class Shape:
    """tokens x channels; heads of 64 channels; channels of the hidden layer."""

    tokens: int
    channels: int
    heads: int
    hidden: int
    depth: int = 64


SHAPES = {
    "197 tokens, 192 channels": Shape(197, 192, 3, 768),
    "226 tokens, 216 channels": Shape(226, 216, 3, 864),
}


class Block(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s, e, inner = s, s.channels, s.heads * s.depth
        self.first, self.second = nn.LayerNorm(e, eps=1e-6), nn.LayerNorm(e, eps=1e-6)
        self.qkv, self.project = nn.Linear(e, 3 * inner), nn.Linear(inner, e)
        self.mlp = nn.Sequential(nn.Linear(e, s.hidden), nn.GELU(), nn.Linear(s.hidden, e))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        t = self.qkv(self.first(x)).reshape(batch, tokens, 3, self.s.heads, self.s.depth)
        q, k, v = t.permute(2, 0, 3, 1, 4).unbind(0)
        share = ((q * self.s.depth**-0.5) @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.project((share @ v).transpose(1, 2).reshape(batch, tokens, -1))
        return x + self.mlp(self.second(x))


def quantized(name: str, folder: Path) -> Path:
    """The block in int8, made once."""
    stem, shape = name.replace(",", "").replace(" ", "-"), SHAPES[name]
    out = folder / f"{stem}_int8.onnx"
    if not out.exists():
        torch.manual_seed(0)
        size = (1, shape.tokens, shape.channels)
        torch.onnx.export(Block(shape).eval(), (torch.zeros(size),), folder / f"{stem}.onnx", dynamo=True,
                          opset_version=20, external_data=False)  # fmt: skip
        samples = np.random.default_rng(0).normal(size=(4, *size)).astype(np.float32)
        np.savez(folder / f"{stem}.npz", x=samples)
        mcuc.export(folder / f"{stem}.onnx", out, data=folder / f"{stem}.npz")
    return out


def measured(name: str, board_name: str, folder: Path) -> dict[str, Any]:
    graph = passes.optimize(load(quantized(name, folder)))
    board, request = load_board(board_name), Request(board=board_name, tune="full")
    tuned = tune(graph, board, request, lambda text: None)
    layers = [tuned.choose(layer) for layer in layers_of(graph, board.chip, Tiling()) if layer.calls]
    costs = layer_costs([(graph, layer) for layer in layers], board, request.toolchain, request.optimize)
    kinds: dict[str, dict[str, Any]] = {}
    for layer, cost in zip(layers, costs, strict=True):
        shapes = [list(graph.tensors[n].shape) for n in (layer.node.inputs[0], layer.node.outputs[0])]
        key = f"{layer.node.op} {shapes[0]} -> {shapes[1]}: {'+'.join(sorted({k.id for _, k in layer.calls}))}"
        kind = kinds.setdefault(key, {"layers": 0, "macs": 0, "elements": 0, "instructions": 0, "cycles": 0})
        kind["layers"] += 1
        kind["macs"] += layer.macs
        kind["elements"] += graph.tensors[layer.node.outputs[0]].elements
        kind["instructions"] += cost.instructions
        kind["cycles"] += cost.cycles
    for kind in kinds.values():
        per = kind["macs"] or kind["elements"]
        of = "mac" if kind["macs"] else "element"
        kind[f"instructions_per_{of}"] = round(kind["instructions"] / per, 3)
        kind[f"cycles_per_{of}"] = round(kind["cycles"] / per, 3)
    blocks = in_blocks(graph, layers, board, request)
    return {"kinds": kinds, "blocks": blocks, **sums(kinds), "commit": commit()}


BLOCKS = (1, 2, 4, 8)


def in_blocks(graph: Graph, layers: list[Layer], board: Board, request: Request) -> dict[str, dict[str, float]]:
    """Cycles a MAC (an element, where there are none) of each kind of layer, by tokens of a call."""
    kinds = {f"{la.node.op} {graph.tensors[la.node.outputs[0]].shape[-1]}": la for la in reversed(layers)
             if la.node.op.split("_")[0] in ("fully", "batch", "qlinear") and la.node.op != "qlinear_add"}  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for tokens in BLOCKS:
        cut = [(graph, retile(layer, Tiling(columns=tokens))) for layer in kinds.values()]
        for key, (_, layer), cost in zip(
            kinds, cut, layer_costs(cut, board, request.toolchain, request.optimize), strict=True
        ):
            per = layer.macs or graph.tensors[layer.node.outputs[0]].elements
            found.setdefault(key, {})[str(tokens)] = round(cost.cycles / per, 3)
    return found


LINEAR = ("conv_2d", "fully_connected", "conv_2d_add", "concat_dense")


def sums(kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Cycles a MAC of all linear layers, of the slowest of them, and of attention: both products and softmax."""
    total: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    slowest = 0.0
    for key, kind in kinds.items():
        op = key.split()[0]
        part = "linear" if op in LINEAR else "attention" if "matmul" in op or "softmax" in op else "rest"
        for i, what in enumerate(("macs", "instructions", "cycles")):
            total[part][i] += kind[what]
        if part == "linear":
            slowest = max(slowest, kind["cycles_per_mac"])
    return {
        "linear_cycles_per_mac": round(total["linear"][2] / total["linear"][0], 3),
        "slowest_linear_cycles_per_mac": slowest,
        "attention_cycles_per_mac": round(total["attention"][2] / total["attention"][0], 3),
        "block": {what: sum(t[i] for t in total.values()) for i, what in enumerate(("macs", "instructions", "cycles"))},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", choices=BOARDS, action="append")
    parser.add_argument("--as", dest="label", default="now")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mcuc-transformer-kernels")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for board in args.board or BOARDS:
        for name in SHAPES:
            found = measured(name, board, args.folder)
            table.setdefault(args.label, {}).setdefault(board, {})[name] = found
            RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(f"{board}, {name}: linear {found['linear_cycles_per_mac']}, "
                  f"attention {found['attention_cycles_per_mac']} cycles a MAC", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
