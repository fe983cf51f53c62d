"""Damaged model files are refused with an error, or are valid: no crash, no hang, no gigabyte of memory.

benchmarks/mutated_files.py does the same for thousands, of real models too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile_seeds import small_seeds, surroundings
from isolated import Outcome, judged
from mutations import BYTES, ONNX, TFLITE, Seed, mutated

CASES = 60


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return small_seeds()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inside = tmp_path_factory.mktemp("hostile") / "models"
    surroundings(inside)
    return inside


def written(folder: Path, seed: Seed, raw: bytes) -> Path:
    path = folder / f"case{seed.suffix}"
    path.write_bytes(raw)
    return path


def test_the_files_themselves_are_in_order(seeds: list[Seed], folder: Path) -> None:
    """Else their mutants would be refused for nothing. The float ones are refused by name, and are quantized."""
    found = {s.name: judged(written(folder, s, s.raw), s.converts) for s in seeds}
    assert found["small_int8.onnx"] == found["small_int8.tflite"] == Outcome("accepted", "accepted")
    for name in ("small_float.onnx", "small_external.onnx"):
        assert (found[name].float, found[name].failure) == ("accepted", "") and found[name].front != "accepted"


@pytest.mark.parametrize("number", range(CASES))
def test_a_mutant_is_refused_or_valid(number: int, seeds: list[Seed], folder: Path) -> None:
    rng = np.random.default_rng([7, number])
    seed = seeds[number % len(seeds)]
    done, raw = mutated(seed, rng)
    assert done and raw != seed.raw
    outcome = judged(written(folder, seed, raw), seed.converts and number % 3 == 0)
    assert outcome.failure == "" and outcome.check and outcome.front, (seed.name, done, outcome.failure)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_every_kind_of_damage_can_be_done(suffix: str, seeds: list[Seed]) -> None:
    for name, change in {**BYTES, **(ONNX if suffix == ".onnx" else TFLITE)}.items():
        files = [s.raw for s in seeds if s.suffix == suffix]
        made = [change(raw, np.random.default_rng(i)) for raw in files for i in range(30)]
        assert any(m is not None and m not in files for m in made), name


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import os; os.abort()", "crashed: SIGABRT"),
        ("bytearray(3 << 29)", "MemoryError"),
        ("while True: pass", "hangs"),
        ("import os; os._exit(3)", "exit status 3"),
    ],
)
def test_the_judge_sees_what_it_looks_for(code: str, word: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An importer that does each of these fails."""
    import isolated

    def load(path: Path, profile: str | None = None) -> None:
        exec(code)

    monkeypatch.setattr(isolated, "load", load)
    monkeypatch.setattr(isolated, "CPU_SECONDS", 2)
    monkeypatch.setattr(isolated, "_check", lambda path: None)
    assert word in judged(folder / "case.onnx", False).failure


def test_nothing_is_written_outside_the_folder(folder: Path) -> None:
    assert {p.name for p in folder.parent.iterdir()} == {"models", "outside.bin"}
    assert (folder.parent / "outside.bin").read_bytes() == bytes(4096)
