"""Chips and boards: what the TOML files under targets/ say, checked and typed."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from mcuc.errors import McucError

Core = Literal["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"]
Fpu = Literal["none", "fpv4-sp-d16", "fpv5-sp-d16"]


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One memory region. base, size in bytes; dma: whether DMA reaches it; source: datasheet and section."""

    name: str
    kind: Literal["flash", "ram"]
    base: int
    size: int
    dma: bool
    source: str


class Chip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A microcontroller. The first flash region holds code and weights, the first ram region arena, data and stack."""

    name: str
    core: Core
    fpu: Fpu
    dsp: bool
    clock_hz: int
    regions: tuple[Region, ...]
    source: str
