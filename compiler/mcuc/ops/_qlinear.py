"""Float32 arithmetic of ONNX Runtime's QLinearAdd and QLinearMul as exact integers.

A float32 number is mantissa * 2^exponent. All numbers of one node get a common number of fraction bits, so that a
fused multiply-add is one integer multiply-add followed by rounding to 24 significant bits.
"""

from __future__ import annotations

import math

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Tensor
from mcuc.ops._base import Imported

MAX_FRACTION = 50  # 2^50 * 2^10 fits well into int64


def fraction_bits(value: float) -> int:
    """Fraction bits of a float32 with a full mantissa; 0 for 0."""
    return 0 if value == 0.0 else max(0, 24 - math.frexp(abs(value))[1])


def fixed_point(value: float, bits: int) -> int:
    """value * 2^bits. Raises ValueError unless it is an integer."""
    scaled = math.ldexp(value, bits)
    if scaled != math.floor(scaled):
        raise ValueError(f"{value} has more than {bits} fraction bits")
    return int(scaled)


def check_fraction(bits: int, largest: float, node: Imported) -> None:
    """Raises McucError where the exact form does not fit into 64 bits."""
    if bits > MAX_FRACTION or (4 * largest + 512) * 2.0**bits > 2.0**61:
        raise McucError(
            "unsupported-quantization",
            f"the scales of {node.kind} differ too much (a step of an input is worth {largest / 256:g} of the output)",
            where=node.where,
            try_this="quantize the model again with more calibration data",
        )


def offset(tensor_type: str) -> int:
    """What is added to the stored int8 to get the file's integer."""
    return 128 if tensor_type == "uint8" else 0


def ratio(a: float, b: float) -> float:
    """a / b in float32."""
    return float(np.float32(a) / np.float32(b))


def types_of(node: Imported) -> tuple[str, str]:
    """(input type, output type) of the file; mixed inputs count as the first's."""
    types = tuple(node.options.get("types", ("int8", "int8", "int8")))
    return str(types[0]), str(types[-1])


def zero_in_file(tensor: Tensor, shift: int) -> int:
    assert tensor.quant is not None
    return tensor.quant.zero_point[0] + shift
