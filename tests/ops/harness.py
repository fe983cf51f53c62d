"""One strong helper for operator tests: a graph of one operator goes through every answer and all must agree.

Test modules say `from harness import ...` (pytest puts this folder on the path). A case is tensors plus TFLite
options. `tflite_graph` imports it as a file's node would be, `check_tflite` exports it, reads it back, runs TFLite
Micro on the file and compares the NumPy reference byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mcuc import kernels, ops, passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.exporters import tflite as exporter
from mcuc.image import build_image
from mcuc.importers import tflite as importer
from mcuc.ir import Array, DType, Graph, Node, Quant, State, Tensor, check
from mcuc.ops._base import Exported, Imported, zero_point_of
from mcuc.plan import Plan, plan
from mcuc.request import Request
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.targets import load_board
from mcuc.verify import oracle, reference
from mcuc.verify.compare import emulated

RNG = np.random.default_rng
_OPTIONS = {"AVERAGE_POOL_2D": "Pool2D", "MAX_POOL_2D": "Pool2D", "MEAN": "Reducer", "CONV_2D": "Conv2D",
            "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "PADV2": "PadV2", "LOGISTIC": "", "RELU": "", "RELU6": "",
            "RELU_N1_TO_1": "", "BATCH_MATMUL": "BatchMatMul", "L2_NORMALIZATION": "L2Norm", "SVDF": "SVDF",
            "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
            "MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum",
            **dict.fromkeys(("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL", "REDUCE_PROD"),
                            "Reducer")}


def activation(name: str, shape: Sequence[int], scale: float = 0.05, zero_point: int = 0) -> Tensor:
    """An int8 run-time tensor; the scale is rounded to float32, as files hold it."""
    return Tensor(name, tuple(shape), DType.INT8, Quant((float(np.float32(scale)),), (zero_point,)))


def constant(name: str, data: Array, scale: Sequence[float] = (), zero_point: Sequence[int] = (0,),
             axis: int | None = None) -> Tensor:
    """A constant, quantized when scales are given."""
    scales = tuple(float(np.float32(s)) for s in scale)
    quant = Quant(scales, tuple(int(z) for z in zero_point), axis if len(scales) > 1 else None) if scales else None
    return Tensor(name, data.shape, DType(data.dtype.name), quant, data)


def weights(rng: np.random.Generator, shape: Sequence[int], axis: int = 0, per_channel: bool = True) -> Tensor:
    """Random int8 weights in [-127, 127] with random scales."""
    data = rng.integers(-127, 128, tuple(shape)).astype(np.int8)
    scales = 2.0 ** rng.uniform(-9, -5, shape[axis] if per_channel else 1)
    return constant("w", data, scales, axis=axis)


def bias(rng: np.random.Generator, x: Tensor, w: Tensor, channels: int, spread: int = 4000) -> Tensor:
    """Random int32 biases with the scale that the runtimes demand, input times weight scale."""
    assert x.quant is not None and w.quant is not None
    scales = [x.quant.scale[0] * s for s in w.quant.scale]
    return constant("b", rng.integers(-spread, spread + 1, channels).astype(np.int32), scales, axis=0)


def options(kind: str, **fields: Any) -> Any:
    """TFLite's options object with its defaults, some fields set."""
    stem = _OPTIONS.get(kind, "".join(part.capitalize() for part in kind.split("_")))
    table = getattr(schema, f"{stem}OptionsT", SimpleNamespace)()
    for key, value in fields.items():
        assert hasattr(table, key), f"{kind} has no option {key}"
        setattr(table, key, value)
    return table


def tflite_graph(kind: str, inputs: Sequence[Tensor | None], outputs: Tensor | Sequence[Tensor],
                 **fields: Any) -> Graph:
    """The graph of one node, imported as from a file. Inputs without data are the graph's inputs."""
    outs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    built = ops.find_tflite(kind, "case", ops.is_wide(inputs, outs)).from_tflite(  # type: ignore[misc]
        Imported(kind, options(kind, **fields), tuple(inputs), outs, "case"))
    ends = tuple(t.name for t in outs)
    variables = [t for n in built.states for t in inputs if t is not None and t.name == n]
    states = tuple(State(t.name, f"{t.name}/next", np.full(t.shape, zero_point_of(t, "case"), t.dtype.value))
                   for t in variables)
    outs += tuple(replace(t, name=f"{t.name}/next") for t in variables)
    tensors = {t.name: t for t in (*inputs, *outs, *built.constants) if t is not None}
    runtime = tuple(dict.fromkeys(t.name for t in inputs
                                  if t is not None and t.data is None and t.name not in built.states))
    used = {*built.inputs, *runtime, *(t.name for t in outs)}
    node = Node(f"0:{kind}", built.op, built.inputs, tuple(t.name for t in outs), built.attrs)
    return check(Graph("case", "tflite", {k: v for k, v in tensors.items() if k in used}, (node,), runtime, ends,
                       states=states))


def samples(graph: Graph, count: int = 6, seed: int = 0) -> list[list[Array]]:
    """Random inputs, with the extremes: all lowest, all highest, and values of one step around a random level."""
    rng = RNG(seed)
    chosen = []
    for n in range(count):
        sample = []
        for name in graph.inputs:
            tensor = graph.tensors[name]
            low, high = tensor.dtype.limits
            x = rng.integers(low, high + 1, tensor.shape)
            if n < 2:
                x = np.full(tensor.shape, (low, high)[n])
            elif n == 2 and tensor.dtype.value != "bool":
                x = np.clip(rng.integers(-1, 2, tensor.shape) + int(rng.integers(-120, 120)), low, high)
            sample.append(x.astype(tensor.dtype.value))
        chosen.append(sample)
    return chosen


def run_reference(graph: Graph, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """outputs[sample][output] of the NumPy reference; a model with states takes the samples as one sequence."""
    return [[values[name] for name in graph.outputs] for values in reference.sequence(graph, inputs)]


def assert_equal(expected: Sequence[Sequence[Array]], actual: Sequence[Sequence[Array]], who: str) -> None:
    """Fails with the first differing element; shapes may differ by how a batch is written, counts may not."""
    assert len(expected) == len(actual)
    for n, (wanted, got) in enumerate(zip(expected, actual, strict=True)):
        for i, (a, b) in enumerate(zip(wanted, got, strict=True)):
            assert a.dtype == b.dtype and a.size == b.size, f"{who}: {a.dtype}{a.shape} against {b.dtype}{b.shape}"
            a1, b1 = a.reshape(-1).astype(int), b.reshape(-1).astype(int)
            wrong = np.flatnonzero(a1 != b1)
            assert not wrong.size, (f"{who}: sample {n} output {i}: {wrong.size} of {a1.size} differ, first at "
                                    f"{wrong[0]}: expected {a1[wrong[0]]}, got {b1[wrong[0]]}")


def check_infer(graph: Graph) -> None:
    """Every node's inferred shapes hold as many elements as its declared outputs."""
    for node in graph.nodes:
        shapes = ops.get(node.op).infer(node.attrs, [graph.tensors[n] for n in node.inputs if n])
        for name, shape in zip(node.outputs, shapes, strict=True):
            declared = graph.tensors[name]
            assert np.prod(shape) == declared.elements, f"{node.name}: {shape} != {declared.shape}"


def check_tflite(graph: Graph, count: int = 6, seed: int = 0, inputs: list[list[Array]] | None = None,
                 run: Any = oracle.tflite_micro) -> Graph:
    """Export, import, compare attributes and the reference with TFLite Micro or the oracle `run`. Returns what was read
    back."""
    blob = exporter.export(graph)
    again = importer.parse(blob, "case.tflite", graph.name)
    assert [(n.op, n.attrs) for n in again.nodes] == [(n.op, n.attrs) for n in graph.nodes]
    check_infer(again)
    inputs = samples(again, count, seed) if inputs is None else inputs
    more = {"keep_state": True} if again.states else {}  # the samples are one sequence
    assert_equal(run(blob, inputs, **more), run_reference(again, inputs), f"reference against {run.__name__}")
    return again


def tflite_file(kind: str, inputs: Sequence[Tensor | None], outputs: Tensor | Sequence[Tensor],
                **fields: Any) -> bytes:
    """A .tflite of one operator as a converter writes it. Inputs without data are the graph's inputs."""
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    table = type(options(kind, **fields)).__name__
    form = Exported(kind, "" if table == "SimpleNamespace" else table.removesuffix("T"), fields)
    runtime = list({t.name: t for t in inputs if t is not None and t.data is None}.values())
    return exporter.write("case", runtime, outs, [exporter.Entry(form, inputs, outs)])


def check_file(kind: str, inputs: Sequence[Tensor | None], outputs: Tensor | Sequence[Tensor], count: int = 4,
               fed: list[list[Array]] | None = None, run: Any = oracle.tflite_micro, **fields: Any) -> Graph:
    """The reference of a file of one operator equals TFLite Micro, or another oracle `run`. Returns the graph."""
    blob = tflite_file(kind, inputs, outputs, **fields)
    graph = importer.parse(blob, "case.tflite", "case")
    check_infer(graph)
    fed = samples(graph, count) if fed is None else fed
    assert_equal(run(blob, fed), run_reference(graph, fed), f"reference against {run.__name__}")
    return graph


def as_uint8(blob: bytes) -> bytes:
    """The model with every int8 tensor stored as uint8 (zero points and data shifted), as old converters wrote it."""
    import flatbuffers

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob, 0))
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8 and tensor.quantization is not None:
            tensor.type = schema.TensorType.UINT8
            tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint, np.int64) + 128
            data = model.buffers[tensor.buffer].data
            if data is not None:
                model.buffers[tensor.buffer].data = np.asarray(data, np.uint8) ^ 0x80
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def check_uint8(graph: Graph, count: int = 6, seed: int = 0) -> Graph:
    """The same case as a uint8 model against LiteRT's reference kernels. Returns the graph read back."""
    blob = as_uint8(exporter.export(graph))
    again = importer.parse(blob, "case.tflite", graph.name)
    inputs = samples(again, count, seed)
    assert_equal(oracle.litert_reference(blob, inputs), run_reference(again, inputs), "reference against LiteRT uint8")
    return again


TILINGS = {"1-pixel": Tiling(columns=1), "1-row": Tiling(), "channel-block": Tiling(channels=3),
           "pixel-and-channel": Tiling(columns=2, channels=5)}
M4 = "mps2-an386"
# Kernels of a rank (None: the portable ones) in a tiling, which the layers take in turns. A pixel at a time and blocks
# of channels are both in pixel-and-channel as well.
Way = tuple[tuple[int | None, str], ...]
WAYS: tuple[Way, ...] = (
    ((0, "1-row"),),
    ((1, "1-row"),),
    ((0, "pixel-and-channel"),),
    ((None, "pixel-and-channel"), (None, "1-row")),
    ((0, "1-pixel"), (None, "channel-block"), (0, "channel-block"), (None, "1-pixel")),
)
EMULATED: tuple[Way, ...] = (
    ((0, "1-row"),),
    ((1, "1-row"), (0, "pixel-and-channel"), (0, "pixel-and-channel"), (1, "1-row")),
)
OWN_KERNELS = {"mps2-an500": "dual", "nucleo-g0b1re": "halves"}  # boards whose cores have kernels of their own
STRICT = ("-O0", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")


def merged(graphs: Sequence[Graph]) -> Graph:
    """The graphs side by side as one, so that many cases cost one compilation."""
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    for i, graph in enumerate(graphs):
        def name(old: str, prefix: str = f"g{i}/") -> str:
            return prefix + old if old else ""

        tensors.update((name(t.name), replace(t, name=name(t.name))) for t in graph.tensors.values())
        nodes.extend(Node(name(n.name), n.op, tuple(map(name, n.inputs)), tuple(map(name, n.outputs)), n.attrs)
                     for n in graph.nodes)
    return check(Graph("case", graphs[0].profile, tensors, tuple(nodes),
                       tuple(f"g{i}/{n}" for i, g in enumerate(graphs) for n in g.inputs),
                       tuple(f"g{i}/{n}" for i, g in enumerate(graphs) for n in g.outputs),
                       states=tuple(State(f"g{i}/{s.current}", f"g{i}/{s.next}", s.initial)
                                    for i, g in enumerate(graphs) for s in g.states)))


def ranked(graph: Graph, way: Way, board: str = M4) -> Schedule:
    """Every layer whole, each call with the rank-th of the kernels that apply on the board, or with the last one; the
    portable one for None."""
    chip, tilings = load_board(board).chip, dict.fromkeys(way)
    portable = {t: layer_by_layer(graph, None, TILINGS[t]).layers for r, t in tilings if r is None}
    fast = {t: layer_by_layer(graph, chip, TILINGS[t]).layers for r, t in tilings if r is not None}
    layers = []
    for i in range(len(graph.nodes)):
        rank, tiling = way[i % len(way)]
        if rank is None:
            layers.append(portable[tiling][i])
            continue
        layer, calls = fast[tiling][i], []
        for call, _ in layer.calls:
            fit = [k for k in kernels.get(call.family).kernels if k.applies(call, chip) is None]
            calls.append((call, fit[min(rank, len(fit) - 1)]))
        layers.append(replace(layer, calls=tuple(calls), scratch=max((k.scratch(c) for c, k in calls), default=0)))
    return Schedule(Segment("layers", tuple(layers)))


def side_by_side(graph: Graph, schedule: Schedule) -> Plan:
    """Any valid plan, soon: the lowest arena of cases side by side is nobody's wish."""
    return plan(graph, schedule, fast=True, time_limit_s=0.05)


def check_c(graphs: Sequence[Graph], folder: Path, count: int = 4, seed: int = 0, optimize: bool = False) -> None:
    """The generated C of all cases equals the reference in all WAYS, with warnings as errors and sanitizers on: every
    kernel that applies row by row or a pixel and some channels at a time, the portable ones and the first for the DSP
    extension in every tiling for some of the layers. Then, EMULATED, on a Cortex-M4, where the second kernels and the
    tiling of pixels and channels take turns, and those that other cores have
    for themselves row by row on a Cortex-M7 and M0+. In two of the ways kernels that differ in numbers alone are one
    function.

    optimize: run the passes first (convolutions need their zero points folded).
    """
    whole = merged(graphs)
    inputs = samples(whole, count, seed)
    expected = run_reference(whole, inputs)
    lowered = passes.optimize(whole) if optimize else whole
    known: set[tuple[str, ...]] = set()
    for way in WAYS:
        schedule, label = ranked(lowered, way), "-".join(f"{rank}-{who}" for rank, who in way)
        whos = [who for _, who in way]
        ids = (label if len(way) > 1 else whos[0], *(k.id for layer in schedule.layers for _, k in layer.calls))
        if ids in known:
            continue
        known.add(ids)
        placed = side_by_side(lowered, schedule)
        emitted = emit(lowered, schedule, placed, "case", "test", 16, 1024, small_code="channel-block" in whos)
        model = host.build(emitted, lowered, folder / label, sanitize=True, emulate_dsp="1-row" in whos,
                           extra_flags=STRICT)
        found = host.run(model, inputs).outputs
        actual = [[out[n] for out in found] for n in range(len(inputs))]
        assert_equal(expected, actual, f"C, {label}")
    for n, way in enumerate(EMULATED):
        schedule = ranked(lowered, way)
        shared = "-pixel-and-channel" if n else ""
        check_emulated(lowered, schedule, side_by_side(lowered, schedule), inputs, expected, folder / f"m4{shared}", M4)
    for board, kind in OWN_KERNELS.items():
        schedule = ranked(lowered, ((0, "1-row"),), board)
        if any(kind in k.id for layer in schedule.layers for _, k in layer.calls):
            placed = side_by_side(lowered, schedule)
            check_emulated(lowered, schedule, placed, inputs, expected, folder / board, board)


def check_emulated(graph: Graph, schedule: Schedule, placed: Plan, inputs: Sequence[Sequence[Array]],
                   expected: Sequence[Sequence[Array]], folder: Path, name: str) -> None:
    """The generated C on the emulated core of a board equals the reference, for the last sample, or for all of them
    where the model has states; the audit finds nothing."""
    board = load_board(name)
    shared = "pixel-and-channel" in folder.name  # kernels that differ in numbers alone
    emitted = emit(graph, schedule, placed, "case", "test", board.chip.arena_align, 1024, small_code=shared)
    image = build_image(emitted, board, Request(board=name), folder)
    core, run = CortexM(image.elf, board.chip, emitted.symbols), None
    last = len(inputs) - 1
    for n in range(0 if graph.states else last, last + 1):
        outs, run = emulated(core, graph, placed, inputs[n], audit=n == last, before=run)
        assert_equal([expected[n]], [[out[0] for out in outs]], f"C on the emulated core of {name}")
    assert run is not None and run.audit is not None and not run.audit.findings
