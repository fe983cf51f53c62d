"""Costs, accuracies, networks and images that need no compiler and no training. Light: other processes import it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcuc.search.pareto import Constraints, Cost
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, dense_shapes

if TYPE_CHECKING:
    from mcuc.search.vit.network import Vit


def formula(space: VitSpace, limits: Constraints) -> Callable[[VitCandidate], Cost]:
    """A cost that takes no compiler: bytes of weights, and a millisecond for 50,000 MACs of dense layers."""

    def cost(c: VitCandidate) -> Cost:
        weights = sum(ins * outs for b in c.blocks for ins, outs in dense_shapes(c, b).values())
        return Cost(c.tokens * c.embed * 3, weights, weights * c.tokens / 5e4)

    return cost


def made_up_accuracy(space: VitSpace, limits: Constraints) -> Callable[[VitCandidate], float]:
    return lambda c: sum(c.key.encode()) % 997 / 997


@cache
def moved(candidate: VitCandidate) -> Vit:
    """A network of 10 classes on grey images whose every parameter has moved from its start."""
    import torch

    from mcuc.search.vit.network import Vit

    torch.manual_seed(0)
    module = Vit(candidate, 10, 1).eval()
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn_like(p)
    return module


def stripes(n: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, side, side] of two classes, stripes across and along under noise, and their labels."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    wave = np.sin(np.arange(side) * 1.5 + rng.uniform(0, 6, (n, 1)))
    x = np.where((y == 0)[:, None, None], wave[:, :, None], wave[:, None, :])
    return np.clip(128 + 60 * x + rng.normal(0, 20, x.shape), 0, 255).astype(np.uint8), y


def teacher(
    file: Path, side: int, classes: int, softmax: bool = False, channels: int = 3, scale: float = 1.0
) -> np.ndarray:
    """A classifier of one product, written; its weights [pixels, classes]."""
    import onnx
    from onnx import helper, numpy_helper

    weight = scale * np.random.default_rng(0).normal(size=(channels * side * side, classes))
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    nodes += [helper.make_node("Softmax", ["y"], ["z"], axis=1)] * softmax
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, channels, side, side))],
        [helper.make_tensor_value_info("yz"[softmax], onnx.TensorProto.FLOAT, (1, classes))],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return weight
