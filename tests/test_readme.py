"""What the README says: its numbers are those of benchmarks/results, the functions that it names exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import tables

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_of_the_readme_are_those_of_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in tables.TABLES)
    assert tables.filled(text) == text, "run python benchmarks/tables.py --write"


@pytest.mark.parametrize("page", ["README.md", "docs/quantization.md", "docs/cli.md"])
def test_the_functions_that_the_pages_name_exist(page: str) -> None:
    """mcuc.a.b( and mcuc.a.b in code are found by importing mcuc, and mcuc.a where that is a module."""
    names = set(re.findall(r"`?mcuc((?:\.[a-z_]+)+)(?=[(`])", (ROOT / page).read_text(encoding="utf-8")))
    assert names
    for name in names:
        home, _, last = f"mcuc{name}".rpartition(".")
        assert hasattr(import_module(home), last), f"mcuc{name}"
