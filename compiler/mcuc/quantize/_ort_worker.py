"""The child process of mcuc.quantize.runtime: runs float and quantized ONNX models over calibration samples and sums
up what it sees. Imports nothing of mcuc. See mcuc/verify/_child_loop.py.

Request: "options" JSON as uint8[n] with the name of an action and its arguments, and arrays. Reply: arrays, or "error"
as UTF-8 bytes.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]
STATE: dict[str, Any] = {"samples": [], "models": [], "columns": np.random.default_rng(0)}
_TYPES = {  # of inputs that are no real numbers; samples come as float32
    "tensor(bool)": np.bool_,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}
NEWEST = 25  # the last opset whose QuantizeLinear ONNX Runtime 1.32 has
COLUMNS = 1024  # columns of a convolution's patches that are looked at in one sample, at most


def _session(model: bytes, exact: bool, saved: str = "") -> Any:
    """exact: the model as it is, so that every value in it can be looked at."""
    import onnxruntime as ort

    config = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    config.graph_optimization_level = level.ORT_DISABLE_ALL if exact else level.ORT_ENABLE_BASIC
    config.log_severity_level = 3
    if saved:
        config.optimized_model_filepath = saved
    return ort.InferenceSession(model, config, providers=["CPUExecutionProvider"])


def _converted(model: Any, opset: int) -> Any:
    """The model in a newer opset. The converter forgets that a Resize of opset 10 and an Upsample count from the
    corners of the pixels, and that they take the nearest one below (above where they shrink)."""
    from onnx import helper, numpy_helper, version_converter

    have = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    old = [n for n in model.graph.node if n.op_type in ("Resize", "Upsample") and not n.domain and have < 11]
    constants = {i.name: i for i in model.graph.initializer}
    constants |= {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.t.dims
    }
    shrinks = {
        n.output[0]: bool((numpy_helper.to_array(constants[n.input[1]]) < 1).any())
        for n in old
        if len(n.input) > 1 and n.input[1] in constants
    }
    names = {n.output[0] for n in old}
    model = version_converter.convert_version(model, opset)
    for node in model.graph.node:
        if node.op_type == "Resize" and node.output[0] in names:
            nearest = "ceil" if shrinks.get(node.output[0]) else "floor"
            said = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest}
            kept = [a for a in node.attribute if a.name not in said]
            del node.attribute[:]
            node.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in said.items())])
    return model


def _without_attention(model: Any) -> Any:
    """Attention of opset 23 as what it consists of. The inliner asks for the type of every operand."""
    from onnx import helper, inliner, shape_inference

    known = {i.name for i in model.graph.input}
    for constant in model.graph.initializer:
        if constant.name not in known:
            info = helper.make_tensor_value_info(constant.name, constant.data_type, list(constant.dims))
            model.graph.value_info.append(info)
    model = shape_inference.infer_shapes(model)
    return inliner.inline_selected_functions(model, [("", "Attention")], inline_schema_functions=True)


def simplify(options: Any, arrays: Arrays) -> Arrays:
    """The model in an opset that the runtime quantizes, constants folded, batch norms folded, with the shapes of every
    value."""
    import onnx
    from onnx import shape_inference, version_converter

    model = onnx.load_from_string(arrays["model"].tobytes())
    have = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if have < options["opset"]:
        model = _converted(model, options["opset"])
    elif have > NEWEST:
        with contextlib.suppress(RuntimeError):  # what is newer than that: the runtime says what it lacks
            model = version_converter.convert_version(model, NEWEST)
    if any(n.op_type == "Attention" and not n.domain for n in model.graph.node):
        model = _without_attention(model)
    path = Path(options["folder"]) / "simplified.onnx"
    for _ in range(2):  # what the first pass spells out of functions, the second folds
        _session(model.SerializeToString(), False, str(path))
        model = onnx.load(str(path))
        spelled = any("_inlfunc_" in n for node in model.graph.node for n in node.output)
        if not spelled and not any(n.op_type in ("Cast", "Shape") for n in model.graph.node):
            break
    model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return {"model": np.frombuffer(model.SerializeToString(), np.uint8)}


def upgrade(options: Any, arrays: Arrays) -> Arrays:
    """The same model in a newer opset."""
    import onnx

    model = _converted(onnx.load_from_string(arrays["model"].tobytes()), options["opset"])
    return {"model": np.frombuffer(model.SerializeToString(), np.uint8)}


def samples(options: Any, arrays: Arrays) -> Arrays:
    """Keeps samples [n, ...] of every input, in the order of the model's inputs."""
    STATE["samples"] = [arrays[f"in{i}"] for i in range(len(arrays) - 1)]
    return {}


def opened(options: Any, arrays: Arrays) -> Arrays:
    """Keeps a model; the reply is its number."""
    STATE["models"].append(_session(arrays["model"].tobytes(), options["exact"]))
    return {"number": np.array(len(STATE["models"]) - 1)}


def close(options: Any, arrays: Arrays) -> Arrays:
    """Lets a model go."""
    STATE["models"][options["number"]] = None
    return {}


def _runs(options: Any, number: int, names: list[str]) -> Any:
    """The values of those names, sample by sample."""
    session = STATE["models"][number]
    inputs = [i.name for i in session.get_inputs()]
    types = [_TYPES.get(i.type, np.float32) for i in session.get_inputs()]
    for n in range(options["begin"], options["end"]):
        given = zip(inputs, types, STATE["samples"], strict=True)
        # a sample of shape () would be a NumPy number, which the runtime does not take
        yield session.run(names, {k: np.asarray(column[n]).astype(t, copy=False) for k, t, column in given})


def outputs(options: Any, arrays: Arrays) -> Arrays:
    """out0.. of the named values, samples in front."""
    found = list(_runs(options, options["number"], options["names"]))
    return {f"out{i}": np.stack(column) for i, column in enumerate(zip(*found, strict=True))}


def extents(options: Any, arrays: Arrays) -> Arrays:
    """[names, 2]: the least and the largest value of each, NaN where one is not finite."""
    names = options["names"]
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for values in _runs(options, options["number"], names):
        for i, v in enumerate(values):
            if v.size:
                low[i], high[i] = np.minimum(low[i], v.min()), np.maximum(high[i], v.max())  # NaN stays
    return {"extents": np.stack([low, high], 1)}


def histograms(options: Any, arrays: Arrays) -> Arrays:
    """[names, bins] counts between the extents [names, 2] that are given."""
    names, reach = options["names"], arrays["extents"]
    counts = np.zeros((len(names), options["bins"]), np.int64)
    for values in _runs(options, options["number"], names):
        for i, v in enumerate(values):
            low, high = reach[i]
            counts[i] += np.histogram(v, options["bins"], (low, high if high > low else low + 1.0))[0]
    return {"counts": counts}


def errors(options: Any, arrays: Arrays) -> Arrays:
    """[names, 2]: sums of squares of each value of the first model, and of its difference to the second's."""
    sums = np.zeros((len(options["names"]), 2))
    first = _runs(options, options["number"], options["names"])
    second = _runs(options, options["other"], options["other_names"])
    for a, b in zip(first, second, strict=True):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            x = x.astype(np.float64)
            sums[i] += (x**2).sum(), ((x - y) ** 2).sum()
    return {"sums": sums}


def moments(options: Any, arrays: Arrays) -> Arrays:
    """gram{i} [groups, taps, taps] and total{i} [groups, taps]: sums over the patches that a layer multiplies by its
    weights; counts [layers] of them.

    specs: kind "conv" (kernel, strides, dilations, pads, groups; x is NCHW) or "dense" (x is [..., taps]).
    """
    specs = options["specs"]
    grams: list[Any] = [None] * len(specs)
    totals: list[Any] = [None] * len(specs)
    counts = np.zeros(len(specs))
    for values in _runs(options, options["number"], [s["input"] for s in specs]):
        for i, (spec, x) in enumerate(zip(specs, values, strict=True)):
            p = patches(x, spec)  # [groups, columns, taps]
            g, t = p.transpose(0, 2, 1) @ p, p.sum(1)
            grams[i], totals[i] = (g, t) if grams[i] is None else (grams[i] + g, totals[i] + t)
            counts[i] += p.shape[1]
    reply: Arrays = {f"gram{i}": g for i, g in enumerate(grams)} | {f"total{i}": t for i, t in enumerate(totals)}
    return reply | {"counts": counts}


def patches(x: Any, spec: Any) -> Any:
    """float64 [groups, columns, taps]; taps in the order of the weights [oc, ic / groups, kh, kw]."""
    if spec["kind"] == "dense":
        flat = x.reshape(1, -1, x.shape[-1])
        return flat[:, _chosen(flat.shape[1])].astype(np.float64)
    kh, kw = spec["kernel"]
    (sh, sw), (dh, dw), (top, left, bottom, right) = spec["strides"], spec["dilations"], spec["pads"]
    padded = np.pad(x[0], ((0, 0), (top, bottom), (left, right)))
    c, h, w = padded.shape
    oh, ow = (h - (kh - 1) * dh - 1) // sh + 1, (w - (kw - 1) * dw - 1) // sw + 1
    at = _chosen(oh * ow)
    y, xx = at // ow * sh, at % ow * sw
    rows = y[:, None, None] + np.arange(kh)[None, :, None] * dh
    columns = xx[:, None, None] + np.arange(kw)[None, None, :] * dw
    found = padded[:, rows, columns]  # [c, columns, kh, kw]
    groups = spec["groups"]
    found = found.reshape(groups, c // groups, len(at), kh * kw).transpose(0, 2, 1, 3)
    return found.reshape(groups, len(at), -1).astype(np.float64)


def _chosen(count: int) -> Any:
    return np.arange(count) if count <= COLUMNS else STATE["columns"].choice(count, COLUMNS, replace=False)


_ALL = (simplify, upgrade, samples, opened, close, outputs, extents, histograms, errors, moments)
ACTIONS = {f.__name__: f for f in _ALL}


def answer(arrays: Arrays) -> Arrays:
    """What the action makes of the arrays."""
    options = json.loads(arrays["options"].tobytes())
    try:
        return ACTIONS[options["action"]](options, arrays)
    except Exception as error:  # whatever an outside runtime raises is the answer
        return {"error": np.frombuffer(f"{type(error).__name__}: {error}".encode(), np.uint8)}
