"""The generated C of four small networks is, byte for byte, the C that was reviewed.

After a change of templates or kernels: MCUC_UPDATE_GOLDEN=1 pytest tests/golden, and review the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden_networks import GOALS, NETWORKS, load
from harness import assert_equal, run_reference, samples

from mcuc.emit.model import Emitted, emit
from mcuc.emulate import host
from mcuc.importers import tflite as importer
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.schedule.explore import explore
from mcuc.targets import load_board

HERE = Path(__file__).parent
BOARD = "nucleo-l4r5zi"
UPDATE = os.environ.get("MCUC_UPDATE_GOLDEN") == "1"


def emitted(name: str) -> tuple[Graph, Emitted]:
    board = load_board(BOARD)
    graph = load(name)
    found = explore(graph, board.chip, GOALS.get(name, "balanced")).candidates[0]
    placed = plan(found.graph, found.schedule)
    made = emit(found.graph, found.schedule, placed, name, f"{name}.tflite", board.chip.arena_align, 512)
    return found.graph, made


@pytest.mark.parametrize("name", NETWORKS)
def test_generated_c_is_the_golden_c(name: str) -> None:
    folder = HERE / name
    files = emitted(name)[1].files
    if UPDATE:
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for file, text in files.items():
            (folder / file).write_bytes(text.encode())
    assert sorted(p.name for p in folder.iterdir()) == sorted(files)
    for file, text in files.items():
        kept = (folder / file).read_bytes().decode()
        assert text == kept, f"{folder.name}/{file} differs; MCUC_UPDATE_GOLDEN=1 accepts, git diff shows"


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_c_computes_the_reference(name: str, tmp_path: Path) -> None:
    """What is kept is right, not only unchanged: the files on disk against the reference of the file, in both modes."""
    graph, made = emitted(name)
    source = importer.parse(NETWORKS[name](), f"{name}.tflite", name)
    kept = {p.name: p.read_text(encoding="utf-8") for p in (HERE / name).iterdir()}
    golden = Emitted(name, kept, made.harness, made.host_main, made.symbols, made.weight_bytes, made.entries)
    model = host.build(golden, graph, tmp_path, sanitize=True)
    inputs = samples(source, 5)
    for inside in (False, True):
        found = host.run(model, inputs, inside=inside).outputs
        actual = [[out[n] for out in found] for n in range(len(inputs))]
        assert_equal(run_reference(source, inputs), actual, f"{name}, inside={inside}")


def test_golden_c_stays_small() -> None:
    lines = [len(p.read_text(encoding="utf-8").splitlines()) for p in HERE.glob("*/*.[ch]")]
    assert len(lines) == 12 and max(lines) <= 900 and sum(lines) <= 2800


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Output folders of three processes: two hash seeds, then another folder, path and time zone."""
    folders = []
    for number, seed in enumerate(("0", "4242", "random")):
        place = tmp_path_factory.mktemp(f"place{'-elsewhere' * number}")
        (place / "classifier.tflite").write_bytes(NETWORKS["classifier"]())
        model = "classifier.tflite" if number < 2 else str(place / "classifier.tflite")
        cwd = place if number < 2 else place.parent
        words = [sys.executable, "-m", "mcuc", "compile", model, "--board", BOARD, "-o", str(place / "out")]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": ("UTC", "Asia/Tokyo", "America/Lima")[number]}
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        folders.append(place / "out")
    return folders


def test_same_input_same_bytes(compiled: list[Path]) -> None:
    """All that is delivered: C, firmware, report, manifest."""
    first = {p.name: p.read_bytes() for p in compiled[0].iterdir()}
    assert {"classifier.c", "classifier.h", "classifier_weights.c", "firmware.elf", "report.json", "manifest.json",
            "report.html"} <= set(first)
    for folder in compiled[1:]:
        again = {p.name: p.read_bytes() for p in folder.iterdir()}
        assert sorted(again) == sorted(first)
        assert not [name for name in first if again[name] != first[name]]


def test_no_delivered_file_names_the_machine(compiled: list[Path]) -> None:
    """No folder of the build: neither where it ran nor where mcuc lies."""
    secrets = [str(compiled[0].parent), str(Path(sys.prefix)), str(Path(sys.modules["mcuc"].__file__ or "").parent)]
    for path in compiled[0].iterdir():
        data = path.read_bytes()
        assert not [s for s in secrets if s.encode() in data], path.name


def test_the_folder_compiles_by_itself(compiled: list[Path], tmp_path: Path) -> None:
    """Nothing but the delivered files is included."""
    cc = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if cc is None:
        pytest.skip("no host compiler")
    for source in compiled[0].glob("*.c"):
        subprocess.run([cc, "-std=c99", "-c", str(source), "-o", str(tmp_path / "x.o")], check=True, cwd=tmp_path)
