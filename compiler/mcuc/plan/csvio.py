"""Buffers as CSV with MiniMalloc's columns (id,lower,upper,size), for debugging and cross-checks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcuc.errors import McucError
from mcuc.plan._problem import Buffer, check

COLUMNS = ("id", "lower", "upper", "size")


def read_csv(path: Path, align: int = 1) -> list[Buffer]:
    """The buffers of a file with the columns id, lower, upper, size in any order; further columns are ignored.

    The format has no alignment: `align` (bytes) is given to every buffer.
    Raises McucError("invalid-csv") for a missing column or a value that is no integer, McucError("invalid-buffer") for
    values that make no buffer, OSError when the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise McucError(
            "invalid-csv",
            f"not a CSV file: {error}",
            where=str(path),
            try_this=f"give a CSV file with the columns {','.join(COLUMNS)}",
        ) from error
    buffers = []
    for number, row in enumerate(rows, start=1):
        missing = [column for column in COLUMNS if not row.get(column)]
        if missing:
            found = f"buffer {number} has no value for {', '.join(missing)}"
            raise McucError("invalid-csv", found, str(path), f"give the columns {','.join(COLUMNS)}")
        try:
            lower, upper, size = (int(row[column]) for column in COLUMNS[1:])
        except ValueError as error:
            raise McucError("invalid-csv", f"buffer {number}: {error}", str(path), "write plain integers") from error
        buffers.append(Buffer(row["id"], lower, upper, size, align))
    check(buffers)
    return buffers


def write_csv(path: Path, buffers: Sequence[Buffer], offsets: Mapping[str, int] | None = None) -> None:
    """Write the buffers in the given order; with offsets (bytes by id) a fifth column `offset`, as MiniMalloc does."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if offsets is None else (*COLUMNS, "offset"))
    for b in buffers:
        extra = () if offsets is None else (offsets[b.id],)
        writer.writerow((b.id, b.lower, b.upper, b.size, *extra))
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
