"""The budget as a user meets it: smallest schedules, rows in, the front, and what helps when nothing fits."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from running import Run
from test_bad_input import refused

from mcuc.report.json import from_json
from mcuc.report.types import Report


@pytest.fixture
def photo(models: Path) -> Path:
    """A small convolutional network whose tensors are larger than its rows."""
    return models / "photo.tflite"


def compiled(run: Run, *words: object) -> Report:
    done = run("compile", *words, "--json")
    assert (done.code, done.err) == (0, "")
    report = from_json(done.out)
    assert report.verify.bit_exact and report.verify.audit == 0
    return report


def test_a_budget_chooses_the_schedule(run: Run, photo: Path) -> None:
    """Between the fastest schedule and the smallest, each budget gets a schedule that fits it."""
    fastest = compiled(run, photo, "--optimize", "latency", "-o", "fast")
    smallest = compiled(run, photo, "--optimize", "latency", "--budget", "min", "-o", "small")
    assert smallest.sram.arena < fastest.sram.arena
    assert smallest.instructions > fastest.instructions
    exact = compiled(run, photo, "--optimize", "latency", "--budget", str(smallest.sram.total), "-o", "exact")
    assert exact.sram.total <= smallest.sram.total == exact.sram.budget
    room = compiled(run, photo, "--optimize", "latency", "--budget", fastest.sram.total, "-o", "room")
    assert room.sram.arena == fastest.sram.arena and room.instructions == fastest.instructions


def test_what_a_refusal_says_is_true(run: Run, photo: Path) -> None:
    """What it says that the model takes is enough, and much less is not."""
    said = re.findall(r"the model takes ([\d,]+) bytes", run("compile", photo, "--budget", "64", "-o", "out").err)
    least = int(said[0].replace(",", ""))
    compiled(run, photo, "--budget", str(least), "-o", "least")
    refused(run, ["compile", photo, "--budget", str(least * 4 // 5), "-o", "out"], "over", "in use")


def test_rows_in_is_a_remedy_that_fits(run: Run, photo: Path) -> None:
    held = compiled(run, photo, "--budget", "min", "-o", "held").sram
    rows = compiled(run, photo, "--budget", "min", "--rows-in", "-o", "rows").sram
    between = rows.total + (held.arena - rows.arena) // 2
    words: list[object] = ["compile", photo, "--budget", str(between)]
    offered = "--rows-in" in run(*words, "-o", "out").err
    assert not offered or compiled(run, *words[1:], "--rows-in", "-o", "fits").sram.total <= between


def test_rows_in_never_holds_the_input(run: Run, photo: Path) -> None:
    held = compiled(run, photo, "--budget", "min", "-o", "held")
    rows = compiled(run, photo, "--budget", "min", "--rows-in", "-o", "rows")
    assert rows.sram.arena < held.sram.arena
    header = Path("rows/photo.h").read_text()
    assert "int photo_push_rows(void *arena" in header and "PHOTO_INPUT_IN(" not in header
    assert any("rows in: the arena takes" in note for note in rows.notes)


def test_a_dense_model_cannot_take_rows(run: Run, models: Path) -> None:
    refused(run, ["compile", models / "heavy.tflite", "--rows-in", "-o", "out"], "row by row", "without --rows-in")


def test_the_front_goes_from_fast_to_small(run: Run, photo: Path) -> None:
    done = run("compile", photo, "--pareto", "--json")
    assert (done.code, done.err) == (0, "") and not list(Path().iterdir())
    points = json.loads(done.out)["points"]
    assert len(points) > 1
    for a, b in pairwise(points):
        assert a["cycles"] <= b["cycles"] and a["total"] > b["total"]
    assert "SRAM (B)" in run("compile", photo, "--pareto").out


def test_a_front_without_a_point_is_refused(run: Run, photo: Path) -> None:
    """A board whose SRAM holds no schedule gets no empty table."""
    board = Path("tiny.toml")
    rest = "chip = 'stm32f103xb'\nsource = 'a test'\nreserved_sram = 18_432\n"
    board.write_text(f"name = 'tiny'\ntitle = '2,048 bytes of SRAM'\n{rest}")
    refused(run, ["compile", photo, "--pareto", "--board", str(board)], "no schedule fits", "without --pareto")
