"""The one error type that users meet: what was found, where, and what to try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class McucError(Exception):
    """A refusal that the command line prints as one message and exit code 1, without a traceback.

    code: short stable identifier, for example "unsupported-operator".
    found: what was found, one sentence.
    where: file, option, node or tensor name.
    try_this: what the user can do next.
    None of them is empty.
    """

    code: str
    found: str
    where: str
    try_this: str

    def __str__(self) -> str:
        return f"{self.found}\n  where: {self.where}\n  try:   {self.try_this}"
