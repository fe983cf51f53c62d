"""The results of benchmarks/search_pays_vit.py: the file, cell by cell, and the arithmetic on the cells."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.accuracy.statistics import kendall
from mcuc.search.training.distributed import Place, wait
from models import commit


def summary(cells: dict[str, Any], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Mean and spread (standard deviation over the seeds) of the three, their differences in points, and Kendall's tau
    of the supernet's accuracies against those of the networks trained alone (seed 0)."""
    keys = cells["networks"]["keys"]
    single = {key: cells[f"train {key} {seeds[0]}"]["accuracy"] for key in keys.values()}
    shared = {key: cells["networks"]["supernet"][key] for key in single}
    best = max((k for n, k in keys.items() if n.startswith("random")), key=lambda k: single[k])
    found: dict[str, Any] = {"best_random": best, "networks": len(single)}
    values = {}
    for name, key in (("found", keys["found"]), ("random", best), ("hand", keys["hand"])):
        values[name] = [100 * cells[f"train {key} {seed}"]["accuracy"] for seed in seeds]
        spread_ = statistics.stdev(values[name]) if len(seeds) > 1 else 0.0
        found[name] = {"mean": round(statistics.mean(values[name]), 2), "spread": round(spread_, 2)}
    for name in ("random", "hand"):
        gaps = [a - b for a, b in zip(values["found"], values[name], strict=True)]
        found[f"found_minus_{name}"] = {"mean": round(statistics.mean(gaps), 2), "by_seed": [round(g, 2) for g in gaps]}
    order = list(single)
    tau = kendall(np.array([shared[k] for k in order]), np.array([single[k] for k in order]))
    found["kendall_tau"] = None if tau is None else round(tau, 3)
    return found


class Table:
    """The results file, one entry for a data set and scale, begun again when the settings have changed."""

    def __init__(self, path: Path, name: str, settings: str, place: Place) -> None:
        self.path, self.name, self.settings, self.place = path, name, settings, place

    @property
    def cells(self) -> dict[str, Any]:
        whole = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        entry = whole.get(self.name, {})
        return dict(entry["cells"]) if entry.get("settings") == self.settings else {}

    def put(self, name: str, value: dict[str, Any], total: dict[str, Any] | None = None) -> None:
        """Writes a cell; total: the entry's summary."""
        if self.place.first:
            whole = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            cells = {**self.cells, name: {**value, "commit": commit()}}
            whole[self.name] = {"settings": self.settings, "cells": cells, "summary": total}
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            part.replace(self.path)
            print(self.name, name, value.get("accuracy", ""), f"{value.get('seconds', '')} s", flush=True)
        wait(self.place)
