"""Channels of a dense layer over tokens computed a few at a time for all tokens that are there.

A kernel goes through all weights for every token or two, so weights that a data cache does not hold come from the flash
again each time. By blocks of channels whose weights fill half of the cache, every weight is read once for a block of
tokens (once in all where the layer runs alone); the price is that each token's activations are widened again for every
block of channels. Where not even a few channels fit the cache and the weights lie outside the chip, these channels are
copied to scratch.
"""

from __future__ import annotations

from dataclasses import replace

from mcuc.schedule import Layer, Tiling
from mcuc.targets import Chip

DENSE = ("fully_connected", "concat_dense")
SHARE = 2  # of the cache; the rest is for the activations that pass by
LEAST, LEAST_FROM_OUTSIDE = 8, 4  # channels of a block; weights from outside the chip are worth any widening
TOKENS = 8  # at least so many, or there is little to gain
COPIED = 8  # channels of a block that is copied; staging.py makes it larger where the arena has room
BEHIND = 8  # bytes behind a block that inner loops load ahead and do not use (kernels/dot/_pairs.py, AHEAD)


def by_channel_blocks(layer: Layer, chip: Chip | None) -> Layer:
    """The layer by blocks of channels where it is a dense layer over tokens whose tables exceed the data cache, half of
    which holds a few channels, or whose weights are worth copying; else the layer."""
    if chip is None or not chip.caches.dcache_bytes or not chip.weights_wait or len(layer.calls) != 1:
        return layer
    call, kernel = layer.calls[0]
    group = kernel.group_bytes(call)
    if layer.node.op not in DENSE or not group or call.height > 1 or call.width < TOKENS or layer.tiling != Tiling():
        return layer
    block = chip.caches.dcache_bytes // SHARE // group * 4
    least = LEAST_FROM_OUTSIDE if chip.weights_in else LEAST
    if layer.table_bytes <= chip.caches.dcache_bytes or max(block, COPIED) >= call.channels:
        return layer
    if block < least:
        copied = COPIED // 4 * group + BEHIND
        made = replace(layer, staged=True, block=COPIED, scratch=kernel.scratch(call) + copied)
        return made if chip.weights_in else layer
    return replace(layer, tiling=Tiling(channels=block))
