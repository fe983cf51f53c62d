"""hook.c, compiled once and kept by content; hooks of Unicorn in C."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import resources
from typing import Any

import unicorn

from mcuc.cache import shared_library
from mcuc.errors import McucError


@cache
def hook_library() -> ctypes.CDLL | None:
    """hook.c compiled and loaded, kept in the user's cache folder by content; None when no compiler works."""
    library = shared_library("hook", resources.files("mcuc.emulate").joinpath("hook.c").read_bytes())
    if library is None:
        return None
    pointer, word = ctypes.c_void_p, ctypes.c_uint32
    for name, result, arguments in (
        ("counter_new", pointer, [pointer, pointer, word]),
        ("counter_free", None, [pointer]),
        ("counter_reset", None, [pointer, word]),
        ("counter_open", None, [pointer, word]),
        ("counter_close", None, [pointer, word]),
        ("counter_flag", None, [pointer, word, word]),
        ("counter_state", None, [pointer, pointer]),
        ("counter_read", word, [pointer, pointer]),
    ):
        function = getattr(library, f"mcuc_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@cache
def unicorn_library() -> ctypes.CDLL:
    raw = ctypes.CDLL(unicorn.unicorn_py3.unicorn.uclib._name)
    raw.uc_hook_add.restype = ctypes.c_int
    return raw


def add_hook(machine: Any, kind: int, function: Any, user: int, where: range | None = None) -> None:
    """Have Unicorn call a C function with a user pointer, at every address or only at some."""
    handle = ctypes.c_size_t()
    failed = unicorn_library().uc_hook_add(
        machine._uch,
        ctypes.byref(handle),
        ctypes.c_int(kind),
        ctypes.cast(function, ctypes.c_void_p),
        ctypes.c_void_p(user),
        ctypes.c_uint64(where.start if where else 1),  # begin > end: every address
        ctypes.c_uint64(where.stop - 1 if where else 0),
    )
    if failed:
        raise McucError(
            "emulator-hook",
            f"Unicorn refused a hook (error {failed})",
            where="the emulator (unicorn)",
            try_this="install the unicorn package again; `mcuc doctor` tells what works",
        )
