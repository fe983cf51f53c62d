"""mcuc report: what reports of earlier builds say, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcuc.cli._options import Json
from mcuc.cli._show import say, show, show_json

EXAMPLE = "Example:  mcuc report diff before/ after/ --fail-on-regression"

app = typer.Typer(help="Compare the reports of builds.", no_args_is_help=True, rich_markup_mode="rich", epilog=EXAMPLE)

Old = Annotated[
    Path,
    typer.Argument(metavar="OLD", show_default=False, help="The earlier build: its folder, or the report.json in it."),
]
New = Annotated[Path, typer.Argument(metavar="NEW", show_default=False, help="The later build.")]
FailOnRegression = Annotated[
    bool,
    typer.Option(
        "--fail-on-regression",
        help="Exit 1 where NEW needs more SRAM, flash or cycles, its answers no longer agree, the audit finds more, or "
        "its accuracy is worse by more than chance (the 95 % interval).",
    ),
]
WithoutAccuracy = Annotated[
    bool, typer.Option("--without-accuracy", help="Leave accuracy out, as for builds that were judged on other data.")
]


@app.callback()
def _group() -> None:
    """Compare the reports of builds."""


@app.command("diff", epilog=EXAMPLE)
def diff(
    old: Old,
    new: New,
    without_accuracy: WithoutAccuracy = False,
    fail_on_regression: FailOnRegression = False,
    as_json: Json = False,
) -> None:
    """What changed between two builds: settings, sizes, time, kernels of layers, and accuracy sample by sample."""
    from mcuc import api
    from mcuc.report.diff_text import to_text

    found = api.diff(old, new, accuracy=not without_accuracy)
    if as_json:
        show_json(found)
    else:
        show(to_text(found))
    if fail_on_regression and found.regressions:
        advice = "see what differs above, or compare without --fail-on-regression"
        say(f"{new} is worse than {old}: {'; '.join(found.regressions)}\n  where: {new}\n  try:   {advice}")
        raise typer.Exit(1)
