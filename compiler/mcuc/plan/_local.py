"""Local search over the order in which blocks are put down, and over whether each goes as low or as high as it can.

A block that goes up is put at the highest offset at which it ends within its limit; that is how an input whose first
rows die early comes to lie at the top, with what is written later below it. The search asks for one step less than the
best placement known and lowers the bytes that lie beyond, by random changes near a block that does, accepted when they
are no worse than the current placement or than the one 50 rounds ago (late acceptance hill climbing, Burke and Bykov,
European Journal of Operational Research 258, 2017). Rounds, not time, end it, so results are deterministic.

`_blocks.c` is the same search, change for change: a result does not depend on which of the two ran.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.plan._blocks import Blocks

NEVER = (1 << 63) - 1
HISTORY, PATIENCE, WALL_CHECK_ROUNDS = 50, 400, 64


@dataclass(frozen=True)
class Start:
    """Blocks in the order in which they are put down, and by block whether it goes up (1) or down (0)."""

    order: Sequence[int]
    upward: Sequence[int]


@dataclass
class _State:
    order: list[int]
    upward: list[int]
    offset: list[int | None]
    excess: int = NEVER

    def copy(self) -> _State:
        return _State(self.order.copy(), self.upward.copy(), self.offset.copy(), self.excess)


class Random:
    """xorshift64 (Marsaglia, Journal of Statistical Software 8, 2003), as in `_blocks.c`: the same in every version."""

    def __init__(self, seed: int = 0) -> None:
        self.state = 88172645463325252 + seed

    def below(self, n: int) -> int:
        s = self.state
        s ^= s << 13 & 0xFFFFFFFFFFFFFFFF
        s ^= s >> 7
        s ^= s << 17 & 0xFFFFFFFFFFFFFFFF
        self.state = s
        return (s >> 33) % n


@dataclass(frozen=True)
class _Limits:
    """height: of all blocks when the capped ones are lowered to the target, else NEVER."""

    blocks: Blocks
    height: int

    def of(self, i: int, target: int) -> int:
        return target if self.height == NEVER or self.blocks.capped[i] else self.height


def _lowest(b: Blocks, i: int, offset: Sequence[int | None]) -> int:
    at, moved = 0, True
    while moved:
        moved = False
        for e in range(b.begin[i], b.begin[i + 1]):
            base = offset[b.other[e]]
            if base is not None and base + b.low[e] < at < base + b.high[e]:
                at = base + b.high[e]
                at += -at % b.align[i]
                moved = True
    return at


def _highest(b: Blocks, i: int, offset: Sequence[int | None], limit: int) -> int | None:
    at, moved = limit - b.size[i], True
    at -= at % b.align[i]
    while moved and at >= 0:
        moved = False
        for e in range(b.begin[i], b.begin[i + 1]):
            base = offset[b.other[e]]
            if base is not None and base + b.low[e] < at < base + b.high[e]:
                at = base + b.low[e]
                at -= at % b.align[i]
                moved = True
    return at if at >= 0 else None


def _end(b: Blocks, s: _State, i: int) -> int:
    at = s.offset[i]
    return b.size[i] + (0 if at is None else at)


def _put(limits: _Limits, s: _State, start: int, target: int, enough_excess: int) -> None:
    """Place the order from position start on. Stops above enough_excess: the state is then of no use."""
    b = limits.blocks
    s.excess = sum(max(0, _end(b, s, i) - limits.of(i, target)) for i in s.order[:start])
    for i in s.order[start:]:
        s.offset[i] = None
    for i in s.order[start:]:
        if s.excess > enough_excess:
            return
        limit = limits.of(i, target)
        at = _highest(b, i, s.offset, limit) if s.upward[i] else None
        if at is None:
            at = _lowest(b, i, s.offset)
        s.offset[i] = at
        s.excess += max(0, at + b.size[i] - limit)


def _measure(limits: _Limits, s: _State) -> int:
    """What is to be lowered: the end of all blocks, or of the capped ones while all stay within the height."""
    b = limits.blocks
    ends = [_end(b, s, i) for i in range(b.count)]
    if limits.height == NEVER:
        return max(ends)
    if max(ends) > limits.height:
        return NEVER
    return max((end for end, capped in zip(ends, b.capped, strict=True) if capped), default=0)


def _change(limits: _Limits, s: _State, target: int, random: Random) -> int:
    """One random change, near a block that ends above its limit; returns the first position that it concerns."""
    b, chosen, seen = limits.blocks, 0, 0
    for i in range(b.count):
        if _end(b, s, i) > limits.of(i, target):
            seen += 1
            if random.below(seen) == 0:
                chosen = i
    p = s.order.index(chosen)
    entries = b.begin[chosen + 1] - b.begin[chosen]
    near = b.other[b.begin[chosen] + random.below(entries)] if entries else chosen
    q = s.order.index(near)
    kind = random.below(6)
    if kind == 0:  # the block earlier
        to = random.below(p + 1)
        s.order.insert(to, s.order.pop(p))
        return to
    if kind == 1:  # in the neighbour's turn, and the neighbour in the block's
        s.order[p], s.order[q] = near, chosen
        return min(p, q)
    if kind == 2:  # the neighbour to the block's turn
        s.order.insert(p, s.order.pop(q))
        return min(p, q)
    if kind == 3:
        s.upward[chosen] ^= 1
        return p
    if kind == 4:
        s.upward[near] ^= 1
        return q
    origin, to = random.below(b.count), random.below(b.count)  # any block to any turn
    s.order.insert(to, s.order.pop(origin))
    return min(origin, to)


def _next_target(best: int, step: int, enough: int) -> int:
    return enough if best == NEVER else max(enough, best - step)


def improve(
    blocks: Blocks,
    height: int,
    enough: int,
    step: int,
    starts: Sequence[Start],
    rounds: int,
    deadline: float,
    known: tuple[Sequence[int], int],
) -> tuple[list[int], int, int]:
    """Lower the end of all blocks, or with a height (bytes, else NEVER) that of the capped ones while all keep to it.

    Ends at the first placement that is not above enough, or after so many rounds beyond the starts, or at the deadline
    (monotonic seconds), which is only a safety net. known: offsets and their measure, NEVER where there are none.
    Returns the best offsets (bytes by index), their measure, and the rounds made.
    """
    limits, random = _Limits(blocks, height), Random()
    best_offsets, best = list(known[0]), known[1]
    quality = []
    for start in starts:
        if best <= enough:
            break
        s = _State(list(start.order), list(start.upward), [None] * blocks.count)
        _put(limits, s, 0, _next_target(best, step, enough), NEVER)
        quality.append(s.excess)
        if (reached := _measure(limits, s)) < best:
            best, best_offsets = reached, [o or 0 for o in s.offset]
    ranking = sorted(range(len(quality)), key=lambda k: (quality[k], k))
    done = restart = 0
    while done < rounds and best > enough:
        start = starts[ranking[restart % len(starts)]]
        restart += 1
        target = _next_target(best, step, enough)
        current = _State(list(start.order), list(start.upward), [None] * blocks.count)
        _put(limits, current, 0, target, NEVER)
        least, idle, history = current.excess, 0, [current.excess] * HISTORY
        while done < rounds and idle < PATIENCE:
            if current.excess == 0:
                best, best_offsets = _measure(limits, current), [o or 0 for o in current.offset]
                if best <= enough:
                    break
                target = _next_target(best, step, enough)
                _put(limits, current, 0, target, NEVER)
                least, idle, history = current.excess, 0, [current.excess] * HISTORY
                continue
            done += 1
            if done % WALL_CHECK_ROUNDS == 0 and time.monotonic() > deadline:
                rounds = done
            late = done % HISTORY
            allowed = max(history[late], current.excess)
            trial = current.copy()
            first = _change(limits, trial, target, random)
            _put(limits, trial, first, target, allowed)
            if trial.excess <= allowed:
                current = trial
            history[late] = current.excess
            idle += 1
            if current.excess < least:
                least, idle = current.excess, 0
    return best_offsets, best, done


def as_array(starts: Sequence[Start]) -> array[int]:
    """The starts as `_blocks.c` reads them: order, then directions."""
    flat = array("q")
    for start in starts:
        flat.extend(start.order)
        flat.extend(start.upward)
    return flat
