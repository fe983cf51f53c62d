"""Kernels whose C differs in numbers alone made one function, which reads those numbers from a table of the layer.

Small code for a little speed: a loop whose bounds are read is not unrolled, a stride is multiplied. Taken where
--optimize flash asks for it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FN = "@FN@"  # the function's own name in a kernel's text
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_NUMBER = re.compile(r"(?<![\w.#])\d+(?![\w.])")
_DECLARED = re.compile(r"^ *(?:const )?u?int(?:8|16|32)_t .*;.*$", re.M)  # arrays have a fixed length
_LENGTH = re.compile(r"(\[)(\d+)(\]\s*(?:,|;|=))")
_BODY = re.compile(r"(^static [^;]*?\n\{\n)", re.M)
_OWN_CALL = re.compile(rf"({FN}\w*)\(")


@dataclass(frozen=True)
class Shared:
    """text: of the function for all; numbers: what it reads for the kernel that it stands for, in order."""

    text: str
    numbers: tuple[int, ...]


def shared(texts: Iterable[str]) -> dict[str, Shared]:
    """Kernel text -> its common form, for texts of which at least two are the same but for numbers.

    Assembly is left alone: its numbers stand in instructions.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        if "__asm__" not in text:
            alike[_skeleton(text)].append(text)
    found: dict[str, Shared] = {}
    for skeleton, members in alike.items():
        if len(members) > 1:
            found.update(_joined(skeleton, members))
    return found


def _skeleton(text: str) -> str:
    """The text without comments, with a mark for every number that may be read from a table."""
    kept = _DECLARED.sub(lambda line: _LENGTH.sub(r"\1@\2@\3", line[0]), _COMMENT.sub("", text))
    return re.sub(r"@(\d+)@", r"\1", re.sub(r"(?<!@)" + _NUMBER.pattern + r"(?!@)", "@N@", kept))


def _numbers(text: str) -> list[int]:
    """The numbers that _skeleton marks, in its order."""
    kept = _DECLARED.sub(lambda line: _LENGTH.sub(r"\1@\2@\3", line[0]), _COMMENT.sub("", text))
    return [int(n) for n in re.findall(r"(?<!@)" + _NUMBER.pattern + r"(?!@)", kept)]


def _joined(skeleton: str, members: Sequence[str]) -> Mapping[str, Shared]:
    columns = list(zip(*(_numbers(text) for text in members), strict=True))
    places: dict[tuple[int, ...], int] = {}  # numbers of all members -> where in the table; equal columns share one
    words = []
    for column in columns:
        if len(set(column)) == 1:
            words.append(str(column[0]))
        else:
            words.append(f"numbers[{places.setdefault(column, len(places))}]")
    pieces = skeleton.split("@N@")
    text = pieces[0] + "".join(word + piece for word, piece in zip(words, pieces[1:], strict=True))
    common = "\n".join(_with_argument(line) for line in text.split("\n"))
    common = _BODY.sub(r"\1    MCUC_UNUSED(numbers);\n", common)
    tables = zip(*places, strict=True) if places else [()] * len(members)
    return {member: Shared(common, tuple(table)) for member, table in zip(members, tables, strict=True)}


def _with_argument(line: str) -> str:
    """The table as the first argument of the functions that the text defines, and of its calls of them."""
    kind = "const int32_t *numbers" if line.startswith("static") else "numbers"
    return _OWN_CALL.sub(rf"\1({kind}, ", line)
