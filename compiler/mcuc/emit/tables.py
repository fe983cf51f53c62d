"""Constant arrays of the generated code: shared by content, formatted as C."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, count

import numpy as np

from mcuc.ir import Array
from mcuc.kernels._base import Table

Content = tuple[str, bytes]  # of a table: its type, and its values as they lie in memory


def content(table: Table) -> Content:
    """What two tables have in common that are one array of the generated code."""
    return table.ctype, np.ascontiguousarray(table.values).astype(_NUMPY[table.ctype]).tobytes()


@dataclass
class TablePool:
    """Collects tables; equal ones (type and content) get one symbol, named after their first use, with a number where
    another table has that name (index tables of two layers of a stream)."""

    prefix: str
    found: dict[Content, tuple[str, Table]] = field(default_factory=dict)

    def symbol(self, table: Table, place: str) -> str:
        """The C symbol of the table, first used at place (part of a C identifier)."""
        key = content(table)
        if key not in self.found:
            base, taken = f"{self.prefix}_{place}_{table.name}", {symbol for symbol, _ in self.found.values()}
            names = chain([base], (f"{base}_{n}" for n in count(2)))
            self.found[key] = (next(name for name in names if name not in taken), table)
        return self.found[key][0]

    @property
    def bytes(self) -> int:
        return sum(t.bytes for _, t in self.found.values())

    def rows(self) -> list[dict[str, object]]:
        """Template rows: ctype, symbol, length, initializer."""
        return [
            {
                "ctype": t.ctype,
                "symbol": symbol,
                "length": max(1, int(t.values.size)),
                "initializer": literals(t.values),
            }
            for symbol, t in self.found.values()
        ]


_NUMPY = {"int8_t": np.int8, "uint8_t": np.uint8, "int16_t": np.int16, "int32_t": np.int32, "int64_t": np.int64}


def literals(values: Array, per_line: int = 24) -> str:
    """Decimal C initializers; INT32_MIN is written as an expression, having no literal of its type (64-bit biases stay
    far inside their range)."""
    text = ["(-2147483647 - 1)" if v == -(2**31) else str(v) for v in values.reshape(-1).tolist()] or ["0"]
    return ",\n".join("    " + ", ".join(text[i : i + per_line]) for i in range(0, len(text), per_line))
