"""The search from data to trained float weights: supernet, evolution, choice, final training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.data.dataset import I64, Dataset, stratified_split
from mcuc.search.effort import Effort, effort_named
from mcuc.search.evolution import Pool, evolve, require_feasible
from mcuc.search.export import to_onnx
from mcuc.search.layers import Layer
from mcuc.search.network import count_correct, forward, measure_stats, to_float, view
from mcuc.search.pareto import Constraints, Cost, Evaluated, choose, front
from mcuc.search.spaces.ds_conv import Candidate, Space, space_for, to_layers
from mcuc.search.state import fingerprint
from mcuc.search.supernet import CALIBRATION_IMAGES, accuracy, make_judge, mean_work, to_tensor, train_supernet, work_of
from mcuc.search.train import Loss, Progress, Recipe, Trained, fit, reproducible

FORMAT = 2  # of the state files and of what they mean; raise it when a change makes old ones wrong
THREADS = 2
VALIDATION_FRACTION = 0.2
UNSEEN_FRACTION = 0.5  # of the validation images: kept from the final training too, to judge the quantization by
STATS_IMAGES = 2000


@dataclass(frozen=True, eq=False)
class SearchResult:
    """layers, proto: the winner's, and the trained network as a float ONNX model. float_accuracy: on the test images,
    which decided nothing. training, validation: rows of the training part that the final training saw, and some that
    no training of weights saw. folder: where the state is.

    validation_accuracy: the winner's, with supernet weights, on training images held out from the supernet.
    pareto: accuracy against latency against SRAM, fastest first. history: (stage, values): mean loss of each epoch
    of "supernet" and "training", best validation accuracy after each generation of "evolution".
    """

    candidate: Candidate
    cost: Cost
    layers: tuple[Layer, ...]
    proto: Any
    pareto: tuple[Evaluated, ...]
    history: tuple[tuple[str, tuple[float, ...]], ...]
    validation_accuracy: float
    float_accuracy: float
    training: I64
    validation: I64
    folder: Path


@dataclass(frozen=True, eq=False)
class _Task:
    """Everything that stays the same during one search."""

    dataset: Dataset
    space: Space
    effort: Effort
    seed: int
    flip: bool
    folder: Path
    progress: Progress


def run_search(dataset: Dataset, constraints: Constraints, effort: str | Effort, seed: int,
               evaluate_cost: Callable[[tuple[Layer, ...]], Cost], workdir: Path, progress: Progress,
               cost_key: str = "", flip: bool = True, threads: int = THREADS) -> SearchResult:
    """Searches, chooses and trains a network for the data under the constraints.

    evaluate_cost must be a function of its arguments alone; cost_key names it (board, compiler version ...), so that
    saved state is not mixed up. State lies in workdir under a fingerprint of all arguments: the same call after a
    kill goes on and ends with the same bytes. flip: mirrored images mean the same (not for digits or text).
    Raises McucError when nothing fits, the data is too small, or the state cannot be written.
    """
    preset = effort_named(effort) if isinstance(effort, str) else effort
    space = space_for(dataset.image_shape, len(dataset.classes), preset.width)
    settings = {"format": FORMAT, "effort": asdict(preset), "seed": seed, "limits": asdict(constraints),
                "cost": cost_key, "flip": flip, "threads": threads, "torch": torch.__version__, "space": asdict(space)}
    folder = workdir / f"search-{fingerprint(dataset, settings)}"
    task = _Task(dataset, space, preset, seed, flip, folder, progress)
    with reproducible(threads):
        kept, held = stratified_split(dataset.train_y, VALIDATION_FRACTION, seed)
        supernet, pool, winner = _search(task, constraints, evaluate_cost, kept, held)
        unseen = stratified_split(dataset.train_y[held], UNSEEN_FRACTION, seed)[1]
        validation = held[unseen] if len(unseen) else held  # one image a class is held out: nothing to divide
        training = np.setdiff1d(np.arange(len(dataset.train_y)), validation)
        trained = _train_winner(task, winner.candidate, supernet, training)
        proto, right = _finish(task, winner.candidate, trained, training)
    history = (("supernet", supernet.losses), ("evolution", tuple(pool.bests)), ("training", trained.losses))
    layers = to_layers(space, winner.candidate)
    return SearchResult(winner.candidate, winner.cost, layers, proto, front(list(pool.evaluated.values())), history,
                        winner.accuracy, right, training, validation, folder)


def _search(task: _Task, constraints: Constraints,
            evaluate_cost: Callable[[tuple[Layer, ...]], Cost], kept: I64,
            held: I64) -> tuple[Trained, Pool, Evaluated]:
    """The supernet trained on the kept rows of the training part, candidates judged on those held out."""
    data = task.dataset

    def cost_of(candidate: Candidate) -> Cost:
        return evaluate_cost(to_layers(task.space, candidate))

    require_feasible(task.space, constraints, cost_of)
    recipe = _recipe(task, 1, task.effort.supernet_work / (2 * mean_work(task.space, task.seed)), len(kept))
    supernet = train_supernet(task.space, data.train_x[kept], torch.from_numpy(data.train_y[kept]), recipe, task.seed,
                              task.folder / "supernet.npz", task.progress)
    sample = np.random.default_rng((task.seed, 0)).permutation(kept)[:CALIBRATION_IMAGES]
    judge = make_judge(task.space, data.train_x[sample], data.train_x[held], torch.from_numpy(data.train_y[held]))
    pool = evolve(task.space, constraints, task.effort.plan, task.seed, cost_of,
                  lambda c: accuracy(supernet.weights, task.space, c, judge),
                  task.folder / "evolution.json", task.progress)
    return supernet, pool, choose(list(pool.evaluated.values()), len(held), task.effort.tolerance)


def _recipe(task: _Task, stage: int, images: float, count: int) -> Recipe:
    return Recipe(stage, epochs=min(200, max(2, round(images / count))), batch=max(2, min(128, count // 4)),
                  shift=task.effort.shift, flip=task.flip)


def _train_winner(task: _Task, candidate: Candidate, supernet: Trained, rows: I64) -> Trained:
    """From the supernet's weights, on all but the rows that judge the quantization."""
    x = to_tensor(task.dataset.train_x[rows], candidate.resolution)
    recipe = _recipe(task, 3, task.effort.final_work / work_of(to_layers(task.space, candidate)), len(x))
    return fit(view(supernet.weights, task.space, candidate), x, torch.from_numpy(task.dataset.train_y[rows]), recipe,
               task.seed, label_loss(task.space, candidate, recipe.smoothing), task.folder / "training.npz",
               task.progress, "training")


def label_loss(space: Space, candidate: Candidate, smoothing: float) -> Loss:
    """Cross entropy against smoothed labels."""
    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        value = F.cross_entropy(forward(weights, space, candidate, x), y, label_smoothing=smoothing)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return loss


def _finish(task: _Task, candidate: Candidate, trained: Trained, training: I64) -> tuple[Any, float]:
    """The float ONNX model, and the accuracy on the test images."""
    data = task.dataset
    rows = np.random.default_rng((task.seed, 4)).permutation(training)[:STATS_IMAGES]
    sample = to_float(to_tensor(data.train_x[rows], candidate.resolution))
    stats = measure_stats(trained.weights, task.space, candidate, sample)
    right = count_correct(trained.weights, task.space, candidate, stats, to_tensor(data.test_x, candidate.resolution),
                          torch.from_numpy(data.test_y))
    return to_onnx(data.name, trained.weights, task.space, candidate, stats), right / len(data.test_x)
