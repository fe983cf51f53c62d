"""mcuc build end to end: a small data set, a small effort, the whole road; also killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL

import numpy as np
import pytest

pytest.importorskip("torch", reason="the search needs torch")

from mcuc import api, ir, passes
from mcuc.cli import main
from mcuc.data.npz import read_arrays, write_npz
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.importers import load
from mcuc.quantize.qdq import REAL
from mcuc.request import Request
from mcuc.search import build as road
from mcuc.search import cost
from mcuc.search.build import REUSED, BuildRequest, Built, as_int8, build, mirrors
from mcuc.search.effort import EFFORTS
from mcuc.search.evolution import Plan
from mcuc.verify import oracle

TINY = replace(
    EFFORTS["quick"], width=0.25, supernet_work=4e8, final_work=8e8, tuning_work=2e8, plan=Plan(3, 2, 1)
)
KILLED_AT = 3  # the final training's checkpoint that a killed build does not finish writing
BUILD_IT = """
import os, signal, sys
from dataclasses import replace
from mcuc.cli import main
from mcuc.search import cost, state
from mcuc.search.effort import EFFORTS
from mcuc.search.evolution import Plan
EFFORTS["quick"] = {effort!r}
cost.WARM_CANDIDATES = 2
saved, put = 0, os.replace
def kill(part, path):
    global saved
    saved += str(path).endswith("training.npz")
    if saved == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
    put(part, path)
state.os.replace = kill
sys.argv = ["mcuc", *sys.argv[1:]]
main()
"""


@dataclass(frozen=True, eq=False)
class Place:
    """A finished build. images, home, out: the data file, its cache folder and its output folder."""

    images: Path
    home: Path
    out: Path
    built: Built
    stages: tuple[str, ...]


def write_images(path: Path) -> None:
    """Three classes of 16x16: stripes along one side, along the other, and none."""
    rng = np.random.default_rng(0)
    y = np.arange(260) % 3
    wave = np.sin(np.arange(16) * 1.3 + rng.uniform(0, 6, (260, 1)))
    kinds = np.stack([wave[:, :, None] + np.zeros((1, 1, 16)), wave[:, None, :] + np.zeros((1, 16, 1)),
                      np.zeros((260, 16, 16))])  # fmt: skip
    x = np.clip(128 + 60 * kinds[y, np.arange(260)] + rng.normal(0, 15, (260, 16, 16)), 0, 255).astype(np.uint8)
    write_npz(path, {"x": x[:200], "y": y[:200], "x_test": x[200:], "y_test": y[200:]})


@pytest.fixture(scope="module")
def tiny() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EFFORTS, "quick", TINY)
        patch.setattr(cost, "WARM_CANDIDATES", 2)
        yield patch


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: pytest.MonkeyPatch) -> Place:
    folder = tmp_path_factory.mktemp("build")
    images, home, out = folder / "images.npz", folder / "cache", folder / "out"
    write_images(images)
    home.mkdir()
    tiny.setenv("XDG_CACHE_HOME", str(home))
    stages: dict[str, None] = {}
    built = build(BuildRequest(Request(), data=str(images)), out, lambda name, done, total: stages.setdefault(name))
    return Place(images, home, out, built, tuple(stages))


def test_the_folder_holds_model_code_and_report(done: Place) -> None:
    names = {path.name for path in done.out.iterdir()}
    assert {"model.tflite", "model.onnx", "model.c", "model.h", "model_weights.c", "firmware.elf"} <= names
    report = json.loads((done.out / "report.json").read_text())
    assert report["accuracy"]["samples"] == 60
    assert report["accuracy"]["int8"] > 0.6, "three classes: chance is a third"
    assert [point["chosen"] for point in report["pareto"]].count(True) == 1
    (chosen,) = [point for point in report["pareto"] if point["chosen"]]
    assert chosen["name"] == done.built.search.candidate.key and chosen["latency_ms"] > 0
    notes = "\n".join(report["notes"])
    assert ".tflite in LiteRT" in notes and ".onnx in ONNX Runtime" in notes and chosen["name"] in notes
    assert report["verify"]["bit_exact"] is True and report["verify"]["host"] > 0 and report["verify"]["emulated"] > 0
    assert {"supernet", "evolution", "training", "exporting"} <= set(done.stages) and REUSED not in done.stages


def test_the_exported_tflite_is_the_network_that_was_compiled(done: Place, tmp_path: Path) -> None:
    again = load(done.out / "model.tflite")
    ours = ir.text(passes.optimize(done.built.int8.made.graph)).replace(REAL, "")  # files name ends as models do
    assert ir.text(passes.optimize(again)) == ours
    compiled = api.compile(done.out / "model.tflite", out=tmp_path / "again")
    side = done.built.search.candidate.resolution
    rng = np.random.default_rng(1)
    samples = [[as_int8(x)] for x in rng.integers(0, 256, (16, 1, side, side, 1), np.uint8)]
    answers = [
        host.run(host.build(c.emitted, c.graph, tmp_path / name), samples).outputs[0].tobytes()
        for name, c in (("first", done.built.compiled), ("second", compiled))
    ]
    assert answers[0] == answers[1] and len(set(answers[0])) > 1


def test_the_onnx_runtime_is_compared_without_clipping(done: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = done.built.int8.made.graph
    side = done.built.search.candidate.resolution
    x = np.zeros((2, side, side, 1), np.int8)
    tflite, onnx = (done.out / "model.tflite").read_bytes(), (done.out / "model.onnx").read_bytes()
    quant = graph.tensors[graph.outputs[0]].quant
    assert quant is not None
    real = oracle.litert_reference(tflite, [[s[None]] for s in x])
    wild = []
    for (answer,) in real:  # the reference's own answers, but a saturated element goes beyond int8
        steps = answer.reshape(1, -1).astype(np.float64) - quant.zero_point[0]
        steps[0, int(steps.argmax())] = 1000
        wild.append([steps * quant.scale[0]])
    monkeypatch.setattr(oracle, "onnxruntime", lambda model, inputs: wild)
    outs = road._onnxruntime(graph, onnx, x)
    assert (outs.max(axis=1) == 1000 + quant.zero_point[0]).all() and outs.max() > 127


def test_a_second_run_says_that_it_reuses_and_ends_the_same(done: Place, tmp_path: Path) -> None:
    stages: list[str] = []
    request = BuildRequest(Request(), data=str(done.images))
    build(request, tmp_path / "out", lambda name, *_: stages.append(name))
    assert REUSED in stages and "training" not in stages and "supernet" not in stages
    for name in ("model.tflite", "model.onnx", "model.c", "report.json"):
        assert (tmp_path / "out" / name).read_bytes() == (done.out / name).read_bytes(), name


def test_changed_rules_begin_a_new_search(done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def stop(*args: object, cost_key: str, **others: object) -> None:
        keys.append(cost_key)
        raise McucError("stop", "far enough", where="here", try_this="nothing")

    monkeypatch.setattr(road, "run_search", stop)
    for rules in (cost.rules(), cost.rules(), "another kernel"):
        monkeypatch.setattr(road, "rules", lambda rules=rules: rules)
        with pytest.raises(McucError, match="far enough"):
            build(BuildRequest(Request(), data=str(done.images)), tmp_path / "out", api.no_bar)
    assert keys[0] == keys[1] != keys[2]


def test_rules_cover_kernels_and_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cost.rules.__wrapped__()
    read = Path.read_bytes

    def edited(path: Path) -> bytes:
        return read(path) + (b" " if path.name == "depthwise.c.j2" else b"")

    monkeypatch.setattr(Path, "read_bytes", edited)
    assert cost.rules.__wrapped__() != here
    monkeypatch.setattr(Path, "read_bytes", read)
    assert cost.rules.__wrapped__() == here
    monkeypatch.setattr(cost.emulated, "rules", lambda: "another cycle model")
    assert cost.rules.__wrapped__() != here


@pytest.mark.slow
def test_limits_hold(done: Place, tmp_path: Path) -> None:
    """A latency limit below what most candidates take: the winner, the front and the firmware stay below it."""
    points = done.built.compiled.report.pareto
    sram = done.built.compiled.report.sram.total
    latency = min(p.latency_ms for p in points) * 1.3
    request = BuildRequest(Request(budget=sram + 512), latency_ms=latency, data=str(done.images))
    built = build(request, tmp_path / "out", api.no_bar)
    report = built.compiled.report
    assert report.sram.total <= report.sram.budget == sram + 512
    assert report.latency_ms <= latency and built.search.cost.latency_ms <= latency
    assert all(p.latency_ms <= latency and p.sram <= sram + 512 for p in report.pareto)


@pytest.mark.parametrize("limits", [{"budget": 1500}, {"latency_ms": 0.001}], ids=["sram", "latency"])
def test_limits_that_nothing_meets_are_refused(done: Place, tmp_path: Path, limits: dict[str, float]) -> None:
    with pytest.raises(McucError) as caught:
        api.build(data=str(done.images), out=tmp_path / "out", **limits)  # type: ignore[arg-type]
    assert caught.value.try_this and not (tmp_path / "out").exists()


def test_mirrors_only_what_is_known_to_bear_it() -> None:
    bundled, named, own = (BuildRequest(Request(), data=d) for d in (None, "fashion-mnist", "photos/"))
    assert mirrors(bundled) and mirrors(named) and not mirrors(own)
    assert mirrors(replace(own, flip=True)) and not mirrors(replace(bundled, flip=False))


def test_a_killed_build_ends_with_the_same_model(done: Place, tmp_path: Path) -> None:
    """SIGKILL while the final training writes a checkpoint; the next run goes on, to the bytes of one never killed."""
    home = tmp_path / "cache"
    home.mkdir()
    shutil.copytree(done.home / "mcuc" / "layers", home / "mcuc" / "layers")

    def run(kill: int) -> subprocess.CompletedProcess[str]:
        script = BUILD_IT.format(effort=TINY, kill=kill).replace("Effort(", "type(EFFORTS['quick'])(")
        command = ["build", "--data", str(done.images), "-v", "-o", str(tmp_path / "out")]
        return subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=False,
                              env={**os.environ, "XDG_CACHE_HOME": str(home)}, timeout=300)  # fmt: skip

    killed = run(KILLED_AT)
    assert killed.returncode == -SIGKILL and not (tmp_path / "out").exists(), killed.stderr
    (state,) = home.rglob("training.npz")
    assert len(read_arrays(state)["losses"]) == KILLED_AT - 1
    assert state.with_name("training.npz.part").exists()
    resumed = run(0)
    assert resumed.returncode == 0, resumed.stderr
    assert "supernet" not in resumed.stderr and "training" in resumed.stderr
    whole = len(read_arrays(state)["losses"])
    assert whole > KILLED_AT
    for name in ("model.tflite", "model.onnx", "model.c", "report.json"):
        assert (tmp_path / "out" / name).read_bytes() == (done.out / name).read_bytes(), name


@pytest.mark.parametrize(("flags", "wanted"), [((), None), (("--flip",), True), (("--no-flip",), False)])
def test_the_command_hands_flip_over(
    flags: tuple[str, ...], wanted: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[BuildRequest] = []

    def search(request: BuildRequest, *others: object) -> None:
        asked.append(request)
        raise McucError("stop", "far enough", where="here", try_this="nothing")

    monkeypatch.setattr(road, "build", search)
    monkeypatch.setattr(sys, "argv", ["mcuc", "build", *flags])
    with pytest.raises(SystemExit):
        sys.exit(main())
    assert [request.flip for request in asked] == [wanted]
