"""What average and max pooling share: attributes, TFLite import and export, the pool family's call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Exported, Imported, Shape
from mcuc.ops._spatial import Window, tflite_window, window_rows
from mcuc.ops._tflite import activation_range, checked_activation, fused_activation, padding_fields

Rounding = Literal["half_away", "half_up_uint8"]
SCALES_DIFFER = 1e-6  # by more than this, as TFLite's runtimes see it


@dataclass(frozen=True)
class PoolAttrs:
    """A pooling window. Taps in the padding do not take part, unless count_include_pad says so (average only).

    rounding of the average: "half_away" from zero on int8 values, "half_up_uint8" as the uint8 kernels round.
    pad_value: the value that padding counts as with count_include_pad (the input's zero point).
    """

    window: Window
    clamp: tuple[int, int] = (-128, 127)
    rounding: Rounding = "half_away"
    count_include_pad: bool = False
    pad_value: int = 0


def tflite_attrs(node: Imported) -> PoolAttrs:
    """The attributes of AVERAGE_POOL_2D or MAX_POOL_2D."""
    return window_attrs(node, checked_activation(node, 0))


def window_attrs(node: Imported, x: Tensor) -> PoolAttrs:
    """The attributes of a pool over x of any type. Raises McucError for a rank other than 4, and for an output of
    another scale or zero point: no pool of TFLite's rescales, its runtimes refuse the file (pooling_common.cc)."""
    if len(x.shape) != 4:
        raise McucError(
            "broken-model",
            f"{node.kind} reads a tensor of shape {x.shape}, rank 4 is needed",
            where=node.where,
            try_this="check that the model file is complete",
        )
    out = node.outputs[0].quant
    if x.quant is not None and out is not None and (
        abs(x.quant.scale[0] - out.scale[0]) > SCALES_DIFFER or x.quant.zero_point != out.zero_point
    ):
        raise McucError(
            "unsupported-scales",
            f"{node.kind} reads values of scale {x.quant.scale[0]:g}, zero point {x.quant.zero_point[0]}, and writes "
            f"{out.scale[0]:g}, {out.zero_point[0]}; a pool does not rescale",
            where=node.where,
            try_this="give its input and output one quantization, as TFLite's converter does",
        )
    kernel = (int(node.options.filterHeight), int(node.options.filterWidth))
    return PoolAttrs(
        tflite_window(node.options, (x.shape[1], x.shape[2]), kernel, node.where),
        activation_range(node.options.fusedActivationFunction, node.outputs[0], node.where),
        "half_up_uint8" if node.unsigned else "half_away",
    )


def tflite_export(kind: str, node: Node, graph: Graph) -> Exported:
    """As a TFLite pool. Raises McucError for what TFLite cannot express: dilation, counted or odd padding."""
    attrs: PoolAttrs = node.attrs
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    lacks = {
        "a dilated window": attrs.window.dilation != (1, 1),
        "padding that is counted": attrs.count_include_pad,
        "the rounding of uint8 models (half up) for int8 values": attrs.rounding != "half_away",
    }
    if any(lacks.values()):
        raise McucError(
            "not-exportable",
            f"TFLite's {kind} lacks {next(what for what, found in lacks.items() if found)}",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported(
        kind,
        "Pool2DOptions",
        {
            **padding_fields(attrs.window, (x.shape[1], x.shape[2]), node.name),
            "filterHeight": attrs.window.kernel[0],
            "filterWidth": attrs.window.kernel[1],
            "fusedActivationFunction": fused_activation(attrs.clamp, out, node.name),
        },
    )


def infer(attrs: PoolAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [1, h, w, c] -> [1, oh, ow, c]."""
    _, h, w, c = inputs[0].shape
    return ((1, *attrs.window.output(h, w), c),)


def window_fits(node: Node, graph: Graph) -> str | None:
    """The window fits into the padded input, and every window touches the input."""
    window: Window = node.attrs.window
    _, h, w, _ = graph.tensors[node.inputs[0]].shape
    if min(window.output(h, w)) < 1:
        return f"kernel {window.kernel} on an input of {h}x{w}"
    for size, axis in ((h, 0), (w, 1)):
        taps = np.arange(window.kernel[axis]) * window.dilation[axis]
        starts = np.arange(window.output(h, w)[axis]) * window.stride[axis] - window.pad[axis]
        at = starts[:, None] + taps
        if not ((at >= 0) & (at < size)).any(axis=1).all():
            return f"padding {window.pad} so wide that a window of {window.kernel} lies outside the input"
    return None


def pool_call(kind: str, node: Node, graph: Graph) -> Call:
    """A call of the pool family, of pool16 for int16 values; kind is "max" or "average"."""
    attrs: PoolAttrs = node.attrs
    window = attrs.window
    x = graph.tensors[node.inputs[0]]
    _, h, width, c = x.shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    params: dict[str, Any] = {
        "kind": kind,
        "kh": window.kernel[0],
        "kw": window.kernel[1],
        "in_c": c,
        "in_w": width,
        "stride_w": window.stride[1],
        "dil_w": window.dilation[1],
        "pad_left": window.pad[1],
        "padded_w": bool(window.pad[1] or window.pad[3]),
        "rounding": attrs.rounding,
        "count_include_pad": attrs.count_include_pad,
        "pad_value": attrs.pad_value,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    family, pixel = ("pool16", 2 * c) if x.dtype is DType.INT16 else ("pool", c)
    rows = window_rows(window, h, width, pixel)
    return Call(family, params, (), (rows,), oh, ow, pixel, ow * pixel, pixel, whole_channels=family == "pool16")
