"""QDQ normalisation: which integers a float value of the file becomes, found at the QuantizeLinear behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcuc.errors import McucError
from mcuc.importers._onnx_proto import FOUR_BITS, FileNode, four_bits
from mcuc.importers._onnx_state import (
    CLIPS,
    INTEGERS,
    MOVES,
    State,
    build,
    constant_of,
    not_quantized,
    optional,
    per_tensor,
    quant_of,
    refuse,
    scalar_params,
    unique,
)
from mcuc.importers._onnx_values import Params, Value
from mcuc.ir import Array, DType, Tensor

FULL = (-128, 127)
LIMITS = {"int4": (-8, 7), "uint4": (0, 15), **{k: (np.iinfo(k).min, np.iinfo(k).max) for k in (*INTEGERS, "int32")}}


@dataclass(frozen=True)
class Goal:
    """What a float value becomes: its integers, and the clamp (stored int8 domain) of activations fused into it."""

    params: Params
    clamp: tuple[int, int] = FULL


def quantize_params(state: State, node: FileNode) -> Params:
    """Of a QuantizeLinear or DequantizeLinear node. Raises McucError for blocked and odd-typed quantization."""
    if int(node.attrs.get("block_size", 0)) != 0:
        raise refuse(
            "unsupported-quantization",
            f"{node.kind} quantizes in blocks of {node.attrs['block_size']}",
            node.where,
            "quantize per tensor or per channel (no block_size)",
        )
    scale = constant_of(state, node, 1)
    zero = optional(state, node, 2)
    dtype = None
    if node.kind == "DequantizeLinear":
        source = state.values.get(node.inputs[0])  # not there yet where integer_params looks ahead
        if source is not None:
            held = source.array if source.array is not None else None
            dtype = str(held.dtype) if held is not None else (source.params.dtype if source.params else None)
            dtype = dtype or (None if source.tensor is None else source.tensor.dtype.value)
    elif int(node.attrs.get("output_dtype", 0)):
        dtype = {2: "uint8", 3: "int8", **FOUR_BITS}.get(int(node.attrs["output_dtype"]), "another type")
    array = None
    if zero is not None:
        array = constant_of(state, node, 2)
    params = scalar_params(scale, array, dtype, node.where, int(node.attrs.get("axis", 1)))
    if params.dtype not in (*INTEGERS, *FOUR_BITS.values(), "int32"):
        raise refuse("unsupported-type", f"{node.kind} uses {params.dtype}", node.where, "quantize to int8 or uint8")
    return params


def find_goal(state: State, name: str) -> Goal | None:
    """The quantization behind a float value, looking through moves and activations; None when there is none.

    Raises McucError when two readers quantize the value differently.
    """
    found: list[Goal] = []
    readers = state.consumers.get(name, ())
    for node, index in readers:
        if index != 0:
            continue
        if node.kind == "QuantizeLinear":
            found.append(Goal(per_tensor(quantize_params(state, node), name, node.where)))
        elif node.kind in MOVES and node.outputs:
            behind = find_goal(state, node.outputs[0])
            if behind is not None:
                found.append(behind)
        elif node.kind in CLIPS and len(readers) == 1 and node.outputs:
            behind = find_goal(state, node.outputs[0])
            if behind is not None:
                state.fused.add(node.outputs[0])
                found.append(replace(behind, clamp=_meet(behind.clamp, clip_range(state, node, behind.params))))
    if len({(g.params, g.clamp) for g in found}) > 1:
        raise refuse(
            "unsupported-quantization",
            f"value {name!r} is quantized in two different ways",
            readers[0][0].where,
            "quantize it once and share the result (one QuantizeLinear behind each operator)",
        )
    return found[0] if found else None


def _meet(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, max(low, high))


def clip_bounds(state: State, node: FileNode) -> tuple[float | None, float | None]:
    """The real bounds of a Relu or Clip."""
    if node.kind == "Relu":
        return 0.0, None

    def bound(index: int, key: str) -> float | None:
        value = optional(state, node, index)
        if value is None:
            return float(node.attrs[key]) if key in node.attrs else None
        array = constant_of(state, node, index)
        real: Array = array
        if value.real and value.params is not None and array.dtype != np.float32:
            real = dequantize(array, value.params)
        if real.size != 1:
            raise refuse("broken-model", f"Clip bound {index} has shape {real.shape}", node.where, "use scalar bounds")
        return float(real.reshape(-1)[0])

    return bound(1, "min"), bound(2, "max")


def clip_range(state: State, node: FileNode, params: Params) -> tuple[int, int]:
    """A Relu or Clip as a range of stored integers: the bounds quantized as QuantizeLinear does."""
    low, high = clip_bounds(state, node)
    return (
        FULL[0] if low is None else quantize_one(low, params),
        FULL[1] if high is None else quantize_one(high, params),
    )


def quantize_one(real: float, params: Params) -> int:
    return int(quantize(np.array([real], np.float32), params).astype(np.int64)[0]) - params.shift


def quantize(real: Array, params: Params) -> Array:
    """QuantizeLinear of ONNX Runtime: float32 division, round half to even, zero point, saturation."""
    scale, zero = np.array(params.scale, np.float32), np.array(params.zero_point, np.int64)
    if params.axis is not None:
        shape = [1] * real.ndim
        shape[params.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    low, high = LIMITS[params.dtype]
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(np.asarray(real, np.float32) / scale)
    bounded = np.clip(
        np.nan_to_num(steps, nan=0.0, posinf=2.0**31, neginf=-(2.0**31)).astype(np.int64) + zero, low, high
    )
    if params.dtype in FOUR_BITS.values():
        return four_bits(bounded, params.dtype).reshape(real.shape)
    return np.asarray(bounded.astype(params.dtype)).reshape(real.shape)


def dequantize(array: Array, params: Params) -> Array:
    """DequantizeLinear: (q - zero_point) * scale in float32."""
    scale, zero = np.array(params.scale, np.float32), np.array(params.zero_point, np.int64)
    if params.axis is not None:
        shape = [1] * array.ndim
        shape[params.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    real: Array = ((array.astype(np.int64) - zero).astype(np.float32) * scale).reshape(array.shape)
    return real


def on_quantize(state: State, node: FileNode) -> Value:
    """QuantizeLinear: nothing where the value already has these integers, else a table."""
    params = quantize_params(state, node)
    value = optional(state, node, 0)
    if value is None:
        raise refuse(
            "broken-model", "QuantizeLinear lacks its input", node.where, "check that the model file is complete"
        )
    if value.array is not None:
        real = dequantize(value.array, value.params) if value.real and value.params else value.array
        return Value(value.shape, quantize(real, params), params=params)
    if not value.real or value.params is None or value.tensor is None or value.layout is None:
        raise not_quantized(node.inputs[0], node.where)
    if value.params == params:
        return replace(value, real=False)
    return requantized(state, value, per_tensor(params, node.outputs[0], node.where), node.outputs[0], node.where)


def requantized(state: State, value: Value, params: Params, name: str, where: str) -> Value:
    """The value in other integers, by a table."""
    assert value.layout is not None
    assert value.tensor is not None
    source = replace(value.tensor, quant=None if value.params is None else quant_of(value.params))
    out = Tensor(unique(state, name), value.tensor.shape, DType.INT8, quant_of(params))
    tensor = build(state, "QuantizeLinear", (source,), {}, out, where)
    return Value(value.shape, None, tensor, value.layout, params)


def on_dequantize(state: State, node: FileNode) -> Value:
    """DequantizeLinear: the same integers, seen as float by the file."""
    params = quantize_params(state, node)
    value = optional(state, node, 0)
    if value is None:
        raise refuse(
            "broken-model", "DequantizeLinear lacks its input", node.where, "check that the model file is complete"
        )
    if value.array is not None:
        if params.axis is not None:
            axis = params.axis % max(1, value.array.ndim)
            if value.array.ndim == 0 or value.array.shape[axis] != len(params.scale):
                raise refuse(
                    "corrupt-model",
                    f"{len(params.scale)} scales for a constant of shape {value.array.shape}",
                    node.where,
                    "export the model again",
                )
            params = replace(params, axis=axis)
        if str(value.array.dtype) != params.dtype:
            raise refuse(
                "broken-model",
                f"constant is {value.array.dtype}, its zero point {params.dtype}",
                node.where,
                "export the model again",
            )
        if params.dtype in FOUR_BITS.values():  # the same numbers in eight bits
            data = (value.array.astype(np.int8) - np.int8(params.shift)).astype(np.int8)
            zeros = tuple(z - params.shift for z in params.zero_point)
            params = replace(params, zero_point=zeros, dtype="int8")
            return replace(value, array=data, params=params, real=True, int4=True)
        return replace(value, params=params, real=True)
    if value.real or value.tensor is None:
        raise refuse(
            "broken-model", "DequantizeLinear of a float value", node.where, "check that the model file is complete"
        )
    return replace(value, params=per_tensor(params, node.inputs[0], node.where), real=True)


def integer_params(state: State, name: str) -> Params | None:
    """The quantization of an integer graph input, from the first node that says it."""
    for node, index in state.consumers.get(name, ()):
        try:
            if node.kind == "DequantizeLinear" and index == 0:
                return quantize_params(state, node)
            if node.kind.startswith(("QLinear", "QGemm")) and index + 2 < len(node.inputs):
                zero = optional(state, node, index + 2)
                scale = optional(state, node, index + 1)
                if scale is not None and scale.array is not None and zero is not None and zero.array is not None:
                    return scalar_params(scale.array, zero.array, None, node.where)
        except (McucError, KeyError):
            continue
        if node.kind in (*MOVES, "Pad") and node.outputs:
            behind = integer_params(state, node.outputs[0])
            if behind is not None:
                return behind
    return None


def output_tensor(state: State, name: str, params: Params) -> Tensor:
    """The tensor (not added yet) that a node writes for a file value."""
    return Tensor(unique(state, name), (), DType.INT8, quant_of(params))
