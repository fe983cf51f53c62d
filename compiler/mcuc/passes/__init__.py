"""Graph -> Graph, one function a file, in one fixed order."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, check
from mcuc.passes.answer_argmax import answer_argmax as answer_argmax
from mcuc.passes.fold_constants import fold_constants
from mcuc.passes.fold_zero_points import fold_zero_points
from mcuc.passes.fuse_activation import fuse_activation
from mcuc.passes.fuse_add import fuse_add
from mcuc.passes.fuse_branches import fuse_branches
from mcuc.passes.fuse_pad import fuse_pad
from mcuc.passes.fuse_tables import fuse_tables
from mcuc.passes.join_dilation import join_dilation
from mcuc.passes.join_lookup import join_lookup
from mcuc.passes.normalize_boundary import normalize_boundary
from mcuc.passes.remove_dead import remove_dead
from mcuc.passes.remove_dead_channels import remove_dead_channels
from mcuc.passes.remove_identities import remove_identities
from mcuc.passes.spell_out import spell_out as spell_out
from mcuc.passes.split_heads import split_heads
from mcuc.passes.tokens_as_images import tokens_as_images

PASSES = (
    normalize_boundary,
    fold_constants,
    join_dilation,
    join_lookup,
    remove_dead,
    spell_out,
    remove_dead,
    remove_identities,
    fuse_activation,
    fuse_tables,
    fuse_branches,
    remove_dead,
    fuse_tables,
    fuse_pad,
    remove_identities,
    fold_zero_points,
    remove_dead,
    remove_dead_channels,
    split_heads,
    remove_dead,
    tokens_as_images,
    remove_identities,
    fuse_add,
)

ENDS = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.BOOL)  # what the caller's buffers may hold
# their shape rules assume batch 1
_ONE_IMAGE = (
    "average_pool_2d",
    "average_pool_2d_16",
    "conv_2d",
    "conv_2d_16x8",
    "conv_2d_add",
    "conv_3d",
    "depthwise_conv_2d",
    "depthwise_conv_2d_16x8",
    "max_pool_2d",
    "max_pool_2d_16",
    "transpose_conv",
)


@dataclass(frozen=True)
class Verdict:
    """What `mcuc check` says of a node: problems is empty when it compiles, else what was found and the limit."""

    node: str
    op: str
    output: str
    problems: tuple[str, ...]


def optimize(graph: Graph) -> Graph:
    """The graph with every pass applied, checked after each. Raises McucError where the file contradicts itself."""
    for step in PASSES:
        graph = check(step(graph))
    return graph


def verdicts(graph: Graph) -> tuple[Verdict, ...]:
    """One verdict a node, in execution order, of an optimized graph."""
    return tuple(Verdict(node.name, node.op, node.outputs[0], _problems(node, graph)) for node in graph.nodes)


def check_supported(graph: Graph) -> Graph:
    """The graph itself. Raises McucError("unsupported") naming every node outside an operator's limits."""
    ends = [*_end_problems(graph, graph.inputs, "input"), *_end_problems(graph, graph.outputs, "output")]
    refused = [v for v in verdicts(graph) if v.problems]
    if not refused and not ends:
        return graph
    lines = [*ends, *(f"{v.node} ({v.op}, tensor {v.output!r}): {problem}" for v in refused for problem in v.problems)]
    shown = lines[:8] + ([f"and {len(lines) - 8} more"] if len(lines) > 8 else [])
    where = f"{refused[0].node}, tensor {refused[0].output!r}" if refused else graph.name
    raise McucError("unsupported", "; ".join(shown), where=where, try_this=_advice(lines))


def _problems(node: Node, graph: Graph) -> tuple[str, ...]:
    found = []
    if node.op in _ONE_IMAGE and graph.tensors[node.inputs[0]].shape[0] != 1:
        found.append(f"the batch is {graph.tensors[node.inputs[0]].shape[0]} (limit: one image at a time)")
    for limit in ops.get(node.op).limits:
        what = limit(node, graph)
        if what:
            rule = (limit.__doc__ or "").strip().splitlines()[0]
            found.append(f"{what} (limit: {rule})")
    return tuple(found)


def _end_problems(graph: Graph, names: tuple[str, ...], side: str) -> list[str]:
    found = []
    for name in names:
        tensor = graph.tensors[name]
        if tensor.dtype not in ENDS:
            kinds = ", ".join(d.value for d in ENDS)
            found.append(f"{side} {name!r} is {tensor.dtype.value}, one of {kinds} is needed")
        if tensor.data is not None:
            found.append(f"{side} {name!r} is a constant")
        if side == "output" and name in graph.inputs:
            found.append(f"output {name!r} is an input")
    return found


def _advice(lines: list[str]) -> str:
    if any("float" in line for line in lines):
        return ("quantize it with samples: mcuc build MODEL --data SAMPLES; or convert with full integer quantization: "
                "a representative dataset and supported_ops = [TFLITE_BUILTINS_INT8]")
    if any("run time" in line or "batch" in line for line in lines):
        return "export the model with batch size 1 and static shapes"
    return "change these layers; `mcuc ops` lists what is supported"
