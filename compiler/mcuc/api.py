"""The Python interface: the commands' work as functions that return typed objects."""

from __future__ import annotations

import math
import operator
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mcuc import passes, pipeline
from mcuc.accuracy.truth import METRICS, Metric
from mcuc.checking import Checked, check_file
from mcuc.emit.deliver import os_errors
from mcuc.errors import McucError
from mcuc.importers import load_with_ports
from mcuc.pipeline import Compiled, Progress, quiet
from mcuc.report.diff import Diff, compared
from mcuc.report.types import Report
from mcuc.request import DEFAULT_BOARD, Request, Tune
from mcuc.sizes import parse_size
from mcuc.toolchain import Optimize
from mcuc.tradeoff import Tradeoff, tradeoff
from mcuc.verify.given import given_samples
from mcuc.verify.model import EMULATED, Verification, verify_compiled
from mcuc.verify.outside import OracleName, open_oracle

if TYPE_CHECKING:
    from mcuc.exporters.file import ExportedFile
    from mcuc.quantize.build import BuiltFloat
    from mcuc.quantize.quantizer import Activations, WeightTypes
    from mcuc.quantize.samples import Scaling
    from mcuc.search.build import Built

Size = int | str
BuildProgress = Callable[[str, int, int], None]


def no_bar(stage: str, done: int, total: int) -> None:
    """Progress to nobody."""


def compile(
    model: str | Path,
    *,
    board: str = DEFAULT_BOARD,
    budget: Size | None = None,
    flash: Size | None = None,
    optimize: Optimize = "balanced",
    toolchain: str = "auto",
    profile: str | None = None,
    name: str | None = None,
    seed: int = 0,
    latency_ms: float | None = None,
    rows_in: bool = False,
    regions: Sequence[str] = (),
    tune: Tune = "off",
    argmax: bool = False,
    out: str | Path | None = None,
    progress: Progress = quiet,
) -> Compiled:
    """A .tflite or .onnx file compiled, run on the emulated core, verified and written to a folder.

    budget, flash: bytes or "320KB", None for all that the board has; budget "min": the schedule that needs the least
    SRAM. latency_ms: the most that an inference may take, as estimated. rows_in: the input arrives row by row and is
    never held whole (begin, push_rows, finish in the C). regions: RAM regions of the chip or board that buffers may lie
    in, or "all" of the chip's; with more than one the C takes an array of arenas; () for one arena in the linked RAM.
    tune: fast or full to measure the kernels of the layers on the emulated core and take the best, off for the first
    that apply. argmax: the output is the index of the largest value, without softmax. out: None for ./NAME_mcuc.
    progress: called with the name of each stage.
    Answers that differ from the oracle's are no error: the result then says report.verify.bit_exact False.
    Raises McucError for everything that cannot be done.
    """
    _check_goal(optimize)
    _check_common(board, seed, latency_ms)
    least = budget == "min"
    allowed = None if least else _bytes("budget", budget)
    most = _bytes("flash", flash)
    names = _names(regions)
    _check_tune(tune)
    request = Request(
        board, allowed, most, optimize, toolchain, profile, name, seed, least, latency_ms, rows_in, names, tune, argmax
    )
    return pipeline.compile_file(Path(model), request, None if out is None else Path(out), progress)


def build(
    *,
    board: str = DEFAULT_BOARD,
    budget: Size | None = None,
    flash: Size | None = None,
    latency_ms: float | None = None,
    data: str | None = None,
    space: str = "ds-conv",
    effort: str = "quick",
    flip: bool | None = None,
    image_size: int | None = None,
    keep_factors: bool = False,
    memory_model: str = "planner",
    pool: str | None = None,
    positions: str | None = None,
    attention: str | None = None,
    teacher: str | Path | None = None,
    optimize: Optimize = "balanced",
    toolchain: str = "auto",
    name: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: BuildProgress = no_bar,
) -> Built:
    """An architecture searched under the budget, trained, quantized, exported, compiled and verified.

    budget, flash: bytes or "320KB", None for all that the board has, flash outside the chip too with vit-lowrank (up to
    the chip's own, weights stay on it); latency_ms: of one inference, None for no limit.
    data: a folder of class folders of images, an .npz, a bundled name, None for the bundled default. effort: quick,
    standard or full. flip: train on mirrored images too, None: with bundled data only. space: ds-conv, or vit-lowrank
    with image_size (pixels a side, None as the data has them), keep_factors (dense layers keep three factors),
    memory_model (planner, or paper for MCUFormer's formula), pool (token or mean, None for both), positions (absolute
    or relative), attention (softmax, linear or both, None for softmax) and teacher (a float .onnx or .tflite classifier
    of images of that size, pixel / 255). progress(stage, done, total). A killed build that runs again goes on to the
    same result.
    Raises McucError for everything that cannot be done.
    """
    try:
        from mcuc.search.build import BuildRequest, VitOptions
        from mcuc.search.build import build as search
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mcuc"):
            raise
        raise McucError(
            "search-missing",
            f"the search needs {error.name}, which is not installed",
            where="mcuc build",
            try_this="pip install torch pillow --extra-index-url https://download.pytorch.org/whl/cpu",
        ) from error
    _check_goal(optimize)
    _check_common(board, seed, latency_ms)
    request = Request(board, _bytes("budget", budget), _bytes("flash", flash), optimize, toolchain, None, name, seed)
    vit = VitOptions(
        image_size, keep_factors, memory_model, pool, positions, attention, None if teacher is None else Path(teacher)
    )
    wanted = BuildRequest(request, latency_ms, data, space, effort, seed, flip, vit)
    return search(wanted, None if out is None else Path(out), progress)


def build_float(
    model: object,
    data: str | Path,
    *,
    example: Sequence[object] = (),
    board: str = DEFAULT_BOARD,
    budget: Size | None = None,
    flash: Size | None = None,
    latency_ms: float | None = None,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    calibration: int = 200,
    sensitivity: bool = False,
    activations: Activations = "int8",
    weights: WeightTypes = "int8",
    snr_db: float | None = None,
    metric: Metric | None = None,
    optimize: Optimize = "balanced",
    toolchain: str = "auto",
    profile: str | None = None,
    name: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: BuildProgress = no_bar,
) -> BuiltFloat:
    """A float network quantized to int8 with samples, exported, compiled and verified.

    model: the path of a float .onnx or .tflite file, a torch.nn.Module with an example of its inputs (tensors with
    batch 1), or a torch.export program, which needs none.
    data: an .npz with x (or x0, x1 ...) and optionally labels or targets y, a folder of class folders of images, or a
    bundled name; mean, std: what is taken off and divided by, one number or one a channel; calibration: samples that
    calibrate at most, the others judge the result; sensitivity: also measure what each layer costs alone; activations:
    "mixed" for int16 where int8 hurts most, "int16" for int16 wherever TFLite has it; weights: "mixed" for four bits
    where they cost little; snr_db: what the outputs are to reach, or to keep, by "mixed". metric: "top1", "auc" or
    "error", None for what the data calls for. profile: rounding rules, None for TFLite's where it can express the
    network. out: None for ./NAME_mcuc. progress(stage, done, total).
    Raises McucError for everything that cannot be done.
    """
    from mcuc.quantize.build import FloatRequest
    from mcuc.quantize.build import build_float as built
    from mcuc.quantize.quantizer import Options

    _check_goal(optimize)
    _check_common(board, seed, latency_ms)
    if metric not in (None, *METRICS):
        raise McucError(
            "bad-argument", f"no metric {metric!r}", "argument metric", f"one of {', '.join(METRICS)}, or None"
        )
    request = Request(
        board, _bytes("budget", budget), _bytes("flash", flash), optimize, toolchain, profile, name, seed,
        latency_ms=latency_ms,
    )
    options = Options(sensitivity=sensitivity, activations=activations, weights=weights, snr_db=snr_db)
    count = _whole("calibration", calibration, 1)
    wanted = FloatRequest(request, str(data), _scaling(mean, std), count, options, metric, tuple(example))
    return built(model, wanted, None if out is None else Path(out), progress)


def export(
    model: object,
    out: str | Path,
    *,
    data: str | Path | None = None,
    example: Sequence[object] = (),
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    calibration: int = 200,
    activations: Activations = "int8",
    weights: WeightTypes = "int8",
    snr_db: float | None = None,
    style: Literal["qdq", "qoperator"] = "qdq",
    float_io: bool = False,
    progress: BuildProgress = no_bar,
) -> ExportedFile:
    """Writes a model as an int8 .tflite or .onnx file, by the ending of out; its inputs and outputs have the names of
    the model's file.

    data: samples for a float model (see build_float, also for example, activations, weights and snr_db), None for a
    file that is int8 already. style: of an .onnx file. float_io: float32 inputs and outputs. Raises McucError, for what
    the format cannot express among others.
    """
    from mcuc.exporters.file import check_target, ends_of, export_graph, named_ends

    target = Path(out)
    check_target(target)
    ready = b""
    if data is None:
        if not isinstance(model, str | Path):
            raise McucError("bad-argument", f"a {type(model).__name__} without samples", "argument data",
                            "data=SAMPLES, with which it is quantized")
        with os_errors(Path(model), "read"):
            graph, ports = load_with_ports(Path(model))
    else:
        from mcuc.quantize._integer_ends import with_integer_ends
        from mcuc.quantize.build import FloatRequest, quantize_model
        from mcuc.quantize.quantizer import Options

        count = _whole("calibration", calibration, 1)
        options = Options(activations=activations, weights=weights, snr_db=snr_db)
        profile = "tflite" if target.suffix.lower() == ".tflite" else None
        request = FloatRequest(
            Request(profile=profile), str(data), _scaling(mean, std), count, options, example=tuple(example)
        )
        made = quantize_model(model, request, progress)[0]
        graph, ports = made.graph, (*made.ports, *made.outputs)
        if style == "qdq" and target.suffix.lower() == ".onnx":
            ready = made.onnx if float_io else with_integer_ends(made.onnx)  # as build writes it
    graph = named_ends(graph, ports)
    blob = ready or export_graph(graph, target, style, float_io)
    with os_errors(target):
        target.write_bytes(blob)
    return ends_of(graph, target, len(blob), float_io, ports if ready else ())


def diff(old: str | Path, new: str | Path, *, accuracy: bool = True) -> Diff:
    """What changed between two builds: each the folder that compile or build wrote, or a report.json.

    accuracy: compare it, in pairs where both builds kept their predictions. Raises McucError: no-such-report,
    bad-report, bad-npz, bad-predictions; different-data, different-metric where accuracies cannot be compared.
    """
    return compared(Path(old), Path(new), accuracy)


def _scaling(mean: Sequence[float], std: Sequence[float]) -> Scaling:
    from mcuc.quantize.samples import Scaling

    found = Scaling(tuple(float(m) for m in mean), tuple(float(s) for s in std))
    if not (found.mean and found.std and all(map(math.isfinite, found.mean)) and all(s > 0 for s in found.std)):
        raise McucError("bad-argument", f"mean {mean!r} and std {std!r}", "arguments mean, std",
                        "finite numbers, std above 0: one, or one a channel")
    return found


def profile(
    model: str | Path,
    *,
    board: str = DEFAULT_BOARD,
    optimize: Optimize = "balanced",
    toolchain: str = "auto",
    progress: Progress = quiet,
) -> Report:
    """The report of a model, with the counts of every layer; nothing is kept on disk. Raises McucError."""
    with tempfile.TemporaryDirectory(prefix="mcuc-profile-") as scratch:
        return compile(
            model, board=board, optimize=optimize, toolchain=toolchain, out=Path(scratch) / "out", progress=progress
        ).report


def pareto(
    model: str | Path,
    *,
    board: str = DEFAULT_BOARD,
    optimize: Optimize = "balanced",
    toolchain: str = "auto",
    profile: str | None = None,
    rows_in: bool = False,
    tune: Tune = "off",
    progress: Progress = quiet,
) -> Tradeoff:
    """The SRAM-latency front of a model: schedules from the fastest to the smallest, each built and emulated once.

    optimize: of the compiler's flags; tune: as for compile. Nothing is kept on disk. Raises McucError.
    """
    _check_goal(optimize)
    _check_common(board, 0)
    _check_tune(tune)
    request = Request(
        board=board, optimize=optimize, toolchain=toolchain, profile=profile, rows_in=rows_in, tune=tune
    )
    return tradeoff(Path(model), request, progress)


def check(model: str | Path, *, board: str = DEFAULT_BOARD) -> Checked:
    """Every node: the kernel that it gets, or why not and what to do. Raises McucError for a damaged file."""
    _check_common(board, 0)
    path = Path(model)
    with os_errors(path, "read"):
        return check_file(path, board)


def _bytes(name: str, size: Size | None) -> int | None:
    if size is None:
        return None
    if isinstance(size, str):
        return parse_size(size)
    return _whole(name, size, 1)


def _whole(name: str, value: object, least: int) -> int:
    """The argument as an int. Raises McucError("bad-argument") for anything but an integer from `least` on."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise McucError("bad-argument", f"{name} is {value!r}", f"argument {name}", f"an integer, {least} or more")
    return number


def _names(regions: Sequence[str]) -> tuple[str, ...]:
    if isinstance(regions, str) or not all(isinstance(name, str) for name in regions):
        advice = 'names of RAM regions, such as ("dtcm", "sram1")'
        raise McucError("bad-argument", f"regions is {regions!r}", "argument regions", advice)
    return tuple(regions)


def _check_common(board: str, seed: int, latency_ms: float | None = None) -> None:
    if not isinstance(board, str):
        advice = "a name that mcuc boards lists, or the path of a .toml file, as a string"
        raise McucError("bad-argument", f"board is {board!r}", "argument board", advice)
    _whole("seed", seed, 0)
    if latency_ms is not None and not (isinstance(latency_ms, int | float) and 0 < latency_ms < math.inf):
        advice = "milliseconds, a number above 0, or None for no limit"
        raise McucError("bad-argument", f"latency_ms is {latency_ms!r}", "argument latency_ms", advice)


def verify(
    model: str | Path,
    *,
    board: str = DEFAULT_BOARD,
    data: str | None = None,
    samples: int | None = None,
    emulate: int = EMULATED,
    oracle: OracleName = "auto",
    toolchain: str = "auto",
    seed: int = 0,
    progress: Progress = quiet,
) -> Verification:
    """A model compiled and compared with an oracle: all given samples on the host, `emulate` of them on the core.

    data: an .npz file (x and optionally y) or a data set's name, None for seeded random samples; samples: how many,
    None for all. Raises McucError where it cannot be done; differing answers stand in the result.
    """
    _check_common(board, seed)
    _whole("emulate", emulate, 0)
    if samples is not None:
        _whole("samples", samples, 1)
    path = Path(model)
    request = Request(board=board, toolchain=toolchain, seed=seed)
    with tempfile.TemporaryDirectory(prefix="mcuc-verify-") as scratch:
        work = Path(scratch)
        progress("reading the model")
        with os_errors(path, "read"):
            source = open_oracle(path, oracle)
        given = given_samples(passes.optimize(source.file_graph), data, samples, seed)
        compiled = pipeline.compile_graph(source.file_graph, request, path.name, work / "out", progress)
        return verify_compiled(compiled, request, source, given, emulate, work, progress)


def _check_tune(tune: str) -> None:
    if tune not in get_args(Tune):
        raise McucError("bad-tune", f"there is no tuning {tune!r}", "tune", f"one of {', '.join(get_args(Tune))}")


def _check_goal(goal: str) -> None:
    if goal not in get_args(Optimize):
        raise McucError("bad-goal", f"there is no goal {goal!r}", "optimize", f"one of {', '.join(get_args(Optimize))}")
