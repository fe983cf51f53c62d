"""Float .tflite files of several operators, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from float_files import operator_of

_TYPES = {"float32": 0, "int32": 2}


class TfliteNet:
    """A float file under construction, input "x"; every method returns the index of the tensor it adds."""

    def __init__(self, shape: Sequence[int], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.graph.tensors, self.graph.operators = [], []
        self.x = self._tensor("x", shape, np.dtype(np.float32), 0)

    def _tensor(self, name: str, shape: Sequence[int], dtype: np.dtype[Any], buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _TYPES[str(dtype)], buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def const(self, data: Any, dtype: Any = np.float32) -> int:
        array, buffer = np.asarray(data, dtype), schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return self._tensor(f"c{len(self.graph.tensors)}", array.shape, array.dtype, len(self.model.buffers) - 1)

    def ints(self, *values: int) -> int:
        return self.const(values, np.int32)

    def op(self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: str = "", **fields: Any) -> int:
        code, operator = operator_of(kind, options, fields)
        out = self._tensor(f"v{len(self.graph.tensors)}", shape, np.dtype(np.float32), 0)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes), list(inputs), [out]
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)
        return out

    def shape(self, value: int) -> list[int]:
        return list(self.graph.tensors[value].shape)

    def binary(self, kind: str, a: int, b: int) -> int:
        """ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM with broadcasting."""
        shape = np.broadcast_shapes(tuple(self.shape(a)), tuple(self.shape(b)))
        options = {"SQUARED_DIFFERENCE": "SquaredDifferenceOptions", "MAXIMUM": "", "MINIMUM": ""}
        return self.op(kind, [a, b], shape, options.get(kind, f"{kind.title()}Options"))

    def unary(self, kind: str, x: int) -> int:
        return self.op(kind, [x], self.shape(x))

    def mean(self, x: int, *axes: int, kind: str = "MEAN") -> int:
        rank = len(self.shape(x))
        shape = [1 if i in [a % rank for a in axes] else n for i, n in enumerate(self.shape(x))]
        return self.op(kind, [x, self.ints(*axes)], shape, "ReducerOptions", keepDims=True)

    def dense(self, x: int, outputs: int) -> int:
        inputs = self.shape(x)[-1]
        w = self.const(self.rng.normal(0, inputs**-0.5, (outputs, inputs)))
        bias, shape = self.const(self.rng.normal(0, 0.1, outputs)), [*self.shape(x)[:-1], outputs]
        return self.op("FULLY_CONNECTED", [x, w, bias], shape, "FullyConnectedOptions", keepNumDims=True)

    def conv(self, x: int, channels: int) -> int:
        """1x1."""
        inputs = self.shape(x)[-1]
        w = self.const(self.rng.normal(0, inputs**-0.5, (channels, 1, 1, inputs)))
        ends, shape = [x, w, self.const(self.rng.normal(0, 0.1, channels))], [*self.shape(x)[:-1], channels]
        steps = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
        return self.op("CONV_2D", ends, shape, "Conv2DOptions", **steps)

    def turned(self, x: int, *perm: int) -> int:
        return self.op("TRANSPOSE", [x, self.ints(*perm)], [self.shape(x)[p] for p in perm], "TransposeOptions")

    def shaped(self, x: int, *shape: int) -> int:
        return self.op("RESHAPE", [x, self.ints(*shape)], shape, "ReshapeOptions", newShape=list(shape))

    def done(self, output: int) -> bytes:
        self.graph.inputs, self.graph.outputs, self.model.subgraphs = [self.x], [output], [self.graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
