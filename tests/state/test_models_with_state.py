"""Streaming and recurrent models of the shared data, over sequences: TFLite Micro, the reference, the emulated core."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import RNG

sys.path.append(str(Path(__file__).resolve().parent.parent / "importers"))
from edits import edited

from mcuc import passes
from mcuc.cli import main
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.importers import tflite as importer
from mcuc.ir import Array
from mcuc.pipeline import compile_file
from mcuc.request import Request
from mcuc.targets import load_board
from mcuc.verify import oracle, reference
from mcuc.verify.compare import emulated, expected

pytestmark = pytest.mark.shared

RUNS = 120
BOARD = "nucleo-l4r5zi"


def features(seed: int, runs: int = RUNS) -> list[list[Array]]:
    """Smooth spectra, as a microphone gives them, with noise of the whole range now and then."""
    rng = RNG(seed)
    waves, phase = rng.uniform(0.005, 0.2, 3), rng.uniform(0, 6.28, (3, 40))
    time = np.arange(3 * runs)[:, None]
    rows = sum(np.sin(6.28 * f * time + p) for f, p in zip(waves, phase, strict=True)) * 30 - 100
    x = np.clip(np.rint(rows), -128, 127).astype(np.int8).reshape(runs, 1, 3, 40)
    x[runs // 3 :: 7] = rng.integers(-128, 128, x[runs // 3 :: 7].shape)
    return [[sample] for sample in x]


def with_inner_outputs(blob: bytes) -> bytes:
    """The file with what its last convolution and its dense layer compute as further outputs."""

    def edit(model: object) -> None:
        graph = model.subgraphs[0]  # type: ignore[attr-defined]
        last = [int(o.outputs[0]) for o in graph.operators[-4:-2]]
        graph.outputs = [*map(int, graph.outputs), *last]

    return edited(blob, edit)


def test_a_streaming_model_equals_tflite_micro_over_a_sequence(shared_data: Path) -> None:
    """Also inside, where values vary more than the probability that comes out."""
    blob = with_inner_outputs((shared_data / "models" / "mww_okay_nabu.tflite").read_bytes())
    graph = importer.parse(blob, "mww", "mww")
    assert len(graph.states) == 6 and graph.tensors[graph.outputs[0]].dtype.value == "uint8"
    samples = features(1)
    wanted = oracle.tflite_micro(blob, samples, keep_state=True)
    for form in (graph, passes.optimize(graph)):
        found = expected(form, samples)
        for i, output in enumerate(found):
            stacked = np.stack([w[i].reshape(output.shape[1:]) for w in wanted])
            assert np.array_equal(stacked, output), f"output {i}"
    assert len(np.unique(found[1])) > 50 and len(np.unique(found[2])) > 10


def test_a_streaming_model_compiled_by_the_command_line(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """mcuc compile, then its firmware over a sequence on the emulated core, step by step TFLite Micro's answer."""
    model, out = shared_data / "models" / "mww_okay_nabu.tflite", tmp_path / "out"
    assert main(["compile", str(model), "--board", BOARD, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "bit-exact" in said and "the state 3,408 bytes" in said
    report = json.loads((out / "report.json").read_text())
    states = 3408  # six variables of 2 to 16 rows of 40 or 64 bytes
    assert report["sram"]["state"] == states == report["sram"]["static"]
    assert report["verify"]["bit_exact"] and report["verify"]["emulated"] == 16 and report["verify"]["audit"] == 0
    assert f"#define MWW_OKAY_NABU_STATE_BYTES {states}u" in (out / "mww_okay_nabu.h").read_text()


def test_a_streaming_model_on_the_emulated_core_over_a_sequence(shared_data: Path, tmp_path: Path) -> None:
    """All 120 runs, each from the state that the one before left in the core's memory; inner values too."""
    model = tmp_path / "inner.tflite"
    model.write_bytes(with_inner_outputs((shared_data / "models" / "mww_okay_nabu.tflite").read_bytes()))
    compiled = compile_file(model, Request(board=BOARD), tmp_path / "out")
    samples = features(2)
    wanted = oracle.tflite_micro(model.read_bytes(), samples, keep_state=True)
    program = host.build(compiled.emitted, compiled.graph, tmp_path / "host", sanitize=True)
    for i, output in enumerate(host.run(program, samples).outputs):
        assert np.array_equal(np.stack([w[i].reshape(-1) for w in wanted]), output.reshape(RUNS, -1))
    core = CortexM(compiled.firmware.elf, load_board(BOARD).chip, compiled.emitted.symbols)
    run = None
    for sample, answer in zip(samples, wanted, strict=True):
        outs, run = emulated(core, compiled.graph, compiled.plan, sample, before=run)
        assert all(np.array_equal(a.reshape(-1), b.reshape(-1)) for a, b in zip(answer, outs, strict=True))


def test_verify_of_a_streaming_model(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle is TFLite Micro, whose variables go on from sample to sample as the C's do."""
    model = shared_data / "models" / "mww_okay_nabu.tflite"
    assert main(["verify", str(model), "--board", BOARD, "--samples", "100", "--emulate", "10"]) == 0
    said = capsys.readouterr().out
    assert "bit-exact" in said and "tflite-micro" in said


def test_a_recurrent_model_on_its_golden_samples(shared_data: Path, tmp_path: Path) -> None:
    """Each digit a sequence of its own: reference, C on the host, emulated core."""
    compiled = compile_file(shared_data / "models" / "lstm_mnist_int8.tflite", Request(board=BOARD), tmp_path / "out")
    graph = compiled.graph
    assert compiled.report.layers[0].op == "lstm" and compiled.report.sram.state == 64
    program = host.build(compiled.emitted, graph, tmp_path / "host", sanitize=True)
    core = CortexM(compiled.firmware.elf, load_board(BOARD).chip, compiled.emitted.symbols)
    with np.load(shared_data / "models" / "golden_lstm_mnist_int8.npz") as golden:
        digits, answers = golden["x"], golden["t0"]
    for x, answer in zip(digits, answers, strict=True):
        assert np.array_equal(answer, reference.run(graph, {graph.inputs[0]: x})[graph.outputs[0]].reshape(-1))
        assert np.array_equal(answer, host.run(program, [[x]]).outputs[0].reshape(-1))
        outs, _ = emulated(core, graph, compiled.plan, [x])
        assert np.array_equal(answer, outs[0].reshape(-1))


def test_verify_takes_labelled_samples_of_a_recurrent_model_alone(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Digits are independent of each other: the accuracy is that of the golden answers, which were computed so."""
    with np.load(shared_data / "models" / "golden_lstm_mnist_int8.npz") as golden:
        x, answers = golden["x"], golden["t0"]
    data = tmp_path / "digits.npz"
    np.savez(data, x=x, y=answers.argmax(axis=1))
    model = shared_data / "models" / "lstm_mnist_int8.tflite"
    words = ["verify", str(model), "--board", BOARD, "--data", str(data), "--emulate", "3", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bit_exact"] and found["accuracy"] == 1.0 and "tflite-micro" in found["oracle"]
