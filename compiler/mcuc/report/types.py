"""What mcuc reports about a compiled model: the typed form of report.json."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RegionReport:
    """Bytes of one RAM region. arena, work: as in Sram, of its own arena, 0 where it has none; beside: static data and
    stack where they are linked to it; size: what the firmware may use of it."""

    name: str
    arena: int
    work: int
    beside: int
    size: int


@dataclass(frozen=True)
class Sram:
    """Bytes. arena: input and output included; work: without them; static: .data and .bss; stack: the larger of the
    measured high-water mark and the static bound; total = arena + static + stack; budget: what was allowed. regions:
    where RAM regions were named, those in use; arena and work are sums over them, and so is total with `beside`. state:
    what of static the model keeps from one inference to the next."""

    arena: int
    work: int
    static: int
    stack: int
    total: int
    budget: int
    regions: tuple[RegionReport, ...] = ()
    state: int = 0


@dataclass(frozen=True)
class FlashRegionReport:
    """Bytes of one flash. size: of all of it."""

    name: str
    weights: int
    code: int
    size: int


@dataclass(frozen=True)
class Flash:
    """Bytes of the linked ELF, the test harness excluded. total = weights + code, wherever they lie; regions: where
    weights lie outside the chip, what is in which flash."""

    weights: int
    code: int
    total: int
    budget: int
    regions: tuple[FlashRegionReport, ...] = ()


@dataclass(frozen=True)
class Weights:
    """How often weights are read in an inference, from the memory that they lie in, past the caches. bytes: of the
    layers' tables, one of several layers counted in each; bytes_read: the same times their reads; reads_max,
    reads_mean: of a byte; waits: cycles that the layers wait for them, as estimated, inside `cycles`."""

    bytes: int
    bytes_read: int
    reads_max: float
    reads_mean: float
    waits: int


@dataclass(frozen=True)
class Verify:
    """Answers compared. oracle: what the outputs were compared with; inputs: "n random (seed s)" and the like.

    max_abs_diff, differing: over all compared output elements. first_diff_layer: None when all agree. host, emulated:
    samples that ran there. audit: number of findings of the instruction, alignment and flash-write audit, None when not
    run; findings: the first of them in words.
    """

    oracle: str
    inputs: str
    bit_exact: bool
    max_abs_diff: int
    differing: int
    first_diff_layer: str | None
    host: int
    emulated: int
    audit: int | None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerReport:
    """One layer: sram_live is the bytes of the arena alive while it runs. weights: as in Report; of cycles,
    weights.waits are spent waiting for them; None where the layer has no tables."""

    name: str
    op: str
    kernel: str
    why: str
    macs: int
    instructions: int
    cycles: int
    sram_live: int
    weights: Weights | None = None


@dataclass(frozen=True)
class Column:
    """One form of the network over the judged samples. name: float, int8 (the C on the host), .tflite and .onnx (the
    exported files), emulated; runtime: what ran it; samples: that ran; judged: samples or groups of them that the
    metric is over, 0 where they are no whole groups; elements: of the first output over those samples, and differing:
    how many of them are another step than the C's on the host, None of float.

    value, rmse: the metric, as in Accuracy. float, lost, gained, difference, float_rmse, rmse_difference: the float
    network on the same samples, what only it, or only this form, has right (error: where this form's error is larger,
    or smaller), and 95 % intervals of this form minus float. None where there is none.
    """

    name: str
    runtime: str
    samples: int
    judged: int
    elements: int
    differing: int | None
    value: builtins.float | None = None
    rmse: builtins.float | None = None
    float: builtins.float | None = None
    lost: int | None = None
    gained: int | None = None
    difference: tuple[builtins.float, builtins.float] | None = None
    float_rmse: builtins.float | None = None
    rmse_difference: tuple[builtins.float, builtins.float] | None = None


@dataclass(frozen=True)
class Accuracy:
    """float, int8: the metric of the float network and of the C on the host over `samples` (samples or groups):
    top1: fractions of 1; auc: areas, None with one class; error: mean absolute errors. negative_flips: what the float
    network has right and the int8 one wrong (auc: at `threshold`), None of error; gained: the other way round; flips:
    the negative flips' numbers in the data; difference: 95 % interval of int8 - float, None where there is none
    (accuracy/statistics.py); columns: every form of the network, empty in reports of earlier versions; data: SHA-256
    of what the samples are from."""

    float: builtins.float | None
    int8: builtins.float | None
    negative_flips: int | None
    samples: int
    gained: int | None = None
    difference: tuple[builtins.float, builtins.float] | None = None
    metric: str = "top1"
    flips: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()
    data: str = ""
    threshold: builtins.float | None = None


@dataclass(frozen=True)
class PlanReport:
    """lower_bound: bytes, proven for the class that schedules names; peak: the arena; optimal: peak meets the bound."""

    lower_bound: int
    peak: int
    optimal: bool
    schedules: str = "layer by layer, in the order of the file"


@dataclass(frozen=True)
class BufferReport:
    """One buffer of the memory map: bytes [offset, offset + size) of the arena during ticks [lower, upper).

    kind: input, output, activation, line (rows of a tensor inside a stream), scratch, sums (of a layer that averages an
    image row by row), counters (of a stream), push buffer (the next row of an input that arrives by rows).
    spans: what of it is in use when, as (lower, upper, start, end): ticks [lower, upper) on the scale of the segments,
    bytes [start, end) from the buffer's own start; empty: all of it, all the time.
    """

    name: str
    kind: str
    lower: int
    upper: int
    offset: int
    size: int
    spans: tuple[tuple[int, int, int, int], ...] = ()
    region: str = ""


@dataclass(frozen=True)
class SegmentReport:
    """A layer that runs alone or a stream (layers that run together row by row), in execution order.

    name: the layer's, of a stream "first ... last"; kind: "layer" or "stream"; lower, upper: its ticks (a tick is an
    output row or a share of a layer, in a stream a pass); layers: how many; live: the most bytes of the arena alive in
    one tick of it; weight_bytes: of weights and constants of layers with MACs; weight_bytes_read: the same times how
    often a kernel runs on them (within a run a kernel may read them again for each pixel). The rest is 0 for a layer:
    live_alone, weight_bytes_read_alone: the same if every layer ran alone, in the same order; columns: that the widest
    layer computes at a time, 0 for whole rows; passes: over the layers; line_bytes: of the tensors that are never held
    whole, and whole_bytes: how large those are; other_bytes: the stream's sums, counters and push buffer; extra_macs:
    computed more than once; pushed: the input that arrives by rows, "" for none; strips, groups: of columns or of
    channels, for each of which the passes are run, 0 for all at once.
    """

    name: str
    kind: str
    lower: int
    upper: int
    layers: int
    live: int
    weight_bytes: int = 0
    weight_bytes_read: int = 0
    live_alone: int = 0
    weight_bytes_read_alone: int = 0
    columns: int = 0
    passes: int = 0
    line_bytes: int = 0
    whole_bytes: int = 0
    other_bytes: int = 0
    extra_macs: int = 0
    pushed: str = ""
    strips: int = 0
    groups: int = 0


@dataclass(frozen=True)
class ParetoPoint:
    """A candidate of the search: accuracy on the validation split (fraction), costs as planned; chosen: the winner."""

    name: str
    accuracy: float
    sram: int
    flash: int
    latency_ms: float
    chosen: bool


@dataclass(frozen=True)
class Report:
    """report.json. cycles_band: the estimate's relative error band (0.25 means +-25 %); evidence: class of the figures
    ("emulated" counts, "estimated" cycles); pareto: of a search, empty for a compiled file; segments: of the schedule,
    empty in reports of earlier versions, where a tick of the memory map is a layer; options: what was asked for, by
    name; weights: of all layers, None in reports of earlier versions and of networks without tables."""

    model: str
    board: str
    core: str
    clock_hz: int
    toolchain: str
    profile: str
    optimize: str
    sram: Sram
    flash: Flash
    macs: int
    instructions: int
    cycles: int
    cycles_band: float
    latency_ms: float
    evidence: Mapping[str, str]
    verify: Verify
    layers: tuple[LayerReport, ...]
    accuracy: Accuracy | None
    plan: PlanReport
    memory_map: tuple[BufferReport, ...]
    notes: tuple[str, ...]
    pareto: tuple[ParetoPoint, ...] = ()
    mix: Mapping[str, int] | None = None
    segments: tuple[SegmentReport, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    weights: Weights | None = None
