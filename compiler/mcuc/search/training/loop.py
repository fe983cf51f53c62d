"""The loop: batches, gradients, steps, moving average, snapshots, a checkpoint after every epoch.

All randomness of an epoch comes from (seed, stage, epoch), so an epoch that is run again after a kill is the same, and
so is every process's idea of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from mcuc.ir import Array
from mcuc.search.state import load_arrays, save_arrays
from mcuc.search.train import Loss, Progress, cosine
from mcuc.search.training.augment import Augment, Images, batch
from mcuc.search.training.averaging import follow
from mcuc.search.training.distributed import Place, average_gradients, mean_over, wait
from mcuc.search.training.optimizers import optimizer_for, restore_state, state_arrays

HERE = Place()


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    stage: number that separates the random streams of the stages. batch: images of a step, over all processes. rate:
    peak learning rate, after a linear warm-up over that share of the steps; then half a cosine down to 0. clip: largest
    norm of all gradients together, 0 for none. average: decay of the moving average of the weights, 0 for none.
    snapshots: the weights of the last so many epochs are kept for a soup.
    """

    stage: int
    epochs: int
    batch: int = 128
    optimizer: str = "adamw"
    rate: float = 2e-3
    warmup: float = 0.1
    decay: float = 0.05
    clip: float = 1.0
    average: float = 0.0
    snapshots: int = 0
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True, eq=False)
class Trained:
    """weights: the last ones. average: their moving average, the weights themselves where there is none. snapshots: the
    last epochs' weights, oldest first. losses: mean training loss of each epoch."""

    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    snapshots: tuple[dict[str, torch.Tensor], ...]
    losses: tuple[float, ...]


@dataclass
class _State:
    """Everything that a checkpoint holds."""

    weights: dict[str, torch.Tensor]
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    snapshots: list[dict[str, torch.Tensor]]
    losses: list[float]


def rate_at(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step; the first is not 0."""
    return cosine(recipe.rate, recipe.warmup, (step + 1) / steps)


def fit(
    start: Mapping[str, torch.Tensor],
    images: Images,
    targets: torch.Tensor,
    recipe: Recipe,
    seed: int,
    loss: Loss,
    checkpoint: Path,
    progress: Progress,
    name: str,
    place: Place = HERE,
    before_epoch: Callable[[int], None] | None = None,
) -> Trained:
    """Trains from start on images uint8 [n, c, h, w] with targets float [n, classes], on the place's device.

    checkpoint: file written after every epoch (by the first process) and read when it exists; whoever calls makes sure
    that it belongs to these arguments. before_epoch: told its number. The last images of an epoch that fill no batch
    are left out of it; fewer images than a batch make one smaller batch. Raises McucError for a batch that the
    processes cannot share, a broken checkpoint, or one that cannot be written.
    """  # fmt: skip
    size = min(recipe.batch, len(images) // place.world * place.world)
    own, per_epoch = place.own(size), max(1, len(images) // max(1, size))
    state = _begun(start, recipe, place)
    saved = load_arrays(checkpoint)
    if saved is not None:
        _restore(state, saved)
    targets = targets.to(place.device)
    for epoch in range(len(state.losses), recipe.epochs):
        rng = np.random.default_rng((seed, recipe.stage, epoch))
        order = torch.from_numpy(rng.permutation(len(images))).to(place.device)
        total = 0.0
        if before_epoch is not None:
            before_epoch(epoch)
        with _exact(place):
            for index in range(per_epoch):
                step = epoch * per_epoch + index
                rows = order[index * size : (index + 1) * size]
                x, y = batch(images, targets, rows, recipe.augment, rng, own)
                total += _step(state, x, y, recipe, step, per_epoch * recipe.epochs, loss, rng, place)
                progress(name, step + 1, per_epoch * recipe.epochs)
        state.losses.append(mean_over(total / per_epoch, place))
        if recipe.epochs - epoch <= recipe.snapshots:
            state.snapshots.append({k: v.detach().clone() for k, v in state.weights.items()})
        if place.first:
            save_arrays(checkpoint, _arrays(state))
        wait(place)
    weights = {k: v.detach() for k, v in state.weights.items()}
    return Trained(weights, state.average or weights, tuple(state.snapshots), tuple(state.losses))


def _step(state: _State, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, step: int, steps: int, loss: Loss,
          rng: np.random.Generator, place: Place) -> float:  # fmt: skip
    for group in state.optimizer.param_groups:
        group["lr"] = rate_at(recipe, step, steps)
    state.optimizer.zero_grad()
    value = loss(state.weights, x, y, rng)
    average_gradients(state.weights, place)
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_(state.weights.values(), recipe.clip, foreach=True)
    state.optimizer.step()
    if state.average:
        follow(state.average, state.weights, step, recipe.average)
    return value


@contextmanager
def _exact(place: Place) -> Iterator[None]:
    """Sums in one order on a GPU too; on a CPU whoever calls has seen to it (mcuc.search.train.reproducible)."""
    before = torch.are_deterministic_algorithms_enabled()
    if place.device != "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _begun(start: Mapping[str, torch.Tensor], recipe: Recipe, place: Place) -> _State:
    weights = {k: v.detach().to(place.device, copy=True).requires_grad_() for k, v in start.items()}
    optimizer = optimizer_for(recipe.optimizer, weights, recipe.rate, recipe.decay)
    average = {k: v.detach().clone() for k, v in weights.items()} if recipe.average else {}
    return _State(weights, optimizer, average, [], [])


def _arrays(state: _State) -> dict[str, Array]:
    arrays: dict[str, Array] = {"losses": np.array(state.losses, np.float64)}
    for prefix, group in (("w", state.weights), ("a", state.average)):
        arrays |= {f"{prefix}/{k}": np.ascontiguousarray(v.detach().cpu().numpy()) for k, v in group.items()}
    for i, snapshot in enumerate(state.snapshots):  # in one piece each: the file is refused with too many arrays
        arrays[f"k/{i:03d}"] = torch.cat([snapshot[k].reshape(-1) for k in state.weights]).cpu().numpy()
    return arrays | {f"o/{k}": v for k, v in state_arrays(state.optimizer, state.weights).items()}


def _restore(state: _State, arrays: Mapping[str, Array]) -> None:
    groups: dict[str, dict[str, Array]] = {}
    for joined, array in arrays.items():
        prefix, _, name = joined.partition("/")
        groups.setdefault(prefix, {})[name] = array
    with torch.no_grad():
        for prefix, values in (("w", state.weights), ("a", state.average)):
            for name, value in values.items():
                value.copy_(torch.from_numpy(np.array(groups[prefix][name])))
    sizes = [v.numel() for v in state.weights.values()]
    for _, flat in sorted(groups.get("k", {}).items()):
        parts = torch.split(torch.from_numpy(np.array(flat)), sizes)
        state.snapshots.append({k: part.view_as(v).to(v.device, copy=True)
                                for (k, v), part in zip(state.weights.items(), parts, strict=True)})  # fmt: skip
    restore_state(state.optimizer, state.weights, groups.get("o", {}))
    state.losses.extend(float(v) for v in arrays["losses"])
