"""The output folder: replaced as a whole or not at all, and never with anything of the user's in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mcuc.emit import deliver
from mcuc.errors import McucError


def ours(out: Path, files: dict[str, str]) -> Path:
    """A folder as mcuc leaves it."""
    with deliver.staging(out) as stage:
        for name, text in files.items():
            (stage / name).write_text(text)
        (stage / "manifest.json").write_text(json.dumps({"generator": "mcuc", "files": sorted(files)}))
    return out


def content(out: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in out.iterdir()}


def test_a_folder_of_ours_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = ours(tmp_path / "out", {"old.c": "1", "both.c": "2"})
    ours(out, {"both.c": "3", "new.c": "4"})
    assert {k: v for k, v in content(out).items() if k != "manifest.json"} == {"both.c": "3", "new.c": "4"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["my_main.c", "sub/y"])
def test_files_of_the_users_own_are_never_deleted(name: str, tmp_path: Path) -> None:
    out = ours(tmp_path / "out", {"a.c": "1"})
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(McucError, match=name.split("/")[0]) as caught:
        ours(out, {"a.c": "2"})
    assert caught.value.code == "foreign-files"
    assert (out / name).read_text() == "mine"
    assert (out / "a.c").read_text() == "1"


def test_the_last_good_output_stays_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ours(tmp_path / "out", {"a.c": "1"})
    rename, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(deliver.os, "replace", second_fails)
    with pytest.raises(McucError):
        ours(out, {"a.c": "2"})
    assert len(calls) == 3  # aside, into place, back
    assert (out / "a.c").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_cannot_even_be_put_back_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = ours(tmp_path / "out", {"a.c": "1"})
    rename, calls = os.replace, []

    def only_the_first_works(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(deliver.os, "replace", only_the_first_works)
    with pytest.raises(McucError):
        ours(out, {"a.c": "2"})
    assert [p.read_text() for p in tmp_path.rglob("a.c")] == ["1"]
