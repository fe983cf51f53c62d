"""The one error type that users meet: what was found, where, and what to try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class McucError(Exception):
    """A refusal that the command line prints as one message and exit code 1, without a traceback.

    code: short stable identifier, for example "unsupported-operator".
    found: what was found, one sentence.
    where: file, node or tensor name; empty when the place is obvious.
    try_this: what the user can do next; empty when there is nothing to suggest.
    """

    code: str
    found: str
    where: str = ""
    try_this: str = ""

    def __str__(self) -> str:
        lines = [f"{self.found}"]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.try_this:
            lines.append(f"  try:   {self.try_this}")
        return "\n".join(lines)
