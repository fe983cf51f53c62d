"""The attributes of a long short-term memory layer, as integers."""

from __future__ import annotations

from dataclasses import dataclass

Scale = tuple[int, int]  # Q31 multiplier and shift, numerics.multiply_by_quantized_multiplier
GATES = ("input", "forget", "cell", "output")


@dataclass(frozen=True)
class LstmAttrs:
    """Gates, in the order of GATES: requantized sums over the input and over the hidden state, added, saturated to
    int16 (12 fractional bits), through sigmoid, or tanh for the cell gate. Then, with 15 fractional bits of the gates:

    cell = clip(forget * cell by forget_cell + input * cell gate by input_cell)
    hidden = clamp(output * tanh(cell * 2^tanh_shift) by hidden + hidden_zero_point)

    by_input, by_hidden: the scales of the gates' sums. clip: of the cell state, 0 for none. time_major: input and
    output are [time, 1, features] instead of [1, time, features]. wide: input, hidden state and output are int16, zero
    points 0, and sums have 64 bits (numerics16.multiply_reduced).
    """

    input_zero_point: int
    hidden_zero_point: int
    by_input: tuple[Scale, ...]
    by_hidden: tuple[Scale, ...]
    forget_cell: Scale
    input_cell: Scale
    hidden: Scale
    tanh_shift: int
    clip: int
    time_major: bool = False
    wide: bool = False
