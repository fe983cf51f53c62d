"""Latency as a sum over layers: what is measured, what is remembered, and how near it is to a whole run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness import RNG, activation, bias, samples, tflite_graph, weights

import small_models
from mcuc import cache, passes
from mcuc.emit.model import emit
from mcuc.emulate.cortex_m import CortexM, EmulatedRun
from mcuc.image import build_image
from mcuc.ir import Graph
from mcuc.latency import emulated as latency
from mcuc.latency.emulated import LayerCost, layer_costs, network_cost
from mcuc.latency.flash import flash_cycles
from mcuc.plan import plan
from mcuc.request import Request
from mcuc.schedule import Layer, Schedule, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.targets import load_board
from mcuc.toolchain import Optimize
from mcuc.verify.compare import emulated

M4 = "mps2-an386"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    return tmp_path


def scheduled(graph: Graph, board: str = M4) -> tuple[Graph, Schedule]:
    optimized = passes.optimize(graph)
    return optimized, layer_by_layer(optimized, load_board(board).chip, Tiling())


def tiny() -> tuple[Graph, Schedule]:
    return scheduled(small_models.tiny_graph())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measures nothing; names of the layers that would have been, each worth its length."""
    names: list[str] = []

    def measure(layers: Sequence[tuple[Graph, Layer]], board: object, toolchain: str, optimize: str) -> list[LayerCost]:
        names.extend(layer.node.name for _, layer in layers)
        return [LayerCost(10 * n, 100 * n, n) for n in range(len(names) - len(layers) + 1, len(names) + 1)]

    monkeypatch.setattr(latency, "_measure", measure)
    return names


def test_a_network_costs_the_sum_of_its_layers(measured: list[str]) -> None:
    graph, schedule = tiny()
    board = load_board(M4)
    found = network_cost(graph, schedule, board)
    coded = [layer for layer in schedule.layers if layer.calls]
    assert measured == [layer.node.name for layer in coded] and len(coded) == 6
    assert (found.cycles, found.code) == (100 * 21, 21)
    assert found.latency_ms == pytest.approx(1000 * 2100 / board.chip.clock_hz)


def test_the_second_call_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, schedule = tiny()
    first = network_cost(graph, schedule, load_board(M4))

    def build(*args: object, **kwargs: object) -> None:
        raise AssertionError("a firmware is built")

    monkeypatch.setattr(latency, "build_firmware", build)
    assert network_cost(graph, schedule, load_board(M4)) == first
    again, same = scheduled(small_models.tiny_graph(seed=3))
    assert network_cost(again, same, load_board(M4)) == first, "other weights, same code"


def keys(graph: Graph, board: str = M4, optimize: Optimize = "balanced") -> int:
    """How many layers of the graph are unknown and get measured."""
    _, schedule = lowered = scheduled(graph, board)
    coded = [layer for layer in schedule.layers if layer.calls]
    before = len(list(cache.folder().rglob("*.json")))
    layer_costs([(lowered[0], layer) for layer in coded], load_board(board), "auto", optimize)
    return len(list(cache.folder().rglob("*.json"))) - before


def conv(size: int = 6, outputs: int = 5, name: str = "x", seed: int = 0, fused: int = 0) -> Graph:
    rng = RNG(seed)
    x, y = activation(name, (1, size, size, 3), 0.04, 2), activation(f"{name}y", (1, size, size, outputs), 0.05, 7)
    w = weights(rng, (outputs, 3, 3, 3))
    return tflite_graph(
        "CONV_2D",
        [x, w, bias(rng, x, w, outputs)],
        y,
        strideH=1,
        strideW=1,
        padding=0,
        dilationHFactor=1,
        dilationWFactor=1,
        fusedActivationFunction=fused,
    )


def test_what_is_measured_anew(measured: list[str]) -> None:
    assert keys(conv()) == 1
    assert keys(conv()) == 0
    assert keys(conv(name="elsewhere", seed=9)) == 0, "names and weights are not code"
    assert keys(conv(size=7)) == keys(conv(outputs=6)) == 1, "geometry is"
    assert keys(conv(fused=3)) == 1, "and so are constants"
    assert keys(conv(), optimize="flash") == keys(conv(), optimize="latency") == 1
    assert keys(conv(), board="mps2-an500") == 1, "another core"
    assert keys(conv(), board="nucleo-l4r5zi") == 1, "the same core with wait states"
    assert keys(conv()) == 0


def test_another_compiler_or_runtime_is_measured_anew(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys(conv()) == 1
    tools = latency.find("auto")
    monkeypatch.setattr(latency, "find", lambda name: replace(tools, version="another"))
    assert keys(conv()) == 1
    monkeypatch.setattr(latency, "rules", lambda: "another runtime header")
    assert keys(conv()) == 1
    assert keys(conv()) == 0


def test_equal_layers_are_measured_once(measured: list[str]) -> None:
    graph, schedule = scheduled(conv())
    (layer,) = schedule.layers
    board = load_board(M4)
    assert layer_costs([(graph, layer)] * 5, board, "auto", "balanced") == [LayerCost(10, 100, 1)] * 5
    assert len(measured) == 1


@pytest.mark.parametrize("content", ["", "[1, 2", "[1, 2]", "null", '{"cycles": 1}', "[1, 2, 3, 4]"])
def test_a_broken_entry_is_measured_again(content: str, measured: list[str], empty_cache: Path) -> None:
    assert keys(conv()) == 1
    (entry,) = empty_cache.rglob("*.json")
    entry.write_text(content)
    keys(conv())
    assert len(measured) == 2
    assert entry.read_text() == "[20, 200, 2, []]"


def test_many_layers_take_several_firmwares(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    fake = latency._measure
    monkeypatch.setattr(latency, "_measure", lambda layers, *rest: batches.append(len(layers)) or fake(layers, *rest))
    graphs = [scheduled(conv(size=n)) for n in range(3, 3 + latency.BATCH + 2)]
    layer_costs([(g, s.layers[0]) for g, s in graphs], load_board(M4), "auto", "balanced")
    assert batches == [latency.BATCH, 2]


def whole_run(graph: Graph, schedule: Schedule, board: str, toolchain: str, folder: Path) -> EmulatedRun:
    """One inference of the compiled network on the emulated core."""
    target = load_board(board)
    placed = plan(graph, schedule)
    made = emit(graph, schedule, placed, "net", "test", target.chip.arena_align, 512)
    image = build_image(made, target, Request(board=board, toolchain=toolchain), folder)
    core = CortexM(image.elf, target.chip, made.symbols)
    return emulated(core, graph, placed, samples(graph, 4)[3])[1]


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board", [M4, "mps2-an500", "nucleo-g0b1re"])
def test_a_layer_costs_its_share_of_a_whole_run(board: str, toolchain: str, tmp_path: Path) -> None:
    """Within 3 % and 12 instructions.

    A layer's share runs from its entry to the next one's: its own code and its caller's between the two calls, some ten
    instructions. In a source file of its own a layer has helpers inlined that several layers of a network share, and
    gcc's clamps and Cortex-M0+'s 64-bit products branch on data.
    """
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    graph, schedule = scheduled(small_models.tiny_graph(), board)
    chip = load_board(board).chip
    coded = [layer for layer in schedule.layers if layer.calls]
    costs = layer_costs([(graph, layer) for layer in coded], load_board(board), toolchain, "balanced")
    run = whole_run(graph, schedule, board, toolchain, tmp_path / "net")
    shares = run.layers[1:]
    gaps = [cost.instructions - share.instructions for cost, share in zip(costs, shares, strict=True)]
    most = [12 + 0.03 * share.instructions for share in shares]
    assert all(abs(gap) <= limit for gap, limit in zip(gaps, most, strict=True)), gaps
    streams = [flash_cycles(layer, chip) for layer in coded]
    spent = [cost.cycles - stream - share.cycles for cost, stream, share in zip(costs, streams, shares, strict=True)]
    assert all(abs(gap) <= 3 * limit for gap, limit in zip(spent, most, strict=True)), spent
    total = network_cost(graph, schedule, load_board(board), toolchain)
    assert abs(total.cycles - sum(streams) - run.cycles) <= 0.03 * run.cycles + 100


@pytest.mark.slow
@pytest.mark.parametrize("board", [M4, "mps2-an500", "nucleo-g0b1re"])
def test_a_layer_costs_the_same_in_any_company(board: str) -> None:
    """So what a search sees of a candidate does not depend on what was measured before it."""
    graph, schedule = scheduled(small_models.tiny_graph(), board)
    entries = [(graph, layer) for layer in schedule.layers if layer.calls]
    together = layer_costs(entries, load_board(board), "zig", "balanced")
    alone = [latency._measure([entry], load_board(board), "zig", "balanced")[0] for entry in reversed(entries)]
    assert together == alone[::-1]


def test_weights_streamed_from_flash_are_charged(tmp_path: Path) -> None:
    """A dense layer on a chip with wait states: its table bytes, at the chip's rate, on top of its instructions."""
    board = load_board("nucleo-l4r5zi")
    graph, schedule = scheduled(small_models.dense_graph(200, 20), "nucleo-l4r5zi")
    (cost,) = layer_costs([(graph, schedule.layers[0])], board, "auto", "balanced")
    run = whole_run(graph, schedule, "nucleo-l4r5zi", "auto", tmp_path)
    stream = flash_cycles(schedule.layers[0], board.chip)
    assert schedule.layers[0].table_bytes >= 4000 and stream > 1000
    assert abs(cost.cycles - stream - run.layers[1].cycles) <= 60


def test_the_linked_layers_have_little_more_code_than_was_measured_and_often_less(tmp_path: Path) -> None:
    graph, schedule = tiny()
    found = network_cost(graph, schedule, load_board(M4), "zig")
    target = load_board(M4)
    made = emit(graph, schedule, plan(graph, schedule), "net", "test", target.chip.arena_align, 512)
    image = build_image(made, target, Request(board=M4, toolchain="zig"), tmp_path)
    core = CortexM(image.elf, target.chip, made.symbols)
    linked = sum(s.size for s in core.image.functions if s.name in made.symbols or s.name.startswith("net_k"))
    assert linked * 0.96 <= found.code <= 1.5 * linked
