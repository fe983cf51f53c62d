"""Training of one network's weights: schedule, augmentation, AdamW, a checkpoint after every epoch.

All randomness of an epoch comes from (seed, stage, epoch), so an epoch that is run again after a kill is the same.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from mcuc.search.network import to_float
from mcuc.search.state import load_arrays, save_arrays
from mcuc.search.training.optimizers import optimizer_for

Progress = Callable[[str, int, int], None]
Saved = dict[str, npt.NDArray[Any]]
# weights, float images, targets, random numbers -> the loss, whose gradients it leaves at the weights
Loss = Callable[[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, np.random.Generator], float]


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    rate: peak learning rate. warmup: share of the steps before it. shift: largest random shift, as a share of the
    side. flip: mirror half of the images. stage: number that separates the random streams of the stages.
    """

    stage: int
    epochs: int
    batch: int = 128
    rate: float = 0.012
    warmup: float = 0.2
    decay: float = 0.05
    smoothing: float = 0.1
    shift: float = 1 / 28
    flip: bool = True


@dataclass(frozen=True, eq=False)
class Trained:
    """losses: mean training loss of each epoch."""

    weights: dict[str, torch.Tensor]
    losses: tuple[float, ...]


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic torch with a fixed thread count (sums depend on it); restores the caller's settings."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic  # its attributes are made at run time, so not typed
    filled = deterministic.fill_uninitialized_memory
    _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # nothing here reads it; it costs a sixth of the time
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = filled


def _keep_freed_memory() -> None:
    """glibc returns every large block to the system and faults it in again: a fifth of a training step. Keep them."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def augment(x: torch.Tensor, recipe: Recipe, rng: np.random.Generator) -> torch.Tensor:
    """Random mirror and shift (zeros come in) of uint8 [n, c, h, w]."""
    n, _, h, w = x.shape
    if recipe.flip:
        mirrored = torch.from_numpy(rng.random(n) < 0.5)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    reach = max(1, round(recipe.shift * h)) if recipe.shift else 0
    if reach:
        windows = F.pad(x, (reach,) * 4).unfold(2, h, 1).unfold(3, w, 1)
        dy, dx = (torch.from_numpy(rng.integers(0, 2 * reach + 1, n)) for _ in range(2))
        x = windows[torch.arange(n), :, dy, dx]
    return x


def cosine(peak: float, warmup: float, t: float) -> float:
    """The learning rate at the share t of the training: linear up to the peak at warmup, then half a cosine down to 0
    (Loshchilov and Hutter 2017, "SGDR")."""
    if t < warmup:
        return peak * t / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (t - warmup) / max(1e-9, 1 - warmup)))


def fit(start: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, recipe: Recipe, seed: int, loss: Loss,
        checkpoint: Path, progress: Progress, name: str, state: Mapping[str, torch.Tensor] | None = None,
        before_epoch: Callable[[int], None] | None = None) -> Trained:
    """Trains from start on images x uint8 [n, c, h, w] with labels y int64 [n].

    loss(weights, float images, labels, rng) runs forward and backward and returns the loss. checkpoint: file written
    after every epoch and read when it exists; whoever calls makes sure that it belongs to these arguments. state: what
    the loss keeps besides the weights, changed in place and saved with them. before_epoch: told its number.
    """
    weights = {k: v.detach().clone().requires_grad_() for k, v in start.items()}
    optimizer = optimizer_for("adamw", weights, recipe.rate, recipe.decay)
    per_epoch = max(1, len(x) // recipe.batch)
    steps = per_epoch * recipe.epochs
    losses: list[float] = []
    kept = state or {}
    saved = load_arrays(checkpoint)
    if saved is not None:
        losses = _restore(saved, weights, optimizer, kept)
    for epoch in range(len(losses), recipe.epochs):
        rng = np.random.default_rng((seed, recipe.stage, epoch))
        order = torch.from_numpy(rng.permutation(len(x)))
        if before_epoch is not None:
            before_epoch(epoch)
        total = 0.0
        for index in range(per_epoch):
            step = epoch * per_epoch + index
            for group in optimizer.param_groups:
                group["lr"] = cosine(recipe.rate, recipe.warmup, step / steps)
            rows = order[index * recipe.batch:(index + 1) * recipe.batch]
            optimizer.zero_grad()
            total += loss(weights, to_float(augment(x[rows], recipe, rng)), y[rows], rng)
            optimizer.step()
            progress(name, step + 1, steps)
        losses.append(total / per_epoch)
        save_arrays(checkpoint, _snapshot(weights, optimizer, losses, kept))
    return Trained({k: v.detach() for k, v in weights.items()}, tuple(losses))


def _snapshot(weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, losses: list[float],
              state: Mapping[str, torch.Tensor]) -> Saved:
    arrays: Saved = {"losses": np.array(losses, np.float64)} | {f"s/{k}": _numpy(v).copy() for k, v in state.items()}
    for name, value in weights.items():
        own = optimizer.state[value]
        arrays |= {f"w/{name}": _numpy(value), f"t/{name}": _numpy(own["step"]),
                   f"m/{name}": _numpy(own["exp_avg"]), f"v/{name}": _numpy(own["exp_avg_sq"])}
    return arrays


def _restore(arrays: Mapping[str, npt.NDArray[Any]], weights: dict[str, torch.Tensor],
             optimizer: torch.optim.Optimizer, state: Mapping[str, torch.Tensor]) -> list[float]:
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(torch.from_numpy(arrays[f"s/{name}"]))
        for name, value in weights.items():
            value.copy_(torch.from_numpy(arrays[f"w/{name}"]))
            optimizer.state[value] = {
                "step": torch.from_numpy(arrays[f"t/{name}"]).clone(),
                "exp_avg": torch.empty_like(value).copy_(torch.from_numpy(arrays[f"m/{name}"])),
                "exp_avg_sq": torch.empty_like(value).copy_(torch.from_numpy(arrays[f"v/{name}"]))}
    return [float(v) for v in arrays["losses"]]


def _numpy(value: torch.Tensor) -> npt.NDArray[Any]:
    return np.ascontiguousarray(value.detach().numpy())
