"""Tensors of tokens become images of one row, which is what can be streamed (schedule/access.py).

before: a = layer_norm(x), [1, tokens, channels]; b = reshape(a), [tokens, channels]; c = fully_connected(b)
after:  x' = reshape(x); a = layer_norm(x'), [1, 1, tokens, channels]; c' = fully_connected(a), [1, 1, tokens, n]
        c = reshape(c')
Reshapes between layers that treat every token alike disappear; where other layers read or write, one is left, of which
no byte moves.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from mcuc.ir import Graph, Node, Tensor, rebuild
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.passes._tables import FUNCTIONS

# Operators whose last axis is a token's, and to which the axes before it are tokens.
ALIKE = (
    *FUNCTIONS, "concat", "fully_connected", "layer_norm", "qlinear_softmax", "rms_norm", "softmax"
)
PAIRWISE = ("add", "mul", "qlinear_add", "qlinear_mul")
Shape = tuple[int, ...]


def tokens_as_images(graph: Graph) -> Graph:
    """The graph with the tokens of all layers that treat them alike in one row of an image, where several such layers
    follow each other."""
    alike = _followed(graph, [node for node in graph.nodes if _image(graph, node)])
    if not alike:
        return graph
    as_image: dict[str, str] = {}  # tensor -> its elements as an image of one row
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []

    def image_of(name: str) -> str:
        t = graph.tensors[name]
        if name not in as_image:
            as_image[name] = f"{name}/tokens"
            shape = _row(t.shape)
            if t.data is not None:
                tensors[as_image[name]] = replace(t, name=as_image[name], shape=shape, data=t.data.reshape(shape))
            else:
                tensors[as_image[name]] = replace(t, name=as_image[name], shape=shape)
                nodes.append(Node(as_image[name], "reshape", (name,), (as_image[name],), ReshapeAttrs(shape)))
        return as_image[name]

    for node in graph.nodes:
        if node.op == "reshape" and _same_tokens(graph, node) and node.inputs[0] in as_image:
            as_image[node.outputs[0]] = as_image[node.inputs[0]]
        if node.name not in alike:
            nodes.append(node)
            continue
        (out,) = node.outputs
        attrs = replace(node.attrs, axis=3) if node.op == "concat" else node.attrs
        inputs = tuple(image_of(n) if n in _activations(graph, node) else n for n in node.inputs)
        row = f"{out}/tokens"
        tensors[row], as_image[out] = replace(graph.tensors[out], name=row, shape=_row(graph.tensors[out].shape)), row
        nodes.append(replace(node, inputs=inputs, outputs=(row,), attrs=attrs))
        nodes.append(Node(f"{node.name}/tokens", "reshape", (row,), (out,), ReshapeAttrs(graph.tensors[out].shape)))
    return rebuild(graph, nodes, tensors.values())


def _followed(graph: Graph, nodes: list[Node]) -> set[str]:
    """Names of those that read what another one of them computes, perhaps reshaped, or are read by it."""
    maker = {node.outputs[0]: node.name for node in nodes}
    for node in graph.nodes:
        if node.op == "reshape" and _same_tokens(graph, node) and node.inputs[0] in maker:
            maker[node.outputs[0]] = maker[node.inputs[0]]
    pairs = [(maker[n], node.name) for node in nodes for n in _activations(graph, node) if n in maker]
    return {name for pair in pairs for name in pair}


def _image(graph: Graph, node: Node) -> bool:
    """Several tokens go in and as many come out: each by itself (ALIKE), beside another tensor of the same shape
    (PAIRWISE), or in a product of two matrices of tokens."""
    shapes = [graph.tensors[n].shape for n in (*_activations(graph, node), *node.outputs)]
    if any(len(s) not in (2, 3) or prod(s[:-2]) != 1 for s in shapes) or not shapes:
        return False
    tokens = graph.tensors[node.outputs[0]].shape[-2]
    if tokens < 2:
        return False
    if node.op == "batch_matmul":
        return all(graph.tensors[n].data is None for n in node.inputs)
    if node.op in PAIRWISE:
        return len(set(shapes)) == 1
    if node.op == "concat" and node.attrs.axis != len(shapes[-1]) - 1:
        return False
    if node.op == "fully_connected" and graph.tensors[node.inputs[1]].data is None:
        return False
    return node.op in ALIKE and all(s[-2] == tokens for s in shapes)


def _activations(graph: Graph, node: Node) -> tuple[str, ...]:
    """The inputs that hold tokens."""
    if node.op in PAIRWISE:
        return tuple(n for n in node.inputs if graph.tensors[n].data is None or graph.tensors[n].elements > 1)
    if node.op in ("concat", "batch_matmul"):
        return node.inputs
    return node.inputs[:1]


def _row(shape: Shape) -> Shape:
    return (1, 1, shape[-2], shape[-1])


def _same_tokens(graph: Graph, node: Node) -> bool:
    """A reshape that changes nothing but how many axes of extent 1 stand in front."""
    x, y = (graph.tensors[n].shape for n in (node.inputs[0], node.outputs[0]))
    return len(x) in (2, 3) and len(y) in (2, 3) and x[-2:] == y[-2:]
