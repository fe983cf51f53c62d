"""Heads by groups: what queries, keys and values are computed from is computed again, and no number changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from attention_networks import CHANNELS, TOKENS, low_rank_attention
from harness import assert_equal, run_reference, samples

import mcuc
from mcuc import ops, passes
from mcuc.exporters import tflite as exporter
from mcuc.passes.head_groups import group_heads, most_heads
from mcuc.schedule import Segment
from mcuc.schedule.explore import explore
from mcuc.targets import load_board

HEADS = 3


@pytest.mark.parametrize(("groups", "apart", "chains"), [(1, False, 1), (2, False, 2), (3, False, 3), (3, True, 4)])
def test_each_group_computes_the_chain_again(groups: int, apart: bool, chains: int) -> None:
    plain = passes.optimize(low_rank_attention(HEADS))
    assert most_heads(plain) == HEADS
    grouped, again = group_heads(plain, groups, apart)
    inputs = samples(plain, 3)
    assert_equal(run_reference(plain, inputs), run_reference(grouped, inputs), f"{groups} groups")
    macs = {n.name: ops.get(n.op).cost(n, grouped).macs for n in grouped.nodes}
    assert sum(macs[name] for name in again) == (chains - 1) * TOKENS * (CHANNELS * 20 + 20 * 20)
    once = sum(ops.get(n.op).cost(n, plain).macs for n in plain.nodes)
    assert sum(macs.values()) - sum(macs[n] for n in again) == once


def test_groups_take_less_memory_and_their_macs_are_counted(tmp_path: Path) -> None:
    """The smallest schedule computes the chain again, stays exact on host and core, and says what that takes."""
    graph = low_rank_attention(HEADS)
    board = load_board("stm32f746g-disco")
    plain = passes.optimize(graph)
    found = explore(plain, board.chip, "sram").candidates
    once = min(c.peak for c in found if not c.recomputed)
    assert found[0].peak < once and found[0].recomputed
    file = tmp_path / "net.tflite"
    file.write_bytes(exporter.export(graph))
    made = mcuc.compile(file, board="stm32f746g-disco", optimize="sram", out=tmp_path / "out")
    assert made.report.verify.bit_exact and made.schedule.recomputed == found[0].recomputed
    assert sum(s.extra_macs for s in made.report.segments) == made.schedule.recomputed
    assert made.report.macs == sum(ops.get(n.op).cost(n, plain).macs for n in plain.nodes), "each once"
    blocks = [u.stream.blocks for u in made.schedule.segments if isinstance(u, Segment) and u.stream is not None]
    assert max(blocks) > 1, "tokens go through in blocks"
