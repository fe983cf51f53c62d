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
MARK = "@N@"
LARGEST = 2**31 - 1
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_NUMBER = re.compile(r"(?<![\w.#])\d+(?![\w.])")
_DECLARATION = re.compile(r"^ *(?:static )?(?:const )?u?int(?:8|16|32)_t\b[^;=(]*\Z", re.M)
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
    alike: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for text in texts:
        if "__asm__" not in text:
            skeleton, numbers = _split(text)
            alike[skeleton][text] = numbers
    found: dict[str, Shared] = {}
    for skeleton, members in alike.items():
        if len(members) > 1:
            found.update(_joined(skeleton, members))
    return found


def _split(text: str) -> tuple[str, list[int]]:
    """The text without comments, with a mark for every number that may be read from a table, and those numbers."""
    numbers: list[int] = []

    def mark(found: re.Match[str]) -> str:
        value = int(found[0])
        if value > LARGEST:
            return found[0]
        numbers.append(value)
        return MARK

    pieces = re.split(r"(\[\d+\](?=\s*[,;=]))", _COMMENT.sub("", text))  # an index, or the length of an array
    declared = [_DECLARATION.search(before) is not None for before in pieces]
    for k, piece in enumerate(pieces):
        fixed = k % 2 == 1 and declared[k - 1]  # an array has a fixed length
        pieces[k] = piece if fixed else _NUMBER.sub(mark, piece)
    return "".join(pieces), numbers


def _joined(skeleton: str, members: Mapping[str, Sequence[int]]) -> Mapping[str, Shared]:
    columns = list(zip(*members.values(), strict=True))
    places: dict[tuple[int, ...], int] = {}  # numbers of all members -> where in the table; equal columns share one
    words = []
    for column in columns:
        if len(set(column)) == 1:
            words.append(str(column[0]))
        else:
            words.append(f"numbers[{places.setdefault(column, len(places))}]")
    pieces = skeleton.split(MARK)
    text = pieces[0] + "".join(word + piece for word, piece in zip(words, pieces[1:], strict=True))
    common = "\n".join(_with_argument(line) for line in text.split("\n"))
    common = _BODY.sub(r"\1    MCUC_UNUSED(numbers);\n", common)
    tables = zip(*places, strict=True) if places else [()] * len(members)
    return {member: Shared(common, tuple(table)) for member, table in zip(members, tables, strict=True)}


def _with_argument(line: str) -> str:
    """The table as the first argument of the functions that the text defines, and of its calls of them."""
    kind = "const int32_t *numbers" if line.startswith("static") else "numbers"
    return _OWN_CALL.sub(rf"\1({kind}, ", line)
