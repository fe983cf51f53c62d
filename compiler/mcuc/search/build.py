"""From a budget to verified firmware: search, training, quantization, export, and the same road as any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mcuc import __version__, cache, data, outside
from mcuc.accuracy.known import known_of
from mcuc.choice import schedule_goal
from mcuc.data.dataset import Dataset
from mcuc.emit.deliver import check_ours
from mcuc.errors import McucError
from mcuc.ir import Array, Graph
from mcuc.pipeline import Compiled, Extra, compile_graph
from mcuc.quantize.build import page, summary, trial_of
from mcuc.quantize.samples import Samples
from mcuc.report.types import ParetoPoint
from mcuc.request import Request
from mcuc.search.conv import DsConv
from mcuc.search.cost import cost_function, rules, warm_up
from mcuc.search.effort import Effort, effort_named
from mcuc.search.pareto import Constraints, Cost
from mcuc.search.quantized import Int8, as_columns, quantized
from mcuc.search.run import SearchResult, run_search
from mcuc.search.space import Space
from mcuc.search.spaces import ds_conv, vit_lowrank
from mcuc.search.train import Progress
from mcuc.search.training.teacher import teacher_of
from mcuc.search.vit.cost import MEMORY_MODELS, VitCost
from mcuc.search.vit.narrowing import narrow
from mcuc.search.vit.pieces import Pieces
from mcuc.search.vit.space import VitLowRank
from mcuc.targets import Board, load_board
from mcuc.toolchain import find
from mcuc.verify import oracle, reference

SPACES = ("ds-conv", "vit-lowrank")
ATTENTIONS = {"softmax": ("softmax",), "linear": ("linear",), "both": vit_lowrank.ATTENTIONS}  # of --attention
COMPARED_IMAGES = 200  # test images run through the runtime of the other format
LAYERS_SHARE = 0.98  # of the latency limit, for the layers; the rest for what calls them, which the search leaves out
NAME = "model"
REUSED = "reusing a finished search"


@dataclass(frozen=True)
class VitOptions:
    """image: pixels a side, None as the data has them, at most 128; keep_factors: dense layers keep three factors;
    memory_model: what a candidate's SRAM is, the planner's or MCUFormer's formula, for comparison; pool, position: one
    of the space's, None to search among them (position: absolute); attention: one of ATTENTIONS, None for softmax;
    teacher: a float .onnx or .tflite classifier of images of that size, which half of the targets come from."""

    image: int | None = None
    keep_factors: bool = False
    memory_model: str = "planner"
    pool: str | None = None
    position: str | None = None
    attention: str | None = None
    teacher: Path | None = None


@dataclass(frozen=True)
class BuildRequest:
    """compile: board, budget, flash limit, toolchain and so on. latency_ms: of one inference, None for no limit;
    data: a folder of class folders, an .npz, a bundled name, None for the default. flip: train on mirrored images too,
    which suits photos and not digits or text; None: for the bundled data only. vit: of the space vit-lowrank."""

    compile: Request
    latency_ms: float | None = None
    data: str | None = None
    space: str = SPACES[0]
    effort: str = "quick"
    seed: int = 0
    flip: bool | None = None
    vit: VitOptions = VitOptions()


@dataclass(frozen=True, eq=False)
class Built:
    """search: candidate, front and float network; int8: how it was quantized; compiled: the folder and its report."""

    search: SearchResult
    int8: Int8
    compiled: Compiled


@dataclass(frozen=True, eq=False)
class System:
    """A space with what its candidates cost; warm_up measures what many of them have in common; key: what else decides
    their cost; notes: for the report."""

    space: Space
    cost_of: Callable[[Any], Cost]
    warm_up: Callable[[], None]
    key: str = ""
    notes: tuple[str, ...] = ()


def build(request: BuildRequest, out: Path | None, progress: Progress) -> Built:
    """Searches under the budget, trains, quantizes, exports .tflite and .onnx, compiles, verifies, reports.

    progress(stage, done, total). A killed build run again goes on where it was and ends with the same result; one
    whose search had finished says so as a stage of its own.
    Raises McucError where nothing fits, the data cannot be used, or a station of the road refuses.
    """
    if request.space not in SPACES:
        raise McucError(
            "unknown-space",
            f"no search space {request.space!r}",
            where="--space",
            try_this=f"one of {', '.join(SPACES)}",
        )
    if request.vit.teacher is not None and request.space != "vit-lowrank":
        raise McucError("bad-option", "a teacher is for transformers alone", "--teacher", "--space vit-lowrank")
    effort = effort_named(request.effort)
    board = load_board(request.compile.board)
    folder = out or Path(f"{NAME}_mcuc")
    check_ours(folder)
    dataset = data.load(request.data)
    asked = replace(request.compile, latency_ms=request.latency_ms)
    # Those of ds-conv are small: none is laid outside the chip.
    flash = board.all_flash_bytes if request.space == "vit-lowrank" else board.flash_bytes
    limits = Constraints(
        min(asked.budget or board.sram_bytes, board.sram_bytes),
        min(asked.flash or flash, flash),
        None if request.latency_ms is None else request.latency_ms * LAYERS_SHARE,
    )
    system = _system(request, dataset, effort, board, limits, progress)
    progress("measuring layers", 0, 1)
    system.warm_up()
    progress("measuring layers", 1, 1)
    steps: set[str] = set()

    def step(name: str, done: int, total: int) -> None:
        steps.add(name)
        progress(name, done, total)

    found = run_search(
        dataset,
        system.space,
        limits,
        effort,
        request.seed,
        system.cost_of,
        cache.folder() / "search",
        step,
        cost_key=f"{cost_key(asked, board)}{system.key}",
        flip=mirrors(request),
        flash_ways=outside.without_limit(board, limits.flash_bytes) if request.space == "vit-lowrank" else (),
    )
    if "training" not in steps:  # every epoch was there already
        progress(REUSED, 1, 1)
    size = found.candidate.resolution
    int8 = quantized(found, dataset, effort, request.seed, mirrors(request), step)
    made, name = int8.made, asked.name or NAME
    test = data.resize(dataset.test_x, size, size)
    known = known_of({"x": dataset.test_x}, dataset.test_y, None, dataset.name)
    samples = Samples((as_columns(int8.images),), (as_columns(test),), known, dataset.name)
    progress("exporting", 0, 1)
    tflite = () if made.tflite is None else ((f"{name}.tflite", made.tflite),)
    exported = (*tflite, (f"{name}.onnx", made.onnx))
    pages = (("quantization.json", summary(made, samples)), ("quantization.html", page(name, made, samples)))
    notes = (
        _provenance(found, dataset, request),
        *system.notes,
        *found.notes,
        _quantization(found, int8),
        *compare_exports(made.graph, made.tflite, made.onnx, as_int8(test[:COMPARED_IMAGES])),
    )
    trial = trial_of(made, samples, "top1", exported)
    progress("exporting", 1, 1)
    extra = Extra(trial=trial, pareto=pareto_points(found), notes=notes, files=(*exported, *pages))

    def stage(name: str) -> None:
        progress(name, 0, 1)

    compiled = compile_graph(made.graph, asked, f"search on {dataset.name}", folder, stage, extra)
    return Built(found, int8, compiled)


def cost_key(asked: Request, board: Board) -> str:
    """What decides the cost of a network besides itself and the limits."""
    return f"{board.chip} {find(asked.toolchain).label} {asked.optimize} {__version__} {rules()}"


def _system(
    request: BuildRequest, dataset: Dataset, effort: Effort, board: Board, limits: Constraints, progress: Progress
) -> System:
    """The space that was asked for, for these images."""
    asked, shape, classes = request.compile, dataset.image_shape, len(dataset.classes)
    if request.space == "vit-lowrank":
        return _transformers(request, dataset, effort, board, limits, progress)
    space = ds_conv.space_for(shape, classes, effort.width)
    layers_cost = cost_function(board, asked.toolchain, asked.optimize)
    return System(
        DsConv(space),
        lambda candidate: layers_cost(ds_conv.to_layers(space, candidate)),
        lambda: warm_up(space, board, asked.toolchain, asked.optimize, request.seed),
    )


def _transformers(
    request: BuildRequest, dataset: Dataset, effort: Effort, board: Board, limits: Constraints, progress: Progress
) -> System:
    """The space vit-lowrank, without what cannot fit."""
    asked, options = request.compile, request.vit
    for flag, value, choices in (
        ("--memory-model", options.memory_model, MEMORY_MODELS),
        ("--pool", options.pool, vit_lowrank.POOLS),
        ("--positions", options.position, vit_lowrank.POSITIONS),
        ("--attention", options.attention, tuple(ATTENTIONS)),
    ):
        if value is not None and value not in choices:
            raise McucError("unknown-option", f"no {value!r}", flag, try_this=f"one of {', '.join(choices)}")
    classes, channels = len(dataset.classes), dataset.image_shape[2]
    space = vit_lowrank.space_for(dataset.image_shape, classes, effort.width, options.image)
    space = replace(
        space,
        pools=vit_lowrank.POOLS if options.pool is None else (options.pool,),
        positions=(options.position or vit_lowrank.POSITIONS[0],),
        attentions=ATTENTIONS[options.attention or "softmax"],
    )
    pieces = Pieces(board, schedule_goal(asked), classes, channels, options.keep_factors)
    cost = VitCost(pieces, board, asked.toolchain, asked.optimize, limits, options.memory_model)
    file, side = options.teacher, space.images[-1]
    teacher = None if file is None else teacher_of(file, side, channels, classes)
    key = f"{cost_key(asked, board)} {board.reserved_sram} {pieces.goal} {options.keep_factors} {options.memory_model}"
    found = narrow(space, cost, request.seed, progress, key)
    if found.note:
        left, whole = len(vit_lowrank.pairs_of(found.space)), len(vit_lowrank.pairs_of(space))
        progress(f"left of rank ratios and patch sizes: {left} of {whole} pairs", 1, 1)
    notes = [found.note] if found.note else []
    if teacher is not None:
        named = f"{teacher.path.name} (SHA-256 {teacher.digest[:16]}...)"
        notes.append(f"half of what the supernet and the network learnt are the answers of a teacher, {named}")
    return System(
        VitLowRank(found.space, options.keep_factors, teacher),
        cost,
        lambda: cost.warm_up(found.space, request.seed),
        f" {options.memory_model}",
        tuple(notes),
    )


def mirrors(request: BuildRequest) -> bool:
    """Whether the training mirrors images: as asked, else for bundled data, where it is known to be harmless."""
    return (request.data is None or request.data in data.BUNDLED) if request.flip is None else request.flip


def as_int8(images: Array) -> Array:
    """uint8 images in the input's integers (scale 1/255, zero point -128)."""
    return np.asarray(images ^ np.uint8(0x80)).view(np.int8)


def pareto_points(found: SearchResult) -> tuple[ParetoPoint, ...]:
    """The front for the report; the winner is on it or beside it."""
    points = [
        ParetoPoint(
            e.candidate.key,
            e.accuracy,
            e.cost.sram_bytes,
            e.cost.flash_bytes,
            e.cost.latency_ms,
            e.candidate == found.candidate,
        )
        for e in found.pareto
    ]
    if not any(p.chosen for p in points):
        points.append(
            ParetoPoint(
                found.candidate.key,
                found.validation_accuracy,
                found.cost.sram_bytes,
                found.cost.flash_bytes,
                found.cost.latency_ms,
                True,
            )
        )
    return tuple(points)


def compare_exports(graph: Graph, tflite: bytes | None, onnx: bytes, x: Array) -> tuple[str, ...]:
    """What the exported files compute in their own runtimes, beside the graph's reference, on x [n, h, w, c] int8."""
    wanted = np.stack([reference.run(graph, {graph.inputs[0]: s[None]})[graph.outputs[0]] for s in x]).reshape(
        len(x), -1
    )
    answers = [(".onnx", "ONNX Runtime", _onnxruntime(graph, onnx, x))]
    if tflite is not None:
        answers = [(".tflite", "LiteRT, reference kernels", _litert(tflite, x)), *answers]
    notes = []
    for name, runtime, outs in answers:
        differing = int((outs != wanted).sum())
        agree = float((outs.argmax(1) == wanted.argmax(1)).mean())
        notes.append(
            f"{name} in {runtime}: {differing} of {outs.size} output elements differ from the int8 reference on "
            f"{len(x)} test images, top-1 agrees on {100 * agree:.1f} %"
        )
    return tuple(notes)


def _litert(model: bytes, x: Array) -> Array:
    return np.stack([out[0].reshape(-1) for out in oracle.litert_reference(model, [[s[None]] for s in x])])


def _onnxruntime(graph: Graph, model: bytes, x: Array) -> Array:
    """Float ends, NCHW: samples are dequantized, results brought back to the output's steps, not clipped to int8."""
    quant_in, quant_out = graph.tensors[graph.inputs[0]].quant, graph.tensors[graph.outputs[0]].quant
    assert quant_in is not None and quant_out is not None
    real = (x.astype(np.float32) - quant_in.zero_point[0]) * np.float32(quant_in.scale[0])
    outs = oracle.onnxruntime(model, [[s[None].transpose(0, 3, 1, 2)] for s in real])
    flat = np.stack([out[0].reshape(-1) for out in outs]).astype(np.float64)
    return np.asarray(np.rint(flat / quant_out.scale[0]) + quant_out.zero_point[0])


def _provenance(found: SearchResult, dataset: Dataset, request: BuildRequest) -> str:
    return (
        f"architecture {found.candidate.key}, searched with effort {request.effort} and seed {request.seed} on "
        f"{dataset.name} ({len(dataset.train_x)} training and {len(dataset.test_x)} test images); accuracy on held-out "
        f"training images with shared weights {100 * found.validation_accuracy:.2f} %"
    )


def _quantization(found: SearchResult, int8: Int8) -> str:
    shares = ", ".join(f"{name} {100 * share:.2f} %" for name, share in int8.validated)
    return f"right of {len(found.validation)} training images that no training saw: {shares}; taken: {int8.chosen}"
