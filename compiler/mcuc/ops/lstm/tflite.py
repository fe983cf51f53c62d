"""UNIDIRECTIONAL_SEQUENCE_LSTM of TFLite, integer 8x8_16 and 16x8_16 as TFLite Micro computes them
(lstm_eval_common.cc)."""

from __future__ import annotations

import math

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops.lstm.attrs import LstmAttrs, Scale

# Inputs of the file's operator: 24 of them; those for peepholes, projection and layer norm must be absent.
WEIGHTS, RECURRENT, BIASES, HIDDEN, CELL, COUNT = 1, 5, 12, 18, 19, 24
OTHERS = {9: "peephole", 10: "peephole", 11: "peephole", 16: "projection", 17: "projection", 20: "layer norm",
          21: "layer norm", 22: "layer norm", 23: "layer norm"}
TANH = 4  # ActivationFunctionType
GATE, SIGMOID = 2.0**-12, 2.0**-15  # scales of the gates' sums, and of sigmoid and tanh


def from_tflite(node: Imported) -> Built:
    """Raises McucError for what TFLite Micro has no integer form of, or what is not the plain layer."""
    options = node.options
    for index, what in OTHERS.items():
        if node.optional(index) is not None:
            raise _refuse(node, f"it has {what} inputs", "use a plain LSTM layer (Keras: tf.keras.layers.LSTM)")
    if node.unsigned:
        raise _refuse(node, "its tensors are uint8", "convert the model again with int8 activations")
    if options.fusedActivationFunction != TANH:
        raise _refuse(node, "its activation is not tanh", "use tanh, the layer's default")
    if len(node.inputs) != COUNT or node.optional(WEIGHTS) is None:
        raise _refuse(node, "its input gate is coupled to the forget gate", "use a plain LSTM layer")
    if options.cellClip < 0 or not math.isfinite(options.cellClip):
        raise _refuse(node, f"its cell is clipped at {options.cellClip}", "check that the model file is complete")
    x, out = node.input(0), node.outputs[0]
    gates = [node.input(i) for k in (WEIGHTS, RECURRENT, BIASES) for i in range(k, k + 4)]
    hidden, cell = node.input(HIDDEN), node.input(CELL)
    _check_types(node, x, out, gates, hidden, cell)
    _check_shapes(node, x, gates, hidden, cell)
    names = (x.name, *(t.name for t in gates), hidden.name, cell.name)
    note = f"{out.name!r}: an LSTM's states go on from run to run, as in TFLite; reset them where a sequence begins"
    attrs = _attrs(node, x, gates, hidden, cell)
    return Built("lstm", names, attrs, notes=(note,), states=(hidden.name, cell.name))


def _refuse(node: Imported, found: str, try_this: str) -> McucError:
    return McucError("unsupported-operator", f"{node.kind} is not supported: {found}", where=node.where,
                     try_this=try_this)


def _check_types(node: Imported, x: Tensor, out: Tensor, gates: list[Tensor], hidden: Tensor, cell: Tensor) -> None:
    wide = x.dtype.value == "int16"
    values, biases = ("int16", "int64") if wide else ("int8", "int32")
    wanted = [(x, values), (out, values), (hidden, values), (cell, "int16"), *((t, "int8") for t in gates[:8]),
              *((t, biases) for t in gates[8:])]
    for tensor, dtype in wanted:
        if tensor.dtype.value != dtype:
            raise McucError("not-quantized", f"tensor {tensor.name!r} of {node.kind} is {tensor.dtype.value}, {dtype} "
                            "is needed", where=node.where,
                            try_this="convert with full integer quantization to int8 (8-bit activations and weights)")
    for index in (*range(WEIGHTS, WEIGHTS + 8), *range(BIASES, BIASES + 4)):
        node.constant(index)
    for tensor in (*gates[:8], *((x, hidden, out) if wide else ())):
        if zero_point_of(tensor, node.where) != 0:
            raise _refuse(node, f"tensor {tensor.name!r} has a zero point", "quantize weights and int16 symmetrically")


def _check_shapes(node: Imported, x: Tensor, gates: list[Tensor], hidden: Tensor, cell: Tensor) -> None:
    units = gates[0].shape[0] if gates[0].shape else 0
    batch = x.shape[1 if node.options.timeMajor else 0] if len(x.shape) == 3 else 0
    wanted = [(units, x.shape[-1] if x.shape else 0)] * 4 + [(units, units)] * 4 + [(units,)] * 4
    fits = all(t.shape == shape for t, shape in zip(gates, wanted, strict=True))
    if not units or not batch or not fits or hidden.elements != batch * units or cell.elements != batch * units:
        raise McucError("broken-model", f"{node.kind} has tensors whose shapes do not go together", where=node.where,
                        try_this="check that the model file is complete")


def _attrs(node: Imported, x: Tensor, gates: list[Tensor], hidden: Tensor, cell: Tensor) -> LstmAttrs:
    cell_scale, hidden_scale = scale_of(cell, node.where), scale_of(hidden, node.where)
    power = round(math.log2(cell_scale))
    if abs(math.log2(cell_scale) - power) > 1e-3 or zero_point_of(cell, node.where) != 0 or not -15 <= power <= 2:
        raise _refuse(node, f"the cell state's scale is {cell_scale}, no power of two from 2^-15 to 2^2",
                      "convert the model again with TFLite's own converter")

    def gate(source: Tensor, weights: Tensor) -> Scale:
        """GetQuantizedConvolutionMultipler without a bias: the product in float32."""
        product = np.float32(scale_of(source, node.where)) * np.float32(scale_of(weights, node.where))
        return quantize_multiplier(float(product) / GATE)

    clip = node.options.cellClip
    wide = x.dtype.value == "int16"
    if wide and any(shift > 7 for _, shift in (*map(gate, [x] * 4, gates[:4]), *map(gate, [hidden] * 4, gates[4:8]))):
        raise _refuse(node, "a scale is larger than TFLite's 64-bit rule takes", "quantize the model again")
    limit = min(float(np.float64(clip) / np.float64(np.float32(cell_scale))), 32767.0)
    if clip > 0 and int(limit) == 0:
        raise _refuse(node, f"its cell is clipped at {clip}, less than a step", "clip it at a larger value, or not")
    return LstmAttrs(
        zero_point_of(x, node.where),
        zero_point_of(hidden, node.where),
        tuple(gate(x, w) for w in gates[:4]),
        tuple(gate(hidden, w) for w in gates[4:8]),
        quantize_multiplier(SIGMOID * cell_scale / cell_scale),
        quantize_multiplier(SIGMOID * SIGMOID / cell_scale),
        quantize_multiplier(SIGMOID * SIGMOID / hidden_scale),
        12 + power,
        int(limit),
        bool(node.options.timeMajor),
        wide,
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As UNIDIRECTIONAL_SEQUENCE_LSTM; the states are variable tensors. LiteRT refuses the layer without the five
    intermediates, of which it reads the last one's scale, the hidden state's (unidirectional_sequence_lstm.cc,
    PopulateQuantizedLstmParams8x8_16)."""
    x, *gates, hidden, cell = node.inputs
    blank = ("",) * 3
    inputs = (x, *gates[:8], *blank, *gates[8:], "", "", hidden, cell, *blank, "")
    scale = scale_of(graph.tensors[cell], node.name)
    fields = {"fusedActivationFunction": TANH, "cellClip": float(node.attrs.clip * scale), "projClip": 0.0,
              "timeMajor": node.attrs.time_major}
    state = graph.tensors[hidden]
    quants = (None,) * 4 + (state.quant,)
    unused = tuple(Tensor(f"{node.outputs[0]}/intermediate{i}", (0,), state.dtype, q) for i, q in enumerate(quants))
    return Exported(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions", fields, inputs=inputs, intermediates=unused
    )
