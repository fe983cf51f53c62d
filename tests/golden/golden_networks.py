"""The small networks whose generated C is kept, made by the project's own exporter and read back from its file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from harness import RNG, activation, bias, constant, tflite_graph, weights

from mcuc import passes
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import Graph, Node, Tensor, check

CONV = {"strideH": 1, "strideW": 1, "padding": 0, "dilationHFactor": 1, "dilationWFactor": 1}
Step = tuple[str, Sequence[Tensor], Tensor, dict[str, object]]


def network(name: str, inputs: Sequence[Tensor], steps: Sequence[Step], outputs: Sequence[Tensor]) -> bytes:
    """A .tflite file of the steps: TFLite operator, its inputs, its output, its options."""
    tensors = {t.name: t for t in inputs}
    nodes: list[Node] = []
    for number, (kind, reads, out, fields) in enumerate(steps):
        named = [t if t.data is None else Tensor(f"{out.name}/{i}", t.shape, t.dtype, t.quant, t.data)
                 for i, t in enumerate(reads)]
        made = tflite_graph(kind, named, out, **fields)
        tensors.update(made.tensors)
        nodes.append(Node(f"{number}:{kind}", made.nodes[0].op, made.nodes[0].inputs, (out.name,), made.nodes[0].attrs))
    graph = Graph(name, "tflite", tensors, tuple(nodes), tuple(t.name for t in inputs), tuple(t.name for t in outputs))
    return exporter.export(check(graph))


def classifier() -> bytes:
    """Convolution, depthwise, average pool, dense, softmax: 6x6 image to three classes."""
    rng = RNG(11)
    x = activation("image", (1, 6, 6, 1), 1 / 255, -128)
    a = activation("conv", (1, 3, 3, 4), 0.02, -128)
    b = activation("depthwise", (1, 3, 3, 4), 0.02, -128)
    c = activation("pool", (1, 1, 1, 4), 0.02, -128)
    d = activation("flat", (1, 4), 0.02, -128)
    e = activation("scores", (1, 3), 0.1, 3)
    y = activation("classes", (1, 3), 1 / 256, -128)
    w1, w2 = weights(rng, (4, 3, 3, 1)), weights(rng, (1, 3, 3, 4), axis=3)
    w3 = weights(rng, (3, 4), per_channel=False)
    pool = {"filterHeight": 3, "filterWidth": 3, "strideH": 3, "strideW": 3, "padding": 1}
    first = {**CONV, "strideH": 2, "strideW": 2, "fusedActivationFunction": 1}
    return network("classifier", [x], [
        ("CONV_2D", (x, w1, bias(rng, x, w1, 4)), a, first),
        ("DEPTHWISE_CONV_2D", (a, w2, bias(rng, a, w2, 4)), b, {**CONV, "depthMultiplier": 1}),
        ("AVERAGE_POOL_2D", (b,), c, pool),
        ("RESHAPE", (c, constant("", np.array([1, 4], np.int32))), d, {}),
        ("FULLY_CONNECTED", (d, w3, bias(rng, d, w3, 3)), e, {}),
        ("SOFTMAX", (e,), y, {"beta": 1.0}),
    ], [y])


def residual() -> bytes:
    """A pointwise convolution added to its input, padded, and joined with its positive part."""
    rng = RNG(12)
    x = activation("x", (1, 4, 4, 2), 0.03, 5)
    a = activation("branch", (1, 4, 4, 2), 0.05, -3)
    b = activation("sum", (1, 4, 4, 2), 0.06, 0)
    c = activation("padded", (1, 5, 5, 2), 0.06, 0)
    d = activation("positive", (1, 5, 5, 2), 0.06, 0)
    y = activation("joined", (1, 5, 5, 4), 0.06, 0)
    w = weights(rng, (2, 1, 1, 2))
    pads = constant("", np.array([[0, 0], [0, 1], [1, 0], [0, 0]], np.int32))
    return network("residual", [x], [
        ("CONV_2D", (x, w, bias(rng, x, w, 2)), a, CONV),
        ("ADD", (x, a), b, {}),
        ("PAD", (b, pads), c, {}),
        ("RELU", (c,), d, {}),
        ("CONCATENATION", (c, d), y, {"axis": 3}),
    ], [y])


def gate() -> bytes:
    """Two inputs, two outputs: a logistic gate over one, and the gated mean."""
    p, q = activation("signal", (1, 3, 4, 2), 0.05, 2), activation("gate", (1, 3, 4, 2), 0.1, -7)
    s = activation("open", (1, 3, 4, 2), 1 / 256, -128)
    y, m = activation("gated", (1, 3, 4, 2), 0.04, 1), activation("mean", (1, 1, 1, 2), 0.02, 1)
    axes = constant("", np.array([1, 2], np.int32))
    return network("gate", [p, q], [
        ("LOGISTIC", (q,), s, {}),
        ("MUL", (p, s), y, {}),
        ("MEAN", (y, axes), m, {"keepDims": True}),
    ], [y, m])


def bottleneck() -> bytes:
    """Expand, depthwise, project, the sum with the input, and the means: what a stream runs row by row."""
    rng = RNG(13)
    x = activation("x", (1, 8, 8, 2), 0.03, 5)
    a, b = activation("expanded", (1, 8, 8, 6), 0.04, -128), activation("filtered", (1, 8, 8, 6), 0.04, -128)
    c, d = activation("projected", (1, 8, 8, 2), 0.05, 1), activation("sum", (1, 8, 8, 2), 0.06, 2)
    y = activation("means", (1, 1, 1, 2), 0.03, 0)
    w1, w2, w3 = weights(rng, (6, 1, 1, 2)), weights(rng, (1, 3, 3, 6), axis=3), weights(rng, (2, 1, 1, 6))
    axes = constant("", np.array([1, 2], np.int32))
    relu6 = {**CONV, "fusedActivationFunction": 3}
    return network("bottleneck", [x], [
        ("CONV_2D", (x, w1, bias(rng, x, w1, 6)), a, relu6),
        ("DEPTHWISE_CONV_2D", (a, w2, bias(rng, a, w2, 6)), b, {**relu6, "depthMultiplier": 1}),
        ("CONV_2D", (b, w3, bias(rng, b, w3, 2)), c, CONV),
        ("ADD", (x, c), d, {}),
        ("MEAN", (d, axes), y, {"keepDims": True}),
    ], [y])


NETWORKS = {"classifier": classifier, "residual": residual, "gate": gate, "bottleneck": bottleneck}
GOALS = {"bottleneck": "sram"}  # of the others the first schedule that a compilation tries


def load(name: str) -> Graph:
    """The optimized graph of the network's file."""
    return passes.check_supported(passes.optimize(importer.parse(NETWORKS[name](), f"{name}.tflite", name)))
