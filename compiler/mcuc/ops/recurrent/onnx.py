"""LSTM, GRU and RNN of ONNX, one direction: float weights and biases become integers."""

from __future__ import annotations

import math

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Tensor
from mcuc.numerics import INT32_MAX, quantize_multiplier
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import activation
from mcuc.ops.recurrent.attrs import GATES, SATURATED, RecurrentAttrs

KINDS = ("GRU", "LSTM", "RNN")
SUM, STATE = 2.0**-12, 2.0**-15  # scales of the gates' sums and of the hidden state
MOST_STEPS = 1 << 15  # a cell grows by at most one a step, and its 32 bits hold 65,536


def from_onnx(node: Imported) -> Built:
    """options: weights, recurrent (int8 [gates, units, .]), weight_scales, recurrent_scales (float [gates, units]),
    bias (float [gates, units], of a GRU one row more), hidden, cell (float [units]), reverse, result, before, clip."""
    x, out, options = activation(node, 0), node.outputs[0], node.options
    weights, recurrent = options["weights"], options["recurrent"]
    assert len(weights) == GATES[node.kind]
    x_scale = scale_of(x, node.where)
    by_input = options["weight_scales"].astype(np.float64) * x_scale / SUM
    by_hidden = options["recurrent_scales"].astype(np.float64) * STATE / SUM
    biases = np.rint(options["bias"].astype(np.float64) / SUM)
    states = [options["hidden"], *([options["cell"]] if node.kind == "LSTM" else [])]
    first = np.rint(np.stack(states).astype(np.float64) / STATE)
    _check(node, x, np.abs(weights.astype(np.int64)).sum(2), by_input, np.abs(recurrent.astype(np.int64)).sum(2),
           by_hidden, biases, first)
    scales = np.array([[[*quantize_multiplier(float(a)), *quantize_multiplier(float(b))]
                        for a, b in zip(*rows, strict=True)] for rows in zip(by_input, by_hidden, strict=True)])
    limit = min(float(SATURATED), max(0.0, float(options["clip"]) / SUM))
    attrs = RecurrentAttrs(node.kind, options["reverse"], options["result"], options["before"],  # type: ignore[arg-type]
                           zero_point_of(x, node.where), round(limit),
                           quantize_multiplier(STATE / scale_of(out, node.where)), zero_point_of(out, node.where))
    first[0] = np.clip(first[0], -32768, 32767)
    arrays = {"weights": weights, "recurrent": recurrent, "scales": scales, "bias": biases, "first": first}
    constants = tuple(
        _constant(f"{out.name}/{name}", a.astype(np.int8 if a.dtype == np.int8 else np.int32))
        for name, a in arrays.items()
    )
    return Built("recurrent", (x.name, *(t.name for t in constants)), attrs, constants)


def _constant(name: str, data: Array) -> Tensor:
    return Tensor(name, data.shape, DType(str(data.dtype)), None, np.ascontiguousarray(data))


def _check(node: Imported, x: Tensor, weights: Array, by_input: Array, recurrent: Array, by_hidden: Array,
           biases: Array, first: Array) -> None:
    """No sum leaves 32 bits, before or after it is scaled."""
    total = 255 * weights * by_input + 32768 * recurrent * by_hidden
    least = 255 * int(weights.max()) <= INT32_MAX and 32768 * int(recurrent.max()) <= INT32_MAX
    finite = all(bool(np.all(np.isfinite(a))) for a in (total, biases, first))
    fits = x.shape[0] <= MOST_STEPS and least and finite
    fits = fits and float(total.max()) + float(np.abs(biases).max()) < 2**29 and float(np.abs(first).max()) < 2**29
    most = 0 if node.options["result"] == "cell" else 14
    if not fits or STATE / scale_of(node.outputs[0], node.where) > math.ldexp(1, most):
        raise McucError("unsupported-quantization", f"the sums of {node.kind} do not fit 32 bits", where=node.where,
                        try_this="quantize the model again; a layer of this size or scale is not supported")
