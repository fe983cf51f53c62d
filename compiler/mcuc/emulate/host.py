"""The generated C as an executable of this machine, fed samples through a pipe."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcuc.emit.model import RUNTIME_HEADERS, Emitted
from mcuc.errors import McucError
from mcuc.ir import Array, Graph
from mcuc.toolchain import build_host_executable, runtime_folder


@dataclass(frozen=True)
class HostModel:
    """A built executable. layers: how many layer hashes follow each sample's outputs (0 without trace)."""

    executable: Path
    graph: Graph
    layers: int


@dataclass(frozen=True, eq=False)
class HostRun:
    """outputs: one array [samples, ...] per model output; hashes: uint32 [samples, layers] (FNV-1a of each layer)."""

    outputs: tuple[Array, ...]
    hashes: Array


def write_sources(emitted: Emitted, folder: Path) -> list[Path]:
    """The generated files and the runtime headers into folder; returns the C files to compile."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in emitted.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for header in RUNTIME_HEADERS:
        (folder / header).write_text((runtime_folder() / header).read_text(encoding="utf-8"), encoding="utf-8")
    return [folder / name for name in emitted.files if name.endswith(".c")]


def build(
    emitted: Emitted,
    graph: Graph,
    folder: Path,
    trace: bool = False,
    sanitize: bool = False,
    emulate_dsp: bool = False,
    extra_flags: Sequence[str] = (),
) -> HostModel:
    """Compile the generated C with its host test program in folder. McucError when the compiler refuses."""
    sources = write_sources(emitted, folder)
    main = folder / f"{emitted.name}_host_main.c"
    main.write_text(emitted.host_main, encoding="utf-8")
    flags = [*extra_flags, *(["-DMCUC_TRACE"] if trace else []), *(["-DMCUC_EMULATE_DSP"] if emulate_dsp else [])]
    exe = build_host_executable(
        [*sources, main], [folder], folder / f"{emitted.name}_host", sanitize=sanitize, extra_flags=flags
    )
    return HostModel(exe, graph, len(emitted.symbols) if trace else 0)


def run(model: HostModel, samples: Sequence[Sequence[Array]], inside: bool = False, timeout_s: float = 600) -> HostRun:
    """Every sample (one array per model input, of the input's element type) through the executable.

    inside: input and output lie in the arena, else in buffers of the caller's own. Raises McucError("host-run")
    when the program fails (a sanitizer finding included) or takes longer than timeout_s.
    """
    tensors = [model.graph.tensors[n] for n in model.graph.inputs]
    data = b"".join(
        np.ascontiguousarray(a, t.dtype.value).tobytes()
        for sample in samples
        for a, t in zip(sample, tensors, strict=True)
    )
    try:
        done = subprocess.run(
            [str(model.executable), *(["inside"] if inside else [])],
            input=data,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise McucError(
            "host-run",
            f"the model took longer than {timeout_s} s on the host",
            where=str(model.executable),
            try_this="verify with fewer samples",
        ) from error
    if done.returncode != 0:
        raise McucError(
            "host-run",
            f"the generated program ended with {done.returncode}: {done.stderr.decode('utf-8', 'replace')[:2000]}",
            where=str(model.executable),
            try_this="report this as a bug, with the model",
        )
    return _split(model, done.stdout, len(samples))


def _split(model: HostModel, data: bytes, samples: int) -> HostRun:
    outs = [model.graph.tensors[n] for n in model.graph.outputs]
    width = sum(t.bytes for t in outs) + 4 * model.layers
    if len(data) != samples * width:
        raise McucError(
            "host-run",
            f"{len(data)} bytes came back, {samples * width} were expected",
            where=str(model.executable),
            try_this="report this as a bug, with the model",
        )
    table = np.frombuffer(data, np.uint8).reshape(samples, width)
    found, at = [], 0
    for t in outs:
        part = np.ascontiguousarray(table[:, at : at + t.bytes])
        found.append(part.view(t.dtype.value).reshape(samples, *t.shape))
        at += t.bytes
    hashes = np.ascontiguousarray(table[:, at:]).view(np.uint32)
    return HostRun(tuple(found), hashes)
