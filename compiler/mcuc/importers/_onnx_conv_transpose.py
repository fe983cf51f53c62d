"""ConvTranspose: the output size and padding that the file says in one of three ways, weights as OHWI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcuc.importers._onnx_macs import bias_tensor, weight_tensor
from mcuc.importers._onnx_nodes import Result, broken, dtype_of, finish, goal_of, real_input, spatial
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_state import State, optional, refuse
from mcuc.importers._onnx_values import channels_last
from mcuc.ir import Array


def on_conv_transpose(state: State, node: FileNode) -> Result:
    """Rank 4, or rank 3 as height 1."""
    x, w = real_input(state, node, 0), optional(state, node, 1)
    rank = len(x.shape) - 2
    if rank not in (1, 2) or w is None or len(w.shape) != len(x.shape):
        raise refuse(
            "unsupported-operator",
            f"ConvTranspose of shapes {x.shape} and {None if w is None else w.shape}",
            node.where,
            "use a 1D or 2D transposed convolution with constant weights",
        )
    if rank == 1:
        x = replace(x, shape=(x.shape[0], x.shape[1], 1, x.shape[2]))
    group = int(node.attrs.get("group", 1))
    cin, cg = w.shape[:2]
    if group < 1 or cin != x.shape[1] or cin % group or cg < 1:
        raise broken(node, f"input {x.shape} with weights of shape {w.shape} in {group} groups")
    if w.params is not None and len(w.params.scale) > 1 and len(w.params.scale) != cg:
        raise broken(node, f"{len(w.params.scale)} weight scales for {cg} output channels of a group")

    def ohwi(a: Array) -> Array:
        kernel = a.shape[2:] if rank == 2 else (1, a.shape[2])
        grouped = a.reshape(group, cin // group, cg, *kernel)
        return np.ascontiguousarray(grouped.transpose(0, 2, 3, 4, 1)).reshape(group * cg, *kernel, cin // group)

    if group > 1 and w.params is not None and len(w.params.scale) > 1:  # one scale for a channel of every group
        w = replace(
            w,
            params=replace(w.params, scale=w.params.scale * group, zero_point=w.params.zero_point * group)
            if len(w.params.zero_point) > 1
            else replace(w.params, scale=w.params.scale * group),
        )
    weights = weight_tensor(state, node, w, ohwi, 1)
    kernel, strides, dilations, pads, size = _geometry(node, rank, x.shape[2:], weights.shape[1:3])
    tensor = spatial(state, x, node)
    assert x.params is not None and weights.quant is not None
    product = np.float64(x.params.scale[0]) * np.array(weights.quant.scale, np.float64)
    bias = bias_tensor(state, node, optional(state, node, 2), product)
    options = {
        "kernel": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "group": group,
        "size": size,
    }
    shape = (x.shape[0], weights.shape[0], *size)
    value = finish(
        state,
        node,
        "ConvTranspose",
        (tensor, weights, bias),
        options,
        shape,
        channels_last(shape),
        goal_of(state, node),
        (dtype_of(x),),
        clamps=True,
    )
    return [replace(value, shape=(shape[0], shape[1], shape[3])) if rank == 1 else value]


def _geometry(
    node: FileNode, rank: int, size: Sequence[int], kernel: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """kernel, strides, dilations, pads (top, left, 0, 0) and output size."""

    def each(key: str, default: int) -> list[int]:
        values = [int(v) for v in node.attrs.get(key, [default] * rank)]
        if len(values) != rank or min(values) < default or max(values) > 1 << 15:
            raise broken(node, f"{key} {values}")
        return [default] * (2 - rank) + values

    strides, dilations, more = each("strides", 1), each("dilations", 1), each("output_padding", 0)
    given = [int(v) for v in node.attrs.get("kernel_shape", kernel[2 - rank :])]
    if given != list(kernel[2 - rank :]):
        raise broken(node, f"kernel_shape {given} with a kernel of {tuple(kernel)}")
    auto = node.attrs.get("auto_pad", "NOTSET")
    wanted = [int(v) for v in node.attrs.get("output_shape", [])]
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or (wanted and len(wanted) != rank):
        raise broken(node, f"auto_pad {auto!r}, output_shape {wanted}")
    axes = zip(size, kernel, strides, dilations, more, strict=True)
    spans = [s * (n - 1) + o + (k - 1) * d + 1 for n, k, s, d, o in axes]
    if wanted or auto in ("SAME_UPPER", "SAME_LOWER"):
        out = [1] * (2 - rank) + wanted if wanted else [n * s for n, s in zip(size, strides, strict=True)]
        total = [span - o for span, o in zip(spans, out, strict=True)]
        begin = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
    else:
        pads = [int(p) for p in node.attrs.get("pads", [0] * 2 * rank)] if auto == "NOTSET" else [0] * 2 * rank
        if len(pads) != 2 * rank or min(pads) < 0:
            raise broken(node, f"pads {pads}")
        begin = [0] * (2 - rank) + pads[:rank]
        end = [0] * (2 - rank) + pads[rank:]
        total = [b + e for b, e in zip(begin, end, strict=True)]
        out = [span - t for span, t in zip(spans, total, strict=True)]
    if min(total) < 0 or min(out) < 1 or max(out) > 1 << 15:
        raise broken(node, f"an output of {tuple(out)} with padding {tuple(total)}")
    return (
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (dilations[0], dilations[1]),
        (begin[0], begin[1], 0, 0),
        (out[0], out[1]),
    )
