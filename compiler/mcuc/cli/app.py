"""The subcommands put together, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer
from typer.main import get_command

from mcuc import __version__
from mcuc.cli import boards, build, check, compile, doctor, export, ops, profile, report, verify
from mcuc.cli._show import say
from mcuc.errors import McucError

INTERRUPTED = 130

app = typer.Typer(
    name="mcuc",
    help="From a memory budget to verified int8 firmware for a microcontroller.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)
# in the order of a user's way
for name, module in (
    ("build", build),
    ("compile", compile),
    ("check", check),
    ("export", export),
    ("verify", verify),
    ("profile", profile),
    ("boards", boards),
    ("ops", ops),
    ("doctor", doctor),
):
    app.command(name, epilog=module.EXAMPLE)(module.command)
app.add_typer(report.app, name="report")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mcuc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def run(words: list[str]) -> int:
    """One command line to its exit code."""
    verbose = any(w in ("-v", "--verbose") for w in words)
    try:
        get_command(app)(words, prog_name="mcuc")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            say("interrupted")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except McucError as error:
        return _refused(str(error), verbose)
    except Exception as error:  # a mistake of mcuc's own is still one message
        found = f"internal error: {type(error).__name__}: {error}"
        advice = "run again with -v and report what it prints, with the model"
        return _refused(str(McucError("internal", found, "mcuc itself", advice)), verbose)
    return 0


def _refused(message: str, verbose: bool) -> int:
    if verbose:
        from mcuc.report.words import clean_lines

        sys.stderr.write(clean_lines(traceback.format_exc()))
    say(message)
    return 1
