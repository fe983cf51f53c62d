"""C identifiers and literals from untrusted names."""

from __future__ import annotations

import re

from mcuc.errors import McucError

_KEYWORDS = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "asm",
        "and",
        "bool",
        "catch",
        "class",
        "delete",
        "explicit",
        "export",
        "false",
        "friend",
        "mutable",
        "namespace",
        "new",
        "not",
        "operator",
        "or",
        "private",
        "protected",
        "public",
        "template",
        "this",
        "throw",
        "true",
        "try",
        "typename",
        "using",
        "virtual",
        "xor",
        "main",
    ]
)


def identifier(name: str) -> str:
    """The model's C prefix: the name with other characters as _, never a keyword, at most 48 characters."""
    clean = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_").lower()[:48].strip("_")
    if not clean or clean[0].isdigit() or clean in _KEYWORDS or clean.startswith("mcuc"):
        clean = f"net_{clean}".rstrip("_")
    return clean


def checked_identifier(name: str) -> str:
    """A prefix that the user gave. Raises McucError when it is no C identifier."""
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,47}", name) or name in _KEYWORDS or name.startswith("mcuc_"):
        raise McucError(
            "bad-name",
            f"{name!r} cannot be the prefix of C symbols",
            where="--name",
            try_this=f"use letters, digits and _, beginning with a letter, for example {identifier(name)}",
        )
    return name


def comment(text: str) -> str:
    """Text from a model, safe inside a C comment."""
    return (
        re.sub(r"[^\x20-\x7e]", "?", text)
        .replace("*/", "* /")
        .replace("/*", "/ *")
        .replace("\\", "/")
        .replace("??", "? ?")
    )


def layer_symbol(prefix: str, index: int, op: str) -> str:
    """The C function of the index-th layer."""
    return f"{prefix}_layer_{index:02d}_{op}"
