"""Where a training runs: which device, in which precision, and which of torchrun's processes this one is.

Every process has all weights and takes its share of each batch; gradients are averaged (data parallel). All of them
draw the same random numbers, so that one process and several train on the same batches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from mcuc.errors import McucError

TIMEOUT = timedelta(days=2)  # the others wait while the first searches
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Place:
    """device: "cpu", "cuda", "cuda:1" ...; precision: a name of PRECISIONS, of matrix products and what autocast
    counts to them (weights, gradients and sums stay float32); rank of world processes."""

    device: str = "cpu"
    precision: str = "float32"
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def own(self, batch: int) -> slice:
        """This process's share of a batch: which of its rows. Raises McucError where it cannot be divided."""
        if batch % self.world:
            raise McucError("bad-batch", f"a batch of {batch} for {self.world} processes", where="torchrun",
                            try_this="a number of processes that divides the batch")  # fmt: skip
        each = batch // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Mixed precision, where asked for."""
        dtype = PRECISIONS[self.precision]
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.device.split(":")[0], dtype)


@contextlib.contextmanager
def place_for(device: str = "auto", precision: str = "auto") -> Iterator[Place]:
    """The place of this process, the group of processes open while it is used.

    torchrun says which process it is in RANK, WORLD_SIZE and LOCAL_RANK; without them it is the only one. auto: CUDA
    where there is one, and bfloat16 there. The GPUs talk by NCCL, CPUs by Gloo.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bfloat16" if device.startswith("cuda") else "float32"
    if precision not in PRECISIONS:
        raise McucError("unknown-precision", f"no precision {precision!r}", where="--precision",
                        try_this=f"one of auto, {', '.join(PRECISIONS)}")  # fmt: skip
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise McucError("no-gpu", "PyTorch finds no CUDA device", where="--device", try_this="--device cpu")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS then adds in one order
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=TIMEOUT)
    try:
        yield Place(device, precision, rank, world)
    finally:
        if world > 1:
            dist.destroy_process_group()


@torch.no_grad()
def average_gradients(weights: Mapping[str, torch.Tensor], place: Place) -> None:
    """Replaces every gradient by its mean over the processes, in one message. All have the same ones: what a step
    does not use has none anywhere."""
    if place.world == 1:
        return
    gradients = [weight.grad for weight in weights.values() if weight.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= place.world
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def mean_over(value: float, place: Place) -> float:
    """The mean of a number over the processes."""
    if place.world == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64, device=place.device)
    dist.all_reduce(total)
    return float(total) / place.world


def wait(place: Place) -> None:
    """Until all processes are here."""
    if place.world > 1:
        dist.barrier()
