"""The child process of mcuc.verify.oracle: runs one outside runtime, imports nothing of mcuc. See _child_loop.py.

Request: "model" uint8[n], "options" JSON as uint8[n], "in0".. one array per input with the samples in front.
Reply: "out0".. likewise, or "error" as UTF-8 bytes.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

ARENA_BYTES = (16 << 20, 256 << 20)  # TFLite Micro needs the arena up front; the second is for large models


def tflite_micro(model: bytes, inputs: list[Any], options: dict[str, Any]) -> list[list[Any]]:
    from tflite_micro import runtime

    table = runtime.convert_bytearray_to_object(bytearray(model)).subgraphs[0]
    interpreter = None
    for arena in ARENA_BYTES:
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
            break
        except RuntimeError:
            if arena == ARENA_BYTES[-1]:
                raise
    assert interpreter is not None
    results: list[list[Any]] = []
    for sample in zip(*inputs, strict=True):
        if results and not options["keep_state"]:
            interpreter.reset()
        for i, array in enumerate(sample):
            wanted = interpreter.get_input_details(i)
            interpreter.set_input(np.ascontiguousarray(array).reshape(wanted["shape"]), i)
        interpreter.invoke()
        results.append([np.array(interpreter.get_output(i)) for i in range(len(table.outputs))])
    return results


def litert_reference(model: bytes, inputs: list[Any], options: dict[str, Any]) -> list[list[Any]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    results: list[list[Any]] = []
    for sample in zip(*inputs, strict=True):
        for detail, array in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(array).reshape(detail["shape"]))
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]).copy() for d in interpreter.get_output_details()])
    return results


def onnxruntime(model: bytes, inputs: list[Any], options: dict[str, Any]) -> list[list[Any]]:
    import onnxruntime as ort

    config = ort.SessionOptions()
    config.add_session_config_entry("session.qdqisint8allowed", "1")
    config.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    config.intra_op_num_threads = config.inter_op_num_threads = 1
    config.log_severity_level = 3
    session = ort.InferenceSession(model, config, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    # a sample of shape () would be a NumPy number, which the runtime does not take
    samples = [[np.asarray(a) for a in sample] for sample in zip(*inputs, strict=True)]
    return [session.run(None, dict(zip(names, sample, strict=True))) for sample in samples]


RUNTIMES = {"tflite_micro": tflite_micro, "litert_reference": litert_reference, "onnxruntime": onnxruntime}


def answer(arrays: dict[str, Any], kind: str) -> dict[str, Any]:
    """What the runtime of that name computes."""
    inputs = [arrays[f"in{i}"] for i in range(len(arrays) - 2)]
    try:
        results = RUNTIMES[kind](arrays["model"].tobytes(), inputs, json.loads(arrays["options"].tobytes()))
    except ImportError as error:
        return {"missing": np.frombuffer(str(error).encode(), np.uint8)}
    except Exception as error:  # whatever an outside runtime raises is the answer
        return {"error": np.frombuffer(f"{type(error).__name__}: {error}".encode(), np.uint8)}
    return {f"out{i}": np.stack(parts) for i, parts in enumerate(zip(*results, strict=True))}
