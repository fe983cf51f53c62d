"""Sizes and times as people write them: 320KB, 1MB, 327680, 100ms. 1 KB is 1024 bytes here."""

from __future__ import annotations

import re
from decimal import Decimal

from mcuc.errors import McucError

UNITS = {"": 1, "B": 1, "K": 1024, "KB": 1024, "KIB": 1024, "M": 1 << 20, "MB": 1 << 20, "MIB": 1 << 20}
MOST_BYTES = 1 << 32  # the address space of a 32-bit core
TIMES = {"S": Decimal(1000), "MS": Decimal(1), "US": Decimal("0.001")}
_NUMBER = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of "320KB", "0.5MB", "327680", "320 KiB". Raises McucError("bad-size")."""
    match = _NUMBER.fullmatch(text.strip())
    unit = None if match is None else UNITS.get(match[2].upper())
    if match is None or unit is None:
        raise McucError(
            "bad-size",
            f"{text!r} is no size",
            where="a size",
            try_this="for example 320KB (1 KB = 1024 bytes), 1MB or 327680",
        )
    value = Decimal(match[1]) * unit
    if value != int(value):
        raise McucError(
            "bad-size",
            f"{text!r} is {value.normalize():f} bytes, which is no whole number",
            try_this="for example 320KB (1 KB = 1024 bytes), 1MB or 327680", where="a size")
    if not 0 < value <= MOST_BYTES:
        raise McucError(
            "bad-size",
            f"{text!r} is {int(value)} bytes",
            where="a size",
            try_this="more than 0 and at most 4096MB",
        )
    return int(value)


def format_size(count: int) -> str:
    """ "320 KB", "1.5 KB", "76 B": at most one decimal; 1 KB = 1024 bytes."""
    for limit, name in ((1 << 20, "MB"), (1 << 10, "KB")):
        if count >= limit:
            return f"{count / limit:.1f}".removesuffix(".0") + f" {name}"
    return f"{count} B"


def parse_time_ms(text: str) -> float:
    """Milliseconds of "100ms", "0.5s", "800us". Raises McucError("bad-time"): a unit is needed."""
    match = _NUMBER.fullmatch(text.strip())
    unit = None if match is None else TIMES.get(match[2].upper())
    if match is None or unit is None or Decimal(match[1]) == 0:
        raise McucError("bad-time", f"{text!r} is no time", try_this="for example 100ms, 0.5s or 800us", where="a time")
    return float(Decimal(match[1]) * unit)
