"""report.json: the machine-readable form of a Report, and back."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, NoReturn

import msgspec

from mcuc.errors import McucError
from mcuc.report.types import Report

_LIMIT = 2**53  # JSON readers that hold numbers as doubles keep integers exactly up to here
_LIST_OF_NUMBERS = re.compile(r"\[\n\s*((?:\d+,\n\s*)*\d+)\n\s*\]")  # no string of JSON has a line break in it

_SIGNED = re.compile(r"accuracy\.(columns\[\d+\]\.)?((rmse_)?difference\[\d\]|threshold)")


def to_json(report: Report) -> str:
    """The report as JSON: keys sorted, pure ASCII (names from model files may hold any code point), newline at the end.

    Lists of whole numbers, such as spans, take one line each.

    Raises McucError when a figure is not a finite number from 0 to 2**53.
    """
    data = msgspec.to_builtins(report)
    _check_figures(data, "")
    text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False)
    return _LIST_OF_NUMBERS.sub(lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def from_json(text: str) -> Report:
    """The report that to_json wrote; keys it does not know are ignored, so that reports may grow.

    Raises McucError on anything that is not such a report.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
        report = msgspec.convert(data, Report)
    except msgspec.ValidationError as e:
        raise _bad(str(e), "the report") from None
    except (ValueError, RecursionError) as e:
        raise _bad(str(e) or "it is not JSON", "the report") from None
    _check_figures(data, "")
    for i, b in enumerate(report.memory_map):
        if b.lower >= b.upper:
            raise _bad(f"the buffer is live over the empty ticks [{b.lower}, {b.upper})", f"memory_map[{i}]")
        for lower, upper, start, end in b.spans:
            if not (b.lower <= lower <= upper <= b.upper and start <= end <= b.size):
                found = f"ticks [{lower}, {upper}) and bytes [{start}, {end}) lie outside their buffer"
                raise _bad(found, f"memory_map[{i}].spans")
    last = 0
    for i, s in enumerate(report.segments):
        if s.lower != last or s.upper <= s.lower:
            found = f"ticks [{s.lower}, {s.upper}) do not begin where those before them end, at {last}"
            raise _bad(found, f"segments[{i}]")
        last = s.upper
    return report


def _check_figures(data: Any, where: str) -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            _check_figures(value, f"{where}.{key}" if where else str(key))
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            _check_figures(value, f"{where}[{i}]")
    elif isinstance(data, float) and not isfinite(data):
        raise _bad(f"the figure {data} is not finite", where)
    elif isinstance(data, float) and _SIGNED.fullmatch(where) and abs(data) <= _LIMIT:
        return
    elif isinstance(data, int | float) and not 0 <= data <= _LIMIT:
        raise _bad("the figure is negative or larger than 2**53", where)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _bad(found: str, where: str) -> McucError:
    return McucError("bad-report", f"not a valid mcuc report: {found}", where, "write it again with mcuc compile")
