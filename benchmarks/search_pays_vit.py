"""Does the search pay? Networks of vit-lowrank under one limit: the one found, random ones, one made by hand.

    python benchmarks/search_pays_vit.py SHARED [--scale quick] [--only cifar10] [--workers N] [--folder F]
    torchrun --nproc-per-node 8 benchmarks/search_pays_vit.py SHARED --scale full
    torchrun --nproc-per-node 8 benchmarks/search_pays_vit.py SHARED --scale full --data imagenet/     (never run)

SHARED is the shared data folder. One supernet for each data set; then, under the same SRAM, flash and latency, the
network that evolution finds with its weights, 6 random ones that fit, and one in DeiT's proportions scaled to the
limit. All are trained from nothing by one recipe: the found, the best random (by seed 0) and the hand-made one with
seeds 0, 1 and 2, the others with seed 0. Accuracies are on the test images, which decide nothing but which random one
is called the best. The three are quantized after training and their C run on the host over all test images.

Writes benchmarks/results/search_pays_vit.json after every cell; a cell that is there is not run again, and one that
was killed goes on from its last epoch (--folder). docs/supernet.md says more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mcuc.search  # noqa: F401  before torch, which reads what it sets

# isort: split
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from mcuc import cache
from mcuc.accuracy.statistics import kendall
from mcuc.pipeline import compile_graph
from mcuc.quantize.build import float_answers
from mcuc.quantize.model import to_proto
from mcuc.quantize.network import convert
from mcuc.report.paired import paired
from mcuc.request import Request
from mcuc.search.evolution import Plan, evolve_many
from mcuc.search.network import to_float
from mcuc.search.pareto import Constraints, Cost, choose, fits
from mcuc.search.spaces.vit_lowrank import (
    POOLS,
    VitBlock,
    VitCandidate,
    VitSpace,
    largest,
    parse,
    sample,
    smallest,
    tiny_space,
)
from mcuc.search.train import reproducible
from mcuc.search.training.augment import Augment, Images
from mcuc.search.training.distributed import Place, place_for, wait
from mcuc.search.training.loop import Recipe
from mcuc.search.training.teacher import one_hot, soft_labels, taught
from mcuc.search.vit.cost import VitCost
from mcuc.search.vit.export import float_model
from mcuc.search.vit.final import train_network
from mcuc.search.vit.network import merged
from mcuc.search.vit.pieces import Pieces
from mcuc.search.vit.space import VitLowRank, constants_of
from mcuc.search.vit.supernet import Judge, accuracy, right, train_supernet
from mcuc.search.vit.weights import Weights, from_pixels
from mcuc.search.workers import spread, worker_count
from mcuc.targets import load_board
from models import commit
from ptq import int8_answers
from vit_data import Data, cifar10, imagenet, imagenette, on

RESULTS = Path(__file__).parent / "results" / "search_pays_vit.json"
BOARD, TOOLCHAIN, OPTIMIZE = "stm32f746g-disco", "auto", "balanced"
SEEDS, RANDOM = (0, 1, 2), 6
CALIBRATION = 200
RANKS = (0.4, 0.5, 0.75, 1.0)  # 1: dense layers, as the hand-made network's
QUIET = lambda stage, done, total: None  # noqa: E731


@dataclass(frozen=True)
class Scale:
    """How much of everything. images: training and test images of each data set; epochs: of its supernet and of every
    final training."""

    images: dict[str, tuple[int, int]]
    epochs: dict[str, tuple[int, int]]
    plan: Plan
    randoms: int = RANDOM
    seeds: tuple[int, ...] = SEEDS
    batch: int = 64
    embeds: tuple[int, ...] = (32, 48, 64)
    depths: tuple[int, ...] = (2, 3, 4)
    ranks: tuple[float, ...] = RANKS
    heads: tuple[int, ...] = (2, 3, 4)
    ratios: tuple[float, ...] = (2.0, 3.0, 4.0)
    pools: tuple[str, ...] = POOLS


SCALES = {
    "smoke": Scale({"cifar10": (200, 50), "imagenette": (200, 50)}, {"cifar10": (1, 1), "imagenette": (1, 1)},
                   Plan(3, 2, 2), 2, (0,), 32, (32,), (1, 2), (0.5, 1.0), (2,), (2.0, 4.0), POOLS[:1]),
    "quick": Scale({"cifar10": (10_000, 5_000), "imagenette": (6_000, 1_966)},
                   {"cifar10": (30, 30), "imagenette": (40, 40)}, Plan(48, 24, 8)),
    "full": Scale({"cifar10": (10_000, 5_000), "imagenette": (6_000, 1_966), "imagenet": (0, 0)},
                  {"cifar10": (200, 200), "imagenette": (200, 200), "imagenet": (300, 300)}, Plan(128, 64, 20)),
}  # fmt: skip
# bytes of SRAM and flash, milliseconds of one inference on BOARD
LIMITS = {
    "cifar10": Constraints(34 << 10, 176 << 10, 45.0),
    "imagenette": Constraints(34 << 10, 176 << 10, 45.0),
    "imagenet": Constraints(320 << 10, None, None),  # MCUFormer's own limit
}
PATCHES = {"cifar10": (4, 8), "imagenette": (12, 16, 24)}
LOADERS = {"cifar10": cifar10, "imagenette": imagenette}


@dataclass(frozen=True)
class Job:
    """One data set at one scale."""

    name: str
    scale: Scale
    source: Path
    folder: Path
    teacher: Path | None = None  # a float .onnx whose answers are half of what the supernet learns

    def data(self, device: str = "cpu") -> Data:
        if self.name == "imagenet":
            return imagenet(self.source, 240, 10_000, device)
        return LOADERS[self.name](self.source, *self.scale.images[self.name])

    def space(self, classes: int) -> VitSpace:
        if self.name == "imagenet":
            return tiny_space(3, classes)
        s, side = self.scale, 32 if self.name == "cifar10" else 96
        return VitSpace((side,), PATCHES[self.name], s.embeds, 16, s.ranks, s.depths, s.heads, s.ratios, 3,
                        classes, s.pools)  # fmt: skip

    def recipe(self, stage: int) -> Recipe:
        """Of the supernet (stage 1) and of every final training (3)."""
        s = self.scale
        epochs = s.epochs[self.name][0 if stage == 1 else 1]
        if self.name == "imagenet":  # DeiT's, without what an M7's few parameters do not need (docs/supernet.md)
            augment = Augment(padding=16, mixup=0.2, cutmix=1.0, erase=0.25)
            return Recipe(stage, epochs, 1024, rate=1e-3, warmup=0.02, average=0.9999, augment=augment)
        augment = Augment(padding=3 if self.name == "cifar10" else 8)
        if epochs >= 100:
            augment = replace(augment, mixup=0.2, cutmix=1.0, erase=0.25)
        return Recipe(stage, epochs, s.batch, rate=1e-3, average=0.998, snapshots=0 if stage == 1 else 3,
                      augment=augment)  # fmt: skip

    def lessons(self, data: Data) -> torch.Tensor:
        """The targets of the supernet."""
        if self.teacher is None:
            return targets_of(data, data.kept)
        images = rows_of(data.train, data.kept)
        assert isinstance(images, torch.Tensor), "a teacher is asked about images in memory"
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return taught(data.train_y[data.kept], soft_labels(self.teacher, pixels, data.classes))

    def settings(self) -> str:
        """16 hex digits of everything that decides the cells, but the code."""
        space, recipes = self.space(10), [asdict(self.recipe(i)) for i in (1, 3)]
        teacher = hashlib.sha256(self.teacher.read_bytes()).hexdigest() if self.teacher else None
        what = [teacher, self.name, asdict(self.scale), asdict(space), recipes, asdict(LIMITS[self.name]), BOARD]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def cost_function(space: VitSpace, limits: Constraints) -> Callable[[VitCandidate], Cost]:
    """What the planner and the latency model say of a candidate on BOARD, within the limits."""
    board = load_board(BOARD)
    return VitCost(Pieces(board, OPTIMIZE, space.classes, space.channels), board, TOOLCHAIN, OPTIMIZE, limits)


def ranking(weights: Weights, space: VitSpace, judge: Judge) -> Callable[[VitCandidate], float]:
    """Accuracy with the supernet's weights, in one thread: what it is does not depend on how many processes ask."""

    def found(candidate: VitCandidate) -> float:
        with reproducible(1):
            return accuracy(weights, space, candidate, judge)

    return found


def hand_made(space: VitSpace, limits: Constraints, cost_of: Callable[[VitCandidate], Cost]) -> VitCandidate:
    """DeiT's proportions: heads of head_dim as wide as the embedding together, MLPs of ratio 4, class token, positions
    learned, dense layers, one block for every 16 channels (Touvron et al. 2021: 12 for 192), small patches. The largest
    of the family that fits, then as many blocks more as fit."""
    best = None
    for heads in space.heads:
        embed = heads * space.head_dim
        for depth in range(max(1, embed // 16), space.depths[-1] + 1):
            block = VitBlock(heads, space.ratios[-1])
            one = VitCandidate(space.images[-1], space.patches[0], embed, space.head_dim, space.ranks[-1], "token",
                               "absolute", (block,) * depth)  # fmt: skip
            if embed in space.embeds and depth in space.depths and fits(cost_of(one), limits):
                best = one
    if best is None:
        raise SystemExit("no network of DeiT's proportions fits the limits")
    return best


def random_ones(space: VitSpace, limits: Constraints, count: int,
                cost_of: Callable[[VitCandidate], Cost]) -> list[VitCandidate]:  # fmt: skip
    """Uniform draws that fit, all different."""
    rng, found = np.random.default_rng(17), {}
    while len(found) < count:
        one = sample(space, rng)
        if one.key not in found and fits(cost_of(one), limits):
            found[one.key] = one
    return list(found.values())


def rows_of(images: Images, rows: Any) -> Images:
    return images[torch.from_numpy(np.asarray(rows))] if isinstance(images, torch.Tensor) else images.part(rows)


def targets_of(data: Data, rows: Any) -> torch.Tensor:
    return one_hot(data.train_y[rows], data.classes)


def trainer(job: Job, place: Place, threads: int) -> Callable[[tuple[str, int]], dict[str, Any]]:
    """Trains one network from nothing with a seed, judges it on the test images, and keeps its weights."""
    data = job.data(place.device)
    labels = {n: torch.from_numpy(y).to(place.device) for n, y in (("held", data.train_y[data.unseen]),
                                                                   ("test", data.test_y))}  # fmt: skip
    parts = (rows_of(data.train, data.final), rows_of(data.train, data.unseen), data.test)
    train, held, test = (on(x, place.device) for x in parts)

    def trained(what: tuple[str, int]) -> dict[str, Any]:
        key, seed = what
        start, cpu = time.perf_counter(), time.process_time()
        file = job.folder / f"{key}-{seed}.npz"
        with reproducible(threads):
            done = train_network(parse(key), None, train, targets_of(data, data.final), (held, labels["held"]),
                                 job.recipe(3), seed, file, QUIET, place)  # fmt: skip
            own = from_pixels(dict(done.network.to(place.device).named_parameters()))
            answers = right(own, parse(key), test, labels["test"])
            if place.first:
                torch.save(done.network.cpu().state_dict(), file.with_suffix(".pt"))
        return {
            "accuracy": float(answers.double().mean()),
            "validated": dict(done.validated),
            "soup": list(done.members),
            "losses": [round(v, 4) for v in done.trained.losses],
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }

    return trained


def quantized(job: Job, key: str) -> dict[str, Any]:
    """A trained network (seed 0) in int8, quantized after training, compiled, its C run over the test images."""
    from mcuc.search.vit.network import Vit

    data, candidate = job.data(), parse(key)
    net = Vit(candidate, data.classes, 3)
    net.load_state_dict(torch.load(job.folder / f"{key}-0.pt", weights_only=True))
    model = float_model("model", candidate, data.classes, 3, constants_of(merged(net.eval())))
    rows = np.sort(np.random.default_rng(5).permutation(data.final)[:CALIBRATION])
    calibration, test = (to_float(x[torch.from_numpy(r)])[:, None].numpy() for x, r in (
        (data.train, rows), (data.test, np.arange(len(data.test_y)))))  # fmt: skip
    import onnx

    start = time.perf_counter()
    made = convert(onnx.load_from_string(to_proto(model)), "model", "the trained network", (calibration,))
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_graph(made.graph, Request(board=BOARD, optimize=OPTIMIZE), "model", Path(folder) / "out")
        answers = int8_answers(made, compiled, test[:, 0], Path(folder))
    report = compiled.report
    real = float_answers(made.original, (test,))
    found = paired(real.argmax(1) == data.test_y, answers.argmax(1) == data.test_y)
    return {
        "accuracy": found.as_dict(),
        "way": made.quantized.way,
        "quantize_seconds": round(seconds, 1),
        "sram": report.sram.total,
        "flash": report.flash.total,
        "latency_ms": report.latency_ms,
        "bit_exact": report.verify.bit_exact,
    }


def summary(cells: dict[str, Any], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Mean and spread (standard deviation over the seeds) of the three, their differences in points, and Kendall's tau
    of the supernet's accuracies against those of the networks trained alone (seed 0)."""
    keys = cells["networks"]["keys"]
    single = {key: cells[f"train {key} {seeds[0]}"]["accuracy"] for key in keys.values()}
    shared = {key: cells["networks"]["supernet"][key] for key in single}
    best = max((k for n, k in keys.items() if n.startswith("random")), key=lambda k: single[k])
    found: dict[str, Any] = {"best_random": best, "networks": len(single)}
    values = {}
    for name, key in (("found", keys["found"]), ("random", best), ("hand", keys["hand"])):
        values[name] = [100 * cells[f"train {key} {seed}"]["accuracy"] for seed in seeds]
        spread_ = statistics.stdev(values[name]) if len(seeds) > 1 else 0.0
        found[name] = {"mean": round(statistics.mean(values[name]), 2), "spread": round(spread_, 2)}
    for name in ("random", "hand"):
        gaps = [a - b for a, b in zip(values["found"], values[name], strict=True)]
        found[f"found_minus_{name}"] = {"mean": round(statistics.mean(gaps), 2), "by_seed": [round(g, 2) for g in gaps]}
    order = list(single)
    tau = kendall(np.array([shared[k] for k in order]), np.array([single[k] for k in order]))
    found["kendall_tau"] = None if tau is None else round(tau, 3)
    return found


class Table:
    """The results file, one entry for a data set and scale, begun again when the settings have changed."""

    def __init__(self, path: Path, name: str, settings: str, place: Place) -> None:
        self.path, self.name, self.settings, self.place = path, name, settings, place

    @property
    def cells(self) -> dict[str, Any]:
        whole = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        entry = whole.get(self.name, {})
        return dict(entry["cells"]) if entry.get("settings") == self.settings else {}

    def put(self, name: str, value: dict[str, Any], total: dict[str, Any] | None = None) -> None:
        """Writes a cell; total: the entry's summary."""
        if self.place.first:
            whole = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            cells = {**self.cells, name: {**value, "commit": commit()}}
            whole[self.name] = {"settings": self.settings, "cells": cells, "summary": total}
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            part.replace(self.path)
            print(self.name, name, value.get("accuracy", ""), f"{value.get('seconds', '')} s", flush=True)
        wait(self.place)


def run(job: Job, table: Table, place: Place, workers: int) -> None:
    """All cells of a data set that are not there yet."""
    data, limits = job.data(place.device), LIMITS[job.name]
    space = job.space(data.classes)
    start = time.perf_counter()
    with reproducible(worker_count(None)):
        shared = train_supernet(space, on(rows_of(data.train, data.kept), place.device), job.lessons(data),
                                job.recipe(1), 0, job.folder / "supernet.npz", QUIET, place)  # fmt: skip
    labels = torch.from_numpy(data.train_y[data.held])
    judge = Judge({data.side: rows_of(data.train, data.held)}, labels)
    weights = {k: v.cpu() for k, v in shared.average.items()}
    rank = ranking(weights, space, judge)
    if "supernet" not in table.cells:
        ends = {one.key: rank(one) for one in (largest(space), smallest(space))}
        table.put("supernet", {"seconds": round(time.perf_counter() - start, 1), "accuracies": ends,
                               "losses": [round(v, 4) for v in shared.losses]})  # fmt: skip
    if "search" not in table.cells and place.first:
        table.put("search", searched(job, space, limits, weights, judge, workers))
    wait(place)
    if "networks" not in table.cells and place.first:
        table.put("networks", networks(job, space, limits, parse(table.cells["search"]["found"]), rank))
    wait(place)
    trained(job, table, place, workers)
    keys = table.cells["networks"]["keys"]
    total = summary(table.cells, job.scale.seeds)
    for key in (keys["found"], total["best_random"], keys["hand"]):
        if f"int8 {key}" not in table.cells and place.first and job.name != "imagenet":
            table.put(f"int8 {key}", quantized(job, key))
    if place.first:
        table.put("done", {"seconds": round(time.perf_counter() - start, 1)}, total)


def searched(job: Job, space: VitSpace, limits: Constraints, weights: Weights, judge: Judge,
             workers: int) -> dict[str, Any]:  # fmt: skip
    start = time.perf_counter()
    with (
        spread(cost_function, (space, limits), workers) as costs_of,
        spread(ranking, (weights, space, judge), workers) as ranks_of,
    ):
        pool = evolve_many(VitLowRank(space), limits, job.scale.plan, 0, costs_of, ranks_of,
                           job.folder / "evolution.json", QUIET)  # fmt: skip
    found = choose(list(pool.evaluated.values()), len(judge.labels), 0.0)
    return {
        "found": found.candidate.key,
        "accuracy": found.accuracy,
        "evaluated": len(pool.evaluated),
        "refused": len(pool.refused),
        "bests": [round(b, 4) for b in pool.bests],
        "seconds": round(time.perf_counter() - start, 1),
    }


def networks(job: Job, space: VitSpace, limits: Constraints, found: VitCandidate,
             rank: Callable[[VitCandidate], float]) -> dict[str, Any]:  # fmt: skip
    """Which networks are compared, what they cost, and what the supernet says of them."""
    cost_of = cost_function(space, limits)
    chosen = {"found": found, "hand": hand_made(space, limits, cost_of)}
    chosen |= {f"random {i}": one for i, one in enumerate(random_ones(space, limits, job.scale.randoms, cost_of))}
    return {
        "keys": {name: one.key for name, one in chosen.items()},
        "costs": {one.key: asdict(cost_of(one)) for one in chosen.values()},
        "limits": asdict(limits),
        "supernet": {one.key: rank(one) for one in chosen.values()},
    }


def trained(job: Job, table: Table, place: Place, workers: int) -> None:
    """Every network with the first seed, then the three with the others; several at a time on a CPU, a thread each."""
    keys, seeds = table.cells["networks"]["keys"], job.scale.seeds
    alone = place.device != "cpu" or place.world > 1
    with spread(trainer, (job, place, 1), 1 if alone else workers) as train:
        for part in (seeds[:1], seeds[1:]):
            wanted = sorted(set(keys.values()))
            if part != seeds[:1]:
                cells = table.cells
                best = summary(cells, seeds[:1])["best_random"]
                wanted = [keys["found"], best, keys["hand"]]
            todo = [(key, seed) for key in dict.fromkeys(wanted) for seed in part]
            todo = [one for one in todo if f"train {one[0]} {one[1]}" not in table.cells]
            for (key, seed), cell in zip(todo, train(todo), strict=True):
                table.put(f"train {key} {seed}", cell)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="quick")
    parser.add_argument("--only", choices=LOADERS, help="one of the data sets")
    parser.add_argument("--data", type=Path, help="an ImageNet folder with train/ and val/, instead of them")
    parser.add_argument("--teacher", type=Path, help="a float .onnx or .tflite classifier of these images")
    parser.add_argument("--workers", type=int, help="processes of the search and the trainings; one a core")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--precision", default="auto", help="float32, bfloat16 or auto (bfloat16 on a GPU)")
    parser.add_argument("--folder", type=Path, default=cache.folder() / "search_pays_vit", help="of the states")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    names = ["imagenet"] if args.data else [args.only] if args.only else list(LOADERS)
    with place_for(args.device, args.precision) as place:
        for name in names:
            job = Job(name, SCALES[args.scale], args.data or args.shared, args.folder, args.teacher)
            job = replace(job, folder=args.folder / f"{name}-{args.scale}-{job.settings()}")
            run(job, Table(args.results, f"{name}, {args.scale}", job.settings(), place), place,
                worker_count(args.workers))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
