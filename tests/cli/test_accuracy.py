"""Accuracy as a user meets it: every form of a float model on the same samples, and two builds side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from running import Run

from mcuc.accuracy.predictions import FILE, from_file
from mcuc.importers import load
from mcuc.ir import Array
from mcuc.verify import oracle
from mcuc.verify.samples import quantized

sys.path.insert(0, str(Path(__file__).parent.parent / "quantize"))
from float_networks import Net, residual, samples

SIZE, COUNT, WINDOWS = 8, 80, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional autoencoder with clips of two windows, and a classifier with float targets."""
    made = tmp_path_factory.mktemp("accuracy")
    net = Net((1, 2, SIZE, SIZE))
    hidden = net.node("Relu", net.conv("x", 6, 2))
    onnx.save(net.done(net.conv(hidden, 2, 6)), str(made / "rebuild.onnx"))
    x = samples(COUNT, (1, 2, SIZE, SIZE))
    scores = ((x - real(made / "rebuild.onnx", x)) ** 2).mean((1, 2, 3, 4)).reshape(-1, WINDOWS).mean(1)
    noisy = scores + np.random.default_rng(1).normal(0, scores.std() / 2, len(scores))
    y = (noisy > np.median(noisy)).astype(np.int64)
    np.savez(made / "clips.npz", x=x[:, 0], y=y.repeat(WINDOWS), group=np.arange(COUNT) // WINDOWS + 100)
    onnx.save(onnx.shape_inference.infer_shapes(residual()), str(made / "targets.onnx"))
    x = samples(60, (1, 3, 12, 12))
    wanted = real(made / "targets.onnx", x)[:, 0]
    np.savez(made / "targets.npz", x=x[:, 0], y=wanted + np.random.default_rng(2).normal(0, 0.002, wanted.shape))
    return made


def real(model: Path, x: Array) -> Array:
    """What ONNX Runtime computes for samples [n, 1, ...]."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: sample})[0] for sample in x])


def integers(model: Path, x: Array) -> Array:
    """What TFLite Micro computes with an int8 file for float samples [n, ...] in its order; real numbers."""
    graph = load(model)
    given = [[quantized(graph, graph.inputs[0], sample.reshape(graph.tensors[graph.inputs[0]].shape))] for sample in x]
    quant = graph.tensors[graph.outputs[0]].quant
    assert quant is not None
    outs = np.stack([out[0] for out in oracle.tflite_micro(model.read_bytes(), given)]).astype(np.float64)
    return (outs - quant.zero_point[0]) * quant.scale[0]


def columns(accuracy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in accuracy["columns"]}


def built(run: Run, folder: Path, name: str, data: str, *words: str) -> dict[str, Any]:
    given = folder / f"{name}.onnx", "--data", folder / f"{data}.npz", "--board", "mps2-an386", "--json"
    done = run("build", *given, *words)
    assert (done.code, done.err) == (0, "")
    report: dict[str, Any] = json.loads(done.out)
    return report


@pytest.mark.slow
def test_a_reconstruction_is_judged_by_the_area_over_its_groups(run: Run, folder: Path) -> None:
    report = built(run, folder, "rebuild", "clips", "-o", "out")
    accuracy = report["accuracy"]
    with np.load(folder / "clips.npz") as data:
        x, y, group = data["x"], data["y"], data["group"]
    kept = from_file(Path("out") / FILE)
    rows = np.flatnonzero(np.isin(group, kept.number))
    assert accuracy["metric"] == "auc" and accuracy["samples"] == len(kept.number) == len(rows) // WINDOWS == 30
    channels_last = x[rows].transpose(0, 2, 3, 1)
    wanted = {
        "float": ((x[rows] - real(folder / "rebuild.onnx", x[rows][:, None])[:, 0]) ** 2).mean((1, 2, 3)),
        "int8": ((channels_last - integers(Path("out/rebuild.tflite"), channels_last)[:, 0]) ** 2).mean((1, 2, 3)),
    }
    truth = y[rows].reshape(-1, WINDOWS)[:, 0] == 1
    assert np.array_equal(truth, kept.y) and kept.threshold == accuracy["threshold"]
    called = {}
    for name, windows in wanted.items():
        scores = windows.reshape(-1, WINDOWS).mean(1)
        assert kept.columns[name] == pytest.approx(scores, rel=1e-5)
        area = (scores[truth][:, None] > scores[~truth][None]).mean()
        assert accuracy[name] == pytest.approx(area, abs=1e-9) and 0.6 < area < 1
        called[name] = (scores > kept.threshold) == truth
    flips = kept.number[called["float"] & ~called["int8"]].tolist()
    assert accuracy["flips"] == flips and accuracy["negative_flips"] == len(flips)
    found = columns(accuracy)
    assert list(found) == ["float", "int8", ".onnx", ".tflite", "emulated"]
    assert "tflite-micro" in found[".tflite"]["runtime"] and "onnxruntime" in found[".onnx"]["runtime"]
    assert all(found[name]["differing"] == 0 for name in ("int8", ".tflite", "emulated"))
    assert found[".tflite"]["value"] == accuracy["int8"] and found["emulated"]["samples"] == 16
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Area under the ROC curve" in page and "30 groups of 60 samples" in page


@pytest.mark.slow
def test_targets_are_judged_by_their_error_and_builds_compared_by_it(run: Run, folder: Path) -> None:
    accuracy = built(run, folder, "targets", "targets", "-o", "old")["accuracy"]
    kept = from_file(Path("old") / FILE)
    with np.load(folder / "targets.npz") as data:
        x, y = data["x"][kept.number], data["y"][kept.number]
    gaps = real(folder / "targets.onnx", x[:, None])[:, 0] - y
    assert accuracy["metric"] == "error" and accuracy["negative_flips"] is None and accuracy["samples"] == 45
    assert accuracy["float"] == pytest.approx(np.abs(gaps).mean(), rel=1e-5)
    found = columns(accuracy)
    assert found["float"]["rmse"] == pytest.approx((gaps**2).mean() ** 0.5, rel=1e-5)
    after = integers(Path("old/targets.tflite"), x.transpose(0, 2, 3, 1)).reshape(len(y), -1) - y
    assert accuracy["int8"] == pytest.approx(np.abs(after).mean(), rel=1e-9)
    assert kept.columns["float"] == pytest.approx(np.stack([np.abs(gaps).mean(1), (gaps**2).mean(1)], 1), rel=1e-4)
    assert kept.columns["int8"] == pytest.approx(np.stack([np.abs(after).mean(1), (after**2).mean(1)], 1), rel=1e-9)
    grew = kept.columns["int8"][:, 0] - kept.columns["float"][:, 0]
    assert (found["int8"]["lost"], found["int8"]["gained"]) == ((grew > 0).sum(), (grew < 0).sum())
    low, high = accuracy["difference"]
    assert low < accuracy["int8"] - accuracy["float"] < high
    assert found[".tflite"]["differing"] == found["emulated"]["differing"] == 0

    built(run, folder, "targets", "targets", "-o", "new", "--calibration", "12", "--activations", "int16")
    done = run("report", "diff", "old", "new", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    settings = {c["name"]: (c["old"], c["new"]) for c in found["settings"]}
    assert settings["activations"] == ("int8", "int16") and settings["calibration"] == ("200", "12")
    assert found["accuracy"]["metric"] == "error" and 33 <= found["accuracy"]["paired"] <= 45
    assert found["accuracy"]["new"] < found["accuracy"]["old"] and found["layers"]
    sizes = {f["name"]: f["new"] - f["old"] for f in found["figures"]}
    assert sizes["SRAM arena"] > 0 and sizes["cycles"] > 0
    assert run("report", "diff", "old", "new", "--fail-on-regression").code == 1
    assert run("report", "diff", "old", "old", "--fail-on-regression").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--data", "targets.npz", "--metric", "auc"), 1, "--metric auc needs a label, 0 or 1, for every sample"),
        (("--data", "targets.npz", "--metric", "psnr"), 2, "psnr"),
        (("--metric", "auc"), 2, "--metric are for a float MODEL"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_before_the_work(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mcuc.quantize.build.convert", None)  # the long work
    done = run("build", "targets.onnx", *words)
    assert done.code == code and said in " ".join(done.err.replace("│", " ").split())
