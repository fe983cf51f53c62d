"""An encoding that was decoded before reads as it does the first time, whatever stands around it."""

from __future__ import annotations

import random

import pytest

from mcuc.emulate import instructions
from mcuc.emulate.instructions import decode, decoder

ADD, IT_EQ, BEQ = bytes.fromhex("0130"), bytes.fromhex("08bf"), bytes.fromhex("00d0")  # adds r0, #1; it eq; beq


def test_one_encoding_within_an_it_block_and_outside() -> None:
    md = decoder("cortex-m4")
    for _ in range(2):  # the second time both are known
        outside, _it, inside = decode(md, ADD + IT_EQ + ADD, 0x8000)
        assert (outside.name, outside.conditional, outside.writes_flags) == ("adds", False, True)
        assert (inside.name, inside.conditional, inside.writes_flags) == ("add", True, False)


def test_a_branch_known_from_elsewhere_names_its_own_target() -> None:
    md = decoder("cortex-m4")
    assert [decode(md, BEQ, at)[0].text for at in (0x8000, 0x9000)] == ["beq #0x8004", "beq #0x9004"]
    assert [decode(md, BEQ, at)[0].address for at in (0x8000, 0x9000)] == [0x8000, 0x9000]


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m33"])
def test_any_bytes_read_the_same_when_all_of_them_are_known(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = random.Random(1).randbytes(8000)
    monkeypatch.setattr(instructions, "_REDUCED", {})
    first = decode(decoder(core), code, 0x8000)
    assert sum(i.size for i in first) == len(code) and len({i.name for i in first}) > 50
    assert decode(decoder(core), code, 0x8000) == first
