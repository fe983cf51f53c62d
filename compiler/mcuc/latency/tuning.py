"""Kernels chosen by measurement: every variant that applies to a layer runs alone on the emulated core.

Evidence class of the cycles: estimated, from emulated instruction counts, with what weights in flash cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mcuc import kernels
from mcuc.ir import Graph
from mcuc.kernels._base import No
from mcuc.latency.emulated import LayerCost, layer_costs
from mcuc.request import Request, Tune
from mcuc.schedule import Layer, Tiling
from mcuc.schedule.explore import alike_is_smaller, forms, layers_of
from mcuc.schedule.select import with_kernels
from mcuc.targets import Board
from mcuc.toolchain import Optimize

Progress = Callable[[str], None]
FAST_SHARE = 0.9  # of the cycles as estimated: `fast` leaves alone the layers that take the least
FAST_WORSE = 1.5  # times the best estimate: `fast` does not measure variants that are slower by more
AT_ONCE = 48  # measurements between two words of progress


@dataclass(frozen=True, eq=False)
class Tuned:
    """kernels: node -> the ids of the kernels of its calls; why, refused: node -> what the manifest says of them. Nodes
    without an entry keep the first kernel that applies."""

    kernels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def choose(self, layer: Layer) -> Layer:
        """The layer with the kernels that were found best for its node."""
        name = layer.node.name
        if name not in self.kernels:
            return layer
        families = [kernels.get(call.family).kernels for call, _ in layer.calls]
        chosen = [next(k for k in f if k.id == i) for f, i in zip(families, self.kernels[name], strict=True)]
        return with_kernels(layer, chosen, self.why[name], self.refused[name])


def tune(graph: Graph, board: Board, request: Request, progress: Progress = lambda stage: None) -> Tuned:
    """The kernels of a graph's layers, measured whole and one after the other; what was measured before is remembered.

    request.optimize: latency and balanced want the fewest cycles, sram the least scratch, flash the fewest bytes of
    code and tables, each with the others to decide between equals; request.tune: off, fast (the layers that take the
    most cycles, without variants that are expected to be far slower) or full.
    Raises McucError where a measuring firmware cannot be built or run.
    """
    mode, optimize, flash = request.tune, request.optimize, request.flash
    graph = forms(graph, optimize)[0].graph
    if mode == "off":
        return Tuned()
    layers = layers_of(graph, board.chip, Tiling(), alike=optimize == "flash" and alike_is_smaller(graph, board.chip))
    todo: list[tuple[str, list[Layer]]] = []
    refused: dict[str, list[str]] = {}
    for layer in _worth(layers, mode):
        variants, no = _variants(layer, board, mode, flash)
        if len(variants) > 1 or (variants and _ids(variants[0]) != _ids(layer)):
            todo.append((layer.node.name, variants))
            refused[layer.node.name] = no
    costs = _measured([(graph, v) for _, variants in todo for v in variants], board, request, progress)
    chosen: dict[str, tuple[str, ...]] = {}
    why: dict[str, str] = {}
    at = 0
    for name, variants in todo:
        found = costs[at : at + len(variants)]
        at += len(variants)
        ranked = sorted(range(len(variants)), key=lambda k: (*_rank(variants[k], found[k], optimize), k))
        best = ranked[0]
        chosen[name] = _ids(variants[best])
        said = _figures(variants[best], found[best])
        why[name] = f"measured alone, the {_WORDS[optimize]} of {len(variants)}: {said}"
        for k in ranked[1:]:
            refused[name].append(f"{'+'.join(_ids(variants[k]))}: {_figures(variants[k], found[k])}")
    return Tuned(chosen, why, {name: tuple(no) for name, no in refused.items()})


_WORDS = {"latency": "fastest", "balanced": "fastest", "sram": "one with the least scratch", "flash": "smallest"}


def _rank(layer: Layer, cost: LayerCost, optimize: Optimize) -> tuple[int, ...]:
    size = cost.code + layer.table_bytes
    if optimize == "sram":
        return layer.scratch, cost.cycles, size
    if optimize == "flash":
        return size, cost.cycles, layer.scratch
    return cost.cycles, size, layer.scratch


def _figures(layer: Layer, cost: LayerCost) -> str:
    return (
        f"{cost.cycles:,} cycles, {cost.code:,} bytes of code, {layer.table_bytes:,} of tables, {layer.scratch:,} of "
        "scratch"
    )


def _ids(layer: Layer) -> tuple[str, ...]:
    return tuple(kernel.id for _, kernel in layer.calls)


def _worth(layers: Sequence[Layer], mode: Tune) -> list[Layer]:
    """The layers to measure: all that have code, or those that take most of the cycles."""
    coded = [layer for layer in layers if layer.calls]
    if mode == "full":
        return coded
    ordered = sorted(coded, key=_estimate, reverse=True)
    total, taken, found = sum(map(_estimate, coded)), 0.0, []
    for layer in ordered:
        if taken >= FAST_SHARE * total:
            break
        taken += _estimate(layer)
        found.append(layer)
    return found


def _estimate(layer: Layer) -> float:
    return layer.calls[0][1].per_mac * layer.macs


def _variants(layer: Layer, board: Board, mode: Tune, flash: int | None) -> tuple[list[Layer], list[str]]:
    """The layer with each of the kernels that apply and fit, and the others with the reason why not.

    A layer of several calls (parts of a concatenation) takes the same rank in each.
    """
    applying = []
    no: list[str] = []
    for call, _ in layer.calls:
        fits = []
        for kernel in kernels.get(call.family).kernels:
            verdict = kernel.applies(call, board.chip)
            if isinstance(verdict, No):
                no.append(f"{kernel.id}: {verdict.reason}")
            else:
                fits.append(kernel)
        applying.append(fits)
    best = min((k.per_mac for k in applying[0] if k.per_mac), default=0.0)
    found: dict[tuple[str, ...], Layer] = {}
    for rank in range(max(map(len, applying))):
        made = with_kernels(layer, [fits[min(rank, len(fits) - 1)] for fits in applying])
        name = "+".join(_ids(made))
        if mode == "fast" and best and made.calls[0][1].per_mac > FAST_WORSE * best:
            no.append(f"{name}: not measured, expected to take {made.calls[0][1].per_mac / best:.1f} times as long")
        elif made.scratch > board.sram_bytes:
            no.append(f"{name}: {made.scratch:,} bytes of scratch, {board.name} has {board.sram_bytes:,} of SRAM")
        elif made.table_bytes > (flash or board.all_flash_bytes):
            allowed = flash or board.all_flash_bytes
            no.append(f"{name}: {made.table_bytes:,} bytes of tables, {allowed:,} of flash allowed")
        else:
            found.setdefault(_ids(made), made)
    return list(found.values()), list(dict.fromkeys(no))


def _measured(
    layers: Sequence[tuple[Graph, Layer]], board: Board, request: Request, progress: Progress
) -> list[LayerCost]:
    found: list[LayerCost] = []
    for start in range(0, len(layers), AT_ONCE):
        progress(f"tuning kernels, {start} of {len(layers)} measured")
        found += layer_costs(layers[start : start + AT_ONCE], board, request.toolchain, request.optimize)
    return found
