"""The attributes of a recurrent layer over one whole sequence (LSTM, GRU and RNN of ONNX)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scale = tuple[int, int]  # Q31 multiplier and shift, numerics.multiply_by_quantized_multiplier
Kind = Literal["GRU", "LSTM", "RNN"]
Result = Literal["steps", "last", "cell"]
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}  # in ONNX's order: zrh, iofc, i
SATURATED = 1 << 17  # of a gate's sum, with 12 fractional bits: 32, where sigmoid and tanh are long at their ends


@dataclass(frozen=True)
class RecurrentAttrs:
    """Sums have 12 fractional bits and are clamped to +-limit; gates and hidden state 15, in int16; an LSTM's cell 15,
    in int32. reverse: from the last step to the first. result: the hidden state of every step, that behind the last
    one, or an LSTM's cell behind the last one. before: a GRU's reset gate multiplies the hidden state's sum, else the
    hidden state. The output is clamp(result by `out` + output_zero_point)."""

    kind: Kind
    reverse: bool
    result: Result
    before: bool
    input_zero_point: int
    limit: int
    out: Scale
    output_zero_point: int
