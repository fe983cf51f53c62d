"""C identifiers and literals from untrusted names."""

from __future__ import annotations

import re

from mcuc.errors import McucError

_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm and bool "
    "catch class delete explicit export false friend mutable namespace new not operator or private protected public "
    "template this throw true try typename using virtual xor main"
)
# A model of such a name would have a header that hides the compiler's own from `#include <...>`.
_HEADERS = (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic "
    "stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar unistd wchar wctype "
    "memory features alloca malloc sched endian byteswap cmsis_gcc arm_acle"
)
_TAKEN = frozenset([*_KEYWORDS.split(), *_HEADERS.split()])


def identifier(name: str) -> str:
    """The model's C prefix: the name with other characters as _, at most 48 characters, never a keyword, the name
    of a standard header or one of mcuc's own."""
    clean = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_").lower()[:48].strip("_")
    if not clean or clean[0].isdigit() or clean in _TAKEN or clean.startswith("mcuc"):
        clean = f"net_{clean}".rstrip("_")
    return clean


def checked_identifier(name: str) -> str:
    """A prefix that the user gave. Raises McucError when it is no C identifier, or a name that identifier() avoids."""
    taken = name.lower() in _TAKEN or f"{name}_".lower().startswith("mcuc_")
    if taken or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,47}", name):
        raise McucError(
            "bad-name",
            f"{name!r} cannot be the prefix of C symbols",
            where="--name",
            try_this=f"use letters, digits and _, beginning with a letter, for example {identifier(name)}",
        )
    return name


def comment(text: str) -> str:
    """Text from a model, safe inside a C comment: one line of printable ASCII that neither ends nor opens a comment,
    and holds no backslash and no trigraph."""
    plain = re.sub(r"[^\x20-\x7e]", "?", text).replace("\\", "/")
    return re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", plain)


def layer_symbol(prefix: str, index: int, op: str) -> str:
    """The C function of the index-th layer."""
    return f"{prefix}_layer_{index:02d}_{op}"
