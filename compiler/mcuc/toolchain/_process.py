"""Running a compiler: every way in which it can fail becomes a McucError."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mcuc.errors import McucError

JOBS = 2
_TIMEOUT_S = 600
_SHOWN_LINES = 12
_MORE_THAN = " more than"  # in the message of a memory that is too small, which bytes_over reads
_T = TypeVar("_T")
_R = TypeVar("_R")


def first_line(command: Sequence[str]) -> str | None:
    """First line of what the command prints; None where it cannot run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def run_compiler(command: Sequence[str], where: str, folder: Path) -> None:
    """Run it in folder. McucError "toolchain-missing", "toolchain-killed", "disk-full", "over-flash", "over-sram" or
    "compile-failed" with its first lines; KeyboardInterrupt where that ended the compiler."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as e:
        raise McucError("toolchain-missing", f"{command[0]} is not there any more.", where, "mcuc doctor") from e
    except subprocess.TimeoutExpired as e:
        found = f"{Path(command[0]).name} was stopped after {_TIMEOUT_S} seconds."
        raise McucError(
            "toolchain-killed",
            found,
            where=where,
            try_this="close other programs and try again, or name the other --toolchain",
        ) from e
    except OSError as e:
        raise McucError("toolchain-missing", f"{command[0]} cannot be run: {e.strerror}.", where, "mcuc doctor") from e
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # a terminal interrupts the compiler too, and it may be the first to say so
    if done.returncode != 0:
        raise _failure(command, done.returncode, done.stderr + done.stdout, where)


@contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Turn a failed write of our own into a McucError "disk-full" or "cannot-write"."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(where) from e
        found = f"{e.filename or where} cannot be written: {e.strerror}."
        raise McucError("cannot-write", found, where, "choose another output folder") from e


def in_parallel(function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """function of each item, in order, two at a time."""
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(function, items))


def bytes_over(error: McucError) -> int | None:
    """Bytes by which a firmware is larger than the memory that an over-flash or over-sram of run_compiler names; None
    where the linker did not say."""
    found = re.search(rf"takes ([\d,]+) bytes{_MORE_THAN}", error.found)
    return None if found is None else int(found[1].replace(",", ""))


def _failure(command: Sequence[str], code: int, output: str, where: str) -> McucError:
    name = Path(command[0]).name
    lowered = output.lower()
    if any(text in lowered for text in ("no space left", "nospaceleft", "disk quota exceeded", "diskquota")):
        return _disk_full(where)
    if code < 0:
        reason = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = "it may have run out of memory" if -code == signal.SIGKILL else "mcuc doctor"
        return McucError("toolchain-killed", f"{name} was ended by {reason}.", where, hint)
    lines = [line for line in output.splitlines() if line.strip()]
    text = os.linesep.join(lines[:_SHOWN_LINES]) or f"exit code {code} without a message"
    for region, error, hint in (
        ("RAM", "over-sram", "a board with more SRAM, or a smaller model"),
        ("FLASH", "over-flash", "a board with more flash, --optimize flash, or a smaller model"),
    ):
        over = [
            (int(n), name if region == "FLASH" else region)
            for name, n in re.findall(rf"region [`']({region}\w*)'[:,]? ?overflowed by (\d+) bytes", output)
        ]
        if over:
            found = f"The firmware takes {max(over)[0]:,} bytes{_MORE_THAN} {max(over)[1]} has."
            return McucError(error, found, where, hint)
        if f"{region} is full" in output:
            return McucError(error, f"The firmware does not fit the board:\n{text}", where, hint)
    return McucError("compile-failed", f"{name} refused the C code:\n{text}", where, "mcuc doctor; else report it")


def _disk_full(where: str) -> McucError:
    return McucError("disk-full", "The disk is full.", where, "free some space, or choose another folder")
