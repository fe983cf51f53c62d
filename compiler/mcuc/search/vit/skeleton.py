"""The int8 graph of a transformer that nobody has trained: what the planner and the latency model look at.

Layers and shapes are those of the trained network, because the same writer, quantizer and importer make both; weights
and ranges are made up, so that nothing has to be run for them.
"""

from __future__ import annotations

import re
import zlib

from mcuc.importers import onnx as onnx_importer
from mcuc.ir import Graph
from mcuc.quantize import qdq
from mcuc.quantize.model import FloatModel
from mcuc.quantize.quantizer import scheme_for
from mcuc.quantize.ranges import Range
from mcuc.quantize.roles import roles
from mcuc.search.naming import named
from mcuc.search.skeleton import INPUT as PIXELS
from mcuc.search.spaces.vit_lowrank import VitCandidate
from mcuc.search.vit.export import HALVES, INPUT, float_model, made_up

POSITIVE = ("q.relu", "k.relu", "keys")  # linear attention's features and their sum


def skeleton(
    candidate: VitCandidate,
    classes: int,
    channels: int,
    keep_factors: bool = False,
    halves: tuple[str, ...] = HALVES,
    seed: int = 0,
) -> Graph:
    """A graph of profile onnx with seeded weights; blocks of one shape have the same."""
    constants = made_up(candidate, classes, channels, keep_factors, seed)
    return int8_graph(float_model("candidate", candidate, classes, channels, constants, halves))


def int8_file(candidate: VitCandidate, classes: int, channels: int) -> bytes:
    """The .onnx that such a graph is read from."""
    constants = made_up(candidate, classes, channels, False, 0)
    return _written(float_model("candidate", candidate, classes, channels, constants))


def int8_graph(model: FloatModel) -> Graph:
    """The network quantized with assumed ranges."""
    return named(onnx_importer.parse_with_interface(_written(model), "a candidate", model.name)[0])


def _written(model: FloatModel) -> bytes:
    found = roles(model, {INPUT: PIXELS})
    least = float(model.constants.get("least", 0.0))
    ranges = {key: _assumed(key, least) for key in set(found.groups.values())}
    return qdq.write(model, found, scheme_for(model, found, ranges))


def _assumed(value: str, least: float) -> Range:
    """Unlike ranges, as trained networks have, the same for values of one role in all blocks and heads. Which kernels
    apply to dense layers and additions depends on scales and weights by chance: these give the faster ones to about as
    many as trained networks do. least: of the sums that linear attention divides by."""
    role = re.sub(r"^blocks\.\d+\.(h\d+\.)?", "", value)
    low, high = divmod(zlib.crc32(f"4{role}".encode()) % 10000, 100)
    if role == "total":
        return Range(0.0, 8 * least)
    return Range(0.0 if role in POSITIVE else -3.0 - low / 50, 3.5 + high / 50)
