"""The Python interface refuses what the command line refuses, before it reads or writes anything."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from mcuc import api
from mcuc.errors import McucError

WRONG: list[tuple[str, dict[str, Any]]] = [
    *((name, {"seed": value}) for name in ("compile", "build", "verify") for value in (-1, 1.5, "1", None, True)),
    *((name, {"board": value}) for name in ("compile", "build", "verify", "check", "profile")
      for value in (None, 7, Path("b.toml"))),
    *((name, {key: value}) for name in ("compile", "build") for key in ("budget", "flash")
      for value in (0, -1, 1.5, True, b"64KB")),
    *((name, {"latency_ms": value}) for name in ("compile", "build") for value in (0, -1.0, float("nan"), "1ms")),
    *(("verify", {"samples": value}) for value in (0, -1, 2.0)),
    *(("verify", {"emulate": value}) for value in (-1, 0.5, None)),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda v: str(v))
def test_wrong_arguments_are_refused(
    name: str, wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "build":
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    ((key, value),) = wrong.items()
    with pytest.raises(McucError) as caught:
        getattr(api, name)(*(() if name == "build" else ("gone.tflite",)), **wrong)
    assert caught.value.code == "bad-argument"
    assert caught.value.where == f"argument {key}" and repr(value) in caught.value.found and caught.value.try_this
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [65536, "64KB", None])
def test_right_sizes_get_as_far_as_the_file(size: int | str | None) -> None:
    with pytest.raises(McucError) as caught:
        api.compile("gone.tflite", budget=size, flash=size, seed=3, latency_ms=2)
    assert caught.value.code == "no-model"


def test_the_documentation_says_what_becomes_of_differing_answers() -> None:
    assert "report.verify.bit_exact False" in (inspect.getdoc(api.compile) or "")
