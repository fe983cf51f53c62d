"""Conv over volumes: rank 5, NDHWC inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.importers._onnx_macs import bias_tensor, weight_tensor
from mcuc.importers._onnx_nodes import broken, dtype_of, finish, window, windowed_size
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import Goal
from mcuc.importers._onnx_state import State, need
from mcuc.importers._onnx_values import Layout, Value
from mcuc.ops._spatial import Window

DEPTH_LAST = (0, 2, 3, 4, 1)
AXES = 3


def conv_3d(state: State, node: FileNode, x: Value, w: Value | None, b: Value | None, goal: Goal) -> Value:
    """Its depth is a window of its own; pads, strides and dilations of the file are split between the two."""
    weights = weight_tensor(state, node, w, lambda a: a.transpose(0, 2, 3, 4, 1) if a.ndim == 5 else a, 0)
    if len(weights.shape) != 5:
        raise broken(node, f"weights of shape {weights.shape}")
    kernel = weights.shape[1:4]
    if tuple(node.attrs.get("kernel_shape", kernel)) != kernel:
        raise broken(node, f"kernel_shape {node.attrs['kernel_shape']} with weights of shape {weights.shape}")
    size = (x.shape[2], x.shape[3], x.shape[4])
    flat = _window_of(node, (1, 2), (size[1], size[2]), (kernel[1], kernel[2]))
    deep = _window_of(node, (0,), (size[0], 1), (kernel[0], 1))
    oh, ow = windowed_size((size[1], size[2]), flat)
    depth = Window(deep["kernel"], deep["strides"], deep["dilations"], deep["pads"])
    shape = (x.shape[0], weights.shape[0], depth.output(size[0], 1)[0], oh, ow)
    assert x.params is not None and weights.quant is not None
    product = np.float64(x.params.scale[0]) * np.array(weights.quant.scale, np.float64)
    return finish(
        state,
        node,
        "Conv3D",
        (need(state, x, DEPTH_LAST, node.where), weights, bias_tensor(state, node, b, product)),
        {**flat, "depth": depth, "group": int(node.attrs.get("group", 1))},
        shape,
        Layout(shape, DEPTH_LAST),
        goal,
        (dtype_of(x),),
        clamps=True,
    )


def _window_of(
    node: FileNode, axes: tuple[int, ...], size: tuple[int, int], kernel: tuple[int, int]
) -> dict[str, Any]:
    """The options of a 2D window for some of the three axes (one alone is a height)."""
    attrs = dict(node.attrs)
    fill = [1] * (2 - len(axes))
    for key in ("strides", "dilations"):
        if key in attrs:
            values = [int(v) for v in attrs[key]]
            if len(values) != AXES:
                raise broken(node, f"{key} {values}")
            attrs[key] = [values[a] for a in axes] + fill
    if "pads" in attrs:
        pads = [int(v) for v in attrs["pads"]]
        if len(pads) != 2 * AXES:
            raise broken(node, f"pads {pads}")
        none = [0] * (2 - len(axes))
        attrs["pads"] = [pads[a] for a in axes] + none + [pads[AXES + a] for a in axes] + none
    attrs.pop("kernel_shape", None)
    return window(replace(node, attrs=attrs), size, kernel)
