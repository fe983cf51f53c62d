"""Quantization: of float networks after training (network.py), and during training (prepare, convert: qat.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcuc.quantize.qat import convert as convert
    from mcuc.quantize.qat import prepare as prepare

__all__ = ["convert", "prepare"]


def __getattr__(name: str) -> Any:
    """prepare and convert, loaded when they are asked for: PyTorch takes long to import and may be absent."""
    if name not in __all__:
        raise AttributeError(name)
    from mcuc.quantize import qat

    return getattr(qat, name)
