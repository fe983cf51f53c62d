"""Evolutionary search under limits: seeded, saved after every generation, nothing evaluated twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.search.pareto import Constraints, Cost, Evaluated, fits, front
from mcuc.search.space import Candidate, Space
from mcuc.search.state import load_json, save_json
from mcuc.search.train import Progress

STAGE = 2  # its random stream; the supernet has 1, the final training 3
TRIES = 8  # candidates looked at for every one that is wanted, before a generation is left smaller

CostOf = Callable[[Any], Cost]  # of one of the space's candidates
AccuracyOf = Callable[[Any], float]
CostsOf = Callable[[Sequence[Any]], Iterable[Cost]]  # of several candidates, in their order
AccuraciesOf = Callable[[Sequence[Any]], Iterable[float]]


@dataclass(frozen=True)
class Plan:
    """population: candidates of the first generation; children: new ones of each later; generations: all of them."""

    population: int
    children: int
    generations: int


@dataclass
class Pool:
    """What has been looked at so far, by key; bests: best accuracy after each generation."""

    evaluated: dict[str, Evaluated] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    bests: list[float] = field(default_factory=list)


def evolve(space: Space, limits: Constraints, plan: Plan, seed: int, cost_of: CostOf, accuracy_of: AccuracyOf,
           checkpoint: Path, progress: Progress) -> Pool:
    """evolve_many, one candidate after the other."""
    return evolve_many(space, limits, plan, seed, lambda cs: map(cost_of, cs), lambda cs: map(accuracy_of, cs),
                       checkpoint, progress)


def evolve_many(space: Space, limits: Constraints, plan: Plan, seed: int, costs_of: CostsOf,
                accuracies_of: AccuraciesOf, checkpoint: Path, progress: Progress) -> Pool:
    """All candidates evaluated in plan.generations generations; every one fits the limits.

    Both functions are given as many candidates at a time as the generation still lacks, so that they may spread them
    over processes (mcuc.search.workers); what is evaluated does not depend on how they do it. The smallest candidate
    must fit (require_feasible), or the first generation may find nothing.
    """
    pool = _restore(space, load_json(checkpoint))
    total = plan.population + plan.children * (plan.generations - 1)
    progress("evolution", min(len(pool.evaluated), total), total)
    for generation in range(len(pool.bests), plan.generations):
        rng = np.random.default_rng((seed, STAGE, generation))
        parents = _parents(pool, plan)
        wanted = plan.children if generation else plan.population
        made = attempt = 0
        while made < wanted and attempt < TRIES * wanted:
            # Where proposals begin to depend on what was evaluated (_propose), it must have been.
            until = TRIES * wanted // 2 if generation == 0 and attempt < TRIES * wanted // 2 else TRIES * wanted
            fresh: dict[str, Any] = {}
            while len(fresh) < wanted - made and attempt < until:
                candidate = _propose(space, parents, generation, attempt, wanted, pool, rng)
                attempt += 1
                if candidate.key not in pool.evaluated and candidate.key not in pool.refused:
                    fresh.setdefault(candidate.key, candidate)
            fitting = []
            for candidate, cost in zip(fresh.values(), costs_of(list(fresh.values())), strict=True):
                if fits(cost, limits):
                    fitting.append((candidate, cost))
                else:
                    pool.refused.add(candidate.key)
            found = zip(fitting, accuracies_of([c for c, _ in fitting]), strict=True)
            for (candidate, cost), accuracy in found:
                pool.evaluated[candidate.key] = Evaluated(candidate, accuracy, cost)
                made += 1
                progress("evolution", min(len(pool.evaluated), total), total)
        pool.bests.append(max(e.accuracy for e in pool.evaluated.values()))
        save_json(checkpoint, _snapshot(pool))
    progress("evolution", total, total)
    return pool


def require_feasible(space: Space, limits: Constraints, cost_of: CostOf, flash_ways: Sequence[str] = ()) -> None:
    """Raises McucError("nothing-fits") when the smallest candidate of the space exceeds a limit. flash_ways: what to
    try besides where it is that of flash."""
    least = space.smallest()
    cost = cost_of(least)
    if not fits(cost, limits):
        ways = () if limits.flash_bytes is None or cost.flash_bytes <= limits.flash_bytes else flash_ways
        raise McucError("nothing-fits", f"the smallest network of the space needs {cost.sram_bytes} bytes of SRAM, "
                        f"{cost.flash_bytes} bytes of flash and {cost.latency_ms:.2f} ms; the limits are "
                        f"{_said(limits.sram_bytes)}, {_said(limits.flash_bytes)} and {_said(limits.latency_ms)}",
                        where=least.key, try_this="; ".join([*ways, "raise the budget, or choose a board with more "
                                                             "memory"]))


def _said(limit: float | None) -> str:
    return "none" if limit is None else str(limit)


def _propose(space: Space, parents: list[Candidate], generation: int, attempt: int, wanted: int, pool: Pool,
             rng: np.random.Generator) -> Any:
    """First generation: both ends of the space, then uniform draws, then (where few fit) changes of those that did."""
    if generation == 0:
        if attempt < 2:
            return (space.smallest, space.largest)[attempt]()
        if attempt < TRIES * wanted // 2:
            return space.sample(rng)
        return space.mutate(_pick([e.candidate for e in pool.evaluated.values()], rng), rng)
    if rng.random() < 0.5:
        return space.mutate(_pick(parents, rng), rng)
    return space.mutate(space.cross(_pick(parents, rng), _pick(parents, rng), rng), rng, rate=0.05)


def _pick(candidates: list[Candidate], rng: np.random.Generator) -> Candidate:
    return candidates[int(rng.integers(len(candidates)))]


def _parents(pool: Pool, plan: Plan) -> list[Candidate]:
    """The most accurate ones, and the front, so that fast and small networks improve too."""
    found = list(pool.evaluated.values())
    ranked = sorted(found, key=lambda e: (-e.accuracy, e.cost.latency_ms, e.candidate.key))
    chosen = {e.candidate.key: e.candidate for e in (*ranked[:max(2, plan.population // 4)], *front(found))}
    return list(chosen.values())


def _snapshot(pool: Pool) -> dict[str, Any]:
    rows = [[key, e.accuracy, e.cost.sram_bytes, e.cost.flash_bytes, e.cost.latency_ms]
            for key, e in pool.evaluated.items()]
    return {"evaluated": rows, "refused": sorted(pool.refused), "bests": pool.bests}


def _restore(space: Space, saved: Any) -> Pool:
    if saved is None:
        return Pool()
    evaluated = {key: Evaluated(space.parse(key), accuracy, Cost(sram, flash, latency))
                 for key, accuracy, sram, flash, latency in saved["evaluated"]}
    return Pool(evaluated, set(saved["refused"]), list(saved["bests"]))
