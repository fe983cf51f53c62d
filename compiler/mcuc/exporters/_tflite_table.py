"""Any function of one byte in TFLite's own operators: CAST to int32, ADD of 128, GATHER from its 256 results.

TFLite Micro and LiteRT give the very bytes of the table. It takes eight times the value's bytes while it runs there;
the importer's graph becomes a table again (passes/join_lookup.py).
"""

from __future__ import annotations

import numpy as np

from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Exported
from mcuc.passes._tables import table_of
from mcuc.passes.join_lookup import OFFSET

Written = tuple[Exported, tuple[Tensor, ...], tuple[Tensor, ...]]


def as_lookup(node: Node, graph: Graph) -> tuple[Written, ...]:
    """The three operators with the tensors that each reads and writes; () where the node is no table of int8 values."""
    table = table_of(node)
    if not table or any(graph.tensors[n].dtype is not DType.INT8 for n in (*node.inputs, *node.outputs)):
        return ()
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    results = np.roll(np.frombuffer(table, np.int8), OFFSET)
    data = Tensor(f"{out.name}/table", (256,), DType.INT8, out.quant, results)
    offset = Tensor(f"{out.name}/offset", (), DType.INT32, None, np.array(OFFSET, np.int32))
    number = Tensor(f"{out.name}/number", x.shape, DType.INT32)
    index = Tensor(f"{out.name}/index", x.shape, DType.INT32)
    cast = Exported("CAST", "CastOptions", {"inDataType": 9, "outDataType": 2})
    return (
        (cast, (x,), (number,)),
        (Exported("ADD", "AddOptions"), (number, offset), (index,)),
        (Exported("GATHER", "GatherOptions", {"axis": 0, "batchDims": 0}), (data, index), (out,)),
    )
