"""Weights go to a flash outside the chip where its own is too small for them and the code, and every figure says so."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

import mcuc
import small_models
from mcuc import passes
from mcuc.choice import Limits, copies_at_start, copies_weights
from mcuc.emit.tables import content
from mcuc.emulate.cortex_m import CortexM
from mcuc.emulate.cycles import BAND, stream_cycles
from mcuc.emulate.image import load_image
from mcuc.errors import McucError
from mcuc.inside import contents
from mcuc.latency.emulated import layer_costs
from mcuc.latency.flash import flash_cycles, table_reads
from mcuc.pipeline import Compiled
from mcuc.plan import plan
from mcuc.report.text import figures
from mcuc.request import Request
from mcuc.schedule import Layer, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.staging import staged, staged_bytes
from mcuc.targets import Board, load_board, weights_outside
from mcuc.toolchain import Toolchain, render_linker_script
from mcuc.tradeoff import tradeoff

ROOT = Path(__file__).resolve().parents[2]
CHIPS = {"stm32l4r5": "0x200000", "stm32h743": "0x200000"}  # a core without caches behind an accelerator, and one with
BASE, LINE, CYCLES = 0x90000000, 16, 200


def board_file(folder: Path, chip: str, inside: int, outside: int) -> str:
    """A board whose chip has so many bytes of flash, and so many outside it."""
    text = (ROOT / f"targets/chips/{chip}.toml").read_text()
    line = next(x for x in text.splitlines() if 'kind = "flash"' in x)
    (folder / "chip.toml").write_text(text.replace(line, line.replace(CHIPS[chip], hex(inside))))
    (folder / "board.toml").write_text(
        'name = "own"\ntitle = "own"\nchip = "chip.toml"\nsource = "made up"\n'
        f'external = [{{ name = "qspi", kind = "flash", base = {BASE}, size = {outside}, dma = true, '
        f'source = "made up", read = {{ bytes = {LINE}, cycles = {CYCLES}, source = "made up" }} }}]\n'
    )
    return str(folder / "board.toml")


@cache
def needs(chip: str, toolchain: str) -> tuple[int, int]:
    """Bytes of code (harness included) and weights of the network on the chip."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = compiled(folder, board_file(folder, chip, 1 << 20, 1 << 20), toolchain=toolchain).firmware.sizes
    return sizes.code + sizes.harness, sizes.weights


def compiled(folder: Path, board: str, **asked: Any) -> Compiled:
    model = folder / "net.tflite"
    model.write_bytes(small_models.tiny())
    return mcuc.compile(model, board=board, out=folder / "out", **asked)


def between(chip: str, toolchain: str) -> int:
    """Flash that holds the code and half of the weights."""
    code, weights = needs(chip, toolchain)
    return -(-(code + weights // 2) // 32) * 32


@pytest.fixture(scope="module", params=sorted(CHIPS))
def made(
    request: pytest.FixtureRequest, tools: Toolchain, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Compiled, Board]:
    folder = tmp_path_factory.mktemp("made")
    file = board_file(folder, request.param, between(request.param, tools.id), 1 << 16)
    return compiled(folder, file, toolchain=tools.id), load_board(file)


def test_tables_lie_outside_but_those_that_fit_inside_and_save_the_most(made: tuple[Compiled, Board]) -> None:
    """By the ELF's symbols and load addresses; answers and audit are as ever on the emulated core."""
    done, board = made
    image = load_image(done.firmware.elf)
    inside = board.chip.flash_region
    tables = [s for s in image.symbols.values() if s.name.startswith("net_l") and not s.function]
    outside = [s for s in tables if s.address >= BASE]
    assert outside and all(s.address + s.size <= BASE + (1 << 16) for s in outside)
    assert {s.name for s in tables} - {s.name for s in outside} == set(done.firmware.inside) != set()
    loads = [(s.load, s.load + len(s.data)) for s in image.segments if s.data]
    assert {BASE <= low < high <= BASE + (1 << 16) for low, high in loads if low >= BASE} == {True}
    assert all(inside.base <= low < high <= inside.end for low, high in loads if low < BASE)
    assert all(s.address < BASE for s in image.functions) and image.vectors == inside.base
    v = done.report.verify
    assert (v.bit_exact, v.audit, v.emulated) == (True, 0, 2)


def test_the_report_says_what_lies_where(made: tuple[Compiled, Board]) -> None:
    done, board = made
    flash, sizes = done.report.flash, done.firmware.sizes
    assert flash.total == flash.weights + flash.code == sizes.weights + sizes.code > 0
    assert flash.budget == board.flash_bytes + (1 << 16)
    own, outside = flash.regions
    near, far = sizes.weights_inside, sizes.weights - sizes.weights_inside
    assert near > 0 < far
    assert (own.name, own.weights, own.code, own.size) == ("flash", near, sizes.code, board.flash_bytes)
    assert (outside.name, outside.weights, outside.code, outside.size) == ("qspi", far, 0, 1 << 16)
    (note,) = [n for n in done.report.notes if "memory-mapped mode before the first run" in n]
    assert f"{far:,} bytes of weights lie in qspi" in note
    assert f"{sizes.code:,} bytes of code and {near:,} bytes" in note
    assert any(label == "in qspi" and "weights" in text for label, text in figures(done.report))
    page = (done.out / "report.html").read_text()
    assert "weights in qspi" in page and "weights in flash" in page and "code in flash" in page


def test_each_flash_has_a_file_of_its_own_and_the_elf_holds_both(made: tuple[Compiled, Board]) -> None:
    done, board = made
    files = {base: (done.out / f"firmware_{name}.bin").read_bytes()
             for name, base in (("flash", board.chip.flash_region.base), ("qspi", BASE))}
    stored = [s for s in load_image(done.out / "firmware.elf").segments if s.data]
    assert {max(base for base in files if base <= s.load) for s in stored} == set(files)
    for s in stored:
        base = max(base for base in files if base <= s.load)
        assert files[base][s.load - base : s.load - base + len(s.data)] == s.data
    manifest = json.loads((done.out / "manifest.json").read_text())
    assert {"firmware.elf", "firmware_flash.bin", "firmware_qspi.bin"} <= set(manifest["files"])


def test_its_reads_are_charged_and_the_band_is_that_of_no_measurement(made: tuple[Compiled, Board]) -> None:
    """The cycles of a layer are those of the core (here on another input) and CYCLES for every LINE bytes that it
    reads, but of tables inside."""
    done, board = made
    chip = msgspec.structs.replace(board.chip, weights_in="qspi")
    assert stream_cycles(chip, 10 * LINE) == 10 * CYCLES
    core = CortexM(done.firmware.elf, board.chip, done.emitted.symbols).run()
    counts, near = iter(core.layers[1:]), contents(done.emitted, done.firmware)
    for layer, row in zip(done.schedule.layers, done.report.layers, strict=True):
        count = next(counts).cycles if layer.calls else 0
        reads = table_reads(layer, chip)
        far = sum(read.bytes for read in reads if content(read.table) not in near)
        waits = 0 if row.weights is None else row.weights.waits
        assert row.cycles - waits == pytest.approx(count, rel=0.01) and waits >= CYCLES * far // LINE
        assert row.weights is None or row.weights.bytes_read == sum(read.bytes for read in reads)
    assert done.report.cycles_band == BAND
    assert any(f"{CYCLES} are charged for every {LINE} bytes" in n for n in done.report.notes)


@pytest.mark.parametrize("chip", sorted(CHIPS))
def test_a_flash_that_holds_all_of_it_is_used_alone(chip: str, tmp_path: Path) -> None:
    code, weights = needs(chip, "zig")
    done = compiled(tmp_path, board_file(tmp_path, chip, code + weights + 128 & ~31, 1 << 16))
    symbols = load_image(done.firmware.elf).symbols.values()
    assert all(s.address < BASE for s in symbols) and done.report.flash.regions == ()
    assert not any("qspi" in n for n in done.report.notes)
    assert "FLASH_QSPI" not in render_linker_script(load_board("nucleo-h743zi-qspi"))


def test_a_refusal_counts_both(tmp_path: Path) -> None:
    """Code that is more than the chip's flash, and weights that are more than the other."""
    with pytest.raises(McucError) as caught:
        compiled(tmp_path, board_file(tmp_path, "stm32l4r5", 4096, 1 << 16))
    found = caught.value.found
    assert caught.value.code == "over-flash" and "than FLASH has" in found
    assert "4,096 bytes of flash for code" in found and "65,536 for weights" in found
    with pytest.raises(McucError) as caught:
        compiled(tmp_path, board_file(tmp_path, "stm32l4r5", between("stm32l4r5", "zig"), 512))
    found = caught.value.found
    assert caught.value.code == "over-flash" and "bytes more than FLASH_QSPI has" in found
    assert "512 for weights" in found and "--board " in caught.value.try_this


def test_flash_up_to_the_chips_own_keeps_weights_on_the_chip(tmp_path: Path) -> None:
    """--flash counts both. What it does not allow is refused: weights alone before anything is built, weights and code
    by the linker, more than the chip's own by the sum."""
    code, weights = needs("stm32l4r5", "zig")
    size = between("stm32l4r5", "zig")
    file = board_file(tmp_path, "stm32l4r5", size, 1 << 16)
    for allowed, words in ((64, "--flash allows 64"), (size, "than FLASH has")):
        with pytest.raises(McucError) as caught:
            compiled(tmp_path, file, flash=allowed)
        assert caught.value.code == "over-flash" and words in caught.value.found
        assert "without --flash, which keeps weights on the chip: own has 65,536 bytes in qspi" in caught.value.try_this
    done = compiled(tmp_path, file, flash=code + weights)
    assert done.report.flash.regions[1].weights > 0 and done.report.flash.budget == code + weights


def test_weights_outside_are_staged_but_never_copied_at_start(tmp_path: Path) -> None:
    """Start-up code runs before the application has set up the flash; a layer that runs has it. The chip's own flash
    does not wait here."""
    board = load_board(board_file(tmp_path, "stm32l4r5", 1 << 20, 1 << 16))
    swift = msgspec.structs.replace(board.chip.flash, wait_states=0, fill_cycles=0.0)
    board = msgspec.structs.replace(board, chip=msgspec.structs.replace(board.chip, flash=swift))
    moved = weights_outside(board)
    assert moved is not None
    graph = passes.optimize(small_models.tiny_graph(side=24))
    schedule = layer_by_layer(graph, board.chip, Tiling())
    found = plan(graph, schedule)

    def with_staging(of: Board) -> list[Layer]:
        return [x for x in staged(schedule, found, of.chip, lambda s: plan(graph, s))[0].layers if x.staged]

    assert with_staging(board) == [] and staged_bytes(with_staging(moved)) > 0
    asked = Request("own", optimize="latency")
    waits = load_board("nucleo-l4r5zi")
    assert copies_weights(Limits(waits, (), asked))
    far = msgspec.structs.replace(moved, chip=msgspec.structs.replace(moved.chip, flash=waits.chip.flash))
    assert copies_at_start(Limits(far, (), asked)) and not copies_weights(Limits(far, (), asked))


def test_the_front_and_the_layers_costs_know_it(tmp_path: Path) -> None:
    file = board_file(tmp_path, "stm32l4r5", between("stm32l4r5", "zig"), 1 << 16)
    done = compiled(tmp_path, file)
    board = load_board(file)
    front = tradeoff(tmp_path / "net.tflite", Request(file))
    assert front.points and not any(p.weights_in_ram for p in front.points)
    assert any(p.cycles == done.report.cycles for p in front.points) or front.points[0].cycles < done.report.cycles
    layer = next(x for x in done.schedule.layers if x.calls and any(read.bytes for read in table_reads(x, board.chip)))
    moved = weights_outside(board)
    assert moved is not None and weights_outside(moved) is None
    near, far = (layer_costs([(done.graph, layer)], b, "zig", "balanced")[0] for b in (board, moved))
    waits = (flash_cycles(layer, b.chip) for b in (board, moved))
    assert near.instructions == far.instructions
    assert near.cycles - next(waits) == pytest.approx(far.cycles - next(waits), abs=1)
