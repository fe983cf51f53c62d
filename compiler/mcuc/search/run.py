"""The search from data to trained float weights: supernet, evolution, choice, final training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mcuc.data.dataset import I64, Dataset, stratified_split
from mcuc.search.effort import Effort, effort_named
from mcuc.search.evolution import Pool, evolve, require_feasible
from mcuc.search.network import to_float
from mcuc.search.pareto import Constraints, Cost, Evaluated, choose, front
from mcuc.search.space import Candidate, Finished, Space, Weights, mean_work
from mcuc.search.state import fingerprint
from mcuc.search.supernet import CALIBRATION_IMAGES, make_judge, to_tensor
from mcuc.search.train import Progress, Recipe, Trained, reproducible

FORMAT = 2  # of the state files and of what they mean; raise it when a change makes old ones wrong
THREADS = 2
VALIDATION_FRACTION = 0.2
UNSEEN_FRACTION = 0.5  # of the validation images: kept from the final training too, to judge the quantization by
STATS_IMAGES = 2000


@dataclass(frozen=True, eq=False)
class SearchResult:
    """work: of the winner, in training; proto: the trained network as a float ONNX model; notes: how it was written;
    profile: of its int8 form (see space.Finished). float_accuracy: on the test images, which decided nothing. training,
    validation: rows of the training part that the final training saw, and some that no training of weights saw.
    folder: where the state is.

    validation_accuracy: the winner's, with supernet weights, on training images held out from the supernet.
    pareto: accuracy against latency against SRAM, fastest first. history: (stage, values): mean loss of each epoch
    of "supernet" and "training", best validation accuracy after each generation of "evolution".
    """

    candidate: Candidate
    cost: Cost
    work: float
    proto: Any
    pareto: tuple[Evaluated, ...]
    history: tuple[tuple[str, tuple[float, ...]], ...]
    validation_accuracy: float
    float_accuracy: float
    training: I64
    validation: I64
    folder: Path
    notes: tuple[str, ...] = ()
    profile: str | None = "tflite"


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


def run_search(dataset: Dataset, space: Space, constraints: Constraints, effort: str | Effort, seed: int,
               evaluate_cost: Callable[[Any], Cost], workdir: Path, progress: Progress,
               cost_key: str = "", flip: bool = True, threads: int = THREADS,
               flash_ways: Sequence[str] = ()) -> SearchResult:
    """Searches, chooses and trains a network for the data under the constraints.

    evaluate_cost: of a candidate of the space, must be a function of its arguments alone; cost_key names it (board,
    compiler version ...), so that saved state is not mixed up. State lies in workdir under a fingerprint of all
    arguments: the same call after a kill goes on and ends with the same bytes. flip: mirrored images mean the same (not
    for digits or text). flash_ways: what else to try where the flash is too small for anything.
    Raises McucError when nothing fits, the data is too small, or the state cannot be written.
    """
    preset = effort_named(effort) if isinstance(effort, str) else effort
    settings = {"format": FORMAT, "effort": asdict(preset), "seed": seed, "limits": asdict(constraints),
                "cost": cost_key, "flip": flip, "threads": threads, "torch": torch.__version__,
                "space": space.settings()}
    folder = workdir / f"search-{fingerprint(dataset, settings)}"
    task = _Task(dataset, space, preset, seed, flip, folder, progress)
    require_feasible(space, constraints, evaluate_cost, flash_ways)
    with reproducible(threads):
        kept, held = stratified_split(dataset.train_y, VALIDATION_FRACTION, seed)
        supernet, pool, winner = _search(task, constraints, evaluate_cost, kept, held)
        unseen = stratified_split(dataset.train_y[held], UNSEEN_FRACTION, seed)[1]
        validation = held[unseen] if len(unseen) else held  # one image a class is held out: nothing to divide
        training = np.setdiff1d(np.arange(len(dataset.train_y)), validation)
        trained = _train_winner(task, winner.candidate, supernet, training)
        finished = _finish(task, winner.candidate, trained.weights, training)
    history = (("supernet", supernet.losses), ("evolution", tuple(pool.bests)), ("training", trained.losses))
    return SearchResult(winner.candidate, winner.cost, space.work(winner.candidate), finished.proto,
                        front(list(pool.evaluated.values())), history, winner.accuracy,
                        finished.right / len(dataset.test_x), training, validation, folder, finished.notes,
                        finished.profile)


def _search(task: _Task, constraints: Constraints, cost_of: Callable[[Any], Cost], kept: I64,
            held: I64) -> tuple[Trained, Pool, Evaluated]:
    """The supernet trained on the kept rows of the training part, candidates judged on those held out."""
    data, space = task.dataset, task.space
    recipe = _recipe(task, 1, task.effort.supernet_work / (2 * mean_work(space, task.seed)), len(kept))
    supernet = space.train_shared(data.train_x[kept], torch.from_numpy(data.train_y[kept]), recipe, task.seed,
                                  task.folder / "supernet.npz", task.progress)
    sample = np.random.default_rng((task.seed, 0)).permutation(kept)[:CALIBRATION_IMAGES]
    labels = torch.from_numpy(data.train_y[held])
    judge = make_judge(space.resolutions, data.train_x[sample], data.train_x[held], labels)
    pool = evolve(space, constraints, task.effort.plan, task.seed, cost_of,
                  lambda c: space.accuracy(supernet.weights, c, judge),
                  task.folder / "evolution.json", task.progress)
    return supernet, pool, choose(list(pool.evaluated.values()), len(held), task.effort.tolerance)


def _recipe(task: _Task, stage: int, images: float, count: int) -> Recipe:
    return Recipe(stage, epochs=min(200, max(2, round(images / count))), batch=max(2, min(128, count // 4)),
                  rate=task.space.rate, shift=task.effort.shift, flip=task.flip)


def _train_winner(task: _Task, candidate: Candidate, supernet: Trained, rows: I64) -> Trained:
    """From the supernet's weights, on all but the rows that judge the quantization."""
    x = to_tensor(task.dataset.train_x[rows], candidate.resolution)
    recipe = _recipe(task, 3, task.effort.final_work / task.space.work(candidate), len(x))
    return task.space.train_one(supernet.weights, candidate, x, torch.from_numpy(task.dataset.train_y[rows]), recipe,
                                task.seed, task.folder / "training.npz", task.progress)


def _finish(task: _Task, candidate: Candidate, weights: Weights, training: I64) -> Finished:
    """The float ONNX model, and the right answers on the test images."""
    data = task.dataset
    rows = np.random.default_rng((task.seed, 4)).permutation(training)[:STATS_IMAGES]
    sample = to_float(to_tensor(data.train_x[rows], candidate.resolution))
    test = to_tensor(data.test_x, candidate.resolution)
    return task.space.finish(data.name, weights, candidate, sample, test, torch.from_numpy(data.test_y))
