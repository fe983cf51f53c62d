"""Heads by groups: what queries, keys and values are computed from is computed again, and no number changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import assert_equal, run_reference, samples
from test_attention import CHANNELS, DEPTH, TOKENS, Builder

import mcuc
from mcuc import ops, passes
from mcuc.exporters import tflite as exporter
from mcuc.ir import Graph
from mcuc.passes.head_groups import group_heads, most_heads
from mcuc.schedule import Segment
from mcuc.schedule.explore import explore
from mcuc.targets import load_board

HEADS = 3


def low_rank_attention() -> Graph:
    """Queries, keys and values from two dense layers more, what comes out behind one, all added to the input."""
    b = Builder()
    x = b.tensors["x"]
    t = b.dense(b.dense(b.dense(x, 20), 20), 3 * HEADS * DEPTH)
    t = b.transpose(b.reshape(t, 1, TOKENS, 3, HEADS, DEPTH), 2, 0, 3, 1, 4)
    q, k, v = (b.slice(t, 0, i) for i in range(3))
    s = b.made("BATCH_MATMUL", [q, k], (1, HEADS, TOKENS, TOKENS), 0.4, 3, adjY=True)
    p = b.made("SOFTMAX", [s], s.shape, 1 / 256, -128, beta=1.0)
    o = b.made("BATCH_MATMUL", [p, v], (1, HEADS, TOKENS, DEPTH), 0.05, 2)
    y = b.dense(b.reshape(b.transpose(o, 0, 2, 1, 3), TOKENS, HEADS * DEPTH), CHANNELS)
    return b.graph(b.made("ADD", [x, b.reshape(y, 1, TOKENS, CHANNELS)], x.shape, 0.08, 1))


@pytest.mark.parametrize(("groups", "apart", "chains"), [(1, False, 1), (2, False, 2), (3, False, 3), (3, True, 4)])
def test_each_group_computes_the_chain_again(groups: int, apart: bool, chains: int) -> None:
    plain = passes.optimize(low_rank_attention())
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
    graph = low_rank_attention()
    board = load_board("stm32f746g-disco")
    found = explore(passes.optimize(graph), board.chip, "sram").candidates
    once = min(c.peak for c in found if not c.recomputed)
    assert found[0].peak < once and found[0].recomputed
    file = tmp_path / "net.tflite"
    file.write_bytes(exporter.export(graph))
    made = mcuc.compile(file, board="stm32f746g-disco", optimize="sram", out=tmp_path / "out")
    assert made.report.verify.bit_exact and made.schedule.recomputed == found[0].recomputed
    blocks = [u.stream.blocks for u in made.schedule.segments if isinstance(u, Segment) and u.stream is not None]
    assert max(blocks) > 1, "tokens go through in blocks"
