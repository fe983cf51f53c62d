"""The network in torch, as functions over a dict of tensors: the supernet and every candidate share one forward pass.

Batch normalisation keeps no running statistics: training uses the batch's own, evaluation uses statistics that are
measured for that very candidate (weights shared by many widths have no statistics of their own; Yu & Huang 2019, "post
statistics of BN").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from mcuc.search.layers import same_padding
from mcuc.search.spaces.ds_conv import KERNELS, Candidate, Space, largest, to_layers

Params = Mapping[str, torch.Tensor]
Stats = dict[str, tuple[torch.Tensor, torch.Tensor]]
Norm = Callable[[str, torch.Tensor, Params], torch.Tensor]
EPSILON = 1e-5


def init_params(space: Space, candidate: Candidate, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights of one candidate (of the supernet for largest(space)): He initialisation, skips start as identity."""
    params: dict[str, torch.Tensor] = {}
    for layer in to_layers(space, candidate):
        if layer.op not in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
            continue
        oc, ic = layer.out_shape[2], layer.in_shape[2]
        if layer.op == "fully_connected":
            bound = ic**-0.5
            params[f"{layer.name}.w"] = (torch.rand((oc, ic), generator=generator) * 2 - 1) * bound
            params[f"{layer.name}.b"] = torch.zeros(oc)
            continue
        groups = ic if layer.op == "depthwise_conv_2d" else 1
        shape = (oc, ic // groups, layer.kernel, layer.kernel)
        deviation = (2.0 / (shape[1] * layer.kernel**2)) ** 0.5
        params[f"{layer.name}.w"] = (torch.randn(shape, generator=generator) * deviation).contiguous(
            memory_format=torch.channels_last)
        residual = layer.name.endswith("pointwise") and ".block0." not in layer.name
        params[f"{layer.name}.g"] = torch.zeros(oc) if residual else torch.ones(oc)
        params[f"{layer.name}.b"] = torch.zeros(oc)
    return params


def init_supernet(space: Space, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights of the candidate that contains all others."""
    return init_params(space, largest(space), generator)


def view(params: Params, space: Space, candidate: Candidate) -> dict[str, torch.Tensor]:
    """The candidate's share of the supernet: the first channels, the first blocks, the middle of each kernel.

    The tensors are views: gradients flow back to the supernet.
    """
    share: dict[str, torch.Tensor] = {}
    for layer in to_layers(space, candidate):
        if f"{layer.name}.w" not in params:
            continue
        oc = layer.out_shape[2]
        w = params[f"{layer.name}.w"][:oc]
        if layer.op != "depthwise_conv_2d":
            w = w[:, :layer.in_shape[2]]
        elif w.shape[2] != layer.kernel:
            cut = (KERNELS[-1] - layer.kernel) // 2
            w = w[:, :, cut:cut + layer.kernel, cut:cut + layer.kernel]
        share[f"{layer.name}.w"] = w
        for suffix in ("g", "b"):
            if f"{layer.name}.{suffix}" in params:
                share[f"{layer.name}.{suffix}"] = params[f"{layer.name}.{suffix}"][:oc]
    return share


def batch_norm(name: str, x: torch.Tensor, params: Params) -> torch.Tensor:
    """Normalises by the batch's own statistics (training)."""
    return F.batch_norm(x, None, None, params[f"{name}.g"], params[f"{name}.b"], True, 0.0, EPSILON)


def collecting(stats: Stats) -> Norm:
    """batch_norm that also writes each layer's (mean, variance) into stats."""
    def norm(name: str, x: torch.Tensor, params: Params) -> torch.Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3), unbiased=False)
        stats[name] = (mean, variance)
        return fixed(stats)(name, x, params)
    return norm


def fixed(stats: Stats) -> Norm:
    """Normalises by the given statistics (evaluation)."""
    def norm(name: str, x: torch.Tensor, params: Params) -> torch.Tensor:
        mean, variance = stats[name]
        return F.batch_norm(x, mean, variance, params[f"{name}.g"], params[f"{name}.b"], False, 0.0, EPSILON)
    return norm


def forward(params: Params, space: Space, candidate: Candidate, x: torch.Tensor,
            norm: Norm = batch_norm) -> torch.Tensor:
    """x float [n, c, h, w] in 0..1 -> logits [n, classes]. params: the candidate's own (see view)."""
    values: dict[str, torch.Tensor] = {"input": x}
    for layer in to_layers(space, candidate):
        a = values[layer.inputs[0]]
        if layer.op in ("conv_2d", "depthwise_conv_2d"):
            before, after = same_padding(layer.in_shape[0], layer.kernel, layer.stride)
            if before != after:
                a = F.pad(a, (before, after, before, after))
            a = F.conv2d(a, params[f"{layer.name}.w"], None, layer.stride, before if before == after else 0,
                         groups=a.shape[1] if layer.op == "depthwise_conv_2d" else 1)
            a = norm(layer.name, a.contiguous(memory_format=torch.channels_last), params)
        elif layer.op == "add":
            a = a + values[layer.inputs[1]]
        elif layer.op == "mean":
            a = a.mean((2, 3))
        elif layer.op == "fully_connected":
            a = F.linear(a, params[f"{layer.name}.w"], params[f"{layer.name}.b"])
        values[layer.name] = F.relu(a, inplace=layer.op != "add") if layer.relu else a
    return values["dense"]


def measure_stats(params: Params, space: Space, candidate: Candidate, x: torch.Tensor) -> Stats:
    """Batch statistics of every norm over the images x, taken in one pass."""
    stats: Stats = {}
    with torch.no_grad():
        forward(params, space, candidate, x, collecting(stats))
    return stats


def count_correct(params: Params, space: Space, candidate: Candidate, stats: Stats, x: torch.Tensor, y: torch.Tensor,
                  batch: int = 500) -> int:
    """Right answers among images x uint8 [n, c, h, w] with labels y."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(x), batch):
            logits = forward(params, space, candidate, to_float(x[start:start + batch]), fixed(stats))
            right += int((logits.argmax(1) == y[start:start + batch]).sum())
    return right


def to_float(x: torch.Tensor) -> torch.Tensor:
    """uint8 -> float 0..1: what the firmware's scale 1/255 and zero point -128 mean."""
    return x.float().div_(255.0)
