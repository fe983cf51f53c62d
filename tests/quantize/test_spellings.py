"""Composites however an exporter spells them: recognised as their operators, and their int8 form means the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import spellings as s
from float_networks import Net, samples

from mcuc import passes
from mcuc.importers import onnx as importer
from mcuc.quantize.network import Converted, convert_with
from mcuc.quantize.quantizer import Options
from mcuc.quantize.runtime import Runtime
from mcuc.verify import oracle, reference

FAST = Options(methods=("minmax",), equalize=(False,), compensate=False)
TOKENS, IMAGE = (1, s.T, s.C), (1, s.C, 6, 6)
NORM, RMS, L2 = "LayerNormalization", "SimplifiedLayerNormalization", "LpNormalization"
GROUP, INSTANCE = "GroupNormalization", "InstanceNormalization"
ATTENTION = "MatMul Softmax MatMul"
GATE = "Sigmoid Mul"
MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather"}
Spelling = Callable[[Net, str], str]


def case(
    name: str,
    build: Spelling,
    kinds: str,
    least: float,
    shape: tuple[int, ...] = TOKENS,
    profile: str = "tflite",
    opset: int = 17,
) -> Any:
    """kinds: the network's operators that are recognised, but for moves; least: SNR in dB of the int8 network."""
    return pytest.param(build, kinds, least, shape, profile, opset, id=name)


FUNCTIONS = (
    case("GELU, torch", s.gelu_torch, "Gelu", 36),
    case("GELU, tf2onnx", s.gelu_tf2onnx, "Gelu", 36),
    case("GELU, opset 20", lambda n, x: n.node("Gelu", x), "Gelu", 36, opset=20),
    case("GELU by tanh, torch", s.gelu_tanh_torch, "Gelu", 36),
    case("GELU by tanh, a power", s.gelu_tanh_pow, "Gelu", 36),
    case("GELU by tanh, gelu_fast", s.gelu_fast, "Gelu", 36),
    case("GELU by sigmoid", s.gelu_quick, "Mul Sigmoid Mul", 36),
    case("SiLU", s.silu, GATE, 36),
    case("SiLU, x / (1 + exp(-x))", s.silu_exp, GATE, 36),
    case("SiLU, opset 24", lambda n, x: n.node("Swish", x), GATE, 36, opset=24),
    case("sigmoid by exp", s.sigmoid_exp, "Sigmoid", 36),
    case("sigmoid by tanh", s.sigmoid_tanh, "Sigmoid", 36),
    case("tanh by sigmoid", s.tanh_sigmoid, "Tanh", 36),
    case("hard-swish, torch before opset 14", s.hard_swish_torch, "HardSwish", 36),
    case("hard-swish, tf2onnx", s.hard_swish_tf2onnx, "HardSwish", 36),
    case("hard-swish, Relu and Min", s.hard_swish_relu_min, "HardSwish", 36),
    case("hard-swish, a gate", s.hard_swish_gate, "HardSwish", 36),
    case("hard-sigmoid, torch", s.hard_sigmoid_torch, "HardSigmoid", 36),
    case("hard-sigmoid, tf2onnx", s.hard_sigmoid_tf2onnx, "HardSigmoid", 36),
    case("hard-sigmoid, Keras 2", s.hard_sigmoid_keras_2, "HardSigmoid", 36),
    case("Mish", s.mish_softplus, "Mish", 36),
    case("Mish by a logarithm", s.mish_log, "Mish", 36),
    case("Mish by a quotient", s.mish_rational, "Mish", 36),
    case("Mish, opset 18", lambda n, x: n.node("Mish", x), "Mish", 36, opset=18),
    case("softplus by a logarithm", s.softplus_log, "Softplus", 36),
    case("leaky ReLU as a maximum", s.leaky_relu_max, "LeakyRelu", 36),
    case("leaky ReLU, Keras", s.leaky_relu_keras, "LeakyRelu", 36),
)
NORMS = (
    case("layer norm, torch before opset 17", s.layer_norm_torch, NORM, 36, profile="onnx"),
    case("layer norm, two differences", s.layer_norm_twice, NORM, 36, profile="onnx"),
    case("layer norm, Keras", s.layer_norm_keras, NORM, 36, profile="onnx"),
    case("layer norm, sums and squares", s.layer_norm_sums, NORM, 36, profile="onnx"),
    case("layer norm, opset 17", s.layer_norm_node, NORM, 36, profile="onnx"),
    case("layer norm of channels, ConvNeXt", s.layer_norm_channels, NORM, 36, IMAGE, "onnx"),
    case("RMS norm, torch", s.rms_torch, RMS, 36, profile="onnx"),
    case("RMS norm, T5", s.rms_t5, RMS, 36, profile="onnx"),
    case("RMS norm, one over the root", s.rms_one_over, RMS, 36, profile="onnx"),
    case("RMS norm, a power", s.rms_power, RMS, 36, profile="onnx"),
    case("RMS norm of the length", s.rms_of_length, RMS, 36, profile="onnx"),
    case("RMS norm, opset 23", s.rms_node, "RMSNormalization", 36, profile="onnx", opset=23),
    case("second norm, torch", s.l2_torch, L2, 36),
    case("second norm, tf2onnx", s.l2_tf2onnx, L2, 36),
    case("group norm, torch before opset 21", s.group_norm_torch, GROUP, 36, IMAGE, "onnx"),
    case("group norm, in steps", s.group_norm_spelled, GROUP, 36, IMAGE, "onnx"),
    case("group norm, Keras", s.group_norm_keras, GROUP, 36, IMAGE, "onnx"),
    case("group norm, opset 21", s.group_norm_node, GROUP, 36, IMAGE, "onnx", 21),
    case("instance norm", s.instance_norm_node, INSTANCE, 36, IMAGE, "onnx"),
    case("instance norm, in steps", s.instance_norm_spelled, INSTANCE, 36, IMAGE, "onnx"),
    case("instance norm, channels last", s.instance_norm_last, INSTANCE, 36, IMAGE, "onnx"),
    case("softmax, TensorFlow", s.softmax_tf, "Softmax", 36),
    case("softmax without a maximum", s.softmax_plain, "Softmax", 36),
    case("log-softmax, TensorFlow", s.log_softmax_tf, "LogSoftmax", 36),
    case("log-softmax of a sum", s.log_softmax_sum, "LogSoftmax", 36),
)
DENSE = "Gemm Gemm Gemm "


def attention(name: str, kinds: str, **options: Any) -> Any:
    return case(f"attention, {name}", partial(s.attention, **options), f"{DENSE}{kinds} Gemm", 30)


BLOCKS = (
    attention("Mul of the product", "MatMul Mul Softmax MatMul"),
    attention("Div of the product", "MatMul Mul Softmax MatMul", divided=True),
    attention("scale on q", "Mul MatMul Softmax MatMul", scale="q"),
    attention("Div of q", "Mul MatMul Softmax MatMul", scale="q", divided=True),
    attention("scale on k", "Mul MatMul Softmax MatMul", scale="k"),
    attention("torch: roots on both", "Mul Mul MatMul Softmax MatMul", scale="both"),
    attention("k transposed once", "MatMul Mul Softmax MatMul", transposed=True),
    attention("mask, torch", "Mul Mul MatMul Where Softmax MatMul", scale="both", mask="infinity"),
    attention("mask, torch.export", "Mul Mul MatMul Where Softmax MatMul", scale="both", mask="least"),
    attention("mask, Keras", "MatMul Mul Where Softmax MatMul", mask="billion"),
    attention("mask, BERT", "MatMul Mul Where Softmax MatMul", mask="thousands"),
    attention("mask, masked_fill", "MatMul Mul Where Softmax MatMul", mask="where"),
    case("attention, Keras", s.attention_keras, f"{DENSE}Mul MatMul Softmax MatMul Gemm", 30),
    case("attention, opset 23", s.attention_node, f"{DENSE}Mul Mul MatMul Softmax MatMul Gemm", 30, opset=23),
    case(
        "attention, opset 23, causal",
        partial(s.attention_node, causal=1),
        f"{DENSE}Mul Mul MatMul Where Softmax MatMul Gemm",
        30,
        opset=23,
    ),
    case("squeeze and excitation, torch", s.squeeze, "GlobalAveragePool Conv Relu Conv Sigmoid Mul", 34, IMAGE),
    case(
        "squeeze and excitation, ReduceMean",
        partial(s.squeeze, pool="ReduceMean"),
        "ReduceMean Conv Relu Conv Sigmoid Mul",
        34,
        IMAGE,
    ),
    case(
        "squeeze and excitation, MobileNetV3",
        partial(s.squeeze, gate="HardSigmoid"),
        "GlobalAveragePool Conv Relu Conv HardSigmoid Mul",
        34,
        IMAGE,
    ),
    case(
        "squeeze and excitation, tf2onnx",
        partial(s.squeeze, gate="relu6"),
        "GlobalAveragePool Conv Relu Conv HardSigmoid Mul",
        34,
        IMAGE,
    ),
    case("squeeze and excitation, dense", s.squeeze_dense, "ReduceMean Gemm Sigmoid Mul Gemm Sigmoid Mul", 34, IMAGE),
    case("squeeze and excitation, Keras", s.squeeze_keras, "ReduceMean Gemm Relu Gemm Sigmoid Mul", 34, IMAGE),
    case("GRU, unrolled", s.gru_keras, "5*Gemm 12*Add 6*Sigmoid 3*Sub 9*Mul 3*Tanh", 34),
    case("LSTM, unrolled", s.lstm_keras, "2*MatMul 3*Gemm 8*Add 9*Sigmoid 6*Tanh 9*Mul", 34),
    case(
        "LSTM, unrolled, hard gates",
        partial(s.lstm_keras, hard=True),
        "2*MatMul 3*Gemm 8*Add 9*HardSigmoid 6*Tanh 9*Mul",
        32,
    ),
    case("RNN, unrolled", s.rnn_keras, "2*MatMul 3*Gemm 2*Add 3*Tanh", 34),
)


def upsample(n: Net, x: str, kind: str, mode: str, by: float) -> str:
    """Of opset 7, its factors an attribute; of later ones, an operand."""
    if n.opset < 9:
        return n.node(kind, x, scales=[1.0, 1.0, by, by], mode=mode)
    return n.node(kind, x, n.const([1, 1, by, by]), mode=mode)


def resized(kind: str, mode: str, by: float, opset: int) -> Any:
    build = partial(upsample, kind=kind, mode=mode, by=by)
    return case(f"{kind} by {by}, {mode}, opset {opset}", build, "Resize", 36, IMAGE, opset=opset)


OLD = (
    resized("Upsample", "nearest", 2.0, 7),
    resized("Upsample", "linear", 2.0, 7),
    resized("Upsample", "nearest", 1.5, 8),
    resized("Upsample", "linear", 3.0, 9),
    resized("Resize", "linear", 2.0, 10),
    resized("Resize", "nearest", 0.5, 10),
)


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with Runtime("net") as made:
        yield made


def snr(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10((wanted.astype(float) ** 2).sum() / ((wanted - got).astype(float) ** 2).sum()))


def expected(kinds: str) -> Counter[str]:
    """Of "Gemm 3*Add", how many of each."""
    parts = [("1*" + k).split("*")[-2:] for k in kinds.split()]
    return Counter({k: sum(int(n) for n, other in parts if other == k) for _, k in parts})


def answers(made: Converted, columns: np.ndarray) -> np.ndarray:
    """What the graph computes of real samples, in real numbers, in the file's order."""
    graph, (end,) = passes.check_supported(passes.optimize(made.graph)), made.outputs
    quant, found = graph.tensors[graph.outputs[0]].quant, []
    assert quant is not None
    for x in columns:
        values = reference.run(graph, {graph.inputs[0]: importer.from_file(made.ports[0], x)})
        out = importer.to_file(end, values[graph.outputs[0]])
        found.append(out if out.dtype == np.float32 else (out.astype(float) - quant.zero_point[0]) * quant.scale[0])
    return np.stack(found)


@pytest.mark.parametrize(("build", "kinds", "least", "shape", "profile", "opset"), (*FUNCTIONS, *NORMS, *BLOCKS, *OLD))
def test_a_spelling_is_recognised_and_keeps_its_meaning(
    build: Spelling, kinds: str, least: float, shape: tuple[int, ...], profile: str, opset: int, runtime: Runtime
) -> None:
    net = Net(shape, opset=opset)
    proto, columns = net.done(build(net, "x")), samples(6, shape) * np.float32(1.5)
    made = convert_with(runtime, proto, "net", "net", [columns], FAST)
    found = [n.kind for n in made.original.nodes if n.kind not in MOVES]
    assert Counter(found) == expected(kinds), " ".join(found)
    assert made.graph.profile == profile, made.graph.notes
    wanted = np.stack([y for (y,) in oracle.onnxruntime(proto.SerializeToString(), [[x] for x in columns])])
    stock = np.stack([y for (y,) in oracle.onnxruntime(made.onnx, [[x] for x in columns])])
    assert min(snr(wanted, stock), snr(wanted, answers(made, columns))) >= least
