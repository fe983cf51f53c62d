"""Published test vectors of integer kernels: the NumPy reference and the generated C give their outputs byte for byte.

../shared/data/vectors/int_kernel_vectors_a.npz holds cases of CMSIS-NN's unit tests. A case names its constants as
kernels take them (offsets, multipliers, shifts), so a node is built from attributes, without a model file. Its batch is
run as so many inferences. Cases with int16 activations are in test_kernel_vectors_int16.py, which counts them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import M4, STRICT, assert_equal, merged, run_reference, side_by_side

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Array, DType, Graph, Node, Quant, Requant, Tensor, check
from mcuc.numerics import softmax_exp_table
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._matmul import MatmulAttrs
from mcuc.ops._pool import PoolAttrs
from mcuc.ops._spatial import Window
from mcuc.ops.add.attrs import AddAttrs
from mcuc.ops.extremum import ExtremumAttrs
from mcuc.ops.pad import PadAttrs
from mcuc.ops.softmax.attrs import SoftmaxAttrs
from mcuc.ops.transpose import TransposeAttrs
from mcuc.ops.transpose_conv.attrs import TransposeConvAttrs
from mcuc.schedule import Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.targets import load_board

CONV = [
    "basic_int4", "conv_1_x_n_1", "conv_1_x_n_1_int4", "conv_1_x_n_2", "conv_1_x_n_2_int4", "conv_1_x_n_3",
    "conv_1_x_n_3_int4", "conv_1_x_n_5", "conv_1_x_n_6_generic", "conv_1_x_n_7", "conv_2", "conv_2_int4",
    "conv_2x2_dilation", "conv_2x2_dilation_5x5_input_int4", "conv_2x2_dilation_int4", "conv_2x3_dilation_int4",
    "conv_3x2_dilation", "conv_3x3_dilation_5x5_input", "conv_3x3_dilation_5x5_input_int4", "conv_4", "conv_4_int4",
    "conv_5", "conv_dilation_golden_int4", "conv_out_activation_int4", "grouped_conv_1", "grouped_conv_2",
    "grouped_conv_3", "kernel1x1", "kernel1x1_int4_3", "kernel1x1_stride_x_int4", "kernel1x1_stride_x_y",
    "kernel1x1_stride_x_y_1", "kernel1x1_stride_x_y_1_int4", "kernel1x1_stride_x_y_2", "stride2pad1",
    "stride2pad1_int4",
]
DEPTHWISE = [
    "depthwise_2", "depthwise_dilation", "depthwise_eq_in_out_ch", "depthwise_int4_1", "depthwise_int4_3",
    "depthwise_int4_4", "depthwise_int4_generic", "depthwise_int4_generic_2", "depthwise_int4_generic_3",
    "depthwise_int4_generic_5", "depthwise_kernel_3x3_null_bias", "depthwise_mult_batches", "depthwise_sub_block",
    "depthwise_x_stride", "in_ch_one_out_ch_larger_one",
]
DENSE = [
    "fully_connected_int4_2", "fully_connected_int4_3", "fully_connected_int4_6", "fully_connected_mve_1",
    "fully_connected_null_bias_0", "fully_connected_out_activation", "fully_connected_w_zp",
]
TRANSPOSED = [
    "reverse_transpose_conv_1", "reverse_transpose_conv_2", "reverse_transpose_conv_3", "reverse_transpose_conv_4",
    "transpose_conv_1", "transpose_conv_2", "transpose_conv_3", "transpose_conv_4",
]
PRODUCTS = ["batch_matmul_1_s8", "batch_matmul_2_s8", "batch_matmul_3_s8", "batch_matmul_4_s8"]
POOLS = ["avgpooling_5", "maxpooling", "maxpooling_2", "maxpooling_3", "maxpooling_4", "maxpooling_7"]
# The archive has no shapes for these; with the axes' order in their names (and it in turn), its arrays leave these.
TRANSPOSES = {
    "transpose_3dim2": ((5, 8, 10), (1, 2, 0)),
    "transpose_chwn": ((5, 6, 8, 17), (3, 1, 2, 0)),
    "transpose_default": ((4, 3, 3, 22), (3, 2, 1, 0)),
    "transpose_ncwh": ((5, 4, 3, 9), (0, 3, 2, 1)),
    "transpose_nhcw": ((1, 1, 128, 128), (0, 1, 3, 2)),
}
NO_C = {"transpose_default", "transpose_ncwh"}  # they move four axes apart
# Of these the archive has two editions under one name: all arrays of the earlier one, constants of the later one. What
# differs was found from the arrays: with one input offset, and the clamp that the outputs show, every element is met.
EARLIER: dict[str, dict[str, int]] = {
    "conv_1_x_n_1_int4": {"input_offset": 0, "out_activation_min": -127},
    "conv_1_x_n_2_int4": {"out_activation_min": -111},
    "conv_1_x_n_3_int4": {"input_offset": 0, "out_activation_min": -111},
    "conv_2_int4": {"input_offset": 0, "out_activation_min": -101},
    "conv_2x2_dilation_5x5_input_int4": {"input_offset": 0, "out_activation_min": -61, "out_activation_max": 107},
    "conv_2x2_dilation_int4": {"input_offset": 0, "out_activation_min": -61, "out_activation_max": 107},
    "conv_2x3_dilation_int4": {"input_offset": 0, "out_activation_min": -61, "out_activation_max": 107,
                               "dilation_y": 2, "pad_y": 2},
    "conv_3x3_dilation_5x5_input_int4": {"out_activation_min": -61, "out_activation_max": 107, "dilation_x": 2,
                                         "dilation_y": 2, "pad_x": 2, "pad_y": 2, "input_h": 11, "input_w": 9,
                                         "output_h": 11, "output_w": 9},
    "conv_4_int4": {"input_offset": 0, "out_activation_min": -109},
    "conv_dilation_golden_int4": {"input_offset": 0},
    "conv_out_activation_int4": {"input_offset": 0, "out_activation_max": 107},
    "kernel1x1_int4_3": {"input_offset": 0, "out_activation_min": -126},
    "kernel1x1_stride_x_int4": {"input_offset": 0, "out_activation_min": -126},
    "stride2pad1_int4": {"input_offset": 0},
}
CHOICES = [
    "maximum_broadcast_ch_int8", "maximum_broadcast_height_int8", "minimum_broadcast_batch_int8",
    "minimum_broadcast_height_int8", "minimum_broadcast_width_int8", "minimum_no_broadcast_int8",
    "minimum_scalar_2_int8",
]
# Cases of layers that keep a state are in test_lstm.py and test_svdf.py.
ELSEWHERE = [
    "lstm_2", "lstm_2_s16", "lstm_one_time_step", "lstm_one_time_step_s16", "svdf", "svdf_2", "svdf_3", "svdf_int8",
    "svdf_int8_2",
]


@dataclass(frozen=True)
class Vector:
    """One case: its constants and arrays under their names without the case's."""

    name: str
    constants: Mapping[str, int]
    arrays: Mapping[str, Array]

    def __getitem__(self, key: str) -> int:
        return self.constants[key]

    def array(self, *names: str) -> Array | None:
        """The first of the arrays that the case has."""
        return next((self.arrays[n] for n in names if n in self.arrays), None)

    def needed(self, *names: str) -> Array:
        found = self.array(*names)
        assert found is not None, f"{self.name} has none of {names}"
        return found


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> dict[str, Vector]:
    """All cases by name."""
    archive = np.load(shared_data / "vectors" / "int_kernel_vectors_a.npz")
    arrays: dict[str, dict[str, Array]] = {}
    constants: dict[str, dict[str, int]] = {}
    for key in archive.files:
        case, name = key.split("/", 1)
        if name == "params":
            known = json.loads(str(archive[key]))
            constants[case] = {k.removeprefix(f"{case}_"): v for k, v in known.items()}
        else:
            arrays.setdefault(case, {})[name.removeprefix(f"{case}_")] = archive[key]
    return {case: Vector(case, {**constants[case], **EARLIER.get(case, {})}, found) for case, found in arrays.items()}


@dataclass(frozen=True)
class Run:
    """A graph, the inputs of every inference and the outputs that the case says."""

    graph: Graph
    inputs: list[list[Array]]
    outputs: list[list[Array]]


def graph_of(op: str, attrs: Any, shapes: list[tuple[int, ...]], out: tuple[int, ...],
             constants: list[Array | None] | None = None, int4: bool = False) -> Graph:
    """One node: run-time inputs of these shapes, then constants, the first of them weights, perhaps of four bits."""
    tensors = [Tensor(f"x{i}", shape, DType.INT8, Quant((1.0,), (0,))) for i, shape in enumerate(shapes)]
    given = [None if c is None else Tensor(f"c{i}", c.shape, DType(c.dtype.name), None, c, int4 and i == 0)
             for i, c in enumerate(constants or [])]
    y = Tensor("y", out, DType.INT8, Quant((1.0,), (0,)))
    names = (*(t.name for t in tensors), *("" if t is None else t.name for t in given))
    node = Node("case", op, names, ("y",), attrs)
    table = {t.name: t for t in (*tensors, *given, y) if t is not None}
    return check(Graph("case", "tflite", table, (node,), tuple(t.name for t in tensors), ("y",)))


def inferences(arrays: list[Array], shapes: list[tuple[int, ...]]) -> list[list[Array]]:
    """The arrays cut into as many pieces of these shapes as they hold, one list an inference."""
    counts = {a.size // int(np.prod(s)) for a, s in zip(arrays, shapes, strict=True)}
    assert len(counts) == 1 and all(a.size % int(np.prod(s)) == 0 for a, s in zip(arrays, shapes, strict=True))
    return [[a.reshape(-1, *s)[i].astype(np.int8) for a, s in zip(arrays, shapes, strict=True)]
            for i in range(counts.pop())]


def unpacked(data: Array, elements: int) -> Array:
    """Two weights of a byte, low half first."""
    halves = np.stack([data.astype(np.int8) << 4 >> 4, data.astype(np.int8) >> 4], -1)
    return halves.reshape(-1)[:elements].astype(np.int8)


def weights_of(v: Vector, shape: tuple[int, ...]) -> Array:
    """The weights, unpacked where the case is one of four bits."""
    data, elements = v.needed("weights", "input_weights"), int(np.prod(shape))
    return (unpacked(data, elements) if "int4" in v.name else data).reshape(shape)


def requant_of(v: Vector) -> Requant:
    """A multiplier and a shift, or one for every output channel."""
    if "output_multiplier" in v.constants:
        return Requant("tflite_double", (v["output_multiplier"],), (v["output_shift"],))
    multiplier, shift = v.needed("output_mult", "output_multiplier"), v.needed("output_shift")
    return Requant("tflite_double", tuple(multiplier.tolist()), tuple(shift.tolist()))


def clamp_of(v: Vector) -> tuple[int, int]:
    return v["out_activation_min"], v["out_activation_max"]


def window_of(v: Vector) -> Window:
    """Padding before as the case says, after it as much as the output needs."""
    kernel, stride = (v["filter_y"], v["filter_x"]), (v["stride_y"], v["stride_x"])
    dilation = (v["dilation_y"], v["dilation_x"])
    before = (v["pad_y"], v["pad_x"])
    sizes = ((v["input_h"], v["output_h"]), (v["input_w"], v["output_w"]))
    after = [(out - 1) * s + (k - 1) * d + 1 - n - p
             for (n, out), k, s, d, p in zip(sizes, kernel, stride, dilation, before, strict=True)]
    return Window(kernel, stride, dilation, (*before, max(0, after[0]), max(0, after[1])))


def conv(v: Vector) -> Run:
    kh, kw, cin, oc = v["filter_y"], v["filter_x"], v["in_ch"], v["out_ch"]
    cg = v.constants.get("filter_ch", cin)
    zero = -v["input_offset"]
    attrs = ConvAttrs(requant_of(v), v["output_offset"], clamp_of(v), zero, (0,), zero, window_of(v), cin // cg)
    x, y = (1, v["input_h"], v["input_w"], cin), (1, v["output_h"], v["output_w"], oc)
    bias = v.array("biases", "input_bias")
    graph = graph_of("conv_2d", attrs, [x], y, [weights_of(v, (oc, kh, kw, cg)), bias], "int4" in v.name)
    return Run(graph, inferences([v.needed("input")], [x]), inferences([v.needed("output_ref")], [y]))


def depthwise(v: Vector) -> Run:
    kh, kw, cin, oc = v["filter_y"], v["filter_x"], v["in_ch"], v["out_ch"]
    zero = -v["input_offset"]
    attrs = ConvAttrs(requant_of(v), v["output_offset"], clamp_of(v), zero, (0,), zero, window_of(v))
    x, y = (1, v["input_h"], v["input_w"], cin), (1, v["output_h"], v["output_w"], oc)
    graph = graph_of("depthwise_conv_2d", attrs, [x], y, [weights_of(v, (1, kh, kw, oc)), v.array("biases")],
                     "int4" in v.name)
    return Run(graph, inferences([v.needed("input")], [x]), inferences([v.needed("output_ref")], [y]))


def dense(v: Vector) -> Run:
    """All rows at once, as one inference."""
    depth, rows = v["accumulation_depth"], v["input_batches"]
    y = v.needed("output_ref", "output")
    oc = y.size // rows
    attrs = ConvAttrs(requant_of(v), v["output_offset"], clamp_of(v), -v["input_offset"],
                      (-v.constants.get("filter_offset", 0),))
    shapes = [(rows, depth)]
    constants = [weights_of(v, (oc, depth)), v.array("biases", "input_bias")]
    graph = graph_of("fully_connected", attrs, shapes, (rows, oc), constants, "int4" in v.name)
    return Run(graph, inferences([v.needed("input")], shapes), inferences([y], [(rows, oc)]))


def transposed(v: Vector) -> Run:
    kh, kw, cin, oc = v["filter_y"], v["filter_x"], v["in_ch"], v["out_ch"]
    zero = -v["input_offset"]
    window = Window((kh, kw), (v["stride_y"], v["stride_x"]), (v["dilation_y"], v["dilation_x"]),
                    (v["pad_y"], v["pad_x"], 0, 0))
    size = (v["output_h"], v["output_w"])
    attrs = TransposeConvAttrs(requant_of(v), v["output_offset"], clamp_of(v), zero, (0,), zero, window, 1, size)
    x, y = (1, v["input_h"], v["input_w"], cin), (1, *size, oc)
    graph = graph_of("transpose_conv", attrs, [x], y, [weights_of(v, (oc, kh, kw, cin)), v.array("biases")])
    return Run(graph, inferences([v.needed("input")], [x]), inferences([v.needed("output_ref")], [y]))


def product(v: Vector) -> Run:
    attrs = MatmulAttrs(requant_of(v), v["output_offset"], (v["activation_min"], v["activation_max"]),
                        -v["lhs_offset"], (-v["rhs_offset"],), adj_x=bool(v["adj_x"]), adj_y=bool(v["adj_y"]))
    sides = [tuple(v[f"{side}_{axis}"] for axis in ("batch", "height", "rows", "cols")) for side in ("lhs", "rhs")]
    y = tuple(v[f"output_{axis}"] for axis in ("batch", "height", "rows", "cols"))
    graph = graph_of("batch_matmul", attrs, sides, y)
    given = [v.needed("lhs_input_tensor"), v.needed("rhs_input_tensor")]
    return Run(graph, inferences(given, sides), inferences([v.needed("output")], [y]))


def pool(v: Vector) -> Run:
    kernel, stride = (v["filter_h"], v["filter_w"]), (v["stride_h"], v["stride_w"])
    before = (v["padding_h"], v["padding_w"])
    after = [max(0, (out - 1) * s + k - n - p) for n, out, k, s, p in zip(
        (v["input_h"], v["input_w"]), (v["output_h"], v["output_w"]), kernel, stride, before, strict=True)]
    attrs = PoolAttrs(Window(kernel, stride, (1, 1), (*before, after[0], after[1])),
                      (v["activation_min"], v["activation_max"]))
    x, y = (1, v["input_h"], v["input_w"], v["input_c"]), (1, v["output_h"], v["output_w"], v["output_c"])
    op = "average_pool_2d" if v.name.startswith("avg") else "max_pool_2d"
    graph = graph_of(op, attrs, [x], y)
    return Run(graph, inferences([v.needed("input_tensor")], [x]), inferences([v.needed("output")], [y]))


def softmax(v: Vector) -> Run:
    scale = v["input_mult"] * 2.0 ** (v["input_left_shift"] - 31 - 26)
    shape = (v["num_rows"], v["row_size"])
    graph = graph_of("softmax", SoftmaxAttrs(softmax_exp_table(scale, 1.0)), [shape], shape)
    return Run(graph, inferences([v.needed("input")], [shape]), inferences([v.needed("output_ref")], [shape]))


def add(v: Vector) -> Run:
    def requant(which: str) -> Requant:
        return Requant("tflite_double", (v[f"{which}_mult"],), (v[f"{which}_shift"],))

    assert v["left_shift"] == 20
    attrs = AddAttrs((-v["input1_offset"], -v["input2_offset"]), (requant("input1"), requant("input2")),
                     requant("output"), v["output_offset"], clamp_of(v))
    shape = (1, v["dst_size"])
    graph = graph_of("add", attrs, [shape, shape], shape)
    given = [v.needed("input1"), v.needed("input2")]
    return Run(graph, inferences(given, [shape, shape]), inferences([v.needed("output_ref")], [shape]))


def choice(v: Vector) -> Run:
    """All batches at once, since one operand's may be spread over the other's."""
    shapes = [tuple(v[f"{axis}_{i}"] for axis in ("batch", "height", "width", "channel")) for i in (1, 2)]
    out = tuple(v[f"output_{axis}"] for axis in ("batch", "height", "width", "channel"))
    graph = graph_of("extremum", ExtremumAttrs("max" if v.name.startswith("max") else "min"), shapes, out)
    given = [v.needed("input_tensor_1"), v.needed("input_tensor_2")]
    return Run(graph, inferences(given, shapes), inferences([v.needed("output")], [out]))


def pad(v: Vector) -> Run:
    axes = ("n", "h", "w", "c")
    shape = tuple(v[f"input_{a}"] for a in axes)
    pads = tuple((v[f"pre_pad_{a}"], v[f"post_pad_{a}"]) for a in axes)
    out = tuple(n + a + b for n, (a, b) in zip(shape, pads, strict=True))
    graph = graph_of("pad", PadAttrs(pads, v["pad_value"]), [shape], out)
    return Run(graph, inferences([v.needed("input_tensor")], [shape]), inferences([v.needed("output")], [out]))


def transpose(v: Vector) -> Run:
    shape, perm = TRANSPOSES[v.name]
    out = tuple(shape[p] for p in perm)
    graph = graph_of("transpose", TransposeAttrs(perm), [shape], out)
    return Run(graph, inferences([v.needed("input_tensor")], [shape]), inferences([v.needed("output")], [out]))


def network(v: Vector) -> Run:
    """A keyword spotter: convolutions in turn with depthwise ones, an average over the image, a dense layer, softmax.
    """
    tensors = {"input": Tensor("input", (1, 49, 10, 1), DType.INT8, Quant((1.0,), (0,)))}
    nodes: list[Node] = []
    last = "input"

    def layer(op: str, attrs: Any, shape: tuple[int, ...], *constants: Array) -> None:
        nonlocal last
        made = [Tensor(f"c{len(tensors) + i}", c.shape, DType(c.dtype.name), None, c) for i, c in enumerate(constants)]
        out = Tensor(f"t{len(tensors)}", shape, DType.INT8, Quant((1.0,), (0,)))
        tensors.update((t.name, t) for t in (*made, out))
        nodes.append(Node(out.name, op, (last, *(t.name for t in made)), (out.name,), attrs))
        last = out.name

    for i in range(1, 10):
        depthwise_layer = i % 2 == 0
        kind = "depthwise_conv_2d" if depthwise_layer else "conv_2d"
        part = Vector(v.name, {k.removeprefix(f"{kind}_{i}_"): n for k, n in v.constants.items()
                               if k.startswith(f"{kind}_{i}_")},
                      {k.removeprefix(f"layer_{i}_{kind}_"): a for k, a in v.arrays.items()
                       if k.startswith(f"layer_{i}_{kind}_")})
        zero = -part["input_offset"]
        attrs = ConvAttrs(requant_of(part), part["output_offset"], clamp_of(part), zero, (0,), zero, window_of(part))
        kernel, oc = (part["filter_y"], part["filter_x"]), part["out_ch"]
        shape = (1, *kernel, oc) if depthwise_layer else (oc, *kernel, part["in_ch"])
        layer(kind, attrs, (1, part["output_h"], part["output_w"], oc), part.needed("weights").reshape(shape),
              part.needed("bias"))
    layer("average_pool_2d", PoolAttrs(Window((25, 5), (1, 1))), (1, 1, 1, 64))
    dense_attrs = ConvAttrs(
        Requant("tflite_double", (v["fully_connected_12_output_multiplier"],), (v["fully_connected_12_output_shift"],)),
        v["fully_connected_12_output_offset"], (-128, 127), -v["fully_connected_12_input_offset"])
    weights = v.needed("layer_12_fully_connected_weights").reshape(12, 64)
    layer("fully_connected", dense_attrs, (1, 12), weights, v.needed("layer_12_fully_connected_bias"))
    scale = v["softmax_13_mult"] * 2.0 ** (v["softmax_13_shift"] - 31 - 26)
    layer("softmax", SoftmaxAttrs(softmax_exp_table(scale, 1.0)), (1, 12))
    graph = check(Graph("case", "tflite", tensors, tuple(nodes), ("input",), (last,)))
    x, y = (1, 49, 10, 1), (1, 12)
    return Run(graph, inferences([v.needed("input")], [x]), inferences([v.needed("output_ref")], [y]))


CASES: dict[str, Callable[[Vector], Run]] = {
    **dict.fromkeys(CONV, conv), **dict.fromkeys(DEPTHWISE, depthwise), **dict.fromkeys(DENSE, dense),
    **dict.fromkeys(TRANSPOSED, transposed), **dict.fromkeys(PRODUCTS, product), **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(TRANSPOSES, transpose), "softmax": softmax, "add": add, "pad_int8_2": pad,
    **dict.fromkeys(CHOICES, choice), "ds_cnn_s": network,
}


def check_c(every: dict[str, Run], folder: Path, not_in_c: set[str]) -> None:
    """All cases that compile as one network in C, with and without the code for the DSP extension; a case of a smaller
    batch than others runs its last inference again."""
    refused = {n for n, run in every.items() if any(v.problems for v in passes.verdicts(passes.optimize(run.graph)))}
    assert refused <= not_in_c
    runs = [run for name, run in every.items() if name not in refused]
    whole = passes.optimize(merged([run.graph for run in runs]))
    rounds = max(len(run.inputs) for run in runs)

    def nth(n: int, of: Callable[[Run], list[list[Array]]]) -> list[Array]:
        return [array for run in runs for array in of(run)[min(n, len(of(run)) - 1)]]

    inputs = [nth(n, lambda run: run.inputs) for n in range(rounds)]
    wanted = [nth(n, lambda run: run.outputs) for n in range(rounds)]
    for chip in (None, load_board(M4).chip):
        schedule = layer_by_layer(whole, chip, Tiling())
        emitted = emit(whole, schedule, side_by_side(whole, schedule), "case", "test", 16, 1024)
        model = host.build(emitted, whole, folder / str(chip is None), sanitize=True, emulate_dsp=chip is not None,
                           extra_flags=STRICT)
        found = host.run(model, inputs).outputs
        assert_equal(wanted, [[out[n] for out in found] for n in range(rounds)], "C against the published output")


@pytest.mark.parametrize("name", CASES)
def test_the_reference_gives_the_published_output(name: str, vectors: dict[str, Vector]) -> None:
    run = CASES[name](vectors[name])
    assert_equal(run.outputs, run_reference(run.graph, run.inputs), "reference against the published output")


def test_the_generated_c_gives_the_published_output(vectors: dict[str, Vector], tmp_path: Path) -> None:
    check_c({name: case(vectors[name]) for name, case in CASES.items()}, tmp_path, NO_C)
