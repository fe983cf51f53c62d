"""The names written into the shapes of the memory map: short enough to fit, long enough to tell buffers apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from mcuc.report import svg

_SUFFIXES = ("/scratch", "/line", "/sums", "/state")  # that the planner adds to the names of layers and tensors


def short_names(names: Sequence[str]) -> list[str]:
    """What tells the buffers apart: of fused names joined by ";" the first, without the scopes that most of them share,
    as far as it is unique.

    Converters name tensors functional_1/activation_3/Relu;functional_1/batch_normalization_3/..., the planner adds
    what a buffer is for: the scratch of a layer is called layer/scratch, and the colour says it already of a line.
    """
    suffixes = [next((s for s in _SUFFIXES if n.endswith(s) and n != s), "") for n in names]
    plain = [n.removesuffix(s) for n, s in zip(names, suffixes, strict=True)]
    paths = _without_common_scope([tuple((n.split(";")[0] or n).split("/")) for n in plain])
    starts = Counter(path[:k] for path in set(paths) for k in range(1, len(path) + 1))
    unique = [next((path[:k] for k in range(1, len(path)) if starts[path[:k]] == 1), path) for path in paths]
    return ["/".join(path) + s.removesuffix("/line") for path, s in zip(unique, suffixes, strict=True)]


def _without_common_scope(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    while True:
        scopes = Counter(path[0] for path in paths if len(path) > 1)
        common, times = scopes.most_common(1)[0] if scopes else ("", 0)
        if times < 2 or 2 * times <= scopes.total():
            return paths
        paths = [path[1:] if len(path) > 1 and path[0] == common else path for path in paths]


def label(name: str, left: float, top: float, wide: float, tall: float) -> Markup:
    """Across where it fits, else upwards, else not at all: the tooltip and the table have it anyway."""
    middle_x, middle_y = left + wide / 2, top + tall / 2
    across, upwards = svg.fitted(name, wide - 6), svg.fitted(name, tall - 6)
    if tall >= 13 and across and (len(across) >= len(upwards) or wide < 13):
        return svg.text(middle_x, middle_y + 4, across, "inside", "middle")
    if wide >= 13 and upwards:
        return svg.text(middle_x + 4, middle_y, upwards, "inside", "middle", turn=True)
    return Markup("")
