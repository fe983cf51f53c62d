"""Kernels chosen by measurement are the best of those measured, and what is said of the others is what they cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mcuc
import small_models
from mcuc import kernels, passes
from mcuc.ir import Graph
from mcuc.kernels._base import No
from mcuc.latency import tuning
from mcuc.latency.emulated import layer_costs
from mcuc.latency.tuning import tune
from mcuc.request import Request
from mcuc.schedule import Layer, Tiling
from mcuc.schedule.explore import alike_is_smaller, layers_of
from mcuc.schedule.select import with_kernels
from mcuc.targets import load_board
from mcuc.toolchain import Optimize

BOARDS = ("mps2-an386", "nucleo-f746zg", "nucleo-g0b1re")


def network() -> Graph:
    return passes.optimize(small_models.chain_graph())


def every_kernel(layer: Layer, board: str) -> list[Layer]:
    """The layer with each of the kernels that apply to its one call."""
    ((call, _),) = layer.calls
    chip = load_board(board).chip
    applying = [k for k in kernels.get(call.family).kernels if not isinstance(k.applies(call, chip), No)]
    return [with_kernels(layer, [k]) for k in applying]


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("goal", ["latency", "sram", "flash"])
def test_the_best_of_all_that_apply_is_taken(board: str, goal: Optimize) -> None:
    graph = network()
    tuned = tune(graph, load_board(board), Request(board=board, optimize=goal, tune="full"))
    chip = load_board(board).chip
    for layer in layers_of(graph, chip, Tiling(), alike=goal == "flash" and alike_is_smaller(graph, chip)):
        variants = every_kernel(layer, board)
        if len(variants) == 1:
            assert layer.node.name not in tuned.kernels
            continue
        costs = layer_costs([(graph, v) for v in variants], load_board(board), "auto", goal)
        chosen = tuned.choose(layer)
        ids = [v.calls[0][1].id for v in variants]
        cost = costs[ids.index(chosen.calls[0][1].id)]
        wanted = {
            "latency": (cost.cycles, min(c.cycles for c in costs)),
            "sram": (chosen.scratch, min(v.scratch for v in variants)),
            "flash": (
                cost.code + chosen.table_bytes,
                min(c.code + v.table_bytes for c, v in zip(costs, variants, strict=True)),
            ),
        }[goal]
        assert wanted[0] == wanted[1]
        assert f"of {len(variants)}: {cost.cycles:,} cycles" in chosen.why
        told = {line.split(":")[0]: line for line in chosen.refused}
        for name, c in zip(ids, costs, strict=True):
            assert name == chosen.calls[0][1].id or f"{c.cycles:,} cycles" in told[name]


def test_off_measures_nothing_and_what_is_known_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, board = network(), load_board("mps2-an386")
    first = tune(graph, board, Request(board=board.name, tune="full"))

    def build(*args: object, **kwargs: object) -> None:
        raise AssertionError("a firmware is built")

    monkeypatch.setattr(tuning.layer_costs.__module__ + ".build_firmware", build)
    assert tune(graph, board, Request(board=board.name, tune="off")).kernels == {}
    assert tune(graph, board, Request(board=board.name, tune="full")).kernels == first.kernels


def test_fast_leaves_small_layers_and_slow_kernels_alone() -> None:
    graph, board = network(), load_board("mps2-an386")
    fast = tune(graph, board, Request(board=board.name, tune="fast"))
    full = tune(graph, board, Request(board=board.name, tune="full"))
    assert fast.kernels.keys() < full.kernels.keys()
    assert all(full.kernels[name] == ids for name, ids in fast.kernels.items())
    assert any("not measured, expected" in line for lines in fast.refused.values() for line in lines)


def test_a_tuned_model_is_exact_and_not_slower(tmp_path: Path) -> None:
    model = tmp_path / "chain.tflite"
    model.write_bytes(small_models.exported(small_models.chain_graph()))
    plain = mcuc.compile(model, optimize="latency", out=tmp_path / "plain").report
    tuned = mcuc.compile(model, optimize="latency", tune="full", out=tmp_path / "tuned").report
    assert tuned.verify.bit_exact and tuned.cycles <= plain.cycles
    manifest = (tmp_path / "tuned/manifest.json").read_text()
    assert re.search(r"measured alone, the fastest of \d: [\d,]+ cycles", manifest)
    assert "measured alone" not in (tmp_path / "plain/manifest.json").read_text()


def test_kernels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Tables beyond the flash that is allowed, and a mode that does not exist."""
    graph, board = network(), load_board("mps2-an386")
    layer = layers_of(graph, board.chip, Tiling())[-1]
    least = min(v.table_bytes for v in every_kernel(layer, board.name))
    assert least < layer.table_bytes, "the first is not the smallest"
    found = tune(graph, board, Request(board=board.name, tune="full", flash=least))
    assert found.choose(layer).table_bytes == least
    assert any("of flash allowed" in line for line in found.refused[layer.node.name])
    model = tmp_path / "chain.tflite"
    model.write_bytes(small_models.exported(small_models.chain_graph()))
    with pytest.raises(mcuc.McucError, match="no tuning 'some'"):
        mcuc.compile(model, tune="some", out=tmp_path / "out")  # type: ignore[arg-type]
