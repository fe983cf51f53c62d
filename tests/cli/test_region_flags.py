"""--regions on the command line: what is printed, delivered and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import Run

import mcuc
from mcuc.errors import McucError


def test_compile_into_two_regions(run: Run, models: Path) -> None:
    words = ("compile", models / "photo.tflite", "--board", "stm32f4-discovery", "--regions", "ccm, sram1", "-o", "out")
    done = run(*words)
    assert (done.code, done.err) == (0, "")
    assert "\nin ccm " in done.out and "\nin sram1 " in done.out and "bit-exact" in done.out
    report = json.loads(Path("out/report.json").read_text())
    names = {r["name"]: r for r in report["sram"]["regions"]}
    assert set(names) == {"ccm", "sram1", "sram2"} and names["sram2"]["arena"] == 0
    assert names["ccm"]["size"] == 64 * 1024 and names["ccm"]["arena"] > 0 < names["sram1"]["arena"]
    assert report["sram"]["arena"] == names["ccm"]["arena"] + names["sram1"]["arena"]
    assert {b["region"] for b in report["memory_map"]} == {"ccm", "sram1"}
    again = run(*words[:-1], "again", "--json")
    assert again.code == 0 and json.loads(again.out) == report
    for path in Path("out").iterdir():
        assert path.read_bytes() == (Path("again") / path.name).read_bytes(), path.name


def test_without_regions_nothing_of_them_is_reported(run: Run, models: Path) -> None:
    report = json.loads(run("compile", models / "tiny.tflite", "--json").out)
    assert report["sram"]["regions"] == [] and {b["region"] for b in report["memory_map"]} == {""}


@pytest.mark.parametrize("names", ["ccm", "dtcm,nothing", "itcm", "", "dtcm,,sram1"])
def test_names_that_the_chip_lacks_are_refused_with_those_it_has(names: str, run: Run, models: Path) -> None:
    done = run("compile", models / "tiny.tflite", "--board", "nucleo-f746zg", "--regions", names)
    assert done.code == 1 and done.out == ""
    assert "no RAM region for data named" in done.err and "--regions" in done.err
    assert "dtcm (64 KB), sram1 (240 KB), sram2 (16 KB); or all" in done.err
    assert not any(Path().iterdir())


def test_the_front_does_not_take_regions(run: Run, models: Path) -> None:
    done = run("compile", models / "tiny.tflite", "--pareto", "--regions", "all")
    assert done.code == 2 and "--regions" in done.err


@pytest.mark.parametrize("regions", ["dtcm", [1], [None]])
def test_from_python_regions_are_a_list_of_names(regions: object, models: Path) -> None:
    with pytest.raises(McucError, match="regions is") as caught:
        mcuc.compile(models / "tiny.tflite", regions=regions)  # type: ignore[arg-type]
    assert caught.value.code == "bad-argument"
