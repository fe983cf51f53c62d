"""Progress on stderr: a bar on a terminal, lines with -v, nothing otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stages(verbose: bool) -> Iterator[Callable[[str], None]]:
    """A function to call with the name of each stage as it begins."""
    if verbose:
        start = time.monotonic()
        yield lambda stage: print(f"{time.monotonic() - start:7.2f} s  {stage}", file=sys.stderr)
    elif not sys.stderr.isatty():
        yield lambda stage: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=None)
            yield lambda stage: bar.update(task, description=stage)
