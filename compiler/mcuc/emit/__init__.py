"""C from a graph, its schedule and its plan. Templates are C first; constants are computed in Python."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import jinja2


@cache
def environment() -> jinja2.Environment:
    """The one Jinja environment: undefined names are errors, blocks leave no blank lines."""
    root = resources.files("mcuc")
    loader = jinja2.ChoiceLoader(
        [jinja2.FileSystemLoader(str(root / "emit")), jinja2.FileSystemLoader(str(root / "kernels"))]
    )
    return jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(template: str, **context: Any) -> str:
    """A template by its path below emit/ or kernels/."""
    return environment().get_template(template).render(**context)
