"""TFLite's float operators in terms of ONNX ones: a function for each form, a table of names."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from mcuc.importers._float_tflite_graph import Operation, refuse
from mcuc.ops._spatial import same_padding

Translate = Callable[[Operation], None]


def _pads(op: Operation, kernel: tuple[int, int]) -> dict[str, Any]:
    """strides, dilations and pads of a window over input 0."""
    o = op.options
    stride, dilation = (int(o.strideH), int(o.strideW)), (1, 1)
    if hasattr(o, "dilationHFactor"):
        dilation = (int(o.dilationHFactor), int(o.dilationWFactor))
    if min(*stride, *dilation, *kernel) < 1:
        raise refuse(
            "broken-model",
            f"stride {stride}, dilation {dilation}, kernel {kernel}",
            op.where,
            "check that the model file is complete",
        )
    _, h, w, _ = op.shape(op.inputs[0])
    pad = same_padding((h, w), kernel, stride, dilation) if int(o.padding) == 0 else (0, 0, 0, 0)
    return {"strides": list(stride), "dilations": list(dilation), "pads": list(pad)}


def _conv(op: Operation) -> None:
    w = op.constant(1)
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    channels = op.shape(op.inputs[0])[3]
    weights = w.transpose(3, 0, 1, 2) if depthwise else w.transpose(0, 3, 1, 2)
    groups = channels if depthwise else channels // max(1, w.shape[3])
    bias = [op.graph.constant(f"{op.out}/bias", op.constant(2))] if op.has(2) else []
    name = op.graph.constant(f"{op.out}/weights", np.ascontiguousarray(weights))
    value = op.graph.step(
        "Conv",
        [op.first(op.inputs[0]), name, *bias],
        op.out,
        group=groups,
        kernel_shape=list(weights.shape[2:]),
        **_pads(op, (w.shape[1], w.shape[2])),
    )
    op.finish(value, int(op.options.fusedActivationFunction), channels_first=True)


def _transpose_conv(op: Operation) -> None:
    """Inputs: output shape, weights OHWI, activations, bias. The output is cut as TFLite's padding says."""
    shape, w = [int(d) for d in op.constant(0)], op.constant(1)
    kernel, stride = (w.shape[1], w.shape[2]), (int(op.options.strideH), int(op.options.strideW))
    size = op.shape(op.inputs[2])[1:3]
    pad = (0, 0, 0, 0)
    if int(op.options.padding) == 0:
        pad = same_padding((shape[1], shape[2]), kernel, stride)
    extra = [shape[1 + i] - ((size[i] - 1) * stride[i] + kernel[i] - pad[i] - pad[2 + i]) for i in (0, 1)]
    if min(extra) < 0:
        raise refuse(
            "broken-model",
            f"TRANSPOSE_CONV to {shape} of an input of {size}",
            op.where,
            "check that the model file is complete",
        )
    weights = op.graph.constant(f"{op.out}/weights", np.ascontiguousarray(w.transpose(3, 0, 1, 2)))
    bias = [op.graph.constant(f"{op.out}/bias", op.constant(3))] if op.has(3) else []
    value = op.graph.step(
        "ConvTranspose",
        [op.first(op.inputs[2]), weights, *bias],
        op.out,
        strides=list(stride),
        pads=list(pad),
        output_padding=extra,
        kernel_shape=list(kernel),
    )
    op.finish(value, int(getattr(op.options, "fusedActivationFunction", 0)), channels_first=True)


def _dense(op: Operation) -> None:
    x, w = op.inputs[0], op.constant(1)
    shape = op.shape(x)
    if len(shape) != 2 or shape[1] != w.shape[1]:
        to = op.graph.constant(f"{op.out}/rows", np.array([prod(shape) // max(1, w.shape[1]), w.shape[1]], np.int64))
        x = op.graph.step("Reshape", [x, to], op.out)
    weights = op.graph.constant(f"{op.out}/weights", w)
    bias = [op.graph.constant(f"{op.out}/bias", op.constant(2).reshape(-1))] if op.has(2) else []
    value = op.activated(
        op.graph.step("Gemm", [x, weights, *bias], op.out, transB=1), int(op.options.fusedActivationFunction)
    )
    if op.shape(op.out) == (prod(shape) // max(1, w.shape[1]), w.shape[0]):
        op.finish(value)
    else:
        _reshaped(op, value)


def _reshaped(op: Operation, value: str) -> None:
    """The value in the shape that the file declares for the output."""
    to = op.graph.constant(f"{op.out}/shape", np.array(op.shape(op.out), np.int64))
    op.graph.add("Reshape", [value, to], op.out)


def _pool(kind: str) -> Translate:
    def translate(op: Operation) -> None:
        kernel = (int(op.options.filterHeight), int(op.options.filterWidth))
        window = _pads(op, kernel)
        del window["dilations"]
        value = op.graph.step(kind, [op.first(op.inputs[0])], op.out, kernel_shape=list(kernel), **window)
        op.finish(value, int(op.options.fusedActivationFunction), channels_first=True)

    return translate


def _binary(kind: str) -> Translate:
    def translate(op: Operation) -> None:
        value = op.graph.step(kind, op.inputs[:2], op.out)
        op.finish(value, int(getattr(op.options, "fusedActivationFunction", 0) or 0))

    return translate


def _unary(kind: str, **attributes: Any) -> Translate:
    def translate(op: Operation) -> None:
        op.graph.add(kind, op.inputs[:1], op.out, **attributes)

    return translate


def _clip(low: float | None, high: float | None) -> Translate:
    return lambda op: op.finish(op.clipped(op.inputs[0], low, high))


def _rsqrt(op: Operation) -> None:
    op.graph.add("Reciprocal", [op.graph.step("Sqrt", op.inputs[:1], op.out)], op.out)


def _square(op: Operation) -> None:
    op.graph.add("Mul", [op.inputs[0], op.inputs[0]], op.out)


def _squared_difference(op: Operation) -> None:
    difference = op.graph.step("Sub", op.inputs[:2], op.out)
    op.graph.add("Mul", [difference, difference], op.out)


def _leaky(op: Operation) -> None:
    op.graph.add("LeakyRelu", op.inputs[:1], op.out, alpha=float(op.options.alpha))


def _gelu(op: Operation) -> None:
    op.graph.add("Gelu", op.inputs[:1], op.out, approximate="tanh" if op.options.approximate else "none")


def _softmax(op: Operation) -> None:
    x, beta = op.inputs[0], float(op.options.beta)
    if beta != 1.0:
        x = op.graph.step("Mul", [x, op.graph.constant(f"{op.out}/beta", np.float32(beta))], op.out)
    op.graph.add("Softmax", [x], op.out, axis=-1)


def _reduce(kind: str) -> Translate:
    def translate(op: Operation) -> None:
        axes = op.graph.constant(f"{op.out}/axes", op.constant(1).reshape(-1).astype(np.int64))
        op.graph.add(kind, [op.inputs[0], axes], op.out, keepdims=int(bool(op.options.keepDims)))

    return translate


def _reshape(op: Operation) -> None:
    _reshaped(op, op.inputs[0])


def _transpose(op: Operation) -> None:
    op.graph.add("Transpose", op.inputs[:1], op.out, perm=[int(p) for p in op.constant(1).reshape(-1)])


def _pad(op: Operation) -> None:
    pairs = op.constant(1).reshape(-1, 2).astype(np.int64)
    inputs = [op.inputs[0], op.graph.constant(f"{op.out}/pads", pairs.T.reshape(-1))]
    mode = "constant"
    if op.kind == "MIRROR_PAD":
        mode = "reflect" if int(op.options.mode) == 0 else "symmetric"
        if mode == "symmetric":
            raise refuse("unsupported-operator", "MIRROR_PAD in mode SYMMETRIC", op.where, "use mode REFLECT")
    elif op.has(2):
        inputs.append(op.graph.constant(f"{op.out}/fill", np.float32(op.constant(2).reshape(-1)[0])))
    op.graph.add("Pad", inputs, op.out, mode=mode)


def _concat(op: Operation) -> None:
    axis = int(op.options.axis) % len(op.shape(op.out))
    op.finish(op.graph.step("Concat", op.inputs, op.out, axis=axis), int(op.options.fusedActivationFunction))


def _slice(op: Operation) -> None:
    begin, size = (op.constant(i).reshape(-1).astype(np.int64) for i in (1, 2))
    shape = np.array(op.shape(op.inputs[0]))
    end = np.where(size < 0, shape, begin + size)
    _sliced(op, begin, end, np.ones_like(begin))


def _strided_slice(op: Operation) -> None:
    o, shape = op.options, op.shape(op.inputs[0])
    if o.ellipsisMask or o.newAxisMask:
        raise refuse(
            "unsupported-operator", "STRIDED_SLICE with an ellipsis or a new axis", op.where, "slice with explicit axes"
        )
    begin, end, step = (op.constant(i).reshape(-1).astype(np.int64).copy() for i in (1, 2, 3))
    for i in range(len(begin)):
        if step[i] == 0:
            raise refuse("broken-model", "a slice with step 0", op.where, "check that the model file is complete")
        if o.shrinkAxisMask >> i & 1:
            begin[i] %= shape[i]
            end[i], step[i] = begin[i] + 1, 1
            continue
        if o.beginMask >> i & 1:
            begin[i] = 0 if step[i] > 0 else shape[i] - 1
        if o.endMask >> i & 1:
            end[i] = shape[i] if step[i] > 0 else -shape[i] - 1
    _sliced(op, begin, end, step)


def _sliced(op: Operation, begin: Any, end: Any, step: Any) -> None:
    axes = np.arange(len(begin), dtype=np.int64)
    names = [op.graph.constant(f"{op.out}/slice", part) for part in (begin, end, axes, step)]
    _reshaped(op, op.graph.step("Slice", [op.inputs[0], *names], op.out))


def _split(op: Operation) -> None:
    from onnx import helper

    data, axis_at = (op.inputs[1], 0) if op.kind == "SPLIT" else (op.inputs[0], 2)
    axis = int(op.constant(axis_at).reshape(-1)[0]) % len(op.shape(data))
    sizes = np.array([op.shape(n)[axis] for n in op.outputs], np.int64)
    inputs = [data, op.graph.constant(f"{op.out}/sizes", sizes)]
    op.graph.nodes.append(helper.make_node("Split", inputs, list(op.outputs), name=op.where, axis=axis))


def _pack(op: Operation) -> None:
    axis = int(op.options.axis) % len(op.shape(op.out))
    shape = [1 if i == axis else d for i, d in enumerate(op.shape(op.out))]
    to = op.graph.constant(f"{op.out}/part", np.array(shape, np.int64))
    parts = [op.graph.step("Reshape", [n, to], op.out) for n in op.inputs]
    op.graph.add("Concat", parts, op.out, axis=axis)


def _unpack(op: Operation) -> None:
    axis = int(op.options.axis) % len(op.shape(op.inputs[0]))
    for i, name in enumerate(op.outputs):
        at = op.graph.constant(f"{name}/at", np.array(i, np.int64))
        op.graph.add("Gather", [op.inputs[0], at], name, axis=axis)


def _resize(mode: str) -> Translate:
    def translate(op: Operation) -> None:
        _, _, _, c = op.shape(op.inputs[0])
        n, h, w, _ = op.shape(op.out)
        place = (
            "align_corners"
            if op.options.alignCorners
            else "half_pixel"
            if op.options.halfPixelCenters
            else ("asymmetric")
        )
        sizes = op.graph.constant(f"{op.out}/sizes", np.array([n, c, h, w], np.int64))
        how: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": place}
        if mode == "nearest":
            how["nearest_mode"] = "round_prefer_ceil" if place != "asymmetric" else "floor"
        value = op.graph.step("Resize", [op.first(op.inputs[0]), "", "", sizes], op.out, **how)
        op.finish(value, channels_first=True)

    return translate


def _matmul(op: Operation) -> None:
    sides = []
    for name, turned in zip(op.inputs[:2], (op.options.adjX, op.options.adjY), strict=True):
        rank = len(op.shape(name))
        perm = [*range(rank - 2), rank - 1, rank - 2]
        sides.append(op.graph.step("Transpose", [name], op.out, perm=perm) if turned else name)
    op.graph.add("MatMul", sides, op.out)


def _depth(kind: str) -> Translate:
    def translate(op: Operation) -> None:
        extra = {"mode": "DCR"} if kind == "DepthToSpace" else {}
        value = op.graph.step(kind, [op.first(op.inputs[0])], op.out, blocksize=int(op.options.blockSize), **extra)
        op.finish(value, channels_first=True)

    return translate


def _prelu(op: Operation) -> None:
    op.graph.add("PRelu", op.inputs[:2], op.out)


TRANSLATE: dict[str, Translate] = {
    "ABS": _unary("Abs"),
    "ADD": _binary("Add"),
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "BATCH_MATMUL": _matmul,
    "COS": _unary("Cos"),
    "CONCATENATION": _concat,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "DEPTH_TO_SPACE": _depth("DepthToSpace"),
    "DIV": _binary("Div"),
    "ELU": _unary("Elu"),
    "EXP": _unary("Exp"),
    "EXPAND_DIMS": _reshape,
    "FULLY_CONNECTED": _dense,
    "GELU": _gelu,
    "HARD_SWISH": _unary("HardSwish"),
    "L2_NORMALIZATION": _unary("LpNormalization", axis=-1, p=2),
    "LEAKY_RELU": _leaky,
    "LOG": _unary("Log"),
    "LOGISTIC": _unary("Sigmoid"),
    "LOG_SOFTMAX": _unary("LogSoftmax", axis=-1),
    "MAXIMUM": _binary("Max"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "MEAN": _reduce("ReduceMean"),
    "MINIMUM": _binary("Min"),
    "MIRROR_PAD": _pad,
    "MUL": _binary("Mul"),
    "NEG": _unary("Neg"),
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduce("ReduceMax"),
    "REDUCE_MIN": _reduce("ReduceMin"),
    "RELU": _unary("Relu"),
    "RELU6": _clip(0.0, 6.0),
    "RELU_N1_TO_1": _clip(-1.0, 1.0),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "RSQRT": _rsqrt,
    "SIN": _unary("Sin"),
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _depth("SpaceToDepth"),
    "SPLIT": _split,
    "SPLIT_V": _split,
    "SQRT": _unary("Sqrt"),
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _squared_difference,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary("Sub"),
    "SUM": _reduce("ReduceSum"),
    "TANH": _unary("Tanh"),
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNPACK": _unpack,
}
