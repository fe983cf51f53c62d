"""Which compiler is there."""

from __future__ import annotations

from functools import cache

from mcuc.errors import McucError

from . import gcc, zig
from ._model import Toolchain

_HINTS = {
    "zig": "pip install ziglang",
    "gcc": "install arm-none-eabi-gcc (Debian: gcc-arm-none-eabi), or --toolchain zig",
    "auto": "pip install ziglang, or install arm-none-eabi-gcc",
}


def find(which: str = "auto") -> Toolchain:
    """The toolchain "zig" or "gcc"; "auto": zig where it is there, else gcc.

    McucError "toolchain-missing" where it is not.
    """
    if which not in _HINTS:
        raise McucError(
            "unknown-toolchain",
            f"There is no toolchain {which!r}.",
            where="--toolchain",
            try_this="auto, zig or gcc",
        )
    found = _find(which)
    if found is None:
        name = {"zig": "zig", "gcc": "arm-none-eabi-gcc", "auto": "zig or arm-none-eabi-gcc"}[which]
        raise McucError("toolchain-missing", f"No {name} was found.", "--toolchain " + which, _HINTS[which])
    return found


@cache
def _find(which: str) -> Toolchain | None:
    if which == "zig":
        return zig.locate()
    if which == "gcc":
        return gcc.locate()
    return zig.locate() or gcc.locate()
