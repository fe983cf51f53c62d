"""C programs that call a generated model, and what builds them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from harness import activation, tflite_graph

import small_models
from mcuc import passes
from mcuc.emit.model import Emitted, emit
from mcuc.emulate import host
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.schedule import Schedule, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.toolchain import build_host_executable


@dataclass(frozen=True)
class Made:
    """A network on its way to C, its prefix "net"."""

    graph: Graph
    schedule: Schedule
    plan: Plan
    emitted: Emitted


def made(graph: Graph) -> Made:
    optimized = passes.optimize(graph)
    schedule = layer_by_layer(optimized, None, Tiling())
    placed = plan(optimized, schedule)
    return Made(optimized, schedule, placed, emit(optimized, schedule, placed, "net", "test.tflite", 32, 512))


def tiny() -> Made:
    """Convolution, depthwise, pointwise, pool, reshape, dense, softmax; one input, one output."""
    return made(small_models.tiny_graph())


def pair() -> Made:
    """Two inputs and two outputs."""
    a, b = activation("a", (1, 8), 0.05, 3), activation("b", (1, 8), 0.04, -3)
    total, half = activation("total", (1, 8), 0.08, 1), activation("half", (1, 8), 0.16, 1)
    graphs = [tflite_graph("ADD", [a, b], total), tflite_graph("QUANTIZE", [total], half)]
    tensors = {**graphs[0].tensors, **graphs[1].tensors}
    nodes = tuple(g.nodes[0] for g in graphs)
    nodes = (nodes[0], replace(nodes[1], name="1"))
    return made(Graph("pair", "tflite", tensors, nodes, ("a", "b"), ("total", "half")))


def program(model: Made, main: str, folder: Path, *flags: str, sanitize: bool = True) -> Path:
    """The model and a main.c, compiled for this machine."""
    sources = host.write_sources(model.emitted, folder)
    (folder / "main.c").write_text(main, encoding="utf-8")
    return build_host_executable([*sources, folder / "main.c"], [folder], folder / "program", sanitize=sanitize,
                                 extra_flags=flags)


def output(path: Path, *words: str) -> str:
    """What the program prints; it must end well."""
    done = subprocess.run([path, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    return done.stdout
