"""mcuc: a deployment compiler for microcontrollers.

mcuc.compile(...), mcuc.build(...), mcuc.build_float(...) and mcuc.export(...) return the typed objects that the command
line prints; they load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcuc.errors import McucError

if TYPE_CHECKING:
    from mcuc.api import build, build_float, compile, export
    from mcuc.pipeline import Compiled
    from mcuc.report.types import Report
    from mcuc.request import Request

__version__ = "0.1.0"
__all__ = ["Compiled", "McucError", "Report", "Request", "__version__", "build", "build_float", "compile", "export"]

_HOMES = {
    "Compiled": "mcuc.pipeline",
    "Report": "mcuc.report.types",
    "Request": "mcuc.request",
    "build": "mcuc.api",
    "build_float": "mcuc.api",
    "compile": "mcuc.api",
    "export": "mcuc.api",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'mcuc' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
