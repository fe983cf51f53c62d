"""The attributes of conv_2d_add."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcuc.ir import Quant
from mcuc.ops._conv import ConvAttrs
from mcuc.ops.add.attrs import AddAttrs


@dataclass(frozen=True)
class ConvAddAttrs:
    """out = add(conv_2d(x), residual), the convolution's result an int8 like any other.

    first: the convolution is the addition's first operand. addition, between, quant: name of the addition's node, of
    the tensor that lay between both, and what that tensor's integers meant, for whoever wants two nodes again.
    """

    conv: ConvAttrs
    add: AddAttrs
    first: bool
    addition: str = field(repr=False)
    between: str
    quant: Quant | None
