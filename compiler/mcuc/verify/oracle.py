"""Outside runtimes as oracles, each in a child process with a time and memory limit (they crash on hostile files)."""

from __future__ import annotations

import atexit
import io
import json
import threading
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.verify.child import Child

MEMORY_BYTES = 8 << 30  # address space; the runtimes reserve far more than they touch
_PACKAGES = {"tflite_micro": "tflite-micro", "litert_reference": "ai-edge-litert", "onnxruntime": "onnxruntime"}
_WORKER = Path(__file__).with_name("_oracle_worker.py")


_workers: dict[str, Child] = {}  # one live child per runtime: importing one takes longer than most calls
_lock = threading.Lock()


@atexit.register
def close() -> None:
    """Ends the child processes; the next call starts new ones."""
    for worker in _workers.values():
        worker.close()
    _workers.clear()


def tflite_micro(
    model: bytes, inputs: Sequence[Sequence[Array]], *, keep_state: bool = False, seconds: float | None = None
) -> list[list[Array]]:
    """What TFLite Micro (PyPI tflite-micro) computes.

    inputs[sample][input]: arrays of the model's type, of any shape with the right number of elements.
    keep_state: variables keep their values from sample to sample. seconds: limit of the whole call, by default
    60 and 20 more per sample. Returns outputs[sample][output].
    Raises McucError: oracle-missing, oracle-failed, oracle-crashed, oracle-timeout.
    """
    return _run("tflite_micro", model, inputs, {"keep_state": keep_state}, seconds)


def litert_reference(
    model: bytes, inputs: Sequence[Sequence[Array]], *, seconds: float | None = None
) -> list[list[Array]]:
    """What the reference kernels of LiteRT compute (the oracle of uint8 models); arguments as tflite_micro."""
    return _run("litert_reference", model, inputs, {}, seconds)


def onnxruntime(model: bytes, inputs: Sequence[Sequence[Array]], *, seconds: float | None = None) -> list[list[Array]]:
    """What ONNX Runtime's CPU provider computes: int8 QDQ allowed, extended optimisations; arguments as tflite_micro.

    Arrays must have the model's shapes.
    """
    return _run("onnxruntime", model, inputs, {}, seconds)


def version(kind: str) -> str:
    """ "tflite-micro 0.1": the package and version behind an oracle, with the CPU's vector flags for ONNX Runtime."""
    package = _PACKAGES[kind]
    try:
        found = f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} not installed"
    if kind != "onnxruntime":
        return found
    return f"{found} cpu[{' '.join(_vector_flags())}]"


def _vector_flags() -> list[str]:
    """The instruction sets on which ONNX Runtime's choice of kernels depends."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return ["unknown"]
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return [f for f in wanted if f in flags]


def _run(
    kind: str, model: bytes, inputs: Sequence[Sequence[Array]], options: Mapping[str, Any], seconds: float | None
) -> list[list[Array]]:
    samples = [list(s) for s in inputs]
    if not samples:
        return []
    limit = 60.0 + 20.0 * len(samples) if seconds is None else seconds
    blob = io.BytesIO()
    arrays: dict[str, Any] = {
        "model": np.frombuffer(model, np.uint8),
        "options": np.frombuffer(json.dumps(options).encode(), np.uint8),
    }
    for i, column in enumerate(zip(*samples, strict=True)):
        arrays[f"in{i}"] = np.stack([np.asarray(a).reshape(np.shape(column[0])) for a in column])
    np.savez(blob, **arrays)
    with _lock:
        reply = _ask(kind, blob.getvalue(), limit)
    with np.load(io.BytesIO(reply), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    package = _PACKAGES[kind]
    if "missing" in arrays:
        raise McucError(
            "oracle-missing",
            f"{package} is not installed ({arrays['missing'].tobytes().decode()})",
            try_this=f"pip install {package}",
            where=f"oracle {package}",
        )
    if "error" in arrays:
        said = arrays["error"].tobytes().decode("utf-8", "replace")
        raise McucError(
            "oracle-failed",
            f"{package}: {said} ({_workers[kind].last_words()})",
            try_this="check that this runtime supports the model",
            where=f"oracle {package}",
        )
    return [[arrays[f"out{i}"][n] for i in range(len(arrays))] for n in range(len(samples))]


def _ask(kind: str, request: bytes, seconds: float) -> bytes:
    if kind not in _workers or not _workers[kind].usable():
        _workers[kind] = Child(_WORKER, MEMORY_BYTES, (kind,))
    worker = _workers[kind]
    try:
        return worker.exchange(request, seconds)
    except TimeoutError:
        code, found = "oracle-timeout", f"took longer than {seconds:g} s"
    except EOFError:
        code, found = "oracle-crashed", f"ended with status {worker.process.wait()}: {worker.last_words()}"
    except BaseException:  # an interrupt in mid-exchange leaves the pipes out of step
        worker.close()
        del _workers[kind]
        raise
    worker.close()
    del _workers[kind]
    raise McucError(
        code,
        f"{_PACKAGES[kind]} {found}",
        try_this="check the model file; the next call starts afresh",
        where=f"oracle {_PACKAGES[kind]}",
    )
