"""Several RAM regions: which buffer lies in which, and where. Hot buffers go to fast memory.

The cost of an assignment is the sum over all buffers of traffic times the region's cost. Finding the cheapest one that
fits is a knapsack over time; this is a greedy search over a few orders, each followed by retries that place first what
did not fit. It is deterministic, and takes everything to the cheapest region whenever all of it fits there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mcuc.errors import McucError
from mcuc.plan.place import Buffer, Placement, lower_bound, place, place_with_io

RETRIES = 24  # of one order: each moves what did not fit to the front
EXACT_RETRIES = 3
SHARES = (0.75, 0.5, 0.25, 0.125, 0.0)  # of what the other regions hold, where all placements together are too large
EXACT_LIMIT_S = 1.0  # of one exact placement within the search; a safety net, nodes end it as a rule


@dataclass(frozen=True)
class Region:
    """RAM that may hold buffers. size: bytes; cost: of an access, relative to the other regions; dma: DMA reaches it;
    external: outside the chip."""

    name: str
    size: int
    cost: float = 1.0
    dma: bool = True
    external: bool = False


@dataclass(frozen=True)
class Assignment:
    """region: buffer id -> name of its region. placements, work: by name, of the regions that hold buffers, in the
    order given: offsets from the region's own start, and the end of the buffers other than io in bytes. cost: the sum
    of traffic times cost."""

    region: Mapping[str, str]
    placements: Mapping[str, Placement]
    work: Mapping[str, int]
    cost: float

    @property
    def bytes(self) -> int:
        """Of all placements together."""
        return sum(p.peak for p in self.placements.values())


@dataclass(frozen=True)
class _Group:
    """Buffers that go to one region together. allowed: indices of regions, the cheapest first."""

    buffers: tuple[Buffer, ...]
    traffic: int
    allowed: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(b.size for b in self.buffers)

    @property
    def extent(self) -> int:
        """Bytes times steps."""
        return sum((s.end - s.start) * (s.upper - s.lower) for b in self.buffers for s in b.extent)

    @property
    def name(self) -> str:
        return min(b.id for b in self.buffers)


# What is placed first. Traffic per byte is what fast memory is best spent on where lifetimes are alike, traffic per
# byte and step where they are not; the last one is for memory so tight that fitting at all comes first.
_ORDERS: tuple[Callable[[_Group], tuple[float, str]], ...] = (
    lambda g: (-g.traffic / max(1, g.size), g.name),
    lambda g: (-g.traffic / max(1, g.extent), g.name),
    lambda g: (-float(g.traffic), g.name),
    lambda g: (-float(g.size), g.name),
)


def assign(
    buffers: Sequence[Buffer],
    traffic: Mapping[str, int],
    regions: Sequence[Region],
    pinned: Mapping[str, frozenset[str]] | None = None,
    *,
    together: Sequence[frozenset[str]] = (),
    io: frozenset[str] = frozenset(),
    most: int | None = None,
    time_limit_s: float = 5.0,
    fast: bool = False,
) -> Assignment:
    """A region for every buffer and an offset in it, such that every region's buffers fit its size.

    traffic: bytes read and written of each buffer in one inference (0 where it is not named). pinned: buffer id ->
    names of the regions that it may go to (all where it is not named). together: sets of buffers that share a region.
    io: buffers that the caller may keep elsewhere, as in `place_with_io`. most: bytes of all regions' placements
    together; while they are above it the fast regions are used less, down to everything in one, and if that does not
    help the smallest found is returned. fast: greedy placements only.
    Raises McucError: "over-budget" where nothing fits, naming the buffer; "invalid-buffer" as `place` does; and
    "invalid-region" for no region, a name given twice, a negative size, or a pin to a region that is not there.
    """
    _check(regions, pinned or {})
    lower_bound(buffers)  # its checks
    groups = _groups(buffers, traffic, regions, pinned or {}, together)
    chosen = _choose(groups, regions, fast)
    if isinstance(chosen, _Group):
        raise _over_budget(chosen, buffers, regions)
    best = _assignment(groups, chosen, regions, io, time_limit_s, fast)
    for sizes in _smaller(groups, regions, best):
        if most is None or best.bytes <= most:
            break
        less = [replace(r, size=n) for r, n in zip(regions, sizes, strict=True)]
        chosen = _choose(groups, less, True)
        if not isinstance(chosen, _Group):
            found = _assignment(groups, chosen, less, io, time_limit_s, fast)
            best = found if found.bytes < best.bytes else best
    return best


def _choose(groups: Sequence[_Group], regions: Sequence[Region], fast: bool) -> list[int] | _Group:
    """The region of every group, the cheapest choice of those found; where there is none a group without room."""
    best: tuple[float, list[int]] | None = None
    stuck: _Group | None = None
    if _all_fit(groups, regions, not fast):
        return [g.allowed[0] for g in groups]
    for exact in (False, True):
        if best is not None or (exact and fast):
            break
        for order in _ORDERS:
            found = _search(sorted(range(len(groups)), key=lambda i: order(groups[i])), groups, regions, exact)
            if isinstance(found, _Group):
                stuck = found
            elif best is None or _cost_of(groups, found, regions) < best[0]:
                best = _cost_of(groups, found, regions), found
    if best is not None:
        return best[1]
    assert stuck is not None
    return stuck


def _smaller(groups: Sequence[_Group], regions: Sequence[Region], used: Assignment) -> Iterator[list[int]]:
    """Sizes of the regions, one whole and ever less of what the others hold. Splitting buffers among regions costs
    bytes: what lies in one cannot be laid over what has died in another."""
    common = set(range(len(regions))).intersection(*(g.allowed for g in groups))
    if common:
        whole = max(sorted(common), key=lambda r: regions[r].size)
        peaks = [used.placements[r.name].peak if r.name in used.placements else 0 for r in regions]
        for share in SHARES:
            yield [r.size if i == whole else int(peaks[i] * share) for i, r in enumerate(regions)]


def _cost_of(groups: Sequence[_Group], chosen: Sequence[int], regions: Sequence[Region]) -> float:
    return sum((g.traffic * regions[r].cost for g, r in zip(groups, chosen, strict=True)), 0.0)


def _check(regions: Sequence[Region], pinned: Mapping[str, frozenset[str]]) -> None:
    names = [r.name for r in regions]
    advice = "regions with names of their own and sizes from 0"
    if not names or len(set(names)) != len(names) or any(r.size < 0 or r.cost < 0 for r in regions):
        raise McucError("invalid-region", f"regions {', '.join(names) or 'none'}", "the RAM regions", advice)
    for buffer, allowed in pinned.items():
        if not allowed & set(names):
            found = f"buffer {buffer!r} must lie in {', '.join(sorted(allowed)) or 'no region'}"
            raise McucError("invalid-region", found, buffer, f"one of {', '.join(names)}")


def _groups(
    buffers: Sequence[Buffer],
    traffic: Mapping[str, int],
    regions: Sequence[Region],
    pinned: Mapping[str, frozenset[str]],
    together: Sequence[frozenset[str]],
) -> list[_Group]:
    root = {b.id: b.id for b in buffers}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for ids in together:
        first, *rest = sorted(ids & set(root)) or [""]
        for other in rest:
            root[find(other)] = find(first)
    members: dict[str, list[Buffer]] = {}
    for b in buffers:
        members.setdefault(find(b.id), []).append(b)
    by_cost = sorted(range(len(regions)), key=lambda r: regions[r].cost)
    found = []
    for group in members.values():
        allowed = [r for r in by_cost if all(regions[r].name in pinned.get(b.id, (regions[r].name,)) for b in group)]
        if not allowed:
            names = ", ".join(sorted(b.id for b in group))
            raise McucError("invalid-region", f"no region may hold all of {names}", names, "pins that agree")
        found.append(_Group(tuple(group), sum(traffic.get(b.id, 0) for b in group), tuple(allowed)))
    return found


def _search(
    order: Sequence[int], groups: Sequence[_Group], regions: Sequence[Region], exact: bool
) -> list[int] | _Group:
    """Region of every group, or a group that found no room; what does not fit is placed earlier the next time."""
    order = list(order)
    stuck = 0
    for _ in range(EXACT_RETRIES if exact else RETRIES):
        found = _in_order(order, groups, regions, exact)
        if not isinstance(found, int):
            return found
        stuck = found
        if stuck == order[0]:
            break  # it has no room in empty regions
        order.remove(stuck)
        order.insert(0, stuck)
    return groups[stuck]


def _in_order(
    order: Sequence[int], groups: Sequence[_Group], regions: Sequence[Region], exact: bool
) -> list[int] | int:
    """Each group in turn to the first of its regions with room: region of every group, or the group without room."""
    chosen = [g.allowed[0] for g in groups]
    easy = _longest_prefix(order, groups, regions, exact)
    held: list[list[Buffer]] = [[] for _ in regions]
    for i in order[:easy]:
        held[chosen[i]] += groups[i].buffers
    for i in order[easy:]:
        for r in groups[i].allowed:
            if _fits([*held[r], *groups[i].buffers], regions[r].size, exact):
                held[r] += groups[i].buffers
                chosen[i] = r
                break
        else:
            return i
    return chosen


def _longest_prefix(
    order: Sequence[int], groups: Sequence[_Group], regions: Sequence[Region], exact: bool
) -> int:
    """How many groups, in order, fit each in its cheapest region: bisection, which saves most of the placements."""

    low, high = 0, len(order) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _all_fit([groups[i] for i in order[:middle]], regions, exact):
            low = middle
        else:
            high = middle
    return low


def _all_fit(groups: Sequence[_Group], regions: Sequence[Region], exact: bool) -> bool:
    """Each in its cheapest region."""
    held: dict[int, list[Buffer]] = {}
    for group in groups:
        held.setdefault(group.allowed[0], []).extend(group.buffers)
    return all(_fits(found, regions[r].size, exact) for r, found in held.items())


def _fits(buffers: Sequence[Buffer], size: int, exact: bool) -> bool:
    """exact: also where only the exact search finds the placement."""
    if lower_bound(buffers) > size:
        return False
    if place(buffers, size, fast=True).peak <= size:
        return True
    return exact and place(buffers, size, EXACT_LIMIT_S).peak <= size


def _assignment(
    groups: Sequence[_Group],
    chosen: Sequence[int],
    regions: Sequence[Region],
    io: frozenset[str],
    time_limit_s: float,
    fast: bool,
) -> Assignment:
    region: dict[str, str] = {}
    held: dict[str, list[Buffer]] = {r.name: [] for r in regions}
    for group, r in zip(groups, chosen, strict=True):
        for b in group.buffers:
            region[b.id] = regions[r].name
            held[regions[r].name].append(b)
    used = {r.name: r.size for r in regions if held[r.name]}
    placements, work = {}, {}
    for name, size in used.items():
        placements[name], work[name] = place_with_io(held[name], io, time_limit_s / len(used), fast)
        if placements[name].peak > size:  # the search for the lowest peak ended above what had been found to fit
            tries = (place(held[name], size, fast=fast) for fast in (True, False))
            known = next(p for p in tries if p.peak <= size)
            placements[name] = known
            work[name] = max((known.offsets[b.id] + b.size for b in held[name] if b.id not in io), default=0)
    return Assignment(region, placements, work, _cost_of(groups, chosen, regions))


def _over_budget(stuck: _Group, buffers: Sequence[Buffer], regions: Sequence[Region]) -> McucError:
    room = ", ".join(f"{regions[r].name} ({regions[r].size:,} bytes)" for r in stuck.allowed)
    largest = max(stuck.buffers, key=lambda b: b.size).id
    what = f"buffer {largest!r}"
    if len(stuck.buffers) > 1:
        what = f"the {len(stuck.buffers)} buffers of one stream, {largest!r} the largest of them,"
    return McucError(
        "over-budget",
        f"{what} ({stuck.size:,} bytes) found no room in {room}; at least {lower_bound(buffers):,} bytes are in use at "
        "one moment",
        where=f"buffer {largest}",
        try_this="more or larger regions",
    )
