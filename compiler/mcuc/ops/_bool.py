"""Truth values: tensors of one byte an element, 0 or 1, and what the operators on them demand."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Imported


def checked_bool(node: Imported, index: int) -> Tensor:
    """A bool input. Raises McucError naming a tensor of another type."""
    tensor = node.input(index)
    if tensor.dtype is not DType.BOOL:
        raise McucError(
            "unsupported-type",
            f"{node.kind} reads tensor {tensor.name!r} of type {tensor.dtype.value}, bool is needed",
            where=node.where,
            try_this="feed it the result of a comparison, or cast to bool first",
        )
    return tensor


def bool_runtime(node: Node, graph: Graph) -> str | None:
    """Tensors are bool, one byte an element."""
    for name in (*graph.runtime_inputs(node), *node.outputs):
        if graph.tensors[name].dtype is not DType.BOOL:
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    return None
