"""Channel groups: an inverted bottleneck run for a few of its expanded channels at a time.

Expand (1x1 convolution), depthwise convolution and project (1x1 convolution) run as a stream once for every group of
expanded channels: the lines between them are as wide as a group, and what the project computes of a group is added to
int32 sums, one for every byte of its output. When the last group has passed, the sums become the output. No MAC is
computed twice and each weight belongs to one group; the price are four bytes a sum, kept until the last group, and the
sums' loads and stores. It pays where the expanded image is large against the output, most of all where a large kernel
would keep all its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcuc.kernels._base import Call, Kernel
from mcuc.kernels.dot import FINISH, PARTIAL
from mcuc.schedule.members import Member

SUM_BYTES = 4
PROJECT = 2  # number of the member that sums


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """The calls of a bottleneck whose lines hold `group` of its `channels` expanded channels, all by rows: expand and
    depthwise compute channels [c0, c1) of a row; add adds input channels [c0, c1) to the sums of a row; finish turns
    the sums of a row into the output. row_bytes: of the sums of an output row. residual: the tensor that finish adds to
    them, a row of its own behind that of the sums; "" for none."""

    channels: int
    group: int
    expand: tuple[Call, Kernel]
    depthwise: tuple[Call, Kernel]
    add: tuple[Call, Kernel]
    finish: tuple[Call, Kernel]
    row_bytes: int
    residual: str = ""


def bottleneck(members: Sequence[Member], group: int) -> Bottleneck | None:
    """The members as a bottleneck by groups of `group` channels; None where they are none, or where one group would
    hold all channels."""
    if len(members) != 3 or any(len(m.layer.calls) != 1 or m.layer.reduction is not None for m in members):
        return None
    first, middle, last = members
    (expand, expand_kernel), (depthwise, depthwise_kernel), (project, _) = (m.layer.calls[0] for m in members)
    if not (_pointwise(expand) and _pointwise(project) and depthwise.family == "depthwise"):
        return None
    chained = set(middle.inside) == {first.output} and set(last.inside) == {middle.output}
    if not chained or first.inside or middle.outside or len(last.outside) > (project.params["residual"] is not None):
        return None
    if first.sink or middle.sink or not last.sink or expand.channels <= group:
        return None
    if depthwise.params["multiplier"] != 1 or project.channels * last.width != project.out_row_bytes:
        return None
    narrow = replace(depthwise, params={**depthwise.params, "in_c": group})
    weights, bias, *rest = project.tables
    zero_points = tuple(t for t in rest if t.name == "weight_zp")
    constants = tuple(t for t in rest if t.name != "weight_zp")
    params = {**project.params, "in_c": group, "residual": None}
    add = replace(project, params=params, tables=(weights, bias, *zero_points), rows=project.rows[:1])
    return Bottleneck(
        expand.channels,
        group,
        (expand, expand_kernel),
        (narrow, depthwise_kernel),
        (add, PARTIAL),
        (replace(project, tables=constants), FINISH),
        SUM_BYTES * project.channels * last.width,
        next(iter(last.outside), ""),
    )


def _pointwise(call: Call) -> bool:
    return call.family == "dot" and bool(call.params["pointwise"])
