"""The README's numbers are those of benchmarks/results."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import tables


def test_the_tables_of_the_readme_are_those_of_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in tables.TABLES)
    assert tables.filled(text) == text, "run python benchmarks/tables.py --write"
