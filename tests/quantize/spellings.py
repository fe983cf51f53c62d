"""Composites as PyTorch's two exporters, tf2onnx, Keras and others spell them, over a value that is there."""

from __future__ import annotations

import numpy as np
from float_networks import Net

C = 8  # channels or features

# Functions of one value


def gelu_torch(n: Net, x: str) -> str:
    erf = n.node("Erf", n.node("Div", x, n.const(2**0.5)))
    return n.node("Mul", n.node("Mul", x, n.node("Add", erf, n.const(1.0))), n.const(0.5))


def gelu_tf2onnx(n: Net, x: str) -> str:
    erf = n.node("Erf", n.node("Mul", x, n.const(0.5**0.5)))
    return n.node("Mul", n.node("Mul", n.const(0.5), x), n.node("Add", n.const(1.0), erf))


def gelu_tanh_torch(n: Net, x: str) -> str:
    cube = n.node("Mul", n.node("Mul", x, n.node("Mul", x, x)), n.const(0.044715))
    inner = n.node("Tanh", n.node("Mul", n.node("Add", x, cube), n.const((2 / np.pi) ** 0.5)))
    return n.node("Mul", n.node("Mul", x, n.const(0.5)), n.node("Add", inner, n.const(1.0)))


def gelu_tanh_pow(n: Net, x: str) -> str:
    cube = n.node("Mul", n.const(0.044715), n.node("Pow", x, n.const(3.0)))
    inner = n.node("Tanh", n.node("Mul", n.const((2 / np.pi) ** 0.5), n.node("Add", x, cube)))
    return n.node("Mul", x, n.node("Mul", n.const(0.5), n.node("Add", n.const(1.0), inner)))


def gelu_fast(n: Net, x: str) -> str:
    """Transformers' gelu_fast."""
    square = n.node("Add", n.node("Mul", n.node("Mul", x, n.const(0.044715)), x), n.const(1.0))
    inner = n.node("Tanh", n.node("Mul", n.node("Mul", x, n.const((2 / np.pi) ** 0.5)), square))
    return n.node("Mul", n.node("Mul", n.const(0.5), x), n.node("Add", n.const(1.0), inner))


def gelu_quick(n: Net, x: str) -> str:
    return n.node("Mul", x, n.node("Sigmoid", n.node("Mul", x, n.const(1.702))))


def silu(n: Net, x: str) -> str:
    return n.node("Mul", x, n.node("Sigmoid", x))


def silu_exp(n: Net, x: str) -> str:
    return n.node("Div", x, n.node("Add", n.node("Exp", n.node("Neg", x)), n.const(1.0)))


def sigmoid_exp(n: Net, x: str) -> str:
    return n.node("Reciprocal", n.node("Add", n.const(1.0), n.node("Exp", n.node("Neg", x))))


def sigmoid_tanh(n: Net, x: str) -> str:
    return n.node("Mul", n.const(0.5), n.node("Add", n.node("Tanh", n.node("Mul", x, n.const(0.5))), n.const(1.0)))


def tanh_sigmoid(n: Net, x: str) -> str:
    twice = n.node("Mul", n.const(2.0), n.node("Sigmoid", n.node("Mul", n.const(2.0), x)))
    return n.node("Sub", twice, n.const(1.0))


def _relu6(n: Net, x: str, shift: float = 3.0) -> str:
    return n.node("Clip", n.node("Add", x, n.const(shift)), n.const(0.0), n.const(6.0))


def hard_swish_torch(n: Net, x: str) -> str:
    return n.node("Div", n.node("Mul", x, _relu6(n, x)), n.const(6.0))


def hard_swish_tf2onnx(n: Net, x: str) -> str:
    return n.node("Mul", x, n.node("Mul", _relu6(n, x), n.const(1 / 6)))


def hard_swish_relu_min(n: Net, x: str) -> str:
    low = n.node("Relu", n.node("Add", x, n.const(3.0)))
    return n.node("Mul", n.node("Mul", x, n.node("Min", low, n.const(6.0))), n.const(1 / 6))


def hard_swish_gate(n: Net, x: str) -> str:
    return n.node("Mul", n.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), x)


def hard_sigmoid_torch(n: Net, x: str) -> str:
    return n.node("Div", _relu6(n, x), n.const(6.0))


def hard_sigmoid_tf2onnx(n: Net, x: str) -> str:
    return n.node("Mul", _relu6(n, x), n.const(1 / 6))


def hard_sigmoid_keras_2(n: Net, x: str) -> str:
    line = n.node("Add", n.node("Mul", x, n.const(0.2)), n.const(0.5))
    return n.node("Clip", line, n.const(0.0), n.const(1.0))


def mish_softplus(n: Net, x: str) -> str:
    return n.node("Mul", x, n.node("Tanh", n.node("Softplus", x)))


def mish_log(n: Net, x: str) -> str:
    return n.node("Mul", x, n.node("Tanh", n.node("Log", n.node("Add", n.node("Exp", x), n.const(1.0)))))


def mish_rational(n: Net, x: str) -> str:
    """Without a logarithm: (e^2 + 2 e) / (e^2 + 2 e + 2)."""
    e = n.node("Exp", x)
    top = n.node("Mul", e, n.node("Add", e, n.const(2.0)))
    return n.node("Mul", x, n.node("Div", top, n.node("Add", top, n.const(2.0))))


def softplus_log(n: Net, x: str) -> str:
    return n.node("Log", n.node("Add", n.node("Exp", x), n.const(1.0)))


def leaky_relu_max(n: Net, x: str) -> str:
    return n.node("Max", x, n.node("Mul", x, n.const(0.1)))


def leaky_relu_keras(n: Net, x: str) -> str:
    return n.node("Sub", n.node("Relu", x), n.node("Mul", n.const(0.2), n.node("Relu", n.node("Neg", x))))


# Norms over the last axis, of x [..., C]


def _gamma(n: Net, *shape: int) -> str:
    return n.const(n.rng.uniform(0.5, 2, shape or (C,)))


def _beta(n: Net, *shape: int) -> str:
    return n.const(n.rng.uniform(-1, 1, shape or (C,)))


def _mean(n: Net, x: str, axis: int = -1) -> str:
    return n.node("ReduceMean", x, axes=[axis])


def layer_norm_torch(n: Net, x: str) -> str:
    """Before opset 17."""
    centred = n.node("Sub", x, _mean(n, x))
    variance = _mean(n, n.node("Pow", centred, n.const(2.0)))
    normal = n.node("Div", centred, n.node("Sqrt", n.node("Add", variance, n.const(1e-5))))
    return n.node("Add", n.node("Mul", normal, _gamma(n)), _beta(n))


def layer_norm_twice(n: Net, x: str) -> str:
    """The difference for the variance is computed apart, as a SquaredDifference is written."""
    mean = _mean(n, x)
    other = n.node("Sub", x, mean)
    deviation = n.node("Sqrt", n.node("Add", _mean(n, n.node("Mul", other, other)), n.const(1e-5)))
    return n.node("Add", n.node("Mul", n.node("Div", n.node("Sub", x, mean), deviation), _gamma(n)), _beta(n))


def layer_norm_keras(n: Net, x: str) -> str:
    """tf.nn.batch_normalization of tf.nn.moments: x (gamma / s) + (beta - mean (gamma / s))."""
    mean = _mean(n, x)
    other = n.node("Sub", x, mean)
    variance = n.node("Add", _mean(n, n.node("Mul", other, other)), n.const(1e-3))
    factor = n.node("Mul", n.node("Reciprocal", n.node("Sqrt", variance)), _gamma(n))
    shift = n.node("Sub", _beta(n), n.node("Mul", mean, factor))
    return n.node("Add", n.node("Mul", x, factor), shift)


def layer_norm_sums(n: Net, x: str) -> str:
    """Sums over a count, E[x^2] - E[x]^2, powers of 1/2."""
    count, axis = n.const(float(C)), n.ints(-1)
    mean = n.node("Div", n.node("ReduceSum", x, axis), count)
    squares = n.node("Div", n.node("ReduceSum", n.node("Mul", x, x), axis), count)
    variance = n.node("Sub", squares, n.node("Mul", mean, mean))
    root = n.node("Pow", n.node("Add", variance, n.const(1e-5)), n.const(0.5))
    return n.node("Mul", n.node("Div", n.node("Sub", x, mean), root), _gamma(n))


def layer_norm_channels(n: Net, x: str) -> str:
    """ConvNeXt's over the channels of [1, C, h, w]."""
    centred = n.node("Sub", x, _mean(n, x, 1))
    variance = n.node("Add", _mean(n, n.node("Pow", centred, n.const(2.0)), 1), n.const(1e-6))
    normal = n.node("Div", centred, n.node("Sqrt", variance))
    return n.node("Add", n.node("Mul", _gamma(n, C, 1, 1), normal), _beta(n, C, 1, 1))


def layer_norm_node(n: Net, x: str) -> str:
    return n.node("LayerNormalization", x, _gamma(n), _beta(n), axis=-1, epsilon=1e-5)


def rms_torch(n: Net, x: str) -> str:
    """x * rsqrt(mean(x^2) + epsilon) * weight, as Llama has it."""
    squares = n.node("Add", _mean(n, n.node("Pow", x, n.const(2.0))), n.const(1e-6))
    return n.node("Mul", n.node("Mul", x, n.node("Reciprocal", n.node("Sqrt", squares))), _gamma(n))


def rms_t5(n: Net, x: str) -> str:
    squares = n.node("Add", _mean(n, n.node("Mul", x, x)), n.const(1e-6))
    return n.node("Mul", _gamma(n), n.node("Div", x, n.node("Sqrt", squares)))


def rms_one_over(n: Net, x: str) -> str:
    squares = n.node("Add", _mean(n, n.node("Pow", x, n.const(2.0))), n.const(1e-6))
    return n.node("Mul", _gamma(n), n.node("Mul", x, n.node("Div", n.const(1.0), n.node("Sqrt", squares))))


def rms_power(n: Net, x: str) -> str:
    squares = n.node("Add", _mean(n, n.node("Mul", x, x)), n.const(1e-6))
    return n.node("Mul", n.node("Mul", x, n.node("Pow", squares, n.const(-0.5))), _gamma(n))


def rms_of_length(n: Net, x: str) -> str:
    """F.normalize times the root of the count, as lucidrains has it."""
    return n.node("Mul", l2_torch(n, x), n.const(n.rng.uniform(0.5, 2, C) * C**0.5))


def rms_node(n: Net, x: str) -> str:
    return n.node("RMSNormalization", x, _gamma(n), axis=-1, epsilon=1e-6)


def l2_torch(n: Net, x: str) -> str:
    """F.normalize."""
    length = n.node("Clip", n.node("ReduceL2", x, axes=[-1]), n.const(1e-12))
    return n.node("Div", x, n.node("Expand", length, n.node("Shape", x)))


def l2_tf2onnx(n: Net, x: str) -> str:
    """tf.math.l2_normalize."""
    total = n.node("Max", n.node("ReduceSum", n.node("Mul", x, x), n.ints(-1)), n.const(1e-12))
    return n.node("Mul", x, n.node("Reciprocal", n.node("Sqrt", total)))


# Of images x [1, C, h, w]


def group_norm_torch(n: Net, x: str) -> str:
    """Before opset 21."""
    groups = n.node("Reshape", x, n.ints(0, 2, -1))
    normal = n.node("InstanceNormalization", groups, n.const(np.ones(2)), n.const(np.zeros(2)), epsilon=1e-5)
    back = n.node("Reshape", normal, n.node("Shape", x))
    return n.node("Add", n.node("Mul", back, _gamma(n, C, 1, 1)), _beta(n, C, 1, 1))


def group_norm_spelled(n: Net, x: str) -> str:
    groups = n.node("Reshape", x, n.ints(1, 2, C // 2, 6, 6))
    centred = n.node("Sub", groups, n.node("ReduceMean", groups, axes=[2, 3, 4]))
    variance = n.node("ReduceMean", n.node("Mul", centred, centred), axes=[2, 3, 4])
    normal = n.node("Div", centred, n.node("Sqrt", n.node("Add", variance, n.const(1e-5))))
    back = n.node("Reshape", normal, n.ints(1, C, 6, 6))
    return n.node("Add", n.node("Mul", back, _gamma(n, C, 1, 1)), _beta(n, C, 1, 1))


def group_norm_keras(n: Net, x: str) -> str:
    """Channels last: [1, h, w, groups, C / groups]."""
    last = n.node("Transpose", x, perm=[0, 2, 3, 1])
    groups = n.node("Reshape", last, n.ints(-1, 6, 6, 2, C // 2))
    mean = n.node("ReduceMean", groups, axes=[1, 2, 4])
    other = n.node("Sub", groups, mean)
    variance = n.node("ReduceMean", n.node("Mul", other, other), axes=[1, 2, 4])
    root = n.node("Reciprocal", n.node("Sqrt", n.node("Add", variance, n.const(1e-3))))
    factor = n.node("Mul", root, _gamma(n, 1, 1, 1, 2, C // 2))
    shift = n.node("Sub", _beta(n, 1, 1, 1, 2, C // 2), n.node("Mul", mean, factor))
    normal = n.node("Add", n.node("Mul", groups, factor), shift)
    return n.node("Transpose", n.node("Reshape", normal, n.ints(-1, 6, 6, C)), perm=[0, 3, 1, 2])


def group_norm_node(n: Net, x: str) -> str:
    return n.node("GroupNormalization", x, _gamma(n), _beta(n), num_groups=2, epsilon=1e-5)


def instance_norm_node(n: Net, x: str) -> str:
    return n.node("InstanceNormalization", x, _gamma(n), _beta(n), epsilon=1e-5)


def instance_norm_spelled(n: Net, x: str) -> str:
    centred = n.node("Sub", x, n.node("ReduceMean", x, axes=[2, 3]))
    variance = n.node("ReduceMean", n.node("Pow", centred, n.const(2.0)), axes=[2, 3])
    normal = n.node("Div", centred, n.node("Sqrt", n.node("Add", variance, n.const(1e-5))))
    return n.node("Add", n.node("Mul", normal, _gamma(n, 1, C, 1, 1)), _beta(n, 1, C, 1, 1))


def instance_norm_last(n: Net, x: str) -> str:
    """Channels last, as tf2onnx writes what TensorFlow normalises over height and width."""
    last = n.node("Transpose", x, perm=[0, 2, 3, 1])
    mean = n.node("ReduceMean", last, axes=[1, 2])
    other = n.node("Sub", last, mean)
    variance = n.node("ReduceMean", n.node("Mul", other, other), axes=[1, 2])
    root = n.node("Reciprocal", n.node("Sqrt", n.node("Add", variance, n.const(1e-3))))
    normal = n.node("Mul", n.node("Mul", other, root), _gamma(n))
    return n.node("Transpose", n.node("Add", normal, _beta(n)), perm=[0, 3, 1, 2])


# Softmax over the last axis


def softmax_tf(n: Net, x: str) -> str:
    power = n.node("Exp", n.node("Sub", x, n.node("ReduceMax", x, axes=[-1])))
    return n.node("Div", power, n.node("ReduceSum", power, n.ints(-1)))


def softmax_plain(n: Net, x: str) -> str:
    power = n.node("Exp", x)
    return n.node("Mul", power, n.node("Reciprocal", n.node("ReduceSum", power, n.ints(-1))))


def log_softmax_tf(n: Net, x: str) -> str:
    shifted = n.node("Sub", x, n.node("ReduceMax", x, axes=[-1]))
    return n.node("Sub", shifted, n.node("Log", n.node("ReduceSum", n.node("Exp", shifted), n.ints(-1))))


def log_softmax_sum(n: Net, x: str) -> str:
    return n.node("Sub", x, n.node("ReduceLogSumExp", x, axes=[-1]))


# Attention over x [1, T, C], two heads; squeeze and excitation of x [1, C, h, w]; recurrent layers over x [1, T, C]

T, HEADS = 6, 2


def _dense(n: Net, x: str, inputs: int, outputs: int) -> str:
    weights = n.const(n.rng.normal(0, inputs**-0.5, (inputs, outputs)))
    return n.node("Add", n.node("MatMul", x, weights), n.const(n.rng.normal(0, 0.1, outputs)))


def attention(
    n: Net, x: str, scale: str = "product", divided: bool = False, mask: str = "", transposed: bool = False
) -> str:
    """scale: on q, k, both or the product, by Div or Mul; mask: of the future, in the numbers of an exporter."""

    def scaled(v: str, factor: float) -> str:
        return n.node("Div", v, n.const(1 / factor)) if divided else n.node("Mul", v, n.const(factor))

    d = C // HEADS
    heads = [n.node("Reshape", _dense(n, x, C, C), n.ints(1, T, HEADS, d)) for _ in "qkv"]
    q, k, v = (n.node("Transpose", h, perm=[0, 2, 1, 3]) for h in heads)
    if scale in ("q", "k", "both"):
        factor = d**-0.25 if scale == "both" else d**-0.5
        q, k = scaled(q, factor) if scale != "k" else q, scaled(k, factor) if scale != "q" else k
    turned = n.node("Transpose", heads[1] if transposed else k, perm=[0, 2, 3, 1] if transposed else [0, 1, 3, 2])
    scores = n.node("MatMul", q, turned)
    scores = scaled(scores, d**-0.5) if scale == "product" else scores
    future = np.triu(np.ones((T, T), bool), 1)
    if mask == "where":
        scores = n.node("Where", n.truths(~future), scores, n.const(-np.inf))
    elif mask:
        least = {"infinity": -np.inf, "least": np.finfo(np.float32).min, "billion": -1e9, "thousands": -1e4}[mask]
        scores = n.node("Add", scores, n.const(np.where(future, least, 0).reshape(1, 1, T, T)))
    mixed = n.node("MatMul", n.node("Softmax", scores, axis=-1), v)
    joined = n.node("Reshape", n.node("Transpose", mixed, perm=[0, 2, 1, 3]), n.ints(1, T, C))
    return _dense(n, joined, C, C)


def attention_keras(n: Net, x: str) -> str:
    """keras.layers.MultiHeadAttention: every projection and product an Einsum."""
    d = C // HEADS

    def project(value: str) -> str:
        kernel = n.const(n.rng.normal(0, C**-0.5, (C, HEADS, d)))
        made = n.node("Einsum", value, kernel, equation="abc,cde->abde")
        return n.node("Add", made, n.const(n.rng.normal(0, 0.1, (HEADS, d))))

    q, k, v = project(x), project(x), project(x)
    scores = n.node("Einsum", k, n.node("Mul", q, n.const(d**-0.5)), equation="aecd,abcd->acbe")
    mixed = n.node("Einsum", n.node("Softmax", scores, axis=-1), v, equation="acbe,aecd->abcd")
    kernel = n.const(n.rng.normal(0, C**-0.5, (HEADS, d, C)))
    out = n.node("Einsum", mixed, kernel, equation="abcd,cde->abe")
    return n.node("Add", out, n.const(n.rng.normal(0, 0.1, C)))


def attention_node(n: Net, x: str, causal: int = 0) -> str:
    """Attention of opset 23, as PyTorch's newer exporter writes it."""
    heads = [n.node("Reshape", _dense(n, x, C, C), n.ints(1, T, HEADS, C // HEADS)) for _ in "qkv"]
    q, k, v = (n.node("Transpose", h, perm=[0, 2, 1, 3]) for h in heads)
    mixed = n.node("Attention", q, k, v, is_causal=causal)
    return _dense(n, n.node("Reshape", n.node("Transpose", mixed, perm=[0, 2, 1, 3]), n.ints(1, T, C)), C, C)


def squeeze(n: Net, x: str, pool: str = "GlobalAveragePool", gate: str = "Sigmoid") -> str:
    """Two 1x1 convolutions behind the mean of each channel."""
    mean = n.node(pool, x) if pool == "GlobalAveragePool" else n.node("ReduceMean", x, axes=[2, 3])
    inner = n.conv(n.node("Relu", n.conv(mean, 4, C, 1)), C, 4, 1)
    if gate == "relu6":
        return n.node("Mul", x, hard_sigmoid_torch(n, inner))
    attrs = {"alpha": 1 / 6, "beta": 0.5} if gate == "HardSigmoid" else {}
    return n.node("Mul", x, n.node(gate, inner, **attrs))


def squeeze_dense(n: Net, x: str) -> str:
    """Dense layers, SiLU between them, the axes put back."""
    inner = _dense(n, n.node("ReduceMean", x, axes=[2, 3], keepdims=0), C, 4)
    gate = n.node("Sigmoid", _dense(n, silu(n, inner), 4, C))
    return n.node("Mul", x, n.node("Unsqueeze", gate, n.ints(2, 3)))


def squeeze_keras(n: Net, x: str) -> str:
    """Channels last, Reshape to [1, 1, 1, C]."""
    last = n.node("Transpose", x, perm=[0, 2, 3, 1])
    mean = n.node("Reshape", n.node("ReduceMean", last, axes=[1, 2], keepdims=0), n.ints(-1, 1, 1, C))
    inner = n.node("Relu", _dense(n, mean, C, 4))
    scaled = n.node("Mul", last, n.node("Sigmoid", _dense(n, inner, 4, C)))
    return n.node("Transpose", scaled, perm=[0, 3, 1, 2])


def _steps(n: Net, x: str) -> list[str]:
    return [n.node("Squeeze", n.node("Slice", x, n.ints(t), n.ints(t + 1), n.ints(1)), n.ints(1)) for t in range(3)]


def gru_keras(n: Net, x: str) -> str:
    """Three steps, reset after the product; weights shared by the steps."""
    kernel, recurrent = (n.const(n.rng.normal(0, C**-0.5, (C, 3 * C))) for _ in range(2))
    bias, other = (n.const(n.rng.normal(0, 0.1, 3 * C)) for _ in range(2))
    h = n.const(np.zeros((1, C)))
    for step in _steps(n, x):
        a = n.split(n.node("Add", n.node("MatMul", step, kernel), bias), 3, C)
        b = n.split(n.node("Add", n.node("MatMul", h, recurrent), other), 3, C)
        z, r = (n.node("Sigmoid", n.node("Add", a[i], b[i])) for i in range(2))
        fresh = n.node("Tanh", n.node("Add", a[2], n.node("Mul", r, b[2])))
        h = n.node("Add", n.node("Mul", z, h), n.node("Mul", n.node("Sub", n.const(1.0), z), fresh))
    return h


def lstm_keras(n: Net, x: str, hard: bool = False) -> str:
    """Three steps; hard: Keras 2's recurrent activation in older files."""
    kernel, recurrent = (n.const(n.rng.normal(0, C**-0.5, (C, 4 * C))) for _ in range(2))
    bias = n.const(n.rng.normal(0, 0.1, 4 * C))

    def gate(v: str) -> str:
        return hard_sigmoid_keras_2(n, v) if hard else n.node("Sigmoid", v)

    h = c = n.const(np.zeros((1, C)))
    for step in _steps(n, x):
        total = n.node("Add", n.node("MatMul", step, kernel), n.node("MatMul", h, recurrent))
        i, f, g, o = n.split(n.node("Add", total, bias), 4, C)
        c = n.node("Add", n.node("Mul", gate(f), c), n.node("Mul", gate(i), n.node("Tanh", g)))
        h = n.node("Mul", gate(o), n.node("Tanh", c))
    return h


def rnn_keras(n: Net, x: str) -> str:
    kernel, recurrent = (n.const(n.rng.normal(0, C**-0.5, (C, C))) for _ in range(2))
    h = n.const(np.zeros((1, C)))
    for step in _steps(n, x):
        h = n.node("Tanh", n.node("Add", n.node("MatMul", step, kernel), n.node("MatMul", h, recurrent)))
    return h
