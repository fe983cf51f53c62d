"""The command line: one file a subcommand, no logic. Exit codes: 0 done, 1 refused, 2 usage, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Every refusal is one message on stderr, without a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from mcuc.cli.app import run

        return run(words)
    except KeyboardInterrupt:  # while modules were loading
        sys.stderr.write("mcuc: interrupted\n")
        return 130
