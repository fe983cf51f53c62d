"""Sum family: averages over a whole image that passes by row by row.

accumulate adds pixels to one int32 sum a channel, in the arena; average and mean turn the sums into the output.
running sums up the columns of each row.
"""

from __future__ import annotations

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _kind(kind: str, call: Call) -> No | None:
    return None if call.params["kind"] == kind else No(f"the step is {call.params['kind']}, not {kind}")


def _accumulate(call: Call, chip: Chip | None) -> No | None:
    return _kind("accumulate", call)


def _average(call: Call, chip: Chip | None) -> No | None:
    return _kind("average", call)


def _mean(call: Call, chip: Chip | None) -> No | None:
    return _kind("mean", call)


def _running(call: Call, chip: Chip | None) -> No | None:
    return _kind("running", call)


FAMILY = Family(
    "sum",
    (
        Kernel("sum_accumulate", "sum/accumulate.c.j2", _accumulate, no_scratch, no_context),
        Kernel("sum_average", "sum/average.c.j2", _average, no_scratch, no_context),
        Kernel("sum_running", "sum/running.c.j2", _running, no_scratch, no_context),
        Kernel("sum_mean", "sum/mean.c.j2", _mean, no_scratch, no_context),
    ),
)
