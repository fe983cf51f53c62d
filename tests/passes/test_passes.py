"""Every pass: what it makes of a tiny graph, and that no number changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from harness import (
    RNG,
    activation,
    assert_equal,
    bias,
    constant,
    run_reference,
    samples,
    tflite_graph,
    weights,
)

from mcuc import passes
from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Quant, Tensor, check
from mcuc.numerics import quantize_float
from mcuc.ops._unary import TableAttrs
from mcuc.ops.pad import PadAttrs
from mcuc.ops.quantize import QuantizeAttrs, shift_uint8
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.ops.shape import ShapeAttrs
from mcuc.ops.transpose import TransposeAttrs
from mcuc.verify import reference

IDENTITY = bytes(range(256))


def table(function: Callable[[int], int]) -> bytes:
    """256 bytes by unsigned index from a function of the int8 value."""
    return np.array([function(b - 256 if b > 127 else b) for b in range(256)], np.int8).tobytes()


def join(graphs: Sequence[Graph], outputs: Sequence[str]) -> Graph:
    """One-node graphs that share tensor names, in order; inputs are what nobody computes."""
    tensors: dict[str, Tensor] = {}
    for i, graph in enumerate(graphs):
        tensors.update(
            (n, t if t.data is None else replace(t, name=f"{i}/{n}"))
            for n, t in graph.tensors.items()
            if t.data is None
        )
        tensors.update(
            (f"{i}/{n}", replace(t, name=f"{i}/{n}")) for n, t in graph.tensors.items() if t.data is not None
        )
    nodes = [
        replace(
            node,
            name=f"{i}:{node.op}",
            inputs=tuple(f"{i}/{n}" if n and g.tensors[n].data is not None else n for n in node.inputs),
        )
        for i, g in enumerate(graphs)
        for node in g.nodes
    ]
    computed = {n for node in nodes for n in node.outputs}
    inputs = dict.fromkeys(
        n for node in nodes for n in node.inputs if n and tensors[n].data is None and n not in computed
    )
    return check(Graph("tiny", "tflite", tensors, tuple(nodes), tuple(inputs), tuple(outputs)))


def single(op: str, attrs: object, x: Tensor, y: Tensor) -> Graph:
    return Graph(
        "tiny", "tflite", {x.name: x, y.name: y}, (Node(op, op, (x.name,), (y.name,), attrs),), (x.name,), (y.name,)
    )


def body(graph: Graph) -> list[str]:
    """The stable text, without its first line."""
    return [line.strip() for line in str(graph).splitlines()[1:]]


def same_numbers(before: Graph, after: Graph) -> None:
    """reference(before) == reference(after) on random inputs and the extremes."""
    assert [before.tensors[n].dtype for n in before.inputs] == [after.tensors[n].dtype for n in after.inputs]
    inputs = samples(before, 5)
    assert_equal(run_reference(before, inputs), run_reference(check(after), inputs), "after the pass")


def shape_chain() -> Graph:
    """SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE as converters write a flatten."""
    x, y = activation("x", (1, 2, 3)), activation("y", (1, 6))
    i32 = DType.INT32
    six = constant("six", np.array(6, np.int32))
    tensors = [x, y, six, Tensor("s", (3,), i32), Tensor("n", (), i32), Tensor("p", (2,), i32)]
    cut = tflite_graph(
        "STRIDED_SLICE",
        [replace(tensors[3]), *(constant(k, np.array(v, np.int32)) for k, v in (("b", [0]), ("e", [1]), ("t", [1])))],
        tensors[4],
        shrinkAxisMask=1,
    )
    pack = tflite_graph("PACK", [tensors[4], six], tensors[5])
    nodes = (
        Node("0", "shape", (), ("s",), ShapeAttrs((1, 2, 3))),
        replace(cut.nodes[0], name="1"),
        replace(pack.nodes[0], name="2"),
        Node("3", "reshape", ("x", "p"), ("y",), ReshapeAttrs((1, 6))),
    )
    return check(Graph("tiny", "tflite", {t.name: t for t in tensors}, nodes, ("x",), ("y",)))


def test_fold_constants_evaluates_a_shape_chain() -> None:
    before = shape_chain()
    after = passes.fold_constants(before)
    assert body(after) == ["input x:int8[1x2x3]", "y:int8[1x6] = reshape(x, const int32[2]) {shape=(1, 6)}", "output y"]
    assert after.const("p").tolist() == [1, 6]
    same_numbers(before, after)
    assert [n.inputs for n in passes.optimize(before).nodes] == [("x",)]


def test_a_shape_that_works_out_otherwise_is_refused() -> None:
    graph = shape_chain()
    graph = replace(graph, tensors=graph.tensors | {"six": constant("six", np.array(7, np.int32))})
    with pytest.raises(McucError, match=r"works out as \[1, 7\]"):
        passes.optimize(graph)


def test_fold_constants_leaves_outputs_and_run_time_values() -> None:
    x, y = activation("x", (2, 3)), activation("y", (3, 2))
    live = single("transpose", TransposeAttrs((1, 0)), x, y)
    assert passes.fold_constants(live).nodes == live.nodes
    frozen = replace(live, tensors={"x": constant("x", np.ones((2, 3), np.int8)), "y": y}, inputs=())
    assert passes.fold_constants(frozen).nodes == frozen.nodes


def float_ends() -> Graph:
    x = Tensor("x", (1, 4), DType.FLOAT32)
    xt = Tensor("xt", (4, 1), DType.FLOAT32)
    q, r = activation("q", (4, 1), 0.5, 3), activation("r", (1, 4), 0.5, 3)
    f, y = Tensor("f", (1, 4), DType.FLOAT32), Tensor("y", (4,), DType.FLOAT32)
    return join(
        [
            single("reshape", ReshapeAttrs((4, 1)), x, xt),
            single("quantize", QuantizeAttrs(b""), xt, q),
            single("clip", TableAttrs(table(lambda v: max(v, 3))), q, replace(r, shape=(4, 1), name="c")),
            single("reshape", ReshapeAttrs((1, 4)), replace(r, shape=(4, 1), name="c"), r),
            tflite_graph("DEQUANTIZE", [r], f),
            single("reshape", ReshapeAttrs((4,)), f, y),
        ],
        ["y"],
    )


def test_normalize_boundary_turns_float_ends_into_int8() -> None:
    before = float_ends()
    after = check(passes.normalize_boundary(before))
    assert body(after) == [
        "input xt:int8[1x4]",
        "q:int8[4x1] = reshape(xt) {shape=(4, 1)}",
        "c:int8[4x1] = clip(q) {table=<256 bytes>}",
        "r:int8[1x4] = reshape(c) {shape=(1, 4)}",
        "f:int8[4] = reshape(r) {shape=(4,)}",
        "output f",
    ]
    assert after.tensors["xt"].quant == Quant((0.5,), (3,)) == after.tensors["f"].quant
    values = RNG(1).uniform(-60, 60, (5, 1, 4))
    for real in values:
        steps = quantize_float(real, 0.5, 3)
        found = reference.run(after, {"xt": steps})["f"]
        expected = np.maximum(0.0, (steps - 3) * 0.5)  # relu of the quantized values
        assert np.array_equal(expected.reshape(-1), (found.astype(int) - 3) * 0.5)
    passes.check_supported(passes.optimize(before))


def test_two_quantize_nodes_of_one_input_become_one_int8_input() -> None:
    x = Tensor("x", (1, 4), DType.FLOAT32)
    a, b = activation("a", (1, 4), 0.5, 3), activation("b", (1, 4), 0.5, 3)
    graph = join(
        [
            single("quantize", QuantizeAttrs(b""), x, a),
            single("quantize", QuantizeAttrs(b""), x, b),
            tflite_graph("ADD", [a, b], activation("y", (1, 4), 1.0, 0)),
        ],
        ["y"],
    )
    after = check(passes.normalize_boundary(graph))
    assert after.inputs == ("a",) and after.nodes[0].inputs == ("a", "a")


def test_float_in_the_middle_is_left_and_refused_by_name() -> None:
    x, f, y = activation("x", (1, 4), 0.5, 3), Tensor("f", (1, 4), DType.FLOAT32), activation("y", (1, 4), 0.25, 0)
    graph = join([tflite_graph("DEQUANTIZE", [x], f), single("quantize", QuantizeAttrs(b""), f, y)], ["y"])
    after = passes.optimize(graph)
    assert [n.op for n in after.nodes] == ["dequantize", "quantize"]
    with pytest.raises(McucError) as caught:
        passes.check_supported(after)
    assert caught.value.code == "unsupported" and "'f'" in caught.value.found and caught.value.try_this
    assert [bool(v.problems) for v in passes.verdicts(after)] == [True, True]


def unary(x: str, y: str, function: Callable[[int], int], op: str = "quantize") -> Graph:
    attrs = QuantizeAttrs(table(function)) if op == "quantize" else TableAttrs(table(function))
    return single(op, attrs, activation(x, (1, 4)), activation(y, (1, 4)))


IDENTITIES: dict[str, tuple[Graph, list[str]]] = {
    "same shape": (
        join(
            [
                single("reshape", ReshapeAttrs((1, 4)), activation("x", (1, 4)), activation("a", (1, 4))),
                unary("a", "y", lambda v: v // 2),
            ],
            ["y"],
        ),
        ["y:int8[1x4] = quantize(x) {table=<256 bytes>}"],
    ),
    "identity table before the output": (
        join([unary("x", "a", lambda v: v // 2), unary("a", "y", lambda v: v)], ["y"]),
        ["y:int8[1x4] = quantize(x) {table=<256 bytes>}"],
    ),
    "tables in a row": (
        join(
            [
                unary("x", "a", lambda v: v // 2),
                unary("a", "b", lambda v: -v - 1, "clip"),
                unary("b", "y", lambda v: max(v, -3)),
            ],
            ["y"],
        ),
        ["y:int8[1x4] = quantize(x) {table=<256 bytes>}"],
    ),
    "reshapes in a row": (
        join(
            [
                single("reshape", ReshapeAttrs((2, 2)), activation("x", (1, 4)), activation("a", (2, 2))),
                single("reshape", ReshapeAttrs((4,)), activation("a", (2, 2)), activation("y", (4,))),
            ],
            ["y"],
        ),
        ["y:int8[4] = reshape(x) {shape=(4,)}"],
    ),
    "transpose there and back": (
        join(
            [
                single(
                    "transpose",
                    TransposeAttrs((0, 3, 1, 2)),
                    activation("x", (1, 2, 3, 4)),
                    activation("a", (1, 4, 2, 3)),
                ),
                single(
                    "transpose",
                    TransposeAttrs((0, 2, 3, 1)),
                    activation("a", (1, 4, 2, 3)),
                    activation("b", (1, 2, 3, 4)),
                ),
                single(
                    "clip",
                    TableAttrs(table(lambda v: max(v, 0))),
                    activation("b", (1, 2, 3, 4)),
                    activation("y", (1, 2, 3, 4)),
                ),
            ],
            ["y"],
        ),
        ["y:int8[1x2x3x4] = clip(x) {table=<256 bytes>}"],
    ),
    "transpose of a vector": (
        single("transpose", TransposeAttrs((0, 3, 1, 2)), activation("x", (1, 1, 1, 4)), activation("y", (1, 4, 1, 1))),
        ["y:int8[1x4x1x1] = reshape(x) {shape=(1, 4, 1, 1)}"],
    ),
    "two transposes": (
        join(
            [
                single("transpose", TransposeAttrs((1, 0, 2)), activation("x", (2, 3, 4)), activation("a", (3, 2, 4))),
                single("transpose", TransposeAttrs((0, 2, 1)), activation("a", (3, 2, 4)), activation("y", (3, 4, 2))),
            ],
            ["y"],
        ),
        ["y:int8[3x4x2] = transpose(x) {perm=(1, 2, 0)}"],
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_remove_identities(name: str) -> None:
    before, expected = IDENTITIES[name]
    after = passes.remove_identities(before)
    assert body(after)[1:-1] == expected
    same_numbers(before, after)


def test_uint8_shift_there_and_back_cancels_out() -> None:
    u8 = Tensor("x", (1, 4), DType.UINT8, Quant((0.1,), (128,)))
    inner = activation("a", (1, 4), 0.1, 0)
    out = Tensor("b", (1, 4), DType.UINT8, Quant((0.1,), (128,)))
    last = Tensor("y", (1, 4), DType.INT8, Quant((0.1,), (0,)))
    before = join(
        [
            single("quantize", shift_uint8(), u8, inner),
            single("quantize", shift_uint8(), inner, out),
            single("quantize", shift_uint8(), out, last),
        ],
        ["y"],
    )
    after = passes.remove_identities(before)
    assert len(after.nodes) == 1 and after.nodes[0].inputs == ("x",)
    same_numbers(before, after)


def test_an_identity_from_input_to_output_stays() -> None:
    graph = single("reshape", ReshapeAttrs((1, 4)), activation("x", (1, 4)), activation("y", (1, 4)))
    assert passes.remove_identities(graph).nodes == graph.nodes


def conv(x: str, y: str, shape: tuple[int, ...], kept: tuple[int, ...], seed: int = 3, **fields: int) -> Graph:
    rng = RNG(seed)
    source, w = activation(x, shape, 0.03, 5), weights(rng, (kept[3], 3, 3, shape[3]))
    return tflite_graph(
        "CONV_2D",
        [source, w, bias(rng, source, w, kept[3])],
        activation(y, kept, 0.4, -7),
        **{"strideH": 1, "strideW": 1, "padding": 1, **fields},
    )


def test_fuse_activation_tightens_the_clamp() -> None:
    relu = single(
        "clip",
        TableAttrs(table(lambda v: min(max(v, -7), 90))),
        activation("a", (1, 3, 3, 2), 0.4, -7),
        activation("b", (1, 3, 3, 2), 0.4, -7),
    )
    again = single(
        "clip",
        TableAttrs(table(lambda v: min(v, 20))),
        activation("b", (1, 3, 3, 2), 0.4, -7),
        activation("y", (1, 3, 3, 2), 0.4, -7),
    )
    before = join([conv("x", "a", (1, 5, 5, 3), (1, 3, 3, 2)), relu, again], ["y"])
    after = passes.fuse_activation(before)
    assert [(n.op, n.outputs, n.attrs.clamp) for n in after.nodes] == [("conv_2d", ("y",), (-7, 20))]
    same_numbers(before, after)


@pytest.mark.parametrize("what", ["requantizes", "read twice", "an output"])
def test_fuse_activation_leaves_what_is_not_exact(what: str) -> None:
    values = (lambda v: max(v // 2, -7)) if what == "requantizes" else (lambda v: max(v, -7))
    relu = single(
        "clip",
        TableAttrs(table(values)),
        activation("a", (1, 3, 3, 2), 0.4, -7),
        activation("y", (1, 3, 3, 2), 0.4, -7),
    )
    outputs = {"requantizes": ["y"], "read twice": ["y", "z"], "an output": ["y", "a"]}[what]
    extra = [
        single(
            "quantize",
            QuantizeAttrs(table(lambda v: -v - 1)),
            activation("a", (1, 3, 3, 2)),
            activation("z", (1, 3, 3, 2)),
        )
    ]
    graph = join([conv("x", "a", (1, 5, 5, 3), (1, 3, 3, 2)), relu, *(extra if what == "read twice" else [])], outputs)
    assert passes.fuse_activation(graph).nodes == graph.nodes


def test_tables_one_after_the_other_are_one() -> None:
    """A chain of three; a value that is read twice, or that is an output, stays."""
    steps = [lambda v: max(-100, v - 20), lambda v: -v // 2, lambda v: max(-128, min(v * 3, 127))]
    chain = [unary(a, b, f, op) for a, b, f, op in zip("xabc", "abcd", [*steps, steps[0]], ["clip"] * 4, strict=True)]
    before = join(chain, ["d"])
    after = passes.fuse_tables(before)
    assert [(n.op, n.inputs) for n in after.nodes] == [("clip", ("x",))]
    same_numbers(before, after)
    kept = join(chain, ["b", "d"])
    assert len(passes.fuse_tables(kept).nodes) == 2
    same_numbers(kept, passes.fuse_tables(kept))
    twice = join([*chain[:2], unary("a", "e", steps[2], "clip")], ["b", "e"])
    assert passes.fuse_tables(twice).nodes == twice.nodes


@pytest.mark.parametrize("kind", ("MUL", "ADD", "SUB", "SQUARED_DIFFERENCE", "DIV", "MAXIMUM"))
def test_branches_of_one_byte_that_meet_are_one_table(kind: str) -> None:
    """x with a function of x, two functions of x, x with a number; not of two values."""
    options = {"fusedActivationFunction": 0} if kind in ("MUL", "ADD", "SUB", "DIV") else {}

    def meet(a: str, b: str, y: str) -> Graph:
        return tflite_graph(kind, [activation(a, (1, 4)), activation(b, (1, 4))], [activation(y, (1, 4))], **options)

    first = unary("x", "a", lambda v: max(-100, v - 20), "logistic")
    second = unary("x", "b", lambda v: -v // 2)
    for branches in ([first, meet("x", "a", "y")], [first, second, meet("a", "b", "y")], [meet("x", "x", "y")]):
        before = join(branches, ["y"])
        after = passes.remove_dead(passes.fuse_branches(before))
        assert [(n.op, n.inputs) for n in after.nodes] == [("unary", ("x",))]
        same_numbers(before, after)
    apart = join([first, meet("z", "a", "y")], ["y"])
    assert passes.fuse_branches(apart).nodes == apart.nodes
    number = replace(constant("c", np.array([70], np.int8)), quant=activation("c", (1,)).quant)
    with_number = tflite_graph(kind, [activation("x", (1, 4)), number], [activation("y", (1, 4))], **options)
    after = passes.fuse_branches(with_number)
    assert [n.op for n in after.nodes] == ["unary"]
    same_numbers(with_number, after)


def pad(x: str, y: str, shape: tuple[int, ...], pads: tuple[tuple[int, int], ...], value: int) -> Graph:
    kept = tuple(n + a + b for n, (a, b) in zip(shape, pads, strict=True))
    return single("pad", PadAttrs(pads, value), activation(x, shape, 0.03, 5), activation(y, kept, 0.03, 5))


PADS = ((0, 0), (1, 2), (2, 0), (0, 0))


@pytest.mark.parametrize("value", [5, -100])
def test_fuse_pad_into_convolution(value: int) -> None:
    before = join(
        [pad("x", "a", (1, 4, 5, 3), PADS, value), conv("a", "y", (1, 7, 7, 3), (1, 3, 3, 2), strideH=2, strideW=2)],
        ["y"],
    )
    after = passes.fuse_pad(before)
    assert [n.op for n in after.nodes] == ["conv_2d"] and after.nodes[0].attrs.window.pad == (1, 2, 2, 0)
    assert after.nodes[0].attrs.pad_value == value
    same_numbers(before, after)
    same_numbers(before, passes.optimize(before))


def test_fuse_pad_adds_to_the_windows_own_padding_only_for_one_value() -> None:
    for value, fused in ((5, True), (6, False)):
        before = join(
            [pad("x", "a", (1, 4, 5, 3), PADS, value), conv("a", "y", (1, 7, 7, 3), (1, 7, 7, 2), padding=0)], ["y"]
        )
        after = passes.fuse_pad(before)
        assert (len(after.nodes) == 1) == fused
        same_numbers(before, after)


def test_fuse_pad_into_depthwise() -> None:
    rng = RNG(5)
    x, w = activation("a", (1, 7, 7, 3), 0.03, 5), weights(rng, (1, 3, 3, 6), axis=3)
    dw = tflite_graph(
        "DEPTHWISE_CONV_2D",
        [x, w, bias(rng, x, w, 6)],
        activation("y", (1, 5, 5, 6), 0.4, 2),
        strideH=1,
        strideW=1,
        padding=1,
        depthMultiplier=2,
    )
    before = join([pad("x", "a", (1, 4, 5, 3), PADS, 5), dw], ["y"])
    after = passes.fuse_pad(before)
    assert [n.op for n in after.nodes] == ["depthwise_conv_2d"]
    same_numbers(before, after)


@pytest.mark.parametrize(
    "kind, value, fused",
    [
        ("AVERAGE_POOL_2D", 5, True),
        ("AVERAGE_POOL_2D", -90, True),
        ("MAX_POOL_2D", -128, True),
        ("MAX_POOL_2D", 5, False),
    ],
)
def test_fuse_pad_into_pools(kind: str, value: int, fused: bool) -> None:
    pool = tflite_graph(
        kind,
        [activation("a", (1, 6, 6, 3), 0.03, 5)],
        activation("y", (1, 4, 4, 3), 0.03, 5),
        strideH=1,
        strideW=1,
        filterHeight=3,
        filterWidth=3,
        padding=1,
    )
    before = join([pad("x", "a", (1, 4, 4, 3), ((0, 0), (1, 1), (1, 1), (0, 0)), value), pool], ["y"])
    after = passes.fuse_pad(before)
    assert (len(after.nodes) == 1) == fused
    same_numbers(before, after)


def test_fuse_pad_leaves_windows_that_would_see_padding_alone_and_other_readers() -> None:
    pool = tflite_graph(
        "MAX_POOL_2D",
        [activation("a", (1, 8, 8, 3), 0.03, 5)],
        activation("y", (1, 8, 8, 3), 0.03, 5),
        strideH=1,
        strideW=1,
        filterHeight=1,
        filterWidth=1,
        padding=1,
    )
    wide = join([pad("x", "a", (1, 4, 4, 3), ((0, 0), (2, 2), (2, 2), (0, 0)), -128), pool], ["y"])
    assert passes.fuse_pad(wide).nodes == wide.nodes
    both = join([pad("x", "a", (1, 5, 5, 3), PADS, 5), conv("a", "y", (1, 8, 7, 3), (1, 6, 5, 2))], ["y", "a"])
    assert passes.fuse_pad(both).nodes == both.nodes
    channels = join(
        [pad("x", "a", (1, 5, 5, 2), ((0, 0), (0, 0), (0, 0), (0, 1)), 5), conv("a", "y", (1, 5, 5, 3), (1, 3, 3, 2))],
        ["y"],
    )
    assert passes.fuse_pad(channels).nodes == channels.nodes


def test_fold_zero_points_of_every_layer_with_weights() -> None:
    rng = RNG(9)
    x = activation("a", (1, 3, 3, 2), 0.4, -7)
    w = weights(rng, (1, 3, 3, 4), axis=3)
    dw = tflite_graph(
        "DEPTHWISE_CONV_2D",
        [x, w],
        activation("d", (1, 3, 3, 4), 0.4, 2),
        strideH=1,
        strideW=1,
        padding=0,
        depthMultiplier=2,
    )
    flat = activation("d", (1, 3, 3, 4), 0.4, 2)
    dense_weights = weights(rng, (5, 4))
    dense_weights = replace(dense_weights, quant=replace(dense_weights.quant, zero_point=(3,)))  # type: ignore[arg-type]
    dense = tflite_graph(
        "FULLY_CONNECTED", [flat, dense_weights, bias(rng, flat, dense_weights, 5)], activation("y", (9, 5), 0.8, 1)
    )
    before = join([conv("x", "a", (1, 3, 3, 3), (1, 3, 3, 2), padding=0), dw, dense], ["y"])
    after = passes.fold_zero_points(before)
    assert [n.attrs.input_zero_point for n in after.nodes] == [0, 0, 0] and [
        n.attrs.pad_value for n in after.nodes[:2]
    ] == [5, -7]
    assert [n.inputs[2] for n in after.nodes] == [f"{y}/folded_bias" for y in ("a", "d", "y")]
    assert "input_zero_point=0" in body(after)[1]
    same_numbers(before, after)


def test_remove_dead_drops_what_nobody_reads() -> None:
    graph = join(
        [unary("x", "y", lambda v: v // 2), unary("x", "z", lambda v: -v - 1), unary("z", "zz", lambda v: v)], ["y"]
    )
    after = passes.remove_dead(graph)
    assert body(after) == ["input x:int8[1x4]", "y:int8[1x4] = quantize(x) {table=<256 bytes>}", "output y"]
    assert set(after.tensors) == {"x", "y"}
    same_numbers(graph, after)


def test_optimize_is_idempotent_and_leaves_its_input_alone() -> None:
    graph = join([pad("x", "a", (1, 4, 5, 3), PADS, 5), conv("a", "y", (1, 7, 7, 3), (1, 5, 5, 2))], ["y"])
    text = str(graph)
    once = passes.optimize(graph)
    assert str(graph) == text and str(passes.optimize(once)) == str(once)
    assert passes.check_supported(once) is once


def test_check_supported_names_node_tensor_and_remedy() -> None:
    pads = PadAttrs(((1, 1),) * 4, 0)
    graph = single("pad", pads, activation("x", (2, 2, 2, 2)), activation("y", (4, 4, 4, 4)))
    with pytest.raises(McucError) as caught:
        passes.check_supported(passes.optimize(graph))
    assert "'y'" in caught.value.where and "At most three" in caught.value.found and caught.value.try_this
    assert "four or more" in passes.verdicts(graph)[0].problems[0]


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("dtype", [DType.INT64, DType.FLOAT32])
def test_ends_that_no_buffer_holds_are_refused(side: str, dtype: DType) -> None:
    graph = unary("x", "y", lambda v: v)
    name = "x" if side == "input" else "y"
    odd = replace(graph, tensors={**graph.tensors, name: replace(graph.tensors[name], dtype=dtype)})
    with pytest.raises(McucError, match=f"{side} '{name}' is {dtype.value}"):
        passes.check_supported(odd)


def test_samples_are_not_all_alike() -> None:
    found: list[list[Array]] = samples(unary("x", "y", lambda v: v), 4)
    assert len({s[0].tobytes() for s in found}) == 4
