"""Order the nodes of models, of networks of search cells and of random graphs; record peaks, bounds and times.

    python benchmarks/order.py [--shared DATA] [--output FILE]

Figures are planned bytes, layer by layer; seconds are processor time of this machine on one core. The random graphs
are hard on purpose: every node reads up to three of the last few tensors, all sizes differ.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mcuc import passes
from mcuc.importers import load
from mcuc.ir import DType, Graph, Node, Tensor, check
from mcuc.schedule.order import order, peak
from zoo import ZOO

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "order.json"
RANDOM = [(20, 20), (40, 6), (40, 12), (40, 40), (80, 6), (80, 12), (80, 40)]  # nodes, tensors that may be read
SEEDS = range(5)
CELLS = [(3, 5), (6, 5), (10, 5)]  # cells, additions in each
Step = tuple[str, Sequence[str], str]


def network(steps: Sequence[Step], sizes: Mapping[str, int], inputs: str, outputs: str) -> Graph:
    """Steps (operator, run-time inputs, output); sizes in bytes; inputs and outputs separated by blanks."""
    tensors = {name: Tensor(name, (1, size), DType.INT8) for name, size in sizes.items()}
    nodes = tuple(Node(f"{i}:{op}", op, tuple(reads), (out,), None) for i, (op, reads, out) in enumerate(steps))
    return check(Graph("net", "tflite", tensors, nodes, tuple(inputs.split()), tuple(outputs.split())))


def random_dag(seed: int, count: int, recent: int, fan_in: int = 3) -> Graph:
    """Every node reads up to fan_in of the last `recent` tensors; one more joins what nobody reads."""
    source = random.Random(seed)
    sizes, steps = {"x": 64}, list[Step]()
    for i in range(count):
        pool = list(sizes)[-recent:]
        reads = source.sample(pool, min(len(pool), source.randint(1, fan_in)))
        op = source.choice(["conv_2d", "concat", "add"])
        sizes[f"t{i}"] = sizes[reads[0]] if op == "add" else source.randrange(4, 200)
        steps.append((op, reads, f"t{i}"))
    read = {name for _, reads, _ in steps for name in reads}
    steps.append(("concat", [out for _, _, out in steps if out not in read], "y"))
    return network(steps, sizes | {"y": 10}, "x", "y")


def cells(seed: int, count: int, blocks: int) -> Graph:
    """A network as architecture search finds them: a cell reads the two before it, makes `blocks` additions of two
    operations on its inputs and earlier additions, and joins them all."""
    source = random.Random(seed)
    sizes, steps = {"x": 300}, list[Step]()

    def step(op: str, reads: Sequence[str], size: int) -> str:
        name = f"t{len(steps)}"
        steps.append((op, tuple(reads), name))
        sizes[name] = size
        return name

    ends = ["x", step("conv_2d", "x", 256)]
    for cell in range(count):
        size = max(16, 256 >> cell // 3)
        values = [step("conv_2d", [n], size) for n in ends[-2:]]
        made = []
        for _ in range(blocks):
            pair = [step(source.choice(["conv_2d", "max_pool_2d"]), [source.choice(values)], size) for _ in range(2)]
            made.append(step("add", pair, size))
            values.append(made[-1])
        ends.append(step("concat", made, blocks * size))
    steps.append(("mean", (ends[-1],), "y"))
    return network(steps, sizes | {"y": 16}, "x", "y")


def instances(models: Path) -> Iterator[tuple[str, Graph]]:
    """Names and graphs; the models only where their folder is."""
    for entry in ZOO if models.is_dir() else ():
        yield entry.name, passes.optimize(load(models / f"{entry.name}.tflite"))
    for count, blocks in CELLS:
        for seed in SEEDS:
            yield f"cells {count}x{blocks} #{seed}", cells(seed, count, blocks)
    for count, recent in RANDOM:
        for seed in SEEDS:
            yield f"random {count} of last {recent} #{seed}", random_dag(seed, count, recent)


def commit() -> str:
    """The commit that these figures belong to, or unknown outside a checkout."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    print(f"{'graph':<28} {'nodes':>5} {'file':>8} {'peak':>8} {'bound':>8}  exact  states seconds")
    for name, graph in instances(arguments.shared / "models"):
        begin = time.process_time()
        found = order(graph, time_limit_s=1000.0)
        seconds = time.process_time() - begin
        row = {
            "graph": name,
            "nodes": len(graph.nodes),
            "file_order": peak(graph),
            "peak": found.peak,
            "bound": found.bound,
            "exact": found.exact,
            "states": found.states,
            "seconds": round(seconds, 3),
        }
        rows.append(row)
        print(
            f"{name:<28} {row['nodes']:>5} {row['file_order']:>8} {found.peak:>8} {found.bound:>8}  "
            f"{found.exact!s:<5} {found.states:>7} {seconds:.3f}",
            flush=True,
        )
    document = {
        "figure": "execution order: layer-by-layer peak bytes and solve time",
        "evidence": "planned",
        "toolchain": {"python": platform.python_version(), "machine": platform.machine()},
        "commit": commit(),
        "graphs": rows,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
