"""What would make a model fit that does not: smaller input, fewer channels, rows in, another board, each planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor, check
from mcuc.ops._pool import PoolAttrs
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.passes.fuse_add import fuse_add
from mcuc.schedule.explore import Explored, explore
from mcuc.targets import Board, list_boards

FACTORS = (0.875, 0.75, 0.5, 0.25)
SHOWN = 3
OTHER_STACK = 128  # bytes that the stack of another schedule, or on another core, may take more
ArenaOf = Callable[[Explored], int | None]
CODE_ROOM = 16384  # bytes of flash for code, where a board is proposed
PER_CHANNEL = ("multiplier", "shift", "scale")


def remedies(explored: Explored, board: Board, arena_of: ArenaOf) -> list[str]:
    """Ways to fit what is allowed, the cheapest first, in words with their planned figures: rows in, a smaller input,
    fewer channels.

    arena_of: bytes that the arena of a network takes in what is allowed, None where it does not fit.
    """
    graph, pushed = explored.ordered.graph, explored.candidates[0].pushed
    found = [*_rows_in(explored.graph, board, arena_of)] if pushed is None else []
    found += _first_that_fits(lambda f: with_input(graph, f), board, arena_of, pushed, _input_words)
    found += _first_that_fits(lambda f: with_width(graph, f), board, arena_of, pushed, _width_words)
    return found


def larger(explored: Explored, board: Board, total: int, budget: bool) -> list[str]:
    """Where the model fits as it is: in a larger budget, else on another board. total: bytes of SRAM that it takes at
    least, stack and static data included; budget: the board has them."""
    return [f"--budget {total}"] if budget else list(_other_board(explored.ordered.graph, board, total))


def _rows_in(graph: Graph, board: Board, arena_of: ArenaOf) -> Iterator[str]:
    if len(graph.inputs) != 1:
        return
    try:
        arena = arena_of(explore(graph, board.chip, "sram", graph.inputs[0]))
    except McucError:
        return
    if arena is not None:
        yield f"--rows-in, the input arriving line by line: arena about {arena:,} bytes"


def _first_that_fits(
    make: Callable[[float], Graph],
    board: Board,
    arena_of: ArenaOf,
    pushed: str | None,
    words: Callable[[Graph, float], str],
) -> Iterator[str]:
    for factor in FACTORS:
        try:
            smaller = make(factor)
            arena = arena_of(explore(fuse_add(smaller), board.chip, "sram", pushed))
        except (McucError, ValueError):
            return  # a layer that is made for this one size, such as a dense layer over an image
        if arena is not None:
            yield f"{words(smaller, factor)}: arena about {arena:,} bytes"
            return


def _input_words(graph: Graph, factor: float) -> str:
    shape = "x".join(str(d) for d in graph.tensors[graph.inputs[0]].shape[1:])
    return f"an input of {shape}"


def _width_words(graph: Graph, factor: float) -> str:
    return f"{factor:g} of the channels"


def _other_board(graph: Graph, board: Board, total: int) -> Iterator[str]:
    """The board with the least SRAM that is enough, and with flash for the weights."""
    sram = max(total + OTHER_STACK, board.sram_bytes + 1)
    weights = sum(t.bytes for t in graph.tensors.values() if t.data is not None)
    larger = sorted(
        (b.sram_bytes, b.name) for b in list_boards() if b.sram_bytes >= sram and b.flash_bytes >= weights + CODE_ROOM
    )
    if larger:
        yield f"--board {larger[0][1]}, which has {larger[0][0]:,} bytes of SRAM"


def with_input(graph: Graph, factor: float) -> Graph:
    """The network on images of factor times the height and width (rounded to multiples of 4).

    Raises ValueError where a layer's shape does not follow its input's.
    """
    shapes = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        if len(shape) != 4 or min(shape[1], shape[2]) < 8:
            raise ValueError(f"input {name!r} is no image")
        shapes[name] = (shape[0], *(max(4, round(d * factor / 4) * 4) for d in shape[1:3]), shape[3])
    return _inferred(graph, shapes, lambda node: (node, ()))


def with_width(graph: Graph, factor: float) -> Graph:
    """The network with factor times the channels in every layer but the last one with weights.

    Raises ValueError where a layer's shape does not follow its input's.
    """
    kept = {name: t.shape for name, t in graph.tensors.items() if name in graph.inputs}
    weighted = [n for n in graph.nodes if n.op in ("conv_2d", "depthwise_conv_2d", "fully_connected")]
    last = weighted[-1].name if weighted else ""
    channels: dict[str, int] = {}

    def narrow(node: Node) -> tuple[Node, tuple[Tensor, ...]]:
        if node not in weighted:
            return node, ()
        w = graph.const(node.inputs[1])
        axis = 3 if node.op == "depthwise_conv_2d" else 0
        incoming = channels.get(node.inputs[0], graph.tensors[node.inputs[0]].shape[-1])
        outs = w.shape[axis] if node.name == last else max(1, round(w.shape[axis] * factor))
        if node.op == "depthwise_conv_2d":
            outs = incoming * (w.shape[3] // graph.tensors[node.inputs[0]].shape[-1])
            cut = w[:, :, :, :outs]
        else:
            cut = w[:outs, ..., : incoming // max(1, getattr(node.attrs, "groups", 1))]
        channels[node.outputs[0]] = outs
        constants = [Tensor(f"{node.inputs[1]}/narrow", cut.shape, graph.tensors[node.inputs[1]].dtype, None, cut)]
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = graph.const(node.inputs[2])[:outs]
            old = graph.tensors[node.inputs[2]]
            constants.append(Tensor(f"{node.inputs[2]}/narrow", bias.shape, old.dtype, None, bias))
        requant = replace(node.attrs.requant, **{k: getattr(node.attrs.requant, k)[:outs] for k in PER_CHANNEL})
        zero = node.attrs.weight_zero_point
        attrs = replace(node.attrs, requant=requant, weight_zero_point=zero[:outs] if len(zero) > 1 else zero)
        names = (node.inputs[0], *(t.name for t in constants))
        return replace(node, inputs=names, attrs=attrs), tuple(constants)

    return _inferred(graph, kept, narrow, channels)


def _inferred(
    graph: Graph,
    shapes: dict[str, tuple[int, ...]],
    change: Callable[[Node], tuple[Node, tuple[Tensor, ...]]],
    channels: dict[str, int] | None = None,
) -> Graph:
    """The graph with its shapes worked out anew from the inputs' shapes and changed nodes."""
    tensors = dict(graph.tensors)
    for name, shape in shapes.items():
        tensors[name] = replace(tensors[name], shape=shape)
    nodes = []
    for node in graph.nodes:
        changed, constants = change(node)
        tensors.update({t.name: t for t in constants})
        changed = _following(changed, graph, tensors)
        inputs = [tensors[n] for n in changed.inputs if n]
        _consistent(changed, inputs, graph)
        for out, shape in zip(changed.outputs, ops.get(changed.op).infer(changed.attrs, inputs), strict=True):
            if any(d < 1 for d in shape):
                raise ValueError(f"{node.name} would have an output of {shape}")
            tensors[out] = replace(tensors[out], shape=tuple(int(d) for d in shape))
            if channels is not None:
                channels[out] = int(shape[-1])
        nodes.append(changed)
    used = {n for node in nodes for n in (*node.inputs, *node.outputs) if n} | {*graph.inputs, *graph.outputs}
    return check(replace(graph, nodes=tuple(nodes), tensors={k: v for k, v in tensors.items() if k in used}))


def _following(node: Node, graph: Graph, tensors: dict[str, Tensor]) -> Node:
    """Attributes that spell a shape out: windows over the whole image, and reshapes that flatten."""
    before, now = graph.tensors[node.inputs[0]].shape, tensors[node.inputs[0]]
    if isinstance(node.attrs, PoolAttrs) and node.attrs.window.kernel == tuple(before[1:3]):
        kernel = (now.shape[1], now.shape[2])
        return replace(node, attrs=replace(node.attrs, window=replace(node.attrs.window, kernel=kernel)))
    if node.op == "reshape":
        shape = node.attrs.shape
        grown = [d for d in shape if d != 1]
        if len(grown) != 1:
            raise ValueError(f"{node.name} reshapes to {shape}")
        flat = int(np.prod(now.shape))
        return replace(node, attrs=ReshapeAttrs(tuple(flat if d != 1 else 1 for d in shape)))
    return node


def _consistent(node: Node, inputs: list[Tensor], graph: Graph) -> None:
    """Raises ValueError where a layer with weights does not take its input any more."""
    if node.op == "fully_connected" and inputs[0].shape[-1] != inputs[1].shape[-1]:
        raise ValueError(f"{node.name} takes {inputs[1].shape[-1]} values, not {inputs[0].shape[-1]}")
    constants = [t for t in inputs if t.data is not None]
    if node.op in ("add", "mul") and constants and constants[0].shape[-1] not in (1, inputs[0].shape[-1]):
        raise ValueError(f"{node.name} has a constant of {constants[0].shape}")
    if node.op in ("resize_nearest", "transpose_conv"):
        raise ValueError(f"{node.name} has an output of a fixed size")
