"""The finished figures against what was allowed."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.report.types import Report


def check_budgets(report: Report, latency_ms: float | None = None) -> None:
    """Raises McucError: over-budget (arena, static data and stack together), over-flash (weights and code),
    over-latency (as estimated, None for no limit)."""
    sram, flash = report.sram, report.flash
    if sram.total > sram.budget:
        raise McucError(
            "over-budget",
            f"the model needs {sram.total:,} bytes of SRAM (arena {sram.arena:,}, static {sram.static:,}, stack "
            f"{sram.stack:,}), the budget is {sram.budget:,} ({sram.budget / 1024:.1f} KB): "
            f"{sram.total - sram.budget:,} bytes over",
            where=f"{report.model} on {report.board}",
            try_this="a larger budget, a smaller input resolution, or fewer channels in the layers with the most live "
            "SRAM (mcuc profile)",
        )
    outside = "".join(f" in {r.name}" for r in flash.regions if r.weights)
    if flash.total > flash.budget:
        raise McucError(
            "over-flash",
            f"the model needs {flash.total:,} bytes of flash (weights {flash.weights:,}{outside}, code "
            f"{flash.code:,}), the "
            f"budget is {flash.budget:,} ({flash.budget / 1024:.1f} KB): {flash.total - flash.budget:,} bytes over",
            where=f"{report.model} on {report.board}",
            try_this="a larger budget, --optimize flash, or a smaller model",
        )
    if latency_ms is not None and report.latency_ms > latency_ms:
        raise McucError(
            "over-latency",
            f"an inference takes {report.latency_ms:g} ms (estimated, within {100 * report.cycles_band:.0f} %), the "
            f"limit is {latency_ms:g} ms",
            where=f"{report.model} on {report.board}",
            try_this="--optimize latency, a faster board (mcuc boards), or a smaller model (see mcuc profile)",
        )
