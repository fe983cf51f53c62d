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


def test_one_byte_less_than_the_smallest_is_refused_with_remedies(run: Run, photo: Path) -> None:
    smallest = compiled(run, photo, "--budget", "min", "-o", "small").sram.total
    words: list[object] = ["compile", photo, "--budget", str(smallest - 1), "-o", "out"]
    refused(run, words, "bytes over", "layer", "in use")
    done = run(*words)
    remedies = re.findall(r"arena about ([\d,]+) bytes", done.err)
    assert remedies and all(int(r.replace(",", "")) < smallest for r in remedies), done.err


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
