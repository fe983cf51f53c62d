"""The generated files of one model: source, header, weights, and the test programs around them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcuc import __version__
from mcuc.emit import render
from mcuc.emit.arenas import KEPT, address, arena_context, arena_symbol, passed
from mcuc.emit.layers import KernelPool, layer_context
from mcuc.emit.names import comment
from mcuc.emit.rows_in import early_outputs, pushed_segment, rows_in_context
from mcuc.emit.sharing import shared
from mcuc.emit.streams import stream_context
from mcuc.emit.tables import Content, TablePool
from mcuc.errors import McucError
from mcuc.ir import Graph, Tensor
from mcuc.kernels._base import Table
from mcuc.plan import Plan
from mcuc.schedule import Layer, Schedule

RUNTIME_VERSION = 1
RUNTIME_HEADERS = ("mcuc_dot.h", "mcuc_dsp.h", "mcuc_math.h", "mcuc_port.h", "mcuc_stream.h")
INPUT_FILE = "mcuc_input.bin"  # that the test firmware reads an input by rows from
NO_ROWS = 98  # its exit code where the file is missing or too short
STATE_SYMBOL, RESUME_SYMBOL = "mcuc_state", "mcuc_resume"  # the test firmware's: states, and whether to reset them
RESUME = 0x6B656570  # in RESUME_SYMBOL: the states go on as they are
_CTYPES = {"bool": "uint8_t", "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}


@dataclass(frozen=True)
class EmittedArena:
    """symbol: the test firmware's variable, in a section of that name; region: of the chip; bytes: its size."""

    symbol: str
    region: str
    bytes: int


@dataclass(frozen=True)
class Emitted:
    """files: name -> text that the user gets; harness, host_main: test programs; symbols: layer functions in order;
    entries: the functions that one inference calls; arenas: of a plan with named RAM regions; tables: the C symbol of
    every table, by content, with its bytes."""

    name: str
    files: Mapping[str, str]
    harness: str
    host_main: str
    symbols: tuple[str, ...]
    weight_bytes: int
    entries: tuple[str, ...]
    arenas: tuple[EmittedArena, ...] = ()
    tables: Mapping[Content, tuple[str, int]] = field(default_factory=dict)


def emit(
    graph: Graph,
    schedule: Schedule,
    plan: Plan,
    name: str,
    source: str,
    arena_align: int,
    stack: int,
    built: str = "mcuc's own build",
    small_code: bool = False,
) -> Emitted:
    """C for the model. source: how the files name the model's origin; stack: bytes for the header's STACK_BYTES; built:
    compiler, core and flags that it was found with; small_code: kernels that differ in numbers alone are one function.

    Raises McucError when an output of the model is one of its inputs.
    """
    pointer = _pointers(graph, plan)
    pushed = pushed_segment(schedule)
    early = {} if pushed is None else early_outputs(pushed, graph, plan)
    kernels, tables = KernelPool(name), TablePool(name)
    units, symbols = _units(graph, schedule, plan, name, kernels, tables, pointer, early)
    if small_code:
        kernels, tables = KernelPool(name, shared(kernels.found)), TablePool(name)
        units, symbols = _units(graph, schedule, plan, name, kernels, tables, pointer, early)
    initial = _initial(graph, plan, tables)
    single = len(graph.inputs) == 1 and len(graph.outputs) == 1
    macro = name.upper()
    ends = [*_ends(graph, plan, name, "input", graph.inputs), *_ends(graph, plan, name, "output", graph.outputs)]
    arenas = arena_context(plan)
    buffers = (
        f"const {name}_input_t *input, {name}_output_t *output"
        if single
        else "const void *const inputs[], void *const outputs[]"
    )
    context: dict[str, Any] = {
        "name": name,
        "macro": macro,
        "version": __version__,
        "source": comment(source),
        "title": comment(graph.name),
        "tables": tables.rows(),
        "kernels": kernels.bodies(),
        "units": units,
        "streamed": any(unit["streamed"] for unit in units),
        "layer_count": len(symbols),
        "rows_in": None if pushed is None else rows_in_context(pushed, graph, plan, units[0], early),
        "single": single,
        "run_args": f"{arenas['arena_parameter']}, {buffers}",
        "state": plan.state_bytes,
        "initial": initial,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "arena": plan.arena,
        "work": plan.work,
        "align": arena_align,
        "ends": ends,
        "runtime_version": RUNTIME_VERSION,
        "first_input": ends[0]["macro"][len(macro) + 1 :],
        "first_output": ends[len(graph.inputs)]["macro"][len(macro) + 1 :],
        **arenas,
    }
    context["build_id"] = _build_id(context)
    files = {
        f"{name}.c": render("model.c.j2", **context),
        f"{name}.h": render("model.h.j2", stack=stack, built=comment(built), **context),
        f"{name}_weights.c": render("weights.c.j2", **context),
    }
    harness = render("harness.c.j2", input_file=INPUT_FILE, no_rows=NO_ROWS, resume=RESUME, **context)
    host_main = render("host_main.c.j2", **context)
    placed = tuple(EmittedArena(arena_symbol(plan, i), a.name, a.bytes) for i, a in enumerate(plan.arenas))
    calls = ("run",) if pushed is None else ("begin", "push_rows", "finish")
    calls = ("reset", *calls) if graph.states else calls
    entries = tuple(f"{name}_{call}" for call in calls)
    known = {key: (symbol, table.bytes) for key, (symbol, table) in tables.found.items()}
    return Emitted(name, files, harness, host_main, tuple(symbols), tables.bytes, entries, placed, known)


def _units(
    graph: Graph,
    schedule: Schedule,
    plan: Plan,
    name: str,
    kernels: KernelPool,
    tables: TablePool,
    pointer: dict[str, str],
    early: dict[str, str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """The layers that run alone and the streams as text, and the functions of all layers in order.

    early: where outputs lie that a stream writes before the caller's buffers are known.
    """
    units: list[dict[str, Any]] = []
    symbols: list[str] = []
    for unit in schedule.segments:
        number = len(symbols)
        if not isinstance(unit, Layer):
            known = pointer | early if unit.stream is not None and unit.stream.pushed is not None else pointer
            found = stream_context(number, unit, graph, plan, name, kernels, tables, known)
            units.append({**found, "streamed": True})
            symbols += found["symbols"]
        elif unit.calls:
            found = layer_context(number, unit, graph, plan, name, kernels, tables, pointer)
            units.append({**found, "streamed": False, "number": number})
            symbols.append(str(found["symbol"]))
    return units, symbols


def _build_id(context: dict[str, Any]) -> str:
    """Of everything but the stack's size, which no code depends on."""
    names = ("model.c.j2", "model.h.j2", "weights.c.j2")
    text = "".join(render(name, build_id="0", stack=0, built="", **context) for name in names)
    return f"0x{hashlib.sha256(text.encode()).hexdigest()[:8]}u"


def _pointers(graph: Graph, plan: Plan) -> dict[str, str]:
    """Tensor -> C expression inside run: the caller's buffers for what shares bytes with an input or output."""
    if set(graph.inputs) & set(graph.outputs):
        raise McucError(
            "unsupported",
            "an output of the model is one of its inputs",
            where=next(iter(set(graph.inputs) & set(graph.outputs))),
            try_this="remove the output from the model",
        )
    caller = {plan.storage[n]: f"in{i}" for i, n in enumerate(graph.inputs) if n in plan.storage}
    caller.update({plan.storage[n]: f"out{i}" for i, n in enumerate(graph.outputs)})
    found = {}
    for n, at in plan.tensors.items():
        known, inside = caller.get(plan.storage[n]), at - plan.tensors[plan.storage[n]]
        found[n] = address(plan, n) if known is None else f"{known} + {inside}" if inside else known
    return found | {n: f"(int8_t *)({KEPT} + {at}u)" for n, at in plan.variables.items()}


def _initial(graph: Graph, plan: Plan, tables: TablePool) -> list[dict[str, Any]]:
    """What reset writes: for each state its place, its size, and one byte value or the table of its bytes."""
    found = []
    for i, state in enumerate(graph.states):
        values = np.frombuffer(np.ascontiguousarray(state.initial).tobytes(), np.int8)
        same = values.size == 0 or bool((values == values[0]).all())
        found.append(
            {
                "at": plan.variables[state.current],
                "bytes": values.size,
                "value": int(values[0]) if same and values.size else 0,
                "table": "" if same else tables.symbol(Table("initial", "int8_t", values), f"state{i}"),
                "comment": comment(state.current),
            }
        )
    return found


def _ends(graph: Graph, plan: Plan, name: str, side: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        _end(graph.tensors[n], plan, f"{name}_{side}" + (f"_{i}" if len(names) > 1 else ""))
        for i, n in enumerate(names)
    ]


def _end(tensor: Tensor, plan: Plan, symbol: str) -> dict[str, Any]:
    quant = tensor.quant
    scale = None if quant is None or len(quant.scale) != 1 else f"{quant.scale[0]:.9g}"
    if scale is not None and not set(scale) & set(".en"):
        scale += ".0"
    return {
        "type": f"{symbol}_t",
        "macro": symbol.upper(),
        "ctype": _CTYPES[tensor.dtype.value],
        "bytes": tensor.bytes,
        "elements": tensor.elements,
        "shape": tensor.shape,
        "scale": None if scale is None else f"{scale}f",
        "zero_point": 0 if quant is None else quant.zero_point[0],
        "offset": plan.tensors.get(tensor.name),  # None for an input that arrives by rows
        "arena": passed(plan, plan.arena_of(tensor.name)),
        "comment": comment(tensor.name),
    }
