"""Finding and reading the TOML files of chips and boards, those under targets/ and a user's own."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from mcuc.errors import McucError
from mcuc.target_types import (
    Accelerator,
    Board,
    Caches,
    Chip,
    ClockStep,
    Core,
    FlashTiming,
    Fpu,
    ReadTiming,
    ReadyRow,
    Region,
    RegisterValue,
    check_chip,
    check_name,
    require,
)

__all__ = [
    "Accelerator",
    "Board",
    "Caches",
    "Chip",
    "ClockStep",
    "Core",
    "FlashTiming",
    "Fpu",
    "ReadTiming",
    "ReadyRow",
    "Region",
    "RegisterValue",
    "list_boards",
    "load_board",
    "load_chip",
    "weights_outside",
]

_T = TypeVar("_T")


class _BoardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str
    chip: str
    source: str
    reserved_sram: int = 0
    qemu_machine: str = ""
    external: tuple[Region, ...] = ()


def load_board(name: str) -> Board:
    """The board of that name, or of a file where name ends in .toml. McucError where it is unknown or wrong."""
    if name.endswith(".toml"):
        path = Path(name)
        return _board(path, path.parent)
    return _named_board(name)


def list_boards() -> tuple[Board, ...]:
    """All boards that come with mcuc, by name."""
    return tuple(_named_board(name) for name in _names("boards"))


def weights_outside(board: Board) -> Board | None:
    """The board with weights in the flash outside the chip; None where it has none, or they are there already."""
    outside = board.chip.external_flash
    if outside is None or board.chip.weights_in:
        return None
    return msgspec.structs.replace(board, chip=msgspec.structs.replace(board.chip, weights_in=outside.name))


def load_chip(name: str) -> Chip:
    """The chip of that name, or of a file where name ends in .toml. McucError where it is unknown or wrong."""
    if name.endswith(".toml"):
        return _chip(Path(name))
    return _named_chip(name)


@cache
def _named_board(name: str) -> Board:
    names = _names("boards")
    if name not in names and Path(name).exists():
        raise McucError(
            "unknown-board",
            f"{name} is a file or folder, but no board file: their names end in .toml.",
            where="--board",
            try_this="give the board's file, as docs/adding-a-board.md describes it; `mcuc boards` lists those known",
        )
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"one of {', '.join(near)}; " if near else ""
        raise McucError(
            "unknown-board",
            f"There is no board named {name!r}.",
            try_this=f"{hint}`mcuc boards` lists all; a path to a .toml file of your own works too", where="--board")
    return _board(_targets() / "boards" / f"{name}.toml", None)


@cache
def _named_chip(name: str) -> Chip:
    names = _names("chips")
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
        raise McucError(
            "unknown-chip",
            f"There is no chip named {name!r}.",
            where="chip, in a board file",
            try_this=f"one of {', '.join(near)}",
        )
    return _chip(_targets() / "chips" / f"{name}.toml")


@cache
def _names(kind: Literal["boards", "chips"]) -> tuple[str, ...]:
    files = (_targets() / kind).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def _targets() -> Traversable:
    """The folder with chips/ and boards/: the installed package mcuc_targets, or targets/ of a checkout."""
    try:
        return resources.files("mcuc_targets")
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[2] / "targets"


def _board(file: Traversable, folder: Path | None) -> Board:
    """folder: where a relative path of the board's chip starts; None for boards that come with mcuc."""
    raw = _read(file, _BoardFile)
    chip_name = raw.chip
    if folder is not None and chip_name.endswith(".toml"):
        chip_name = str(folder / chip_name)
    chip = load_chip(chip_name)
    where = str(file)
    check_name(raw.name, where)
    require(bool(raw.source), where, "source must not be empty")
    require(
        0 <= raw.reserved_sram < chip.ram_bytes,
        where,
        f"reserved_sram is {raw.reserved_sram}, it must be 0 or more and less than the {chip.ram_bytes} bytes of RAM",
    )
    require(raw.reserved_sram % 8 == 0, where, "reserved_sram must be a multiple of 8: the stack starts there")
    if raw.external:
        outside = tuple(msgspec.structs.replace(r, external=True, distance=3) for r in raw.external)
        chip = msgspec.structs.replace(chip, regions=(*chip.regions, *outside))
        check_chip(chip, where)
    return Board(raw.name, raw.title, chip, raw.source, raw.reserved_sram, raw.qemu_machine)


def _chip(file: Traversable) -> Chip:
    chip = _read(file, Chip)
    check_chip(chip, str(file))
    require(not chip.weights_in, str(file), "weights_in is no key of a chip's file")
    return chip


def _read(file: Traversable, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), kind)
    except OSError as e:
        raise McucError(
            "board-file",
            f"The file cannot be read: {e.strerror}.",
            str(file),
            "check the path; `mcuc boards` lists the boards",
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as e:
        raise McucError("board-file", f"{e}.", str(file), "docs/adding-a-board.md names every key") from e
