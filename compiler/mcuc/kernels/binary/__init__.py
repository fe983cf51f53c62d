"""Binary family: element-wise functions of two or three values of a byte, broadcast by strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.kernels.binary import _product, _weighted
from mcuc.targets import Chip

OPERANDS = "abcdefghijklmnop"  # how the templates name a call's operands, first to last
_WORDS = {
    "max": ("mcuc_max4", False),
    "min": ("mcuc_min4", False),
    "select": ("mcuc_select4", False),
    "equal": ("mcuc_differ4", True),
    "not_equal": ("mcuc_differ4", False),
    "less": ("mcuc_at_least4", True),
    "greater_equal": ("mcuc_at_least4", False),
    "less_equal": ("mcuc_at_most4", False),
    "greater": ("mcuc_at_most4", True),
}
_CHOICES = (*_WORDS, "and", "or", "xor")


def _qlinear(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"].startswith("qlinear") else No("not a QLinear operation")


def _rescaled(call: Call, chip: Chip | None) -> No | None:
    kinds = ("add", "mul", "prelu", "squared_difference")
    return None if call.params["kind"] in kinds else No("neither a sum, a product nor a slope")


def _divide(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "divide" else No("not a division")


def _add_n(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "add_n" else No("not a sum of several")


def _float(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "float" else No("not in float32 steps")


def _operands(call: Call) -> list[dict[str, Any]]:
    return [{"name": name, **call.params[name]} for name in OPERANDS if name in call.params]


def _operands_context(call: Call) -> Mapping[str, Any]:
    return {"operands": _operands(call)}


def _choice(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] in _CHOICES else No("computes, does not choose")


def _choice_context(call: Call) -> Mapping[str, Any]:
    """words: the function that does four bytes at once with the DSP extension; inverted: it answers the opposite."""
    operands = _operands(call)
    words, inverted = _WORDS.get(call.params["kind"], ("", False))
    plain = all(o["c_stride"] for o in operands) and not call.params.get("ranked")
    return {
        "operands": operands,
        "channels": call.channels,
        "dense": all(o["c_stride"] and o["x_stride"] == call.channels for o in operands),
        "words": words if plain else "",
        "inverted": inverted,
    }


FAMILY = Family(
    "binary",
    (
        Kernel(
            "binary_weighted",
            "binary/weighted.c.j2",
            _weighted.applies,
            no_scratch,
            _weighted.context,
            in_place=True,
        ),
        Kernel(
            "binary_product", "binary/product.c.j2", _product.applies, no_scratch, _product.context, in_place=True
        ),
        Kernel("binary_qlinear", "binary/qlinear.c.j2", _qlinear, no_scratch, no_context, in_place=True),
        Kernel("binary_choice", "binary/choice.c.j2", _choice, no_scratch, _choice_context, in_place=True),
        Kernel("binary_divide", "binary/divide.c.j2", _divide, no_scratch, no_context, in_place=True),
        Kernel("binary_sum", "binary/add_n.c.j2", _add_n, no_scratch, _operands_context, in_place=True),
        Kernel("binary_float32", "binary/float.c.j2", _float, no_scratch, _operands_context, in_place=True),
        Kernel("binary_bytes", "binary/binary.c.j2", _rescaled, no_scratch, no_context, in_place=True),
    ),
)
