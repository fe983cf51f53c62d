"""mcuc: a deployment compiler for microcontrollers.

mcuc.compile(...) and mcuc.build(...) return the typed objects that the command line prints; both load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcuc.errors import McucError

if TYPE_CHECKING:
    from mcuc.api import build, compile
    from mcuc.pipeline import Compiled
    from mcuc.report.types import Report
    from mcuc.request import Request

__version__ = "0.1.0"
__all__ = ["Compiled", "McucError", "Report", "Request", "__version__", "build", "compile"]

_HOMES = {
    "Compiled": "mcuc.pipeline",
    "Report": "mcuc.report.types",
    "Request": "mcuc.request",
    "build": "mcuc.api",
    "compile": "mcuc.api",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'mcuc' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
