"""An output stage of one multiply: accumulator -> clamped int8 by SMMLA and SSAT, exact for every reachable sum.

The rounding rules of numerics.py are monotone, so a channel's output stage is its thresholds: for every output value
the least accumulator that reaches it. At most 255 of them lie inside what the channel's weights can sum up to. The
stage used here,

    v = 256 * acc; if (v < 0) v -= kink; out = saturate((offset + (v * multiplier >> 32)) >> shift)

with the product and the offset added in 64 bits, has thresholds on one line (two for negative sums, where the rule
rounds ties away from zero). The constants are searched so that they are the same thresholds; where there are none, the
layer keeps the rule itself. A shift that all channels have in common stands in the code, where SSAT does it too; few
values of it serve most layers. 256 * acc comes free: see _pairs.py of the dot family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array

SCALED = 256  # the accumulator is multiplied by it
REACH = (1 << 23) - 1  # accumulators beyond do not fit 32 bits then
# What is tried: offsets so far to both sides of the likely one, kink so much away from the nominal one.
TRIES = ((0, 0), (0, 1), (0, -1), (2, 0), (64, 0), *((16, away) for k in range(1, 9) for away in (k, -k)))
NEAR = 3  # accumulators around the likely threshold that are looked at first
MOST_SHIFT = 22
COMMON = (11, 13, 9)  # shifts tried for all channels of a layer, before each channel has its own
_MOST_OFFSET = 1 << 30
ROUNDED = 1e-9  # of an output: far above the error of float64 in _has_line, far below what a constant's last bit moves
MOST_CUTS = 64


@dataclass(frozen=True, eq=False)
class Linear:
    """multiplier, offset, shift (0..22), kink: [channels] int32. kink is 0 where the rule rounds all ties to one side
    and where no negative sum matters. common: the shift of all channels, 0 where each has its own."""

    shift: Array
    multiplier: Array
    offset: Array
    kink: Array
    common: int

    def constants(self, channels: int) -> Array:
        """[channels, words]: kink where there is one, multiplier, offset, shift where each channel has its own; zeros
        beyond the stage's channels."""
        columns = [self.kink] if self.kinked else []
        columns += [self.multiplier, self.offset] + ([] if self.common else [self.shift])
        found = np.zeros((channels, len(columns)), np.int64)
        found[: len(self.shift)] = np.stack(columns, 1)
        return found

    @property
    def words(self) -> int:
        """Of a channel's constants."""
        return 2 + self.kinked + (not self.common)

    @property
    def kinked(self) -> bool:
        """Whether any channel needs its kink."""
        return bool(self.kink.any())


def linear(
    rule: Callable[[Array], Array],
    scale: Array,
    zero: int,
    kink: Array,
    low: Array,
    high: Array,
    shifts: Sequence[int] = COMMON,
) -> Linear | None:
    """The stage for accumulators, bias included, in [low, high] [channels]; None where no constants are exact.

    rule: acc [n, channels] int64 -> output, monotone, already clamped. scale: [channels] float64, outputs an
    accumulator; zero: output of accumulator 0, before it is clamped; kink: [channels] int64, distance of the two lines
    in 1/256 accumulator (0: one line). shifts: tried for all channels together, in this order.
    """
    if not (scale > 0).all() or int(np.abs(low).max()) > REACH or int(np.abs(high).max()) > REACH:
        return None
    own = np.minimum(np.floor(np.log2((2.0**31 - 2.0**16) / (scale * 2**24))), MOST_SHIFT).astype(np.int64)
    if (own < 0).any():
        return None
    least, most = rule(low[None])[0].astype(np.int64), rule(high[None])[0].astype(np.int64)
    values = least[None] + np.arange(int((most - least).max(initial=0)) + 2)[:, None]  # [thresholds, channels]
    at = _thresholds(rule, values, low, high, np.floor((values - zero - 0.5) / scale))
    # a sum at a threshold must reach it, the one before must not; the first and the last need one of both
    reaches = (values <= most) & ((values > least) | (values > -128))
    stays = (values > least) & ((values <= most) | ((values == most + 1) & (values <= 127)))
    kink = np.where((stays & (at - 1 < 0)).any(0), kink, 0)
    steps = _Steps(values, at, reaches, stays, kink, low)
    if not _lines_exist(steps, scale):
        return None
    for common in shifts:
        found = _with_shift(steps, scale, np.full_like(own, common), common) if common <= own.min() else None
        if found is not None:
            return found
    return _with_shift(steps, scale, own, 0)


@dataclass(frozen=True, eq=False)
class _Steps:
    """The thresholds: values reached at the accumulators `at`, both [thresholds, channels]; reaches, stays: where a sum
    there must reach it and the one before must not; kink, low: as in `linear`."""

    values: Array
    at: Array
    reaches: Array
    stays: Array
    kink: Array
    low: Array

    def sums(self, channels: Array, kink: Array) -> tuple[Array, Array]:
        """What is multiplied at the thresholds of some channels, and one accumulator before them."""
        at = self.at[:, channels]
        return SCALED * at - np.where(at < 0, kink, 0), SCALED * (at - 1) - np.where(at - 1 < 0, kink, 0)


def _lines_exist(steps: _Steps, scale: Array) -> bool:
    """False where some channel has no line between what its thresholds demand, however fine its constants were: most
    layers without a stage are such. A stage with any shift is a line of this kind, so none is lost."""
    open_ = np.arange(len(steps.low))
    for away in sorted({away for _, away in TRIES}, key=abs):
        kink = steps.kink[open_] + np.where(steps.kink[open_] != 0, away, 0)
        above, below = steps.sums(open_, kink)
        values = steps.values[:, open_].astype(np.float64)
        lower = np.where(steps.reaches[:, open_], values, -np.inf), np.where(steps.reaches[:, open_], above, 0)
        upper = np.where(steps.stays[:, open_], values, np.inf), np.where(steps.stays[:, open_], below, 0)
        open_ = open_[~_has_line(lower, upper, scale[open_] / SCALED)]
        if not len(open_):
            return True
    return False


def _has_line(lower: tuple[Array, Array], upper: tuple[Array, Array], nominal: Array) -> Array:
    """For each channel: whether a line with a slope x > 0 may stay above all lower[0] - lower[1] * x and below all
    upper[0] - upper[1] * x, float64 [thresholds, channels]. The room between them is concave in x, and cutting planes
    find its most; within what float64 rounds, there is a line.
    """

    def room(x: Array) -> tuple[Array, Array]:
        least, most = lower[0] - lower[1] * x, upper[0] - upper[1] * x
        i, j = least.argmax(0)[None], most.argmin(0)[None]
        height = np.take_along_axis(most, j, 0) - np.take_along_axis(least, i, 0)
        rise = np.take_along_axis(lower[1], i, 0) - np.take_along_axis(upper[1], j, 0)
        return height[0], rise[0].astype(np.float64)

    left, right = np.zeros_like(nominal), nominal * 2
    (low, up), (high, down) = room(left), room(right)
    found = (low >= -ROUNDED) | (high >= -ROUNDED) | (down >= 0)
    undecided = ~found & (up > 0)
    low, high = np.where(undecided, low, 0), np.where(undecided, high, 0)  # infinite where there is nothing to keep
    for _ in range(MOST_CUTS):
        if not undecided.any():
            break
        # the lines through both ends meet above the most that there is
        meet = (high - low - down * (right - left)) / np.where(undecided, up - down, 1)
        x = np.where(undecided, left + meet, nominal)
        undecided &= low + up * (x - left) >= -ROUNDED
        height, rise = room(x)
        found |= undecided & (height >= -ROUNDED)
        undecided &= height < -ROUNDED
        rises, falls = undecided & (rise > 0), undecided & (rise <= 0)
        left, low, up = (np.where(rises, new, old) for new, old in ((x, left), (height, low), (rise, up)))
        right, high, down = (np.where(falls, new, old) for new, old in ((x, right), (height, high), (rise, down)))
    return found | undecided


def _with_shift(steps: _Steps, scale: Array, shift: Array, common: int) -> Linear | None:
    """The stage with these shifts [channels]; None where no constants are exact."""
    kink, low = steps.kink, steps.low
    target = steps.values << (32 + shift)
    nominal = np.rint(scale * 2.0 ** (24 + shift)).astype(np.int64)
    multiplier, offset, bent = np.zeros(len(low), np.int64), np.zeros(len(low), np.int64), kink.copy()
    open_ = np.arange(len(low))
    for reach, away in TRIES:
        bent[open_] = kink[open_] + np.where(kink[open_] != 0, away, 0)
        above, below = steps.sums(open_, bent[open_])
        lower = _Bound(target[:, open_], above, steps.reaches[:, open_])
        upper = _Bound(target[:, open_] - 1, below, steps.stays[:, open_])
        found, m, b = _solve(lower, upper, nominal[open_], reach)
        multiplier[open_[found]], offset[open_[found]] = m[found], b[found]
        open_ = open_[~found]
        if not len(open_):
            break
    if len(open_) or (np.abs(offset) > _MOST_OFFSET).any() or (SCALED * low - bent < -(2**31)).any():
        return None
    return Linear(shift, multiplier, offset, bent, common)


@dataclass(frozen=True, eq=False)
class _Bound:
    """Where `used`, factor * multiplier must stay on one side of value - offset * 2^32. All [thresholds, channels]."""

    value: Array
    factor: Array
    used: Array

    def of(self, channels: Array) -> _Bound:
        """Of some channels only."""
        return _Bound(self.value[:, channels], self.factor[:, channels], self.used[:, channels])


def _thresholds(rule: Callable[[Array], Array], values: Array, low: Array, high: Array, likely: Array) -> Array:
    """The least accumulator in [low, high] whose output reaches each value, by bisection; high + 1 where none does.
    likely: where to look first."""
    below = np.clip(likely - NEAR, low - 1, high).astype(np.int64)
    at = np.clip(likely + NEAR, below + 1, high + 1).astype(np.int64)
    below = np.where((below >= low) & (rule(np.maximum(below, low)) >= values), low - 1, below)
    at = np.where((at <= high) & (rule(np.minimum(at, high)) < values), high + 1, at)
    first, last = values <= rule(low[None])[0], values > rule(high[None])[0]
    below = np.where(first, low - 1, np.where(last, high, below))
    at = np.where(first, low, np.where(last, high + 1, at))
    while (at - below > 1).any():
        middle = (below + at) >> 1
        reached = rule(middle) >= values
        at, below = np.where(reached & (middle > below), middle, at), np.where(reached, below, middle)
    return at


def _solve(lower: _Bound, upper: _Bound, nominal: Array, reach: int) -> tuple[Array, Array, Array]:
    """For each channel: whether constants were found, multiplier, offset.

    Where the nominal multiplier leaves room for an offset, that is taken.
    """
    least = np.where(lower.used, lower.value - lower.factor * nominal, np.iinfo(np.int64).min).max(0)
    most = np.where(upper.used, upper.value - upper.factor * nominal, np.iinfo(np.int64).max).min(0)
    least, most = np.where(lower.used.any(0), least, most), np.where(upper.used.any(0), most, least)
    offset, multiplier = -(-least >> 32), nominal.copy()
    found = (offset << 32) <= most  # with the nominal multiplier
    rest = np.flatnonzero(~found)
    if len(rest) and reach:
        likely = ((least[rest] >> 1) + (most[rest] >> 1)) >> 32
        found[rest], multiplier[rest], offset[rest] = _searched(lower.of(rest), upper.of(rest), likely, reach)
    return found, multiplier, offset


def _searched(lower: _Bound, upper: _Bound, likely: Array, reach: int) -> tuple[Array, Array, Array]:
    """The same by searching: for one offset, the multipliers that hold at every threshold are an interval; of `reach`
    offsets to both sides of the likely one, that with the widest interval is taken."""
    best, multiplier, offset = np.full(len(likely), -1, np.int64), np.zeros_like(likely), likely
    for step in range(-reach, reach + 1):
        low, high = np.ones_like(likely), np.full(len(likely), 2**31 - 1, np.int64)
        for bound, sign in ((lower, 1), (upper, -1)):
            value = bound.value - ((likely + step) << 32)
            factor = np.where(bound.factor == 0, 1, bound.factor)
            rises = bound.used & (sign * bound.factor > 0)
            falls = bound.used & (sign * bound.factor < 0)
            low = np.maximum(low, np.where(rises, -(-value // factor), 1).max(0))
            high = np.minimum(high, np.where(falls, value // factor, 2**31 - 1).min(0))
            high = np.where((bound.used & (bound.factor == 0) & (sign * value > 0)).any(0), 0, high)
        better = high - low > best
        best, offset = np.where(better, high - low, best), np.where(better, likely + step, offset)
        multiplier = np.where(better, (low + high) >> 1, multiplier)
    return best >= 0, multiplier, offset
