"""Every refusal says what was found, where, and what to try."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mcuc.errors import McucError

SOURCES = sorted((Path(__file__).resolve().parents[1] / "compiler" / "mcuc").rglob("*.py"))


def test_no_part_can_be_left_out() -> None:
    for parts in (("code",), ("code", "found"), ("code", "found", "where")):
        with pytest.raises(TypeError):
            McucError(*parts)
    error = McucError("code", "it is wrong", "here", "mend it")
    assert str(error) == "it is wrong\n  where: here\n  try:   mend it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.parts[-2:]))
def test_no_part_is_an_empty_text(path: Path) -> None:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "McucError":
            parts = [*call.args, *(keyword.value for keyword in call.keywords)]
            assert len(parts) == 4, f"{path}:{call.lineno}"
            empty = [p for p in parts if isinstance(p, ast.Constant) and not str(p.value or "").strip()]
            assert not empty, f"{path}:{call.lineno}"
