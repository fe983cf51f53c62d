"""ONNX Runtime in a child process over calibration samples: simplifies models, runs them, sums up their values."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.verify.child import Child

MEMORY_BYTES = 12 << 30  # address space
SECONDS = 120.0  # of one request; samples are sent on in blocks
BLOCK = 16
BINS = 2048
_WORKER = Path(__file__).with_name("_ort_worker.py")


@dataclass(frozen=True)
class Opened:
    """A model that the child holds."""

    number: int


class Runtime:
    """The child, a context manager. Samples are given once; models are opened and asked about.

    Every method raises McucError: runtime-failed (the model does not run), runtime-crashed, runtime-timeout.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0
        self._child = Child(_WORKER, MEMORY_BYTES)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def simplified(self, model: bytes, opset: int) -> bytes:
        """The model in that opset at least, constants and batch norms folded, every value's shape written down."""
        with tempfile.TemporaryDirectory(prefix="mcuc-") as folder:
            reply = self._ask("simplify", {"opset": opset, "folder": folder}, {"model": np.frombuffer(model, np.uint8)})
        return bytes(reply["model"].tobytes())

    def upgraded(self, model: bytes, opset: int) -> bytes:
        """The model in that opset, by ONNX's version converter."""
        reply = self._ask("upgrade", {"opset": opset}, {"model": np.frombuffer(model, np.uint8)})
        return bytes(reply["model"].tobytes())

    def set_samples(self, columns: Sequence[Array]) -> None:
        """Samples [n, ...] of each input, with the batch axis of one behind the first."""
        self._ask("samples", {}, {f"in{i}": c for i, c in enumerate(columns)})
        self.count = len(columns[0])

    def open(self, model: bytes, exact: bool = True) -> Opened:
        """exact: without optimisation, so that every value is there."""
        reply = self._ask("opened", {"exact": exact}, {"model": np.frombuffer(model, np.uint8)})
        return Opened(int(reply["number"]))

    def close(self, model: Opened) -> None:
        """Lets the model go."""
        self._ask("close", {"number": model.number}, {})

    def outputs(self, model: Opened, names: Sequence[str], count: int = 0) -> list[Array]:
        """The named values over the first `count` samples (0: all), samples in front."""
        parts = self._blocks("outputs", {"number": model.number, "names": list(names)}, {}, count)
        return [np.concatenate([p[f"out{i}"] for p in parts]) for i in range(len(names))]

    def extents(self, model: Opened, names: Sequence[str]) -> Array:
        """[names, 2]: least and largest value over all samples."""
        asked = {"number": model.number, "names": list(names)}
        parts = np.stack([p["extents"] for p in self._blocks("extents", asked, {})])
        return np.stack([parts[:, :, 0].min(0), parts[:, :, 1].max(0)], 1)

    def histograms(self, model: Opened, names: Sequence[str], extents: Array) -> Array:
        """[names, BINS] counts between the extents [names, 2]."""
        options = {"number": model.number, "names": list(names), "bins": BINS}
        return sum_of(p["counts"] for p in self._blocks("histograms", options, {"extents": extents}))

    def errors(
        self, model: Opened, names: Sequence[str], other: Opened, other_names: Sequence[str], count: int = 0
    ) -> Array:
        """[names, 2]: sums of squares of the values in `model`, and of their differences to those in `other`."""
        options = {
            "number": model.number,
            "names": list(names),
            "other": other.number,
            "other_names": list(other_names),
        }
        return sum_of(p["sums"] for p in self._blocks("errors", options, {}, count))

    def moments(self, model: Opened, specs: Sequence[Mapping[str, Any]], count: int) -> list[tuple[Array, Array]]:
        """For each layer E[p p^T] [groups, taps, taps] and E[p] [groups, taps] of the patches p that it multiplies by
        its weights; see _ort_worker.py for the specs."""
        options = {"number": model.number, "specs": list(specs)}
        parts = self._blocks("moments", options, {}, count)
        seen = sum_of(p["counts"] for p in parts)
        return [
            (sum_of(p[f"gram{i}"] for p in parts) / seen[i], sum_of(p[f"total{i}"] for p in parts) / seen[i])
            for i in range(len(specs))
        ]

    def _blocks(
        self, action: str, options: Mapping[str, Any], arrays: Mapping[str, Array], count: int = 0
    ) -> list[dict[str, Array]]:
        total = min(count or self.count, self.count)
        return [
            self._ask(action, {**options, "begin": begin, "end": min(begin + BLOCK, total)}, arrays)
            for begin in range(0, total, BLOCK)
        ]

    def _ask(self, action: str, options: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
        blob = io.BytesIO()
        text = np.frombuffer(json.dumps({"action": action, **options}).encode(), np.uint8)
        named: dict[str, Any] = {"options": text, **arrays}
        np.savez(blob, **named)
        try:
            reply = self._child.exchange(blob.getvalue(), SECONDS)
        except TimeoutError:
            raise self._failed("runtime-timeout", f"took longer than {SECONDS:g} s for {action}") from None
        except EOFError:
            raise self._failed("runtime-crashed", f"ended in {action}: {self._child.last_words()}") from None
        with np.load(io.BytesIO(reply), allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        if "error" in found:
            raise self._failed("runtime-failed", found["error"].tobytes().decode("utf-8", "replace"))
        return found

    def _failed(self, code: str, found: str) -> McucError:
        return McucError(
            code,
            f"ONNX Runtime: {found}",
            where=self.where,
            try_this="check that onnxruntime alone runs this model on these samples",
        )


def sum_of(parts: Any) -> Array:
    """The sum of arrays."""
    total = None
    for part in parts:
        total = part if total is None else total + part
    assert total is not None
    return np.asarray(total)
