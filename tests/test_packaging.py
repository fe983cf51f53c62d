"""The built wheel, installed into an environment of its own, compiles a model from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import small_models

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("compiler", "runtime_c", "targets", "pyproject.toml", "setup.py", "README.md", "LICENSE")
OUTSIDE = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def ran(*words: object, cwd: Path) -> str:
    done = subprocess.run([str(w) for w in words], cwd=cwd, env=OUTSIDE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    pytest.importorskip("build")
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.is_file():
            shutil.copyfile(source, copy / name)
    ran(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment with the wheel; its dependencies are seen through a .pth of this environment's."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    ran(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    (site,) = folder.glob("lib/python*/site-packages")
    places = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (site / "dependencies.pth").write_text("".join(f"{p}\n" for p in places))
    return folder / "bin"


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    """Every module, template, C file, board, chip and data file of the checkout."""
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = set()
    for folder, package in (("compiler/mcuc", "mcuc"), ("runtime_c", "mcuc_runtime"), ("targets", "mcuc_targets")):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add(f"{package}/{path.relative_to(REPOSITORY / folder).as_posix()}")
    assert len(wanted) > 100 and not wanted - held
    assert any(name.endswith("fashion_mnist_12k.npz") for name in held)
    assert not any(name.startswith(("tests", "benchmarks", "docs")) for name in held)


def test_the_installed_command_compiles_a_model_elsewhere(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes(small_models.tiny())
    where = ran(
        environment / "python", "-c", "import mcuc, mcuc_runtime, mcuc_targets; print(mcuc.__file__)", cwd=tmp_path
    )
    assert str(environment.parent) in where
    report = json.loads(
        ran(
            environment / "mcuc",
            "compile",
            "tiny.tflite",
            "--board",
            "nucleo-u575zi-q",
            "-o",
            "out",
            "--json",
            cwd=tmp_path,
        )
    )
    assert report["verify"]["bit_exact"] and report["core"] == "cortex-m33"
    assert (tmp_path / "out" / "firmware.elf").stat().st_size > 1000
    assert json.loads(ran(environment / "mcuc", "boards", "--json", cwd=tmp_path))
    ran(
        environment / "mcuc",
        "verify",
        "tiny.tflite",
        "--oracle",
        "numpy",
        "--samples",
        "4",
        "--emulate",
        "1",
        cwd=tmp_path,
    )
    size = "from mcuc import data; print(len(data.load().train_x), len(data.load().test_x))"
    assert ran(environment / "python", "-c", size, cwd=tmp_path).split() == ["10000", "2000"]
