"""The README's numbers are those of benchmarks/results."""

from __future__ import annotations

from pathlib import Path

import tables

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_of_the_readme_are_those_of_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in tables.TABLES)
    assert tables.filled(text) == text, "run python benchmarks/tables.py --write"
