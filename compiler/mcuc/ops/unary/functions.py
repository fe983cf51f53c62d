"""The functions of one real value, as float32 runtimes compute them between dequantization and quantization.

Each takes float32 and gives the result nearest to the real one (computed in float64) unless the runtimes' own order of
float32 steps is known and tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mcuc.ir import Array

f32 = np.float32


def _wide(function: Callable[[Array], Array]) -> Callable[[Array, Mapping[str, Any]], Array]:
    """Computed in float64, rounded once."""
    return lambda x, o: function(x.astype(np.float64)).astype(f32)


def _erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x.reshape(-1)]).reshape(x.shape)


def _erfc(x: Array) -> Array:
    return np.array([math.erfc(v) for v in x.reshape(-1)]).reshape(x.shape)


def elu(x: Array, alpha: float) -> Array:
    """x for x >= 0, else alpha * (exp(x) - 1)."""
    return np.where(x >= 0, x, f32(alpha) * np.expm1(np.minimum(x, 0).astype(np.float64)).astype(f32))


def gelu(x: Array, approximate: bool) -> Array:
    """x times the normal distribution function, or its approximation by tanh."""
    wide = x.astype(np.float64)
    if approximate:
        inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
        near: Array = (0.5 * wide * (1 + np.tanh(inner))).astype(f32)
        return near
    exact: Array = (0.5 * wide * _erfc(-wide * math.sqrt(0.5))).astype(f32)
    return exact


def _celu(x: Array, o: Mapping[str, Any]) -> Array:
    alpha = float(o["alpha"])
    wide = x.astype(np.float64)
    return (np.maximum(wide, 0) + np.minimum(0, alpha * np.expm1(np.minimum(wide / alpha, 0)))).astype(f32)


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), 1 - 1 / (1 + np.exp(-np.abs(x))))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


FUNCTIONS: dict[str, Callable[[Array, Mapping[str, Any]], Array]] = {
    "Abs": lambda x, o: np.abs(x),
    "Acos": _wide(np.arccos),
    "Acosh": _wide(np.arccosh),
    "Asin": _wide(np.arcsin),
    "Asinh": _wide(np.arcsinh),
    "Atan": _wide(np.arctan),
    "Atanh": _wide(np.arctanh),
    "Ceil": lambda x, o: np.ceil(x),
    "Celu": _celu,
    "Cos": _wide(np.cos),
    "Cosh": _wide(np.cosh),
    "Elu": lambda x, o: elu(x, o["alpha"]),
    "Erf": _wide(_erf),
    "Exp": _wide(np.exp),
    "Floor": lambda x, o: np.floor(x),
    "Gelu": lambda x, o: gelu(x, bool(o["tanh"])),
    "HardSigmoid": lambda x, o: np.clip(f32(o["alpha"]) * x + f32(o["beta"]), f32(0), f32(1)),
    "HardSwish": lambda x, o: x * np.clip(x * f32(1 / 6) + f32(0.5), f32(0), f32(1)),
    "LeakyRelu": lambda x, o: np.where(x >= 0, x, f32(o["alpha"]) * x),
    "Log": _wide(np.log),
    "Mish": _wide(lambda x: x * np.tanh(_softplus(x))),
    "Neg": lambda x, o: -x,
    "QuickGelu": lambda x, o: (x * _sigmoid(f32(o["alpha"]) * x.astype(np.float64))).astype(f32),
    "Reciprocal": lambda x, o: f32(1) / x,
    "Round": lambda x, o: np.rint(x),
    "Selu": lambda x, o: f32(o["gamma"]) * elu(x, o["alpha"]),
    "Sign": lambda x, o: np.sign(x),
    "Sin": _wide(np.sin),
    "Sinh": _wide(np.sinh),
    "Softplus": _wide(_softplus),
    "Softsign": lambda x, o: x / (f32(1) + np.abs(x)),
    "Sqrt": lambda x, o: np.sqrt(x),
    "Swish": lambda x, o: (x * _sigmoid(f32(o["alpha"]) * x.astype(np.float64))).astype(f32),
    "Tan": _wide(np.tan),
    "Tanh": _wide(np.tanh),
    "ThresholdedRelu": lambda x, o: np.where(x > f32(o["alpha"]), x, f32(0)),
}

# Attributes of the nodes and what they are where the file is silent
DEFAULTS: dict[str, dict[str, float]] = {
    "Celu": {"alpha": 1.0},
    "Elu": {"alpha": 1.0},
    "Gelu": {"tanh": 0.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "QuickGelu": {"alpha": 1.702},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Swish": {"alpha": 1.0},
    "ThresholdedRelu": {"alpha": 1.0},
}
