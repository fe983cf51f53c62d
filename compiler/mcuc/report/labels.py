"""The names written into the shapes of the memory map: short enough to fit, long enough to tell buffers apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from mcuc.report import svg
from mcuc.report.words import clean

_SUFFIXES = ("/scratch", "/line", "/row", "/sums", "/state")  # that the planner adds to the names of layers and tensors
_DEEPEST = 8  # scopes that are looked at


def short_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Two names for each buffer, a long one and a short one: of fused names joined by ";" the first, without the
    scopes that most of them share; and as much of its start as no other has.

    Converters name tensors functional_1/activation_3/Relu;functional_1/batch_normalization_3/..., the planner adds
    what a buffer is for: the scratch of a layer is called layer/scratch, and the colour says it already of a line.
    """
    suffixes = [next((s for s in _SUFFIXES if n.endswith(s) and n != s), "") for n in names]
    plain = [n.removesuffix(s) for n, s in zip(names, suffixes, strict=True)]
    paths = _without_common_scope([tuple((n.split(";")[0] or n).split("/", _DEEPEST)) for n in plain])
    starts = Counter(path[:k] for path in set(paths) for k in range(1, len(path) + 1))
    unique = [next((path[:k] for k in range(1, len(path)) if starts[path[:k]] == 1), path) for path in paths]
    ends = [s.removesuffix("/line") for s in suffixes]
    return [("/".join(path) + s, "/".join(start) + s) for path, start, s in zip(paths, unique, ends, strict=True)]


def _without_common_scope(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    while True:
        scopes = Counter(path[0] for path in paths if len(path) > 1)
        common, times = scopes.most_common(1)[0] if scopes else ("", 0)
        if times < 2 or 2 * times <= scopes.total():
            return paths
        paths = [path[1:] if len(path) > 1 and path[0] == common else path for path in paths]


def label(names: Sequence[str], left: float, top: float, wide: float, tall: float) -> Markup:
    """The first of the names that fits, else the last cut: across, else upwards, else none: the tooltip and the table
    have it anyway."""
    across, upwards = (_fitting(names, room - 6) for room in (wide, tall))
    middle_x, middle_y = left + wide / 2, top + tall / 2
    if tall >= 13 and across and (len(across) >= len(upwards) or wide < 13):
        return svg.text(middle_x, middle_y + 4, across, "inside", "middle")
    if wide >= 13 and upwards:
        return svg.text(middle_x + 4, middle_y, upwards, "inside", "middle", turn=True)
    return Markup("")


def _fitting(names: Sequence[str], pixels: float) -> str:
    shown = [svg.fitted(name, pixels) for name in names]
    return next((s for s, name in zip(shown, names, strict=True) if s == clean(name)), shown[-1])
