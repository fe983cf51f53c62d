"""The C function of each layer: the loop over rows and tiles around its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcuc.emit import render
from mcuc.emit.arenas import own_base
from mcuc.emit.names import comment, layer_symbol
from mcuc.emit.sharing import FN, Shared
from mcuc.emit.tables import TablePool
from mcuc.ir import Graph, Tensor
from mcuc.kernels._base import Call, Kernel, Rows, Table
from mcuc.plan import Plan
from mcuc.schedule import Layer


@dataclass
class KernelPool:
    """Collects kernel functions; calls whose rendered text is the same share one function. alike: kernel text -> the
    form that it has in common with others (sharing.py)."""

    prefix: str
    alike: Mapping[str, Shared] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    def function(
        self, call: Call, kernel: Kernel, tables: TablePool, place: str, staged: str = ""
    ) -> dict[str, str]:
        """fn: the C function that runs the call's kernel; numbers: what comes before its rows among the arguments;
        tables: what comes after its scratch, tables and states.

        place: part of the tables' names, where they are used first; staged: what
        stands for the first table."""
        text = self._text(call, kernel)
        common = self.alike.get(text)
        symbols = [tables.symbol(t, place) for t in kernel.tables(call)]
        kept = [f"kept{i}" for i in range(call.keeps)]
        used = "".join(f", {symbol}" for symbol in [*([staged, *symbols[1:]] if staged else symbols), *kept])
        if common is None:
            return {"fn": self._named(text, call.family), "numbers": "", "tables": used}
        table = Table("numbers", "int32_t", np.array(common.numbers, np.int32))
        first = f"{tables.symbol(table, place)}, "
        return {"fn": self._named(common.text, call.family), "numbers": first, "tables": used}

    def _text(self, call: Call, kernel: Kernel) -> str:
        args = "".join(f", const {t.ctype} *{t.name}" for t in kernel.tables(call))
        args += "".join(f", int8_t *kept{i}" for i in range(call.keeps))
        shared = {
            name: self._named(render(template, fn=FN, **values), f"{call.family}_{name}")
            for name, (template, values) in kernel.helpers(call).items()
        }
        values = {**call.params, **kernel.context(call), **shared}
        return render(kernel.template, fn=FN, table_args=args, **values)

    def _named(self, text: str, what: str) -> str:
        if text not in self.found:
            self.found[text] = f"{self.prefix}_k{len(self.found)}_{what}"
        return self.found[text]

    def bodies(self) -> list[str]:
        """The C text of every function, in order of first use."""
        return [text.replace(FN, name).strip("\n") + "\n" for text, name in self.found.items()]


def layer_context(
    index: int,
    layer: Layer,
    graph: Graph,
    plan: Plan,
    prefix: str,
    kernels: KernelPool,
    tables: TablePool,
    pointer: dict[str, str],
) -> dict[str, Any]:
    """One layer as text: its function and its call in run. pointer: tensor -> C expression in run."""
    symbol = layer_symbol(prefix, index, layer.node.op)
    names = graph.runtime_inputs(layer.node)
    out = layer.node.outputs[0]
    read = sorted({rows.input for call, _ in layer.calls for rows in call.rows})  # a tensor given twice is read once
    args = [*(f"const int8_t *in{i}" for i in read), "int8_t *out"]
    values = [*(pointer[names[i]] for i in read), pointer[out]]
    kept = layer.node.outputs[1:]  # states, which the kernel reads and writes
    args += [f"int8_t *kept{i}" for i in range(len(kept))]
    values += [pointer[n] for n in kept]
    if layer.scratch:
        args.append("uint8_t *scratch")
        values.append(f"{own_base(plan, layer.node.name)} + {plan.scratch[layer.node.name]}u")
    calls = [
        _call(call, kernel, layer, f"l{index:02d}_{k}" if len(layer.calls) > 1 else f"l{index:02d}", kernels, tables)
        for k, (call, kernel) in enumerate(layer.calls)
    ]
    title = (
        f"{layer.node.name}: {' + '.join('x'.join(map(str, graph.tensors[n].shape)) for n in names)} -> "
        f"{'x'.join(map(str, graph.tensors[out].shape))}, tensor {out}"
    )
    text = render("layer.c.j2", symbol=symbol, args=", ".join(args), calls=calls, comment=comment(title))
    return {
        "text": text,
        "symbol": symbol,
        "call": f"{symbol}({', '.join(values)})",
        "trace": _trace(index, layer, graph.tensors[out], pointer[out]),
    }


def _trace(index: int, layer: Layer, out: Tensor, pointer: str) -> str:
    """Hands the output to the trace, pixel by pixel where its pixels lie apart."""
    if not layer.pitch:
        return f"    TRACED({index}, {pointer}, {out.bytes}u);"
    pixel = out.shape[-1] * out.dtype.bytes
    lines = [
        "#if defined(MCUC_TRACE)",
        f"    for (int32_t p = 0; p < {out.bytes // pixel}; p++) {{",
        f"        TRACED({index}, {pointer} + p * {layer.pitch}, {pixel}u);",
        "    }",
        "#endif",
    ]
    return "\n".join(lines)


def channels_at_a_time(layer: Layer, call: Call) -> int:
    """Channels that the call computes at a time, 0 for all of them."""
    return 0 if call.whole_channels or not 0 < layer.tiling.channels < call.channels else layer.tiling.channels


def _call(
    call: Call, kernel: Kernel, layer: Layer, place: str, kernels: KernelPool, tables: TablePool
) -> dict[str, Any]:
    at = 0
    rows = []
    for k, r in enumerate(call.rows):
        rows.append(_rows(r, at, tables, f"{place}_{k}"))
        at += r.count
    tiling = layer.tiling
    step = channels_at_a_time(layer, call)
    columns = tiling.columns if 0 < tiling.columns < call.width else 0
    return {
        "staged": staged_table(layer, call, kernel, tables, place),
        "rows": rows,
        "row_count": max(1, at + (call.per_row is not None)),
        "per_row": per_row(call, at, tables, place),
        "height": call.height,
        "width": call.width,
        "channels": call.channels,
        "columns": columns,
        "step": step,
        **kernels.function(call, kernel, tables, place, first_table(layer, kernel, call)),
        "out_row_bytes": call.out_row_bytes,
        "out_stride": call.out_stride,
        "offset": f"{call.out_offset} + " if call.out_offset else "",
        "scratch": "scratch" if kernel.scratch(call) else "NULL",
    }


def staged_table(layer: Layer, call: Call, kernel: Kernel, tables: TablePool, place: str) -> dict[str, Any] | None:
    """What the layer's table is copied from and to; None where it is read where it lies."""
    if not layer.staged:
        return None
    table = kernel.tables(call)[0]
    return {
        "table": tables.symbol(table, place),
        "ctype": table.ctype,
        "bytes": table.bytes,
        "at": kernel.scratch(call),
        "block": layer.block,
        "group": kernel.group_bytes(call),
    }


def first_table(layer: Layer, kernel: Kernel, call: Call) -> str:
    """What stands for the first table where it is staged: of a block of channels, where that of channel 0 would be."""
    if not layer.staged:
        return ""
    ctype = kernel.tables(call)[0].ctype
    there = f"mcuc_there_before(staged, (uint32_t)c / 4u * {kernel.group_bytes(call)}u)"
    return f"(const {ctype} *){there}" if layer.block else "staged"


def per_row(call: Call, at: int, tables: TablePool, place: str) -> str:
    """The C statement that points rows[at] at what the call's table says of output row y; empty without one."""
    table = call.per_row
    if table is None:
        return ""
    each = table.values.size // call.height
    return f"rows[{at}] = (const int8_t *)({tables.symbol(table, place)} + y * {each});"


def _rows(r: Rows, at: int, tables: TablePool, place: str) -> dict[str, Any]:
    first = "y" if r.stride == 1 else f"y * {r.stride}"
    if r.pad:
        first += f" - {r.pad}"
    index = tables.symbol(Table("rows", "int16_t", np.array(r.index)), place) if r.index else ""
    return {
        "at": at,
        "input": r.input,
        "offset": f" + {r.offset}" if r.offset else "",
        "index": index,
        "first": first,
        "dilation": r.dilation,
        "count": r.count,
        "height": r.height,
        "row_bytes": r.row_bytes,
    }
