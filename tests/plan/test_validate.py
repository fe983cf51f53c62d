"""The validator refuses each kind of broken plan and names what is wrong."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from mcuc.errors import McucError
from mcuc.plan.place import Buffer
from mcuc.plan.validate import validate

A = Buffer("a", 0, 2, 10)
B = Buffer("b", 1, 3, 8)
C = Buffer("c", 2, 4, 8, align=16)
GOOD = {"a": 0, "b": 12, "c": 32}


def refused(buffers: list[Buffer], offsets: dict[str, int], capacity: int | None = None) -> str:
    with pytest.raises(McucError) as caught:
        validate(buffers, offsets, capacity)
    assert caught.value.code == "invalid-plan"
    return caught.value.found


def test_a_good_plan_passes() -> None:
    validate([A, B, C], GOOD)
    validate([A, B, C], GOOD, capacity=40)


def test_buffers_that_follow_each_other_in_time_or_in_space_may_touch() -> None:
    validate([A, C], {"a": 0, "c": 0})
    validate([Buffer("x", 0, 1, 4), Buffer("y", 0, 1, 4)], {"x": 0, "y": 4})


@pytest.mark.parametrize("offset", [0, 4, 8])
def test_overlap_in_time_and_space_names_both(offset: int) -> None:
    found = refused([A, B], {"a": 0, "b": offset})
    assert "'a'" in found and "'b'" in found and "steps 1 to 2" in found


def test_a_buffer_inside_another_overlaps() -> None:
    assert "'inner'" in refused([Buffer("outer", 0, 9, 64), Buffer("inner", 4, 5, 4)], {"outer": 0, "inner": 16})


def test_misalignment() -> None:
    assert "'c' at offset 36 is not aligned to 16" in refused([A, B, C], {**GOOD, "c": 36})


def test_negative_offset() -> None:
    assert "'a' has the negative offset -12" in refused([A, B, C], {**GOOD, "a": -12})


def test_missing_buffer() -> None:
    assert "'b' has no offset" in refused([A, B, C], {"a": 0, "c": 32})


def test_unknown_buffer() -> None:
    assert "'ghost'" in refused([A, B, C], {**GOOD, "ghost": 0})


def test_beyond_the_capacity() -> None:
    assert "'c' ends at byte 40, beyond the capacity of 39" in refused([A, B, C], GOOD, capacity=39)


def test_name_given_twice() -> None:
    assert "share the name 'a'" in refused([A, A], {"a": 0})


@pytest.mark.parametrize("bad", [Buffer("m", 0, 1, -4), Buffer("m", 3, 1, 4), Buffer("m", 0, 1, 4, align=0)])
def test_malformed_buffer(bad: Buffer) -> None:
    assert "'m' is malformed" in refused([bad], {"m": 0})


def test_it_shares_no_code_with_the_placer() -> None:
    tree = ast.parse(Path(str(inspect.getsourcefile(validate))).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in imported if name and name.startswith("mcuc")} == {"mcuc.errors"}
