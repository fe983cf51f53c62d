"""What a lowered layer is, and what a kernel family offers.

Kernel interface (C), the same for every family:

    void kernel(const int8_t *const rows[], int8_t *out, int32_t out_stride,
                int32_t x0, int32_t x1, int32_t c0, int32_t c1, uint8_t *scratch, tables...)

computes columns [x0, x1) and channels [c0, c1) of one output row. rows[k] points at column 0 of the k-th
input row that the output row needs, or is NULL when that row is padding. out is where (x0, c0) goes; the next
pixel lies out_stride bytes further. The emitter's loop over a layer finds the row pointers, so that a ring of
rows, a tile and a whole tensor look alike to the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcuc.ir import Array
from mcuc.targets import Chip


@dataclass(frozen=True, eq=False)
class Table:
    """A constant array of a layer. ctype: "int8_t", "int16_t", "int32_t", "int64_t", "uint8_t"; values are
    one-dimensional."""

    name: str
    ctype: str
    values: Array

    @property
    def bytes(self) -> int:
        width = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "int32_t": 4, "int64_t": 8}[self.ctype]
        return int(self.values.size) * width


@dataclass(frozen=True)
class Columns:
    """Which columns of a row an output column x needs: [x * stride - pad, x * stride - pad + taps), padding included.

    pixel_bytes: distance of two columns. taps: with dilation, the whole extent.
    """

    pixel_bytes: int
    taps: int = 1
    stride: int = 1
    pad: int = 0


@dataclass(frozen=True)
class Rows:
    """How rows[] of one runtime input are found: row k of output row y is y * stride - pad + k * dilation.

    input: index among the node's runtime inputs. height: rows of the input; others are padding (NULL).
    row_bytes: distance of two rows; offset: of row 0 from the tensor's start. index: the first input row of each output
    row, where it is not affine (resize); then stride and pad are not used. columns: None where an output column may
    need any part of its rows.
    """

    input: int
    row_bytes: int
    height: int
    count: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0
    offset: int = 0
    index: tuple[int, ...] = ()
    columns: Columns | None = None


@dataclass(frozen=True, eq=False)
class Call:
    """One kernel run over a whole output (or over a slice of it, for concat).

    params are the constants that the family's templates name. height, width, channels: the output that the call
    fills; out_row_bytes, out_stride, out_offset: where row y, pixel x go in the output tensor, in bytes.
    whole_channels: the kernel needs all channels of a pixel at once. per_row: a table with as many values for each
    output row; the kernel finds those of its row behind the last of rows[]. keeps: how many states it gets after its
    tables, `int8_t *kept0` and so on: the node's outputs behind the first, which it reads and writes; every output
    element is then computed once and in order.
    """

    family: str
    params: Mapping[str, Any]
    tables: tuple[Table, ...]
    rows: tuple[Rows, ...]
    height: int
    width: int
    channels: int
    out_row_bytes: int
    out_stride: int
    out_offset: int = 0
    whole_channels: bool = False
    per_row: Table | None = None
    keeps: int = 0


@dataclass(frozen=True)
class No:
    """A kernel does not apply, and why."""

    reason: str


def as_lowered(call: Call) -> tuple[Table, ...]:
    """The tables of the call as it was lowered."""
    return call.tables


def no_helpers(call: Call) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """No functions besides the kernel's own."""
    return {}


def no_groups(call: Call) -> int:
    """The first table has no groups of channels one behind the other."""
    return 0


@dataclass(frozen=True)
class Kernel:
    """A variant of a family: a template with the reasons it may be used for and the scratch it needs.

    applies(call, chip): None when it applies, else No(reason). scratch(call): bytes, 4-aligned.
    context(call): the values that the template names, computed from the call. in_place: the output may be the input, of
    a convolution with a residual the residual. in_order: columns are computed one after the other, each from its own
    inputs before it is written.
    tables(call): the constants as the kernel reads them. helpers(call): name -> (template, values) of functions that
    kernels share; the kernel's template finds each function's C name under that name. pixels: output columns that it
    computes at once; a column left over costs almost as much. outputs: output channels for which it goes through its
    operand once, 0 for all of them. per_mac: instructions a MAC, about, on a Cortex-M4. ahead: it asks for lines of its
    first table before it needs them, for a flash outside the chip. front_to_back: it reads its first table in one run,
    not several rows of it side by side. group_bytes(call): bytes of its first table for four output channels, where
    those of all groups lie one behind the other from the table's start; 0 where they do not.
    """

    id: str
    template: str
    applies: Callable[[Call, Chip | None], No | None]
    scratch: Callable[[Call], int]
    context: Callable[[Call], Mapping[str, Any]]
    in_place: bool = False
    in_order: bool = True
    tables: Callable[[Call], tuple[Table, ...]] = as_lowered
    helpers: Callable[[Call], Mapping[str, tuple[str, Mapping[str, Any]]]] = no_helpers
    pixels: int = 1
    outputs: int = 0
    per_mac: float = 0.0
    ahead: bool = False
    front_to_back: bool = False
    group_bytes: Callable[[Call], int] = no_groups


@dataclass(frozen=True)
class Family:
    """An access pattern: kernels in order of preference; to every call one of them applies on every chip."""

    name: str
    kernels: tuple[Kernel, ...]


def always(call: Call, chip: Chip | None) -> No | None:
    """The kernel applies to every call of its family on every chip."""
    return None


def no_scratch(call: Call) -> int:
    """The kernel needs no scratch."""
    return 0


def no_context(call: Call) -> Mapping[str, Any]:
    """The template needs nothing but the call's parameters."""
    return {}
