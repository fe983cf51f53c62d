"""Damage to model files: of their bytes, and of their parsed tables (flatbuffers' object API, protobuf).

A mutation follows from a random generator alone. Each returns the new file, or None where the file has nothing for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from edits import pack, unpack

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], "bytes | None"]
EXTREMES = (-(1 << 31), -(1 << 16), -2, -1, 0, 1, 255, 1 << 16, (1 << 24) + 1, (1 << 31) - 1)
WIDE = (*EXTREMES, -(1 << 63), 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1)
SCALES = (0.0, -0.5, float("nan"), float("inf"), 1e-45, 3e38)
ESCAPES = ("../outside.bin", "/etc/passwd", "a/../../outside.bin", "", ".", "link.bin", "..\\outside.bin", "C:\\x",
           "a\0b", "weights.bin", "missing.bin", "/dev/zero", "file:///etc/passwd")  # fmt: skip


def pick(rng: Rng, of: Any) -> Any:
    return of[int(rng.integers(len(of)))]


# bytes


def bit_flips(raw: bytes, rng: Rng) -> bytes:
    data = bytearray(raw)
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def early_flips(raw: bytes, rng: Rng) -> bytes:
    """Near the ends, where headers and tables lie."""
    data, near = bytearray(raw), min(len(raw), 2048)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(near))
        data[at if rng.integers(2) else len(data) - 1 - at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def byte_run(raw: bytes, rng: Rng) -> bytes:
    at, size = int(rng.integers(len(raw))), int(rng.integers(1, 257))
    noise = rng.integers(0, 256, size).astype(np.uint8).tobytes()
    run = pick(rng, (b"\0" * size, b"\xff" * size, b"\x80" * size, noise))
    return raw[:at] + run[: len(raw) - at] + raw[at + size :]


def truncation(raw: bytes, rng: Rng) -> bytes:
    return raw[: int(rng.integers(len(raw)))]


def removed_or_repeated(raw: bytes, rng: Rng) -> bytes:
    at, size = int(rng.integers(len(raw))), int(rng.integers(1, 512))
    return raw[:at] + (raw[at + size :] if rng.integers(2) else raw[at : at + size] + raw[at:])


def extreme_word(raw: bytes, rng: Rng) -> bytes:
    """A word of 4 or 8 bytes, aligned as flatbuffers align it, becomes huge or negative."""
    size = int(pick(rng, (4, 8)))
    if len(raw) < 2 * size:
        return raw[:-1]
    at = int(rng.integers(len(raw) // size - 1)) * size
    word = int(pick(rng, EXTREMES if size == 4 else WIDE))
    return raw[:at] + word.to_bytes(size, "little", signed=True) + raw[at + size :]


BYTES: dict[str, Mutation] = {
    f.__name__: f for f in (bit_flips, early_flips, byte_run, truncation, removed_or_repeated, extreme_word)
}


# .tflite


def _tables(change: Callable[[Any, Rng], bool]) -> Mutation:
    def mutation(raw: bytes, rng: Rng) -> bytes | None:
        model = unpack(raw)
        if not change(model, rng):
            return None
        with contextlib.suppress(Exception):  # flatbuffers cannot write every value
            return pack(model)
        return None

    return mutation


def _tensor(model: Any, rng: Rng) -> Any:
    return pick(rng, model.subgraphs[0].tensors)


def _operator(model: Any, rng: Rng) -> Any:
    return pick(rng, model.subgraphs[0].operators)


def _entry(values: Any, rng: Rng, new: int) -> Any:
    found = [int(v) for v in (values if values is not None else [])] or [0]
    found[int(rng.integers(len(found)))] = new
    return found


def t_dimension(model: Any, rng: Rng) -> bool:
    tensor = _tensor(model, rng)
    tensor.shape = _entry(tensor.shape, rng, pick(rng, EXTREMES))
    return True


def t_rank(model: Any, rng: Rng) -> bool:
    _tensor(model, rng).shape = [int(pick(rng, (1, 2, 65536)))] * int(pick(rng, (0, 1, 7, 40, 5000)))
    return True


def t_type(model: Any, rng: Rng) -> bool:
    _tensor(model, rng).type = int(rng.integers(0, 24))
    return True


def t_buffer(model: Any, rng: Rng) -> bool:
    _tensor(model, rng).buffer = int(pick(rng, (0, 1, len(model.buffers) - 1, len(model.buffers), (1 << 32) - 1)))
    return True


def t_data(model: Any, rng: Rng) -> bool:
    buffer = pick(rng, model.buffers)
    size = 0 if buffer.data is None else len(buffer.data)
    buffer.data = rng.integers(0, 256, max(0, size + int(pick(rng, (-size, -1, 1, 4, 1000))))).astype(np.uint8)
    return True


def t_constant(model: Any, rng: Rng) -> bool:
    """Shapes, axes and paddings that the file computes with: an int32 constant gets extreme values."""
    found = [t for t in model.subgraphs[0].tensors if t.type == 2 and model.buffers[t.buffer].data is not None]
    if not found:
        return False
    buffer = model.buffers[pick(rng, found).buffer]
    words = np.frombuffer(bytes(bytearray(buffer.data)), np.uint8)
    words = words[: len(words) // 4 * 4].view(np.int32).copy()
    if not words.size:
        return False
    words[int(rng.integers(words.size))] = pick(rng, EXTREMES)
    buffer.data = words.view(np.uint8)
    return True


def t_index(model: Any, rng: Rng) -> bool:
    """An operator, or the graph, names a tensor that is none."""
    graph = model.subgraphs[0]
    holder = graph if rng.integers(4) == 0 else _operator(model, rng)
    side = pick(rng, ("inputs", "outputs"))
    count = len(graph.tensors)
    setattr(holder, side, _entry(getattr(holder, side), rng, int(pick(rng, (-2, -1, count, count + 1, *EXTREMES)))))
    return True


def t_other_index(model: Any, rng: Rng) -> bool:
    """An operator reads or writes another tensor than it should."""
    operator, side = _operator(model, rng), pick(rng, ("inputs", "outputs"))
    count = len(model.subgraphs[0].tensors)
    setattr(operator, side, _entry(getattr(operator, side), rng, int(rng.integers(count))))
    return True


def t_arity(model: Any, rng: Rng) -> bool:
    operator, side = _operator(model, rng), pick(rng, ("inputs", "outputs"))
    kept = [int(v) for v in getattr(operator, side)][: int(rng.integers(3))]
    setattr(operator, side, kept * int(pick(rng, (0, 1, 2, 300))))
    return True


def t_cycle(model: Any, rng: Rng) -> bool:
    operators = model.subgraphs[0].operators
    first, last = sorted(int(v) for v in rng.integers(len(operators), size=2))
    operators[first].inputs = _entry(operators[first].inputs, rng, int(operators[last].outputs[0]))
    return True


def t_opcode(model: Any, rng: Rng) -> bool:
    _operator(model, rng).opcodeIndex = int(pick(rng, (0, len(model.operatorCodes), (1 << 32) - 1)))
    return True


def t_builtin(model: Any, rng: Rng) -> bool:
    code = pick(rng, model.operatorCodes)
    code.builtinCode = int(pick(rng, (*EXTREMES[2:6], *range(0, 210, 3))))
    code.deprecatedBuiltinCode = max(-128, min(127, code.builtinCode))
    return True


def t_option(model: Any, rng: Rng) -> bool:
    """A number in an operator's options becomes huge or negative, or the options go."""
    operator = _operator(model, rng)
    held = vars(operator.builtinOptions) if operator.builtinOptions else {}
    fields = [k for k, v in held.items() if isinstance(v, int)]
    if not fields or rng.integers(8) == 0:
        operator.builtinOptions, operator.builtinOptionsType = None, int(rng.integers(0, 120))
        return True
    setattr(operator.builtinOptions, pick(rng, fields), int(pick(rng, EXTREMES)))
    return True


def t_quantization(model: Any, rng: Rng) -> bool:
    quant = _tensor(model, rng).quantization
    if quant is None:
        return False
    scale = [float(v) for v in (quant.scale if quant.scale is not None else [])]
    zero = [int(v) for v in (quant.zeroPoint if quant.zeroPoint is not None else [])]
    kind = int(rng.integers(5))
    if kind == 0 and scale:
        scale[int(rng.integers(len(scale)))] = pick(rng, SCALES)
    elif kind == 1:
        zero = _entry(zero, rng, pick(rng, WIDE[:10]))
    elif kind == 2:
        scale = scale * 2 + [0.1] if rng.integers(2) else []
    elif kind == 3:
        zero = zero * 3 + [1] if rng.integers(2) else []
    else:
        quant.quantizedDimension = int(pick(rng, EXTREMES))
    quant.scale, quant.zeroPoint = scale, zero
    return True


def t_names(model: Any, rng: Rng) -> bool:
    name = pick(rng, (_tensor(model, rng).name, b"", b"\xff\xfe", b"x" * 100_000, b"../../x", b"a\nb*/"))
    for _ in range(int(rng.integers(1, 4))):
        _tensor(model, rng).name = name
    return True


def t_dropped(model: Any, rng: Rng) -> bool:
    graph = model.subgraphs[0]
    holder, key = pick(rng, ((model, "subgraphs"), (model, "buffers"), (model, "operatorCodes"), (graph, "tensors"),
                             (graph, "operators"), (graph, "inputs"), (graph, "outputs")))  # fmt: skip
    found = list(getattr(holder, key)) if getattr(holder, key) is not None else []
    if found:
        found.pop(int(rng.integers(len(found))))
    setattr(holder, key, pick(rng, (None, [], found, found)))
    return True


def t_repeated(model: Any, rng: Rng) -> bool:
    """Operators run twice, and so write twice; or there are many graphs."""
    graph = model.subgraphs[0]
    if rng.integers(3) == 0:
        model.subgraphs = [graph] * int(pick(rng, (2, 30)))
    else:
        graph.operators = graph.operators + [_operator(model, rng)] * int(pick(rng, (1, 2, 500)))
    return True


def t_shuffled(model: Any, rng: Rng) -> bool:
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[i] for i in rng.permutation(len(graph.operators))]
    return True


TFLITE: dict[str, Mutation] = {
    f.__name__: _tables(f)
    for f in (t_dimension, t_rank, t_type, t_buffer, t_data, t_constant, t_index, t_other_index, t_arity, t_cycle,
              t_opcode, t_builtin, t_option, t_quantization, t_names, t_dropped, t_repeated, t_shuffled)
}


# .onnx


def _proto(change: Callable[[Any, Rng], bool]) -> Mutation:
    def mutation(raw: bytes, rng: Rng) -> bytes | None:
        model = onnx.ModelProto.FromString(raw)
        return bytes(model.SerializeToString()) if change(model, rng) else None

    return mutation


def _constant(model: Any, rng: Rng) -> Any:
    return pick(rng, model.graph.initializer)


def _node(model: Any, rng: Rng) -> Any:
    return pick(rng, model.graph.node)


def o_dims(model: Any, rng: Rng) -> bool:
    dims = _constant(model, rng).dims
    if dims and rng.integers(3):
        dims[int(rng.integers(len(dims)))] = pick(rng, WIDE)
    else:
        dims.extend([int(pick(rng, (1, 2, -1, 1 << 40)))] * int(pick(rng, (1, 6, 3000))))
    return True


def o_data(model: Any, rng: Rng) -> bool:
    constant = _constant(model, rng)
    constant.raw_data = pick(rng, (b"", constant.raw_data[:-1], constant.raw_data * 2, constant.raw_data + b"\0"))
    return True


def o_values(model: Any, rng: Rng) -> bool:
    """Constants full of what is no ordinary number: not-a-number, infinities, the largest integers."""
    constant = _constant(model, rng)
    constant.raw_data = pick(rng, (b"\xff", b"\x7f", b"\x80", b"\0")) * len(constant.raw_data)
    return bool(constant.raw_data)


def o_type(model: Any, rng: Rng) -> bool:
    kind = int(pick(rng, (*range(0, 24), -1, 1 << 30)))
    if rng.integers(2):
        _constant(model, rng).data_type = kind
    else:
        pick(rng, [*model.graph.input, *model.graph.output]).type.tensor_type.elem_type = kind
    return True


def o_shape(model: Any, rng: Rng) -> bool:
    shape = pick(rng, [*model.graph.input, *model.graph.output]).type.tensor_type.shape
    if shape.dim and rng.integers(4):
        pick(rng, shape.dim).dim_value = pick(rng, WIDE)
    else:
        del shape.dim[int(rng.integers(len(shape.dim) + 1)) :]
        for _ in range(int(pick(rng, (0, 1, 60)))):
            shape.dim.add().dim_value = 2
    return True


def o_wires(model: Any, rng: Rng) -> bool:
    """A node reads or writes another value: one of the file, one that is not there, or none."""
    node = _node(model, rng)
    names = [n for other in model.graph.node for n in (*other.input, *other.output)]
    side = pick(rng, (node.input, node.output))
    new = pick(rng, (pick(rng, names), pick(rng, names), "nowhere", ""))
    if len(side) and rng.integers(4):
        side[int(rng.integers(len(side)))] = new
    else:
        side.extend([new] * int(pick(rng, (1, 3, 400))))
    return True


def o_cycle(model: Any, rng: Rng) -> bool:
    first, last = sorted(int(v) for v in rng.integers(len(model.graph.node), size=2))
    node = model.graph.node[first]
    if not node.input:
        return False
    node.input[0] = model.graph.node[last].output[0]
    return True


def o_kind(model: Any, rng: Rng) -> bool:
    kinds = [n.op_type for n in model.graph.node]
    others = ("If", "Loop", "Scan", "", "Conv\0", "Resize", "Gather", "Where", "x" * 5000)
    _node(model, rng).op_type = pick(rng, (*kinds, *others))
    return True


def o_domain(model: Any, rng: Rng) -> bool:
    if rng.integers(2):
        _node(model, rng).domain = pick(rng, ("", "ai.onnx.ml", "com.microsoft", "evil.example"))
    else:
        pick(rng, model.opset_import).version = int(pick(rng, (*WIDE[2:], 7, 13, 99)))
    return True


def o_attribute(model: Any, rng: Rng) -> bool:
    found = [a for n in model.graph.node for a in n.attribute]
    if not found:
        return False
    a, kind = pick(rng, found), int(rng.integers(5))
    if kind == 0:
        a.i = pick(rng, WIDE)
    elif kind == 1 and a.ints:
        a.ints[int(rng.integers(len(a.ints)))] = pick(rng, WIDE)
    elif kind == 2:
        a.ints.extend([int(pick(rng, WIDE))] * int(pick(rng, (1, 9, 2000))))
    elif kind == 3:
        a.type = int(rng.integers(0, 15))
    else:
        a.f, a.s, a.name = pick(rng, SCALES), b"\xff\xfe", pick(rng, (a.name, a.name, "axis", ""))
    return True


def o_names(model: Any, rng: Rng) -> bool:
    """Constants, inputs and nodes of one name."""
    name = pick(rng, (_constant(model, rng).name, model.graph.input[0].name, model.graph.output[0].name, "", "a\nb*/",
                      "x" * 100_000))  # fmt: skip
    for _ in range(int(rng.integers(1, 3))):
        pick(rng, (_constant(model, rng), _node(model, rng), pick(rng, model.graph.input))).name = name
    return True


def o_repeated(model: Any, rng: Rng) -> bool:
    graph = model.graph
    field = pick(rng, (graph.initializer, graph.node, graph.input, graph.output))
    entry = type(field[0])()
    entry.CopyFrom(pick(rng, field))
    field.extend([entry] * int(pick(rng, (1, 2, 500))))
    return True


def o_dropped(model: Any, rng: Rng) -> bool:
    graph = model.graph
    field = pick(rng, (graph.initializer, graph.node, graph.input, graph.output, model.opset_import))
    if not field:
        return False
    del field[int(rng.integers(len(field)))]
    return True


def o_external(model: Any, rng: Rng) -> bool:
    """Data outside the file: beside it, elsewhere on the disk, at offsets and of sizes that it does not have."""
    constant = _constant(model, rng)
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": pick(rng, ESCAPES)}
    for key in ("offset", "length"):
        if rng.integers(2):
            entries[key] = str(pick(rng, (*WIDE, "x", "1e9", "")))
    if rng.integers(6) == 0:
        del entries["location"]
    for key, value in entries.items():
        constant.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
    return True


def o_nested(model: Any, rng: Rng) -> bool:
    """Graphs inside graphs, or a sparse constant."""
    node = _node(model, rng)
    if rng.integers(3) == 0:
        model.graph.sparse_initializer.add().dims.append(4)
        return True
    inner = node.attribute.add(name="body", type=5).g
    for _ in range(int(pick(rng, (1, 20, 80)))):
        inner = inner.node.add(op_type="If").attribute.add(name="then_branch", type=5).g
    return True


ONNX: dict[str, Mutation] = {
    f.__name__: _proto(f)
    for f in (o_dims, o_data, o_values, o_type, o_shape, o_wires, o_cycle, o_kind, o_domain, o_attribute, o_names,
              o_repeated, o_dropped, o_external, o_nested)
}


@dataclass(frozen=True)
class Seed:
    """A model file that is in order. converts: float and small, so that mutants are also quantized."""

    name: str
    suffix: str
    raw: bytes
    converts: bool = False


def mutated(seed: Seed, rng: Rng) -> tuple[str, bytes]:
    """A damaged file and what was done to it; one time in five two things."""
    raw, done = seed.raw, []
    for _ in range(2 if rng.integers(5) == 0 else 1):
        for _try in range(20):
            table = BYTES if rng.integers(3) == 0 else TFLITE if seed.suffix == ".tflite" else ONNX
            kind = pick(rng, sorted(table))
            new: bytes | None = None
            with contextlib.suppress(Exception):  # the second damage may find no tables to read
                new = table[kind](raw, rng)
            if new is not None and new != raw and len(new) <= 4 * len(seed.raw) + (1 << 20):
                raw = new
                done.append(kind)
                break
    return "+".join(done), raw
