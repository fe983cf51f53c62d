"""The windows of a stream, worked out with rounds that repeat skipped, are those of every round."""

from __future__ import annotations

import numpy as np
import pytest

from mcuc.kernels._base import Columns
from mcuc.schedule import windows
from mcuc.schedule.windows import _advance, _Shape


def test_skipped_rounds_change_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random chains with branches, readers of whole rows, kernels for several columns, rows of unlike widths."""
    rng = np.random.default_rng(0)
    calls, waited = [], 0
    for _ in range(300):
        count, width = int(rng.integers(1, 6)), int(rng.integers(1, 160))
        mask = (1 << count) - 1 if rng.random() < 0.8 else int(rng.integers(1, 1 << count))
        shapes, current = [], []
        for j in range(count):
            reads = []
            for i in sorted(rng.choice(j, min(j, int(rng.integers(1, 3))), replace=False)) if j else ():
                taps, pad = (1, 0) if rng.random() < 0.7 else (3, 1)
                reads.append((int(i), None if rng.random() < 0.2 else Columns(1, taps, 1 + (rng.random() < 0.05), pad)))
                current.append(bool(rng.random() < 0.9 and mask >> i & 1 and mask >> j & 1))
            waited += any(columns is None for _, columns in reads)
            shapes.append(_Shape(int(rng.choice([1, 2, 4, 8])), bool(rng.random() < 0.2), tuple(reads)))
        steps = tuple(int(-(-rng.integers(1, 9) // m.together) * m.together) for m in shapes)
        widths = tuple((0, width if rng.random() < 0.9 else int(rng.integers(1, 160))) for _ in shapes)
        calls.append((tuple(shapes), mask, tuple(current), steps, widths))
    rounds = 0
    real = windows._Row.round

    def counted(self: windows._Row, most: list[int]) -> None:
        nonlocal rounds
        rounds += 1
        real(self, most)

    monkeypatch.setattr(windows._Row, "round", counted)
    fast = [_advance.__wrapped__(*call) for call in calls]
    few, rounds = rounds, 0
    monkeypatch.setattr(windows._Row, "skip", lambda self: None)
    assert fast == [_advance.__wrapped__(*call) for call in calls]
    assert 4 * few < 3 * rounds and waited > 50
