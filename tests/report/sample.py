"""A report as a compiled keyword spotter yields it: the layers, shapes and sizes of a depthwise-separable network on
49 x 10 spectrogram frames. Counts that need a machine (instructions, cycles) are made up in plausible proportions."""

from __future__ import annotations

import random
from dataclasses import replace

from mcuc.plan.place import Buffer, Span, place
from mcuc.report.types import (
    Accuracy,
    BufferReport,
    Column,
    Flash,
    LayerReport,
    ParetoPoint,
    PlanReport,
    Report,
    SegmentReport,
    Sram,
    Verify,
)

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e[bold]\"&"
_PIXELS, _CHANNELS = 25 * 5, 64
_FEATURES = _PIXELS * _CHANNELS


def _layers() -> tuple[LayerReport, ...]:
    depthwise = ("DEPTHWISE_CONV_2D", "depthwise/3x3", "3x3 window held in registers", _FEATURES * 9, 3.9, 1.31)
    pointwise = ("CONV_2D", "dot/smlad_2x2", "1x1: two pixels by two channels a loop", _FEATURES * _CHANNELS, 1.9, 0.94)
    rows = [("conv_1", "CONV_2D", "dot/smlad_2x2", "im2col of two columns fits scratch", _FEATURES * 40, 2.6, 1.02)]
    for i in range(1, 5):
        rows.append((f"dw_{i}", *depthwise))
        rows.append((f"pw_{i}", *pointwise))
    rows.append(("pool", "AVERAGE_POOL_2D", "pool/average", "whole plane", 0, 9000.0, 1.2))
    rows.append(("flatten", "RESHAPE", "none", "same bytes", 0, 0.0, 1.0))
    rows.append(("fc", "FULLY_CONNECTED", "dot/row", "one row of 64", 768, 3.1, 1.1))
    rows.append(("softmax", "SOFTMAX", "softmax/table", "table of 256 entries", 0, 1450.0, 1.6))
    live = {"conv_1": 490 + _FEATURES + 320, "pool": _FEATURES + 64, "flatten": 64, "fc": 76, "softmax": 24}
    return tuple(
        LayerReport(name, op, kernel, why, macs, n := round(per * (macs or 1)), round(n * cpi),
                    live.get(name, 2 * _FEATURES + (256 if name.startswith("pw") else 0)))
        for name, op, kernel, why, macs, per, cpi in rows)


def _memory_map() -> tuple[BufferReport, ...]:
    low, high, top = 0, _FEATURES, 2 * _FEATURES
    buffers = [BufferReport("input", "input or output", 0, 1, high, 490),
               BufferReport("conv_1", "activation", 0, 2, low, _FEATURES),
               BufferReport("conv_1/scratch", "scratch", 0, 1, high + 492, 320)]
    for i in range(1, 5):
        step = 2 * i - 1
        buffers.append(BufferReport(f"dw_{i}", "activation", step, step + 2, high, _FEATURES))
        buffers.append(BufferReport(f"pw_{i}", "activation", step + 1, step + 3, low, _FEATURES))
        buffers.append(BufferReport(f"pw_{i}/scratch", "scratch", step + 1, step + 2, top, 256))
    return (*buffers, BufferReport("pool", "activation", 9, 12, high, 64),
            BufferReport("fc", "activation", 11, 13, low, 12),
            BufferReport("labels_softmax", "input or output", 12, 13, 12, 12))


def _pareto() -> tuple[ParetoPoint, ...]:
    found = [(0.8412, 9_216, 21_504, 3.1), (0.8633, 11_880, 27_100, 4.7), (0.8791, 16_256, 35_000, 6.9),
             (0.8844, 24_700, 39_300, 8.0), (0.8905, 22_500, 46_900, 10.4), (0.8951, 31_360, 52_700, 12.9),
             (0.8990, 40_100, 61_440, 16.8), (0.9032, 37_632, 70_112, 21.5), (0.9061, 62_720, 81_920, 27.0),
             (0.9084, 81_000, 99_328, 35.2), (0.9102, 125_440, 120_200, 47.9)]
    return tuple(ParetoPoint(f"d{3 + i // 3}w{8 + 4 * i}k3", a, s, f, ms, i == 7)
                 for i, (a, s, f, ms) in enumerate(found))


def report() -> Report:
    """The keyword spotter, verified, with accuracy, search front and instruction mix."""
    layers = _layers()
    instructions, cycles = sum(x.instructions for x in layers), sum(x.cycles for x in layers)
    arena = 2 * _FEATURES + 256
    sram = Sram(arena, arena - 490, 0, 680, arena + 680, 640 * 1024)
    mix = {"alu": 0.27, "it": 0.012, "mul": 0.008, "dsp_mac": 0.235, "dsp_other": 0.17, "load": 0.205,
           "load_multi": 0.004, "store": 0.041, "branch_cond": 0.049, "other": 0.006}
    counts = {name: round(instructions * part) for name, part in mix.items()}
    return Report(
        model="kws_dscnn_int8", board="nucleo-l4r5zi", core="cortex-m4", clock_hz=120_000_000,
        toolchain="zig 0.14.1 (clang 19.1.7), -O2", profile="tflite", optimize="balanced", sram=sram,
        flash=Flash(26_112, 9_408, 35_520, 2048 * 1024), macs=sum(x.macs for x in layers), instructions=instructions,
        cycles=cycles, cycles_band=0.25, latency_ms=cycles / 120_000,
        evidence={"sram": "planned; stack emulated and bounded statically", "flash": "linked ELF",
                  "instructions": "emulated", "cycles": "estimated", "latency_ms": "estimated"},
        verify=Verify("TFLite Micro 0.dev20261023182759", "502 keywords", True, 0, 0, None, 502, 20, 0),
        layers=layers, accuracy=_accuracy(), plan=PlanReport(arena, arena, True),
        memory_map=_memory_map(), notes=("The stack was measured on the emulated core; the static bound is 680 bytes.",
                                         "The front was found by evolution, seed 1, 400 candidates."),
        pareto=_pareto(),
        mix=counts | {"branch_cond_taken": counts["branch_cond"] * 3 // 4,
                      "branch_cond_not_taken": counts["branch_cond"] // 4,
                      "load_multi_regs": 4 * counts["load_multi"], "store_multi_regs": 0})


def _accuracy() -> Accuracy:
    """502 keywords in every form; the ONNX file rounds otherwise."""
    lost, gained, low = (17, 80, 81, 301), 2, -0.0138
    columns = (
        Column("float", "onnxruntime 1.23", 502, 502, 6024, None, 0.9203),
        Column("int8", "generated C on the host", 502, 502, 6024, 0, 0.9163, None, 0.9203, 4, gained, (low, 0.0059)),
        Column(".onnx", "onnxruntime 1.23", 502, 502, 6024, 41, 0.9183, None, 0.9203, 3, gained, (-0.011, 0.007)),
        Column("emulated", "emulated cortex-m4", 16, 16, 192, 0, 0.9375, None, 0.9375, 0, 0, (-0.1, 0.1)),
    )
    return Accuracy(0.9203, 0.9163, 4, 502, gained, (low, 0.0059), "top1", lost, columns, "0f" * 32)


def crowded(buffers: int = 150) -> Report:
    """A made-up network of many layers, some of them in streams, with a real placement: what the chart must bear."""
    rng = random.Random(7)
    segments: list[SegmentReport] = []
    found: list[tuple[str, Buffer]] = []
    tick = layer = 0
    size = 40_000
    before = Buffer("serving_default_image:0", 0, 1, 96 * 96 * 3)
    while len(found) < buffers:
        streams = layer in (4, 30, 52)
        count, ticks = (14, rng.choice((60, 400))) if streams else (1, rng.choice((1, 2, 7, 14, 28, 48)))
        end = tick + ticks
        size = max(600, int(size * rng.choice((0.7, 0.95, 1.0, 1.2))) & ~3)
        # the input dies row by row while the output grows, as far as the ticks allow
        rows = min(ticks, 48)
        dying = tuple(Span(before.lower, tick + (k + 1) * ticks // rows, k * before.size // rows,
                           (k + 1) * before.size // rows) for k in range(rows)) if rows > 1 else ()
        kind = "input" if not found else "activation"
        found.append((kind, Buffer(before.id, before.lower, end, before.size, 4, dying)))
        names = [f"backbone/block_{layer + k}/{rng.choice(('expand', 'depthwise', 'project', 'add'))}"
                 for k in range(count)]
        if streams:
            for k, name in enumerate(names[:-1]):
                late = ticks * k // (2 * count)
                found.append(("line", Buffer(f"{name};relu/line", tick + late, end - (ticks // 8 if k % 3 else 0),
                                             rng.choice((96, 480, 1200, 2400)))))
            found.append(("counters", Buffer(f"{names[0]}/state", tick, end, 8 * count)))
            found.append(("sums", Buffer(f"{names[-1]}/sums", tick, end, 1024)))
            found.append(("scratch", Buffer(f"{names[0]}/scratch", tick, end, 640)))
        elif layer % 3 == 0:
            found.append(("scratch", Buffer(f"{names[0]}/scratch", tick, end, 512)))
        segments.append(SegmentReport(
            f"{names[0]} ... {names[-1]}" if streams else names[0], "stream" if streams else "layer", tick, end, count,
            size, 9_000 * count, 9_000 * ticks, 3 * size * streams, 4_000 * ticks * streams, 8 * (layer == 30),
            ticks * streams, 12_000 * streams, 300_000 * streams, 1_200 * streams))
        before = Buffer(f"backbone/block_{layer + count - 1}/out;relu", tick, end, size)
        tick, layer = end, layer + count
    found = [*found[: buffers - 1], ("output", Buffer("Identity", before.lower, tick, before.size))]
    placed = place([b for _, b in found], fast=True)
    offsets = placed.offsets
    spans = {b.id: tuple((s.lower, s.upper, s.start, s.end) for s in b.spans) for _, b in found}
    layers = tuple(replace(_layers()[0], name=f"layer_{i}") for i in range(layer))
    sram = Sram(placed.peak, placed.peak - 1000, 0, 680, placed.peak + 680, 320 * 1024)
    return replace(
        report(), model="crowded", layers=layers, segments=tuple(segments), sram=sram,
        plan=PlanReport(placed.lower_bound, placed.peak, placed.optimal),
        memory_map=tuple(BufferReport(b.id, kind, b.lower, b.upper, offsets[b.id], b.size, spans[b.id])
                         for kind, b in sorted(found, key=lambda f: (f[1].lower, offsets[f[1].id], f[1].id))))
