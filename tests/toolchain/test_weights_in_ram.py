"""Weights are copied to RAM where speed is asked for, flash waits and there is room; they count as SRAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mcuc
import small_models
from mcuc.emulate.image import load_image
from mcuc.pipeline import Compiled
from mcuc.targets import load_board

WAITS, CACHED, FAST = "nucleo-l4r5zi", "nucleo-h7a3zi-q", "mps2-an386"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(small_models.tiny())
    return path


def compiled(model: Path, board: str, **asked: Any) -> Compiled:
    return mcuc.compile(model, board=board, out=model.parent / "out", **asked)


def tables_at(made: Compiled) -> list[int]:
    """Addresses of the weights in the firmware."""
    symbols = load_image(made.firmware.elf).symbols.values()
    return [s.address for s in symbols if s.name.startswith("net_l") and not s.function]


def test_they_lie_in_ram_and_count_as_sram(model: Path) -> None:
    made = compiled(model, WAITS, optimize="latency")
    report, board = made.report, load_board(WAITS)
    assert report.verify.bit_exact
    assert report.sram.static == made.firmware.sizes.weights_in_ram == report.flash.weights > 0
    assert report.sram.total == report.sram.arena + report.sram.static + report.sram.stack
    low = board.chip.ram_base
    assert tables_at(made) and all(low <= at < low + board.sram_bytes for at in tables_at(made))
    assert any("copied to SRAM" in note for note in report.notes)


@pytest.mark.parametrize(
    ("board", "asked"),
    [
        (WAITS, {}),
        (WAITS, {"optimize": "flash"}),
        (WAITS, {"optimize": "latency", "budget": "min"}),
        (WAITS, {"optimize": "latency", "budget": 1600}),
        (WAITS, {"optimize": "latency", "regions": ["sram1"]}),
        (CACHED, {"optimize": "latency"}),
        (FAST, {"optimize": "latency"}),
    ],
    ids=["balanced", "flash", "smallest", "no room", "named regions", "a data cache", "no wait states"],
)
def test_else_they_stay_in_flash(model: Path, board: str, asked: dict[str, Any]) -> None:
    made = compiled(model, board, **asked)
    flash = load_board(board).chip.flash_region
    assert made.report.verify.bit_exact and made.firmware.sizes.weights_in_ram == 0
    assert tables_at(made) and all(flash.base <= at < flash.base + flash.size for at in tables_at(made))
    assert made.report.sram.static - made.firmware.sizes.code_in_ram < made.report.flash.weights


def test_flash_counts_them_either_way(model: Path) -> None:
    in_ram, in_flash = (compiled(model, WAITS, optimize=goal).report.flash for goal in ("latency", "sram"))
    assert abs(in_ram.weights - in_flash.weights) < 0.2 * in_flash.weights
