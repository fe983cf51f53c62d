"""ONNX files (QDQ and QOperator) -> Graph of profile "onnx", channels last. Reads the protobuf; nothing is executed.

A file in NCHW becomes NHWC here: weights are permuted, activations are stored channels last, and ONNX transposes and
reshapes only change the description of a value's order until an operator needs another one. So a network's C input
and output of rank 4 are NHWC as well; `interface` says how they relate to the file's, and `to_file`, `from_file`
carry samples across.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mcuc.errors import McucError
from mcuc.importers import _onnx_axes as axes
from mcuc.importers import _onnx_choice as choice
from mcuc.importers import _onnx_elementwise as elementwise
from mcuc.importers import _onnx_indices as indices
from mcuc.importers import _onnx_macs as macs
from mcuc.importers import _onnx_moves as moves
from mcuc.importers import _onnx_norms as norms
from mcuc.importers import _onnx_pads as pads
from mcuc.importers import _onnx_picks as picks
from mcuc.importers import _onnx_products as products
from mcuc.importers import _onnx_proto as proto
from mcuc.importers import _onnx_recurrent as recurrent
from mcuc.importers import _onnx_resize as resize
from mcuc.importers._onnx_biases import join_biases
from mcuc.importers._onnx_conv_transpose import on_conv_transpose
from mcuc.importers._onnx_fold import MAX_FOLDED, can_fold, fold
from mcuc.importers._onnx_nodes import PROBABILITY
from mcuc.importers._onnx_ports import Interface, Port, from_file, in_file_order, input_port, output_port, to_file
from mcuc.importers._onnx_proto import FileGraph, FileNode
from mcuc.importers._onnx_quant import dequantize, on_dequantize, on_quantize
from mcuc.importers._onnx_state import State, copied, refuse
from mcuc.importers._onnx_values import Value
from mcuc.ir import Graph, check

Handler = Callable[[State, FileNode], Sequence[Value]]

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}
_DYNAMIC = {
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "MatMulIntegerToFloat",
    "MatMulNBits",
}
_QUANTIZE_STATIC = (
    "quantize it with samples: mcuc build MODEL --data SAMPLES; or onnxruntime.quantization.quantize_static("
    "'model.onnx', 'int8.onnx', calibration_reader, quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, "
    "weight_type=QuantType.QInt8)"
)


HANDLERS: dict[str, Handler] = {
    "Add": elementwise.on_binary,
    "And": choice.on_logical,
    "ArgMax": axes.on_arg,
    "ArgMin": axes.on_arg,
    "AveragePool": axes.on_pool,
    "Cast": moves.on_cast,
    "CenterCropPad": picks.on_center_crop_pad,
    "Clip": elementwise.on_clip,
    "Concat": axes.on_concat,
    "Conv": macs.on_conv,
    "ConvTranspose": on_conv_transpose,
    "DepthToSpace": picks.on_blocks,
    "DequantizeLinear": lambda s, n: [on_dequantize(s, n)],
    "Div": elementwise.on_binary,
    "Dropout": moves.on_identity,
    "Equal": choice.on_comparison,
    "Einsum": products.on_einsum,
    "Expand": picks.on_repeat,
    "EyeLike": moves.on_eye_like,
    "Flatten": moves.on_reshape,
    "Gather": indices.on_gather,
    "GatherElements": picks.on_gather_elements,
    "GatherND": picks.on_gather_nd,
    "Gemm": products.on_gemm,
    "GRU": recurrent.on_recurrent,
    "GlobalAveragePool": axes.on_global_pool,
    "GlobalMaxPool": axes.on_global_pool,
    "Greater": choice.on_comparison,
    "GreaterOrEqual": choice.on_comparison,
    "GroupNormalization": norms.on_group_norm,
    "Identity": moves.on_identity,
    "InstanceNormalization": norms.on_group_norm,
    "LSTM": recurrent.on_recurrent,
    "LayerNormalization": norms.on_layer_norm,
    "Less": choice.on_comparison,
    "LessOrEqual": choice.on_comparison,
    "LogSoftmax": axes.on_softmax,
    "LpNormalization": norms.on_lp_normalization,
    "MatMul": products.on_matmul,
    "Max": choice.on_extremum,
    "MaxPool": axes.on_pool,
    "Mean": choice.on_float_math,
    "Min": choice.on_extremum,
    "Mul": elementwise.on_binary,
    "Not": choice.on_logical,
    "Or": choice.on_logical,
    "OneHot": indices.on_one_hot,
    "PRelu": elementwise.on_prelu,
    "Pad": pads.on_pad,
    "Pow": elementwise.on_binary,
    "QLinearConv": macs.on_qlinear_conv,
    "QLinearMatMul": products.on_qlinear_matmul,
    "QuantizeLinear": lambda s, n: [on_quantize(s, n)],
    "RMSNormalization": norms.on_layer_norm,
    "RNN": recurrent.on_recurrent,
    "ReduceL1": axes.on_reduce,
    "ReduceL2": axes.on_reduce,
    "ReduceLogSum": axes.on_reduce,
    "ReduceMax": axes.on_reduce,
    "ReduceMean": axes.on_reduce,
    "ReduceMin": axes.on_reduce,
    "ReduceSum": axes.on_reduce,
    "ReduceSumSquare": axes.on_reduce,
    "Relu": elementwise.on_clip,
    "Reshape": moves.on_reshape,
    "Resize": resize.on_resize,
    "ReverseSequence": picks.on_reverse_sequence,
    "ScatterElements": picks.on_scatter,
    "ScatterND": picks.on_scatter,
    "Shape": moves.on_shape,
    "Sigmoid": elementwise.unary("Sigmoid", PROBABILITY),
    "SimplifiedLayerNormalization": norms.on_layer_norm,
    "Size": moves.on_size,
    "Slice": moves.on_slice,
    "Softmax": axes.on_softmax,
    "SpaceToDepth": picks.on_blocks,
    "Split": moves.on_split,
    "Squeeze": moves.on_reshape,
    "Sub": elementwise.on_binary,
    "Sum": choice.on_float_math,
    "Tile": picks.on_repeat,
    "Transpose": moves.on_transpose,
    "Trilu": picks.on_trilu,
    "Unsqueeze": moves.on_reshape,
    "Where": choice.on_where,
    "Xor": choice.on_logical,
    **elementwise.FUNCTIONS,
}
MICROSOFT: dict[str, Handler] = {
    "DequantizeLinear": HANDLERS["DequantizeLinear"],
    "QuantizeLinear": HANDLERS["QuantizeLinear"],
    "FastGelu": elementwise.on_fast_gelu,
    "Gelu": HANDLERS["Gelu"],
    "QuickGelu": elementwise.unary("QuickGelu"),
    "QGemm": products.on_qgemm,
    "QLinearAdd": elementwise.on_qlinear_binary("Add"),
    "QLinearAveragePool": axes.on_qlinear_average_pool,
    "QLinearConcat": axes.on_qlinear_concat,
    "QLinearGlobalAveragePool": axes.on_qlinear_global_average_pool,
    "QLinearLeakyRelu": elementwise.on_qlinear_unary("LeakyRelu"),
    "QLinearMul": elementwise.on_qlinear_binary("Mul"),
    "QLinearSigmoid": elementwise.on_qlinear_unary("Sigmoid"),
    "QLinearSoftmax": axes.on_qlinear_softmax,
}


def load(path: Path) -> Graph:
    """The graph of an .onnx file: NHWC, uint8 shifted to int8, free batch read as 1, profile "onnx".

    Raises McucError: corrupt-model, not-quantized, unsupported-operator, dynamic-shape, external-data and others.
    """
    return parse(path.read_bytes(), str(path), path.stem, path.parent)


def parse(raw: bytes, where: str, name: str, folder: Path | None = None) -> Graph:
    """As load, from bytes; folder: where external data may lie."""
    return parse_with_interface(raw, where, name, folder)[0]


def parse_with_interface(raw: bytes, where: str, name: str, folder: Path | None = None) -> tuple[Graph, Interface]:
    """The graph and how its inputs and outputs relate to the file's."""
    try:
        return _import(proto.read(raw, where, folder), where, name)
    except McucError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        AssertionError,
        ZeroDivisionError,
        RecursionError,
    ) as error:
        raise proto.corrupt(
            where, f"the model's parts do not fit together ({type(error).__name__}: {error})"
        ) from error


def _import(file: FileGraph, where: str, name: str) -> tuple[Graph, Interface]:
    _refuse_float(file, where)
    file = join_biases(file)
    consumers: dict[str, list[tuple[FileNode, int]]] = {}
    for node in file.nodes:
        for index, used in enumerate(node.inputs):
            if used:
                consumers.setdefault(used, []).append((node, index))
    state = State(file, consumers, {n: Value(a.shape, a) for n, a in file.initializers.items()})
    _fold_ahead(state)
    ports = [input_port(state, entry) for entry in file.inputs if consumers.get(entry.name)]
    if not ports:
        raise proto.corrupt(where, "no input of the graph is used")
    unused = [e.name for e in file.inputs if not consumers.get(e.name)]
    state.notes += [f"input {n!r} is not used and left out" for n in unused]
    state.notes += [f"batch of input {e.name!r} is free in the file and read as 1" for e in file.inputs if e.batch_free]
    for node in file.nodes:
        _run(state, node)
    return _finished(state, ports, where, name)


def _refuse_float(file: FileGraph, where: str) -> None:
    kinds = {n.kind for n in file.nodes}
    if kinds & _DYNAMIC:
        found = sorted(kinds & _DYNAMIC)[0]
        raise refuse(
            "not-quantized",
            f"the model is quantized dynamically ({found}): its activations stay float",
            where,
            _QUANTIZE_STATIC,
        )
    if not kinds & _QUANTIZED and not any(k.startswith(("QLinear", "QGemm")) for k in kinds):
        raise refuse(
            "not-quantized",
            "the model is float: it has no QuantizeLinear and no QLinear operator",
            where,
            _QUANTIZE_STATIC,
        )


def _fold_ahead(state: State) -> None:
    """Constants that do not depend on inputs, so that quantization parameters behind Constant nodes are known early."""
    for node in state.file.nodes:
        if not node.domain and can_fold(node.kind) and all(n in state.values for n in node.inputs if n):
            _fold(state, node)


def _fold(state: State, node: FileNode) -> None:
    arrays = []
    for used in node.inputs:
        value = state.values[used] if used else None
        array = None if value is None else value.array
        if (
            value is not None
            and array is not None
            and value.real
            and value.params is not None
            and array.dtype != np.float32
        ):
            array = dequantize(array, value.params)
        arrays.append(array)
    result = fold(node, arrays, MAX_FOLDED - state.folded)
    state.folded += result.size
    state.values[node.outputs[0]] = Value(result.shape, result)


def _run(state: State, node: FileNode) -> None:
    if node.outputs and all(o in state.values for o in node.outputs if o):
        return
    table = MICROSOFT if node.domain else HANDLERS
    values = [state.values.get(n) for n in node.inputs if n]
    constant = all(v is not None and v.array is not None for v in values)
    quantized = any(v is not None and v.params is not None for v in values)
    foldable = not node.domain and constant and can_fold(node.kind)
    if foldable and not (
        quantized and node.kind in ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
    ):
        _fold(state, node)
        return
    if foldable and node.kind == "Identity":
        state.values[node.outputs[0]] = state.values[node.inputs[0]]
        return
    if node.kind not in table:
        raise _unsupported(node)
    if not node.inputs or not node.outputs:
        raise proto.corrupt(node.where, f"{node.kind} has no inputs or no outputs")
    for output, value in zip(node.outputs, table[node.kind](state, node), strict=False):
        if output:
            state.values[output] = value


def _unsupported(node: FileNode) -> McucError:
    if node.kind == "BatchNormalization":
        return refuse(
            "unsupported-operator",
            "BatchNormalization behind quantization is not supported",
            node.where,
            "fold it into the convolution before quantizing (onnxruntime.quantization.quant_pre_process)",
        )
    if node.kind in ("TopK", "NonMaxSuppression", "NonZero"):
        return refuse(
            "unsupported-operator",
            f"ONNX operator {node.kind} is not supported",
            node.where,
            "end the network before it, at the values that it reads, and choose among them in the caller's code",
        )
    family = f"ONNX operator {node.kind}" if not node.domain else f"operator {node.kind} of {node.domain}"
    return refuse(
        "unsupported-operator",
        f"{family} is not supported",
        node.where,
        "run `mcuc check MODEL` for every node's verdict and `mcuc ops` for what is supported",
    )


def _finished(state: State, inputs: list[Port], where: str, name: str) -> tuple[Graph, Interface]:
    outputs: list[Port] = []
    for entry in state.file.outputs:
        value = state.values.get(entry.name)
        if value is None or value.tensor is None or value.layout is None:
            raise refuse(
                "broken-model",
                f"output {entry.name!r} is a constant or never computed",
                where,
                "export the model again",
            )
        port = output_port(state, entry, value)
        if port.name in {p.name for p in (*inputs, *outputs)}:  # the caller's buffers are apart: a copy
            port = replace(port, name=copied(state, state.tensors[port.name], entry.name))
        outputs.append(port)
    names = [p.name for p in outputs]
    for port in (*inputs, *outputs):
        if port.layout.perm != tuple(range(len(port.layout.perm))) and not port.layout.is_plain():
            side = "input" if port in inputs else "output"
            state.notes.append(
                f"{side} {port.file_name!r} is {_dims(port.file_shape)} (channels first) in the file and "
                f"{_dims(port.layout.stored)} (channels last) in C"
            )
    used = {n for node in state.nodes for n in (*node.inputs, *node.outputs) if n} | {
        p.name for p in (*inputs, *outputs)
    }
    graph = Graph(
        name,
        "onnx",
        {k: v for k, v in state.tensors.items() if k in used},
        tuple(state.nodes),
        tuple(p.name for p in inputs),
        tuple(names),
        tuple(dict.fromkeys(state.notes)),
    )
    return check(_without_dead(graph)), Interface(tuple(inputs), tuple(outputs))


def _without_dead(graph: Graph) -> Graph:
    """The graph without nodes whose result nobody reads (quantized values that only float readers wanted)."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= {n for n in node.inputs if n}
    needed |= set(graph.inputs)
    return replace(graph, nodes=tuple(reversed(kept)), tensors={k: v for k, v in graph.tensors.items() if k in needed})


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


__all__ = ["Interface", "Port", "from_file", "in_file_order", "load", "parse", "parse_with_interface", "to_file"]
