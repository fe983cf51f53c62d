"""Buffers as CSV with MiniMalloc's columns (id,lower,upper,size), for debugging and cross-checks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcuc.errors import McucError
from mcuc.plan._problem import Buffer, Span, check

COLUMNS = ("id", "lower", "upper", "size")
SPANS = "spans"


def read_csv(path: Path, align: int = 1) -> list[Buffer]:
    """The buffers of a file with the columns id, lower, upper, size in any order; further columns are ignored.

    A column `spans`, if there is one, holds the spans as `write_csv` writes them. The format has no alignment: `align`
    (bytes) is given to every buffer.
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
            spans = tuple(_span(text) for text in (row.get(SPANS) or "").split())
        except ValueError as error:
            raise McucError("invalid-csv", f"buffer {number}: {error}", str(path), "write plain integers") from error
        buffers.append(Buffer(row["id"], lower, upper, size, align, spans))
    check(buffers)
    return buffers


def _span(text: str) -> Span:
    """Raises ValueError when it is not four integers."""
    lower, upper, start, end = (int(number) for number in text.split(":"))
    return Span(lower, upper, start, end)


def write_csv(path: Path, buffers: Sequence[Buffer], offsets: Mapping[str, int] | None = None) -> None:
    """Write the buffers in the given order; with offsets (bytes by id) a fifth column `offset`, as MiniMalloc does.

    Spans are written where there are any, as a last column `spans` of lower:upper:start:end separated by spaces.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    with_spans = any(b.spans for b in buffers)
    writer.writerow((*COLUMNS, *(("offset",) if offsets is not None else ()), *((SPANS,) if with_spans else ())))
    for b in buffers:
        row: list[object] = [b.id, b.lower, b.upper, b.size]
        if offsets is not None:
            row.append(offsets[b.id])
        if with_spans:
            row.append(" ".join(f"{s.lower}:{s.upper}:{s.start}:{s.end}" for s in b.spans))
        writer.writerow(row)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
