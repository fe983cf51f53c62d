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
        from mcuc.report.words import clean

        start = time.monotonic()
        yield lambda stage: print(f"{time.monotonic() - start:7.2f} s  {clean(stage)}", file=sys.stderr)
    elif not sys.stderr.isatty():
        yield lambda stage: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=None)
            yield lambda stage: bar.update(task, description=stage)


@contextmanager
def bars(verbose: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with a stage, the steps done and their number; each stage has a bar of its own."""
    if verbose:
        from mcuc.report.words import clean

        start, seen = time.monotonic(), set[str]()

        def line(stage: str, done: int, total: int) -> None:
            if stage not in seen or (done == total and total > 1):
                counted = f" {done}/{total}" if done else ""
                print(f"{time.monotonic() - start:7.2f} s  {clean(stage)}{counted}", file=sys.stderr)
                seen.add(stage)

        yield line
    elif not sys.stderr.isatty():
        yield lambda stage, done, total: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            tasks: dict[str, TaskID] = {}

            def move(stage: str, done: int, total: int) -> None:
                for name, task in tasks.items():  # a stage begins: those before it are over
                    if name != stage and not bar.tasks[task].finished and stage not in tasks:
                        bar.update(task, completed=bar.tasks[task].total)
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                bar.update(tasks[stage], completed=done, total=total)

            yield move
            for task in tasks.values():
                bar.update(task, completed=bar.tasks[task].total)
