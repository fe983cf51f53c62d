"""The network's answer as the index of its largest output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor, check
from mcuc.ops.argmax.attrs import ArgmaxAttrs

# They keep the order of the values along the last axis.
MONOTONE = ("softmax", "log_softmax", "qlinear_softmax", "quantize")


def answer_argmax(graph: Graph) -> Graph:
    """The optimized graph with the index of the largest value along its output's last axis as its only output, int32.

    What only keeps the order in front of it is left out, softmax above all: the largest logit has the largest
    probability. Where probabilities are equal after rounding and logits are not, the larger logit wins; of equal logits
    the first.
    Raises McucError("argmax") for several outputs, or one without a last axis.
    """
    if len(graph.outputs) != 1 or not graph.tensors[graph.outputs[0]].shape:
        raise McucError(
            "argmax",
            f"the model has {len(graph.outputs)} outputs of shapes "
            f"{', '.join(str(graph.tensors[n].shape) for n in graph.outputs)}: one vector of classes is needed",
            where=", ".join(graph.outputs),
            try_this="compile without --argmax",
        )
    (out,) = graph.outputs
    nodes, tensors, read = list(graph.nodes), dict(graph.tensors), out
    while (last := _order_keeping(read, nodes, graph)) is not None:
        nodes.remove(last)
        del tensors[read]
        read = last.inputs[0]
    index = f"{out}/argmax"
    tensors[index] = Tensor(index, tensors[read].shape[:-1], DType.INT32)
    nodes.append(Node(f"{len(nodes)}:argmax", "argmax", (read,), (index,), ArgmaxAttrs()))
    return check(replace(graph, nodes=tuple(nodes), tensors=tensors, outputs=(index,)))


def _order_keeping(name: str, nodes: Sequence[Node], graph: Graph) -> Node | None:
    """The node that makes the tensor, if it keeps the order along the last axis and nobody else reads the tensor."""
    made = next((n for n in nodes if name in n.outputs), None)
    if made is None or any(name in n.inputs for n in nodes):
        return None
    before, after = graph.tensors[made.inputs[0]], graph.tensors[name]
    moved = made.op == "reshape" and before.shape[-1:] == after.shape[-1:]
    return made if made.op in MONOTONE or moved else None
