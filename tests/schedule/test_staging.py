"""Weights staged in the arena: only where the flash waits, only in bytes that are free, and the answers stay."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcuc
import small_models
from mcuc import choice
from mcuc.pipeline import Compiled
from mcuc.schedule import Layer

WAITS, FAST = "nucleo-l4r5zi", "mps2-an386"  # the same core


def compiled(folder: Path, board: str, **options: object) -> Compiled:
    """Pointwise layers of 1.3 KB of weights after an image that takes far more."""
    model = folder / "chain.tflite"
    model.write_bytes(small_models.exported(small_models.chain_graph((32, 36, 40), side=20)))
    return mcuc.compile(model, board=board, out=folder / f"{board}{len(list(folder.iterdir()))}", **options)  # type: ignore[arg-type]


def staged(done: Compiled) -> list[Layer]:
    return [layer for layer in done.schedule.layers if layer.staged]


def test_weights_are_staged_where_flash_waits_and_nowhere_else(tmp_path: Path) -> None:
    done, fast = compiled(tmp_path, WAITS), compiled(tmp_path, FAST)
    assert staged(done) and not staged(fast)
    assert done.report.verify.bit_exact and done.report.verify.audit == 0
    assert done.report.sram.arena == fast.report.sram.arena, "in bytes that are free"
    (note,) = [n for n in done.report.notes if "while the layer runs" in n]
    assert f" of {len(staged(done))} layers" in note
    code = done.emitted.files["chain.c"]
    assert code.count("mcuc_copy((int8_t *)staged") == len(staged(done))


def test_staging_saves_cycles_at_the_same_sram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = compiled(tmp_path, WAITS).report
    monkeypatch.setattr(choice, "staged", lambda schedule, plan, *rest: (schedule, plan))
    without = compiled(tmp_path, WAITS).report
    assert with_it.cycles < 0.95 * without.cycles
    assert with_it.sram.arena == without.sram.arena and with_it.instructions > without.instructions


def test_where_staging_does_not_fit_the_schedule_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying takes some stack; a byte short of it, the schedule itself still fits, and is no slower than it was."""
    with_it = compiled(tmp_path, WAITS, budget=24576).report
    monkeypatch.setattr(choice, "staged", lambda schedule, plan, *rest: (schedule, plan))
    without = compiled(tmp_path, WAITS, budget=24576).report
    monkeypatch.undo()
    tight = min(with_it.sram.total, without.sram.total)
    done = compiled(tmp_path, WAITS, budget=tight)
    assert done.report.sram.total <= tight and done.report.cycles <= without.cycles


def test_little_code_has_no_copies(tmp_path: Path) -> None:
    assert not staged(compiled(tmp_path, WAITS, optimize="flash"))


def test_weights_that_are_all_in_sram_are_not_staged_again(tmp_path: Path) -> None:
    done = compiled(tmp_path, WAITS, optimize="latency")
    assert done.firmware.sizes.weights_in_ram and not staged(done)
