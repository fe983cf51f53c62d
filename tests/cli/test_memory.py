"""The budget as a user meets it: smallest schedules, rows in, the front, and what helps when nothing fits."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

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


def board_of(sram: int) -> Path:
    """A board of so many bytes of SRAM."""
    board = Path(f"sram{sram}.toml")
    rest = f"chip = 'stm32f103xb'\nsource = 'a test'\nreserved_sram = {20480 - sram}\n"
    board.write_text(f"name = 'sram{sram}'\ntitle = '{sram} bytes of SRAM'\n{rest}")
    return board


def ends_and_middle(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest, the smallest and one between."""
    return [points[i] for i in sorted({0, len(points) // 2, len(points) - 1})]


def smallest_said(run: Run, photo: Path) -> int:
    """Bytes that the model takes at least, as the refusal of a far too small budget says."""
    said = re.findall(r"the model takes ([\d,]+) bytes", run("compile", photo, "--budget", "64", "-o", "out").err)
    return int(said[0].replace(",", ""))


def test_a_budget_chooses_the_fastest_that_fits(run: Run, photo: Path) -> None:
    """At a schedule's own total, and a byte below it, the budget gets no slower one than it must."""
    front = json.loads(run("compile", photo, "--pareto", "--optimize", "balanced", "--json").out)["points"]
    assert len(front) > 2
    for point in ends_and_middle(front)[:2]:
        i = front.index(point)
        exact = compiled(run, photo, "--budget", point["total"], "-o", f"exact{i}")
        assert exact.sram.total <= point["total"] == exact.sram.budget
        assert exact.instructions <= point["instructions"]
        if i + 1 < len(front):
            below = compiled(run, photo, "--budget", point["total"] - 1, "-o", f"below{i}")
            assert below.sram.total < point["total"] and below.instructions <= front[i + 1]["instructions"]


def test_the_smallest_is_smaller_and_the_fastest_faster(run: Run, photo: Path) -> None:
    fastest = compiled(run, photo, "--optimize", "latency", "-o", "fast")
    smallest = compiled(run, photo, "--optimize", "latency", "--budget", "min", "-o", "small")
    assert smallest.sram.arena < fastest.sram.arena
    assert smallest.instructions > fastest.instructions
    room = compiled(run, photo, "--optimize", "latency", "--budget", fastest.sram.total, "-o", "room")
    assert room.sram.arena == fastest.sram.arena and room.instructions == fastest.instructions


@pytest.mark.slow
def test_what_a_refusal_says_is_true(run: Run, photo: Path) -> None:
    """What it says that the model takes is enough, and a byte less is not; the budget that it proposes works."""
    least = smallest_said(run, photo)
    assert f"--budget {least}" in run("compile", photo, "--budget", "64", "-o", "out").err
    compiled(run, photo, "--budget", str(least), "-o", "least")
    refused(run, ["compile", photo, "--budget", str(least - 1), "-o", "out"], "1 byte over", "in use")


@pytest.mark.slow
def test_a_board_that_holds_it_to_the_byte_is_enough(run: Run, photo: Path) -> None:
    """Where less than the usual room is left for the stack, what the stack takes decides."""
    least = compiled(run, photo, "--budget", "min", "--board", "nucleo-f103rb", "-o", "least").sram.total
    sizes = [(least + 128 + 7 & ~7) + step for step in (0, 16, 32, 56)]
    found = [compiled(run, photo, "--budget", "min", "--board", board_of(n), "-o", f"b{n}").sram for n in sizes]
    assert all(sram.total + 128 <= n for n, sram in zip(sizes, found, strict=True))
    assert found[-1].total == least, "32 bytes of alignment at most are lost"
    words = ["compile", photo, "--board", board_of(1024), "-o", "out"]
    refused(run, words, "with its smallest arena", "the SRAM budget is 1,024", "--board")
    assert "static data and stack 0" not in run(*words).err


def test_no_budget_is_proposed_that_the_board_lacks(run: Run, photo: Path) -> None:
    said = run("compile", photo, "--board", board_of(1024), "--budget", "512", "-o", "out").err
    assert "over" in said and "--budget" not in said and "--board" in said


@pytest.mark.slow
def test_rows_in_is_a_remedy_that_fits(run: Run, photo: Path) -> None:
    held = compiled(run, photo, "--budget", "min", "-o", "held").sram
    rows = compiled(run, photo, "--budget", "min", "--rows-in", "-o", "rows").sram
    between = min(rows.total + (held.total - rows.total) * 3 // 4, smallest_said(run, photo) - 1)
    words: list[object] = ["compile", photo, "--optimize", "latency", "--budget", str(between)]
    assert "--rows-in, the input arriving line by line" in run(*words, "-o", "out").err
    assert compiled(run, *words[1:], "--rows-in", "-o", "fits").sram.total <= between


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


@pytest.mark.slow
def test_a_front_says_what_is_computed_again(run: Run, photo: Path) -> None:
    points = json.loads(run("compile", photo, "--pareto", "--json").out)["points"]
    assert points[0]["extra_macs"] == 0 and {"extra_macs", "weights_in_ram"} < set(points[0])
    assert "MACs again" in run("compile", photo, "--pareto").out


@pytest.mark.slow
@pytest.mark.parametrize("board", ["nucleo-l4r5zi", "nucleo-g0b1re"])
def test_a_front_for_speed_holds_what_compile_makes_of_every_budget(run: Run, models: Path, board: str) -> None:
    """Weights and code are copied to RAM where that pays; at each point's total no budget gets more cycles than it, but
    for 0.5 % where the weights give way to the code after their schedule was chosen."""
    words = [models / "photo.tflite", "--board", board, "--optimize", "latency"]
    points = json.loads(run("compile", *words, "--pareto", "--json").out)["points"]
    alone = compiled(run, *words, "-o", "alone")
    figures = ("total", "instructions", "cycles")
    assert [points[0][k] for k in figures] == [alone.sram.total, alone.instructions, alone.cycles]
    assert points[0]["weights_in_ram"] > 0 and (points[0]["code_in_ram"] > 0) == (board == "nucleo-g0b1re")
    for point in ends_and_middle(points)[1:]:
        found = compiled(run, *words, "--budget", point["total"], "-o", f"p{point['total']}")
        assert found.sram.total <= point["total"] and found.cycles <= 1.005 * point["cycles"]


@pytest.mark.slow
def test_strips_are_called_strips(run: Run, photo: Path) -> None:
    """What recomputes says so: how many strips, and how many MACs."""
    least = smallest_said(run, photo)
    done = run("compile", photo, "--budget", str(least), "-o", "least")
    assert done.code == 0 and re.search(r"for each of \d strips of columns", done.out.replace("\n", " "))
    assert "computed again" in done.out


def test_a_front_without_a_point_is_refused(run: Run, photo: Path) -> None:
    """A board whose SRAM holds no schedule gets no empty table."""
    refused(run, ["compile", photo, "--pareto", "--board", str(board_of(512))], "no schedule fits", "without --pareto")
