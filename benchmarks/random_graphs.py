"""Random networks over all operators, against the runtimes of both formats and as C.

    python benchmarks/random_graphs.py --until 10000 [--batch 40] [--output FILE]

A network follows from its seed (tests/plan/random_networks.py). Most are TFLite's: exported, run by TFLite Micro, whose
every output element must be that of the NumPy reference. Every fifth is of operators that ONNX has: exported as .onnx,
read back, and ONNX Runtime's answers compared with the reference of what was read: equal, or, where the runtime
computes nodes in float, within a step. All of them are compiled: layers cut at random, in turn with the portable
kernels and with those of a Cortex-M4 (DSP instructions emulated), the C run in both buffer modes against the reference;
every fourth batch with address and undefined behaviour sanitizers. Exporters refuse some networks by name of a node;
they are counted, and compiled. The run goes on after the last seed in FILE; a seed that fails is recorded there, and
the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.extend(str(Path(__file__).resolve().parent.parent / "tests" / name) for name in ("ops", "plan", "stream"))
sys.path.insert(0, str(Path(__file__).parent))

from harness import TILINGS, run_reference, samples
from random_networks import rolled
from together import Part, build_together

from mcuc import passes
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.exporters import onnx as onnx_exporter
from mcuc.exporters import tflite as tflite_exporter
from mcuc.importers import onnx as onnx_importer
from mcuc.ir import Graph, Node
from mcuc.plan import plan
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.select import retile
from mcuc.schedule.views import without_copies
from mcuc.targets import load_board
from mcuc.verify import oracle
from models import commit
from random_streams import compiler

RESULTS = Path(__file__).resolve().parent / "results" / "random_graphs.json"
SAMPLES = 4  # of each network: all lowest, all highest, a narrow range, random
CUTS = (*TILINGS.values(), Tiling(columns=3), Tiling(channels=1))
ONNX, SANITIZED = 5, 4  # every so many seeds, batches
FLOAT_OPS = frozenset(  # which ONNX Runtime computes in float: a step may differ
    ("float_math", "mean", "unary", "qlinear_softmax", "log_softmax", "l2_normalization", "softmax", "prelu", "clip",
     "qlinear_average_pool", "quantize", "concat")
)


def judged_tflite(seed: int, total: dict[str, Any]) -> Graph:
    """The network as its exported file is read back, TFLite Micro's answers compared."""
    graph = rolled(seed)
    blob = tflite_exporter.export(graph)
    given = samples(graph, SAMPLES)
    wanted = run_reference(graph, given)
    for expected, found in zip(oracle.tflite_micro(blob, given), wanted, strict=True):
        for a, b in zip(expected, found, strict=True):
            total["tflite_micro"]["elements"] += a.size
            wrong = int(np.count_nonzero(a.reshape(-1) != b.reshape(-1)))
            total["tflite_micro"]["differing"] += wrong
            if wrong:
                raise AssertionError(f"{wrong} of {a.size} differ from TFLite Micro")
    total["tflite_micro"]["graphs"] += 1
    return graph


def judged_onnx(seed: int, total: dict[str, Any]) -> Graph:
    """The network as read back from its .onnx file, ONNX Runtime's answers compared; the TFLite one where there is no
    such file."""
    graph, found = rolled(seed, onnx=True), total["onnxruntime"]
    try:
        blob = onnx_exporter.export(graph)
        read = onnx_importer.parse(blob, "net.onnx", "net")
    except McucError as error:
        found["refused"][error.code] = found["refused"].get(error.code, 0) + 1
        return graph
    difference = onnx_exporter.compare(read, blob, samples(read, SAMPLES))
    found["graphs"] += 1
    found["elements"] += difference.elements
    found["differing"] += difference.differing
    if difference.differing:
        found["graphs_differing"] += 1
        if not any(node.op in FLOAT_OPS for node in read.nodes):
            raise AssertionError(f"{difference} from ONNX Runtime")
        if difference.largest > 1:  # a step becomes more in the nodes behind it: each is judged by its own
            found["graphs_beyond_a_step"] += 1
            for node in read.nodes:
                judge_alone(node, read)
    return read


def judge_alone(node: Node, graph: Graph) -> None:
    """The network of one node: within a step of ONNX Runtime, or equal where that computes in integers."""
    names = {*node.inputs, *node.outputs} - {""}
    one = Graph("one", graph.profile, {n: graph.tensors[n] for n in names}, (node,), graph.runtime_inputs(node),
                node.outputs)
    try:
        blob = onnx_exporter.export(one)
        read = onnx_importer.parse(blob, "one.onnx", "one")
    except McucError:
        return
    difference = onnx_exporter.compare(read, blob, samples(read, 8))
    if difference.largest > (1 if node.op in FLOAT_OPS else 0):
        raise AssertionError(f"{node.op} alone: {difference} from ONNX Runtime")


def cut(graph: Graph, seed: int, fast: bool) -> tuple[Graph, Schedule]:
    """The optimized graph, its layers cut at random; fast: with the kernels of a Cortex-M4."""
    optimized = passes.check_supported(passes.optimize(graph))
    rng = np.random.default_rng(seed)
    layers = layers_of(optimized, load_board("mps2-an386").chip if fast else None, Tiling())
    if seed % 2:
        layers = without_copies(layers, optimized)
    return optimized, Schedule(Segment("layers", tuple(retile(x, CUTS[rng.integers(len(CUTS))]) for x in layers)))


def run_c(seeds: Sequence[int], graphs: Sequence[Graph], fast: bool, sanitize: bool, total: dict[str, Any]) -> None:
    """Compiles the networks together and compares the C of each with its reference."""
    parts: list[Part] = []
    for seed, graph in zip(seeds, graphs, strict=True):
        optimized, schedule = cut(graph, seed, fast)
        parts.append((optimized, schedule, plan(optimized, schedule, fast=True)))
    with TemporaryDirectory() as folder:
        models = build_together(parts, Path(folder), sanitize, fast)
        for seed, graph, model in zip(seeds, graphs, models, strict=True):
            given = samples(graph, SAMPLES)
            wanted = run_reference(graph, given)
            for inside in (False, True):
                found = host.run(model, given, inside=inside, timeout_s=60).outputs
                for n, outputs in enumerate(wanted):
                    for expected, got in zip(outputs, found, strict=True):
                        wrong = int(np.count_nonzero(expected.reshape(-1) != got[n].reshape(-1)))
                        total["c"]["elements"] += expected.size
                        total["c"]["differing"] += wrong
                        if wrong:
                            fail(total, seed, "c", f"{wrong} of {expected.size} differ, inside={inside}")
            total["c"]["graphs"] += 1
            total["c"]["sanitized"] += sanitize


def fail(total: dict[str, Any], seed: int | list[int], where: str, what: str) -> None:
    """Records a failure."""
    total["failures"].append({"seed": seed, "where": where, "what": what[:600]})
    print(f"seed {seed}: {where}: {what[:600]}", file=sys.stderr, flush=True)


def run_batch(seeds: Sequence[int], number: int, total: dict[str, Any]) -> None:
    """Adds what the seeds give to the figures."""
    good, graphs = [], []
    for seed in seeds:
        onnx = seed % ONNX == 0
        try:
            graph = judged_onnx(seed, total) if onnx else judged_tflite(seed, total)
            passes.check_supported(passes.optimize(graph))
        except Exception as error:
            fail(total, seed, "onnxruntime" if onnx else "tflite_micro", f"{type(error).__name__}: {error}")
            continue
        total["graphs"] += 1
        total["operators"] = dict(sorted((Counter(total["operators"]) + Counter(n.op for n in graph.nodes)).items()))
        good.append(seed)
        graphs.append(graph)
    try:
        run_c(good, graphs, number % 2 == 1, number % SANITIZED == 0, total)
    except Exception as error:
        fail(total, good, "compilation", f"{type(error).__name__}: {error}")


def load(path: Path) -> dict[str, Any]:
    """The figures so far."""
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return {
        "figure": "random networks over all operators: output elements that differ from the NumPy reference",
        "evidence": "measured on the host",
        "toolchain": {"python": platform.python_version(), "compiler": compiler(), "machine": platform.machine(),
                      "runtimes": [oracle.version("tflite_micro"), oracle.version("onnxruntime")]},
        "runs": [],
        "graphs": 0,
        "operators": {},
        "tflite_micro": {"graphs": 0, "elements": 0, "differing": 0},
        "onnxruntime": {"graphs": 0, "graphs_differing": 0, "graphs_beyond_a_step": 0, "elements": 0, "differing": 0,
                        "refused": {}},
        "c": {"graphs": 0, "sanitized": 0, "elements": 0, "differing": 0},
        "failures": [],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--until", type=int, default=10000, help="the first seed that is not run")
    parser.add_argument("--batch", type=int, default=40, help="networks in one compilation")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    total = load(args.output)
    begin = max((end for run in total["runs"] for end in run["seeds"]), default=0)
    for first in range(begin, args.until, args.batch):
        seeds = range(first, min(args.until, first + args.batch))
        run_batch(seeds, first // args.batch, total)
        if not total["runs"] or total["runs"][-1]["commit"] != commit():
            total["runs"].append({"commit": commit(), "seeds": [seeds.start, seeds.stop]})
        total["runs"][-1]["seeds"][1] = seeds.stop
        args.output.write_text(json.dumps(total, indent=1) + "\n", encoding="utf-8")
        print(f"{total['graphs']} graphs, {len(total['failures'])} failures", flush=True)
    return 1 if total["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
