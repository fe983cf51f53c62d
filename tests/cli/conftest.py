"""Runs the command line in this process, and models to run it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Ran, Run

import small_models
from mcuc.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run("compile", model, ...) in an empty folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "dumb")

    def command(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(w) for w in words])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return command


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small model files, good and bad."""
    folder = tmp_path_factory.mktemp("models")
    tiny = small_models.tiny()
    for name, blob in {
        "tiny": tiny,
        "photo": small_models.photo(),
        "wide": small_models.wide(),
        "heavy": small_models.heavy(),
        "ends": small_models.with_float_ends(tiny),
        "float": small_models.as_float(tiny),
        "hybrid": small_models.as_float(tiny, weights_too=False),
        "unsupported": small_models.with_operators(tiny, SOFTMAX="COS", DEPTHWISE_CONV_2D="SIN"),
    }.items():
        (folder / f"{name}.tflite").write_bytes(blob)
    return folder


@pytest.fixture
def model(models: Path) -> Path:
    """A small network that compiles."""
    return models / "tiny.tflite"
