"""Does the search pay? Networks of vit-lowrank under one limit: the one found, random ones, one made by hand.

    python benchmarks/search_pays_vit.py SHARED [--scale quick] [--only cifar10] [--workers N] [--folder F]
    torchrun --nproc-per-node 8 benchmarks/search_pays_vit.py SHARED --scale full
    torchrun --nproc-per-node 8 benchmarks/search_pays_vit.py SHARED --scale full --data imagenet/     (never run)

SHARED is the shared data folder. One supernet for each data set; then, under the same SRAM, flash and latency, the
network that evolution finds with its weights, 6 random ones that fit, and one in DeiT's proportions scaled to the
limit. All are trained from nothing by one recipe: the found, the best random (by seed 0) and the hand-made one with
seeds 0, 1 and 2, the others with seed 0. Accuracies are on the test images, which decide nothing but which random one
is called the best. The three are quantized after training and their C run on the host over all test images.

What is compared is in vit_job.py, the images in vit_data.py, the arithmetic in vit_table.py. Writes
benchmarks/results/search_pays_vit.json after every cell; a cell that is there is not run again, and one that
was killed goes on from its last epoch (--folder). docs/supernet.md says more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mcuc.search  # noqa: F401  before torch, which reads what it sets

# isort: split
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from mcuc import cache
from mcuc.pipeline import compile_graph
from mcuc.quantize.build import float_answers
from mcuc.quantize.model import to_proto
from mcuc.quantize.network import convert
from mcuc.report.paired import paired
from mcuc.request import Request
from mcuc.search.evolution import evolve_many
from mcuc.search.network import to_float
from mcuc.search.pareto import Constraints, Cost, choose
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, largest, parse, smallest
from mcuc.search.train import reproducible
from mcuc.search.training.distributed import Place, place_for, wait
from mcuc.search.vit.cost import VitCost
from mcuc.search.vit.export import float_model
from mcuc.search.vit.final import train_network
from mcuc.search.vit.network import Vit, merged
from mcuc.search.vit.pieces import Pieces
from mcuc.search.vit.space import VitLowRank, constants_of
from mcuc.search.vit.supernet import Judge, accuracy, right, train_supernet
from mcuc.search.vit.weights import Weights, from_pixels
from mcuc.search.workers import spread, worker_count
from mcuc.targets import load_board
from ptq import int8_answers
from vit_data import on, rows_of, targets_of
from vit_job import BOARD, LIMITS, LOADERS, OPTIMIZE, SCALES, TOOLCHAIN, Job, hand_made, random_ones
from vit_table import Table, summary

RESULTS = Path(__file__).parent / "results" / "search_pays_vit.json"
CALIBRATION = 200  # images


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees: the cells say what is done."""


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
                                 job.recipe(3), seed, file, quiet, place)  # fmt: skip
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


def run(job: Job, table: Table, place: Place, workers: int) -> None:
    """All cells of a data set that are not there yet."""
    data, limits = job.data(place.device), LIMITS[job.name]
    space = job.space(data.classes)
    start = time.perf_counter()
    with reproducible(worker_count(None)):
        shared = train_supernet(space, on(rows_of(data.train, data.kept), place.device), job.lessons(data),
                                job.recipe(1), 0, job.folder / "supernet.npz", quiet, place)  # fmt: skip
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
                           job.folder / "evolution.json", quiet)  # fmt: skip
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
    if args.teacher and args.data:
        parser.error("--teacher answers for images in memory, and those of --data stay in files: leave one of them out")
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
