"""Networks larger than the chip's flash run from the QSPI flash of the STM32F746G-DISCO, and of a virtual board."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest

import mcuc
import small_models
from mcuc import passes
from mcuc.cli.app import run
from mcuc.emulate.cortex_m import CortexM
from mcuc.emulate.image import load_image
from mcuc.inside import UNIT, knapsack
from mcuc.latency.emulated import layer_costs
from mcuc.latency.flash import LOOP, Read, flash_cycles, read_cycles, table_reads
from mcuc.pipeline import Compiled
from mcuc.schedule import Layer, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.staging import LEAST, _by_blocks
from mcuc.targets import load_board, weights_outside

MB = 1 << 20
CLOCKS = 2  # cycles of the core a clock of QUADSPI; a line of 32 bytes takes 64 of them


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.2 MB of weights in dense layers over eight tokens."""
    path = tmp_path_factory.mktemp("large") / "large.tflite"
    path.write_bytes(small_models.exported(small_models.tokens_graph(8, 256, 512, 5)))
    assert path.stat().st_size > 1.1 * MB
    return path


@pytest.fixture(scope="module")
def done(model: Path) -> Compiled:
    return mcuc.compile(model, board="stm32f746g-disco", out=model.parent / "out")


def test_a_network_larger_than_the_chips_flash_runs_from_qspi(done: Compiled) -> None:
    """Host and emulated core compute the reference's answers, the audit finds nothing, both flashes are in use."""
    v, (own, qspi) = done.report.verify, done.report.flash.regions
    assert (v.bit_exact, v.audit, v.differing) == (True, 0, 0) and v.host > 0 < v.emulated
    assert own.name == "flash" and 0.5 * MB < own.weights + own.code < own.size == MB
    assert qspi.name == "qspi" and qspi.size == 16 * MB and qspi.code == 0
    assert qspi.weights + own.weights == done.firmware.sizes.weights > MB
    inside = [s for s in load_image(done.firmware.elf).symbols.values() if s.name in done.firmware.inside]
    assert inside and all(0x08000000 <= s.address < 0x08000000 + MB and s.address % 32 == 0 for s in inside)


def test_a_linear_layer_from_qspi_takes_what_its_reads_or_its_multiplications_take() -> None:
    """At most 1.15 times the longer of the two, of one token, of a few and of many: lines are asked for ahead while the
    core multiplies, and where many tokens are computed at once, blocks of weights are read once."""
    board = weights_outside(load_board("stm32f746g-disco"))
    assert board is not None
    for tokens in (1, 3, 8, 64):
        graph = passes.optimize(small_models.tokens_graph(tokens, 192, 128))
        layers = layer_by_layer(graph, board.chip, Tiling()).layers
        for layer in (layers[0], *([_by_blocks(layers[0], board.chip, 1 << 16)] if tokens == 64 else [])):
            assert [k.id for _, k in layer.calls] == ["dot_pairs_ahead"] and layer.staged == (layer.block > 0)
            (cost,) = layer_costs([(graph, layer)], board, "auto", "balanced")
            compute = cost.cycles - flash_cycles(layer, board.chip)
            transfer = sum(read.bytes for read in table_reads(layer, board.chip)) * 64 * CLOCKS / 32
            assert max(compute, transfer) <= cost.cycles <= 1.15 * max(compute, transfer), (tokens, layer.block)


def test_blocks_of_weights_are_copied_where_that_is_faster(done: Compiled) -> None:
    """Of each byte one read, and less waiting than with every line asked for ahead."""
    rows = [(x, row) for x, row in zip(done.schedule.layers, done.report.layers, strict=True) if x.block]
    chip = msgspec.structs.replace(load_board("stm32f746g-disco").chip, weights_in="qspi")
    assert rows and "mcuc_there_before(staged" in done.emitted.files["large.c"]
    for layer, row in rows:
        assert row.weights is not None and row.weights.reads_mean < 1.2 and layer.block >= LEAST
        assert row.weights.waits < flash_cycles(replace(layer, staged=False, block=0), chip)
    assert any("a block of channels at a time" in note for note in done.report.notes)


def test_a_stream_reads_weights_once_a_block_of_tokens(tmp_path: Path) -> None:
    """By the cache where it holds a few channels of a layer, else by copies, whose answers are the reference's."""
    model = tmp_path / "mlp.tflite"
    model.write_bytes(small_models.exported(small_models.mlp_graph(24, 256, 1152, 2)))
    done = mcuc.compile(model, board="stm32f746g-disco", out=tmp_path / "out", budget=24 << 10)
    assert done.report.verify.bit_exact and done.report.verify.audit == 0 and done.report.verify.emulated
    streams = [unit for unit in done.schedule.segments if isinstance(unit, Segment) and unit.stream is not None]
    (blocks,) = {unit.stream.blocks for unit in streams if unit.stream is not None}
    members = [layer for unit in streams for layer in unit.members if isinstance(layer, Layer)]
    assert [layer.block > 0 for layer in members] == [False, True] * 2 and blocks > 1
    assert all(layer.tiling.channels for layer in members if not layer.block)
    code = done.emitted.files["mlp.c"]
    assert code.count("mcuc_copy((int8_t *)staged") == 2
    rows = [row.weights for row in done.report.layers if row.weights is not None]
    assert [row.reads_max for row in rows] == [blocks] * 4


def test_how_often_weights_are_read_is_reported(done: Compiled) -> None:
    """In all and by layer: what is not copied is read for every two of the eight tokens, or for so many as the kernel
    computes together."""
    report = json.loads((done.out / "report.json").read_text())
    rows = [row["weights"] for row in report["layers"]]
    for row, layer in zip(rows, done.schedule.layers, strict=True):
        kernel = layer.calls[0][1]
        times = 1 if layer.staged else 8 // kernel.pixels
        assert row["reads_max"] == times
        assert 0.9 * times * row["bytes"] < row["bytes_read"] <= 1.2 * times * row["bytes"]
    total = report["weights"]
    assert total["bytes_read"] == sum(row["bytes_read"] for row in rows)
    assert total["reads_max"] == max(row["reads_max"] for row in rows)
    assert total["reads_mean"] == round(total["bytes_read"] / total["bytes"], 4) >= 1
    assert total["waits"] == sum(row["waits"] for row in rows) > 0
    said = f"{total['bytes_read']:,} bytes"
    assert said in (done.out / "report.html").read_text()


def test_flash_of_the_chips_size_keeps_weights_on_it_or_refuses(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    code = run(["compile", str(model), "--board", "stm32f746g-disco", "--flash", "1MB", "-o", out])
    said = " ".join(capsys.readouterr().err.split())
    assert code == 1 and not (tmp_path / "out").exists()
    assert "--flash allows 1,048,576 for weights and code together" in said
    assert "without --flash, which keeps weights on the chip: stm32f746g-disco has 16,777,216 bytes in qspi" in said


def test_the_virtual_board_says_so_and_its_flash_is_on_the_emulator(done: Compiled) -> None:
    board = load_board("virtual-f746-64mb")
    assert "irtual" in board.title and "No such board" in board.source
    assert board.holds(60 * MB, MB // 2) and not load_board("stm32f746g-disco").holds(17 * MB, MB // 2)
    found = CortexM(done.firmware.elf, board.chip, done.emitted.symbols).run()
    assert found.exit_code == 0 and found.instructions > done.report.macs // 2


def test_reads_ahead_are_hidden_behind_multiplications_and_no_others() -> None:
    """What is left of the transfer after the inner loops, and each pass's first line in full."""
    board = weights_outside(load_board("stm32f746g-disco"))
    assert board is not None
    graph = passes.optimize(small_models.tokens_graph(64, 128, 64))
    (layer,) = layer_by_layer(graph, board.chip, Tiling()).layers
    (read,) = table_reads(layer, board.chip)
    lines = -(-read.table.bytes // 32)
    assert read.times == 32 and read.hidden == LOOP * 64 * 128 * 64
    later = 32 * (lines - 1) * 128
    assert read_cycles(read, board.chip) == pytest.approx(32 * 176 + max(0, later - read.hidden))
    assert read_cycles(Read(read.table, 1), board.chip) == 176 + (lines - 1) * 128
    assert read_cycles(Read(read.table, 1, 1e9), board.chip) == 176
    assert read_cycles(Read(read.table, 1, apart=True), board.chip) == lines * (2 * 176 - 128)
    assert read_cycles(read, board.chip, inside=True) == pytest.approx(read.bytes * 7.28 / 32)


@pytest.mark.parametrize("seed", range(6))
def test_the_tables_inside_are_the_ones_that_save_the_most(seed: int) -> None:
    """Against every subset, with sizes that are no whole lines; the same answer twice."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 40 * UNIT, 9)]
    values = [int(n) for n in rng.integers(0, 1000, 9)]
    room = int(rng.integers(0, sum(sizes)))
    chosen = knapsack(sizes, values, room)
    lines = [-(-n // UNIT) for n in sizes]
    fitting = [s for k in range(10) for s in combinations(range(9), k) if sum(lines[i] for i in s) <= room // UNIT]
    assert sum(values[i] for i in chosen) == max(sum(values[i] for i in s) for s in fitting)
    assert sum(sizes[i] for i in chosen) <= room and chosen == knapsack(sizes, values, room)
