"""A function over many arguments, spread over processes: the same results in the same order for any number of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from mcuc.errors import McucError

A = TypeVar("A")
R = TypeVar("R")
_made: Callable[[Any], Any] | None = None  # in a worker: what its initialiser made


def worker_count(asked: int | None) -> int:
    """As asked; None: one for each core that this process may use. Raises McucError for less than one."""
    if asked is not None and asked < 1:
        raise McucError("bad-argument", f"{asked} workers", where="--workers", try_this="1 or more")
    return asked or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


@contextmanager
def spread(make: Callable[..., Callable[[A], R]], arguments: tuple[Any, ...],
           workers: int) -> Iterator[Callable[[Sequence[A]], Iterable[R]]]:  # fmt: skip
    """A function that maps make(*arguments) over a sequence, in order.

    Each process calls make once. make must be a function of a module, arguments and results must be values that
    pickle can copy. What the function computes must depend on its argument alone. With one worker nothing is started.
    """
    if workers == 1:
        function = make(*arguments)
        yield lambda items: map(function, items)
        return
    # Started afresh: a copy of a process that has threads (torch, ONNX Runtime) may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (make, arguments)) as pool:
        yield lambda items: pool.map(_work, items)


def _begin(make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    global _made
    _made = make(*arguments)


def _work(item: Any) -> Any:
    assert _made is not None
    return _made(item)
