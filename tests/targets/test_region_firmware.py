"""Several RAM regions of a chip, from the command's request to the linked and emulated firmware."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import pytest
from elftools.elf.elffile import ELFFile

import mcuc
import small_models
from mcuc import ram
from mcuc.emulate.cortex_m import CortexM, Poke
from mcuc.errors import McucError
from mcuc.pipeline import Compiled
from mcuc.targets import Board, Region, list_boards, load_board
from mcuc.toolchain import Optimize, render_linker_script

# board: image side (so large that no single region is enough where DMA reaches all of them), regions asked for
GOLDEN = {
    "nucleo-f746zg": (184, ("dtcm", "sram1")),
    "nucleo-h743zi": (32, ("dtcm", "axi_sram")),
    "nucleo-h7a3zi-q": (32, ("dtcm", "axi_sram1")),
    "stm32f4-discovery": (32, ("sram1", "ccm")),
}
DOMAINS = {"nucleo-h743zi": ("sram1", "sram4"), "nucleo-h7a3zi-q": ("ahb_sram2", "srd_sram")}


def compiled(folder: Path, board: str, regions: tuple[str, ...], side: int, rows_in: bool = False) -> Compiled:
    model = folder / "model.tflite"
    model.write_bytes(small_models.exported(small_models.tiny_graph(side=side)))
    return mcuc.compile(
        model, board=board, regions=regions, optimize="latency", rows_in=rows_in, name="net", out=folder / "out"
    )


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Compiled]:
    """golden(board, rows_in), compiled once."""

    @cache
    def get(name: str, rows_in: bool) -> Compiled:
        side, regions = GOLDEN[name]
        return compiled(tmp_path_factory.mktemp("golden"), name, regions, side, rows_in)

    return get


def symbols(elf: Path) -> dict[str, tuple[int, int]]:
    """Name -> address and size."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {s.name: (s["st_value"], s["st_size"]) for s in table.iter_symbols()}


def assert_linked_where_it_is_planned(done: Compiled, board: Board) -> None:
    found = symbols(done.firmware.elf)
    for i, arena in enumerate(done.plan.arenas):
        region = board.chip.region(arena.name)
        address, size = found[f"mcuc_arena_{i}"]
        assert (size, address % board.chip.arena_align) == (arena.bytes, 0)
        assert region.base <= address and address + size <= region.base + board.usable_bytes(region)
    top, limit = found["__stack_top"][0], found["__stack_limit"][0]
    assert board.home.base <= limit < top == board.home.base + board.usable_bytes(board.home)
    assert done.firmware.sizes.arena >= sum(a.bytes for a in done.plan.arenas)


@pytest.mark.parametrize("rows_in", [False, True])
@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_two_regions_on_the_emulated_core(
    name: str, rows_in: bool, golden: Callable[[str, bool], Compiled]
) -> None:
    """The numbers are the reference's, nothing is unaligned, and every buffer lies where it may."""
    board = load_board(name)
    done = golden(name, rows_in)
    report = done.report
    assert {a.name for a in done.plan.arenas} == set(GOLDEN[name][1]) and done.plan.several
    assert (report.verify.bit_exact, report.verify.audit, report.verify.emulated) == (True, 0, 2)
    assert_linked_where_it_is_planned(done, board)
    reached = {r.name for r in board.chip.regions if r.dma}
    outside = [b for b in report.memory_map if b.kind in ("input", "output", "input or output", "push buffer")]
    assert outside and {b.region for b in outside} <= reached
    assert any(b.kind == "push buffer" for b in outside) == rows_in


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_report_adds_up_over_the_regions(name: str, golden: Callable[[str, bool], Compiled]) -> None:
    board = load_board(name)
    done = golden(name, False)
    sram = done.report.sram
    assert sram.arena == sum(r.arena for r in sram.regions) and sram.work == sum(r.work for r in sram.regions)
    assert sram.total == sum(r.arena + r.beside for r in sram.regions)
    assert [r.name for r in sram.regions if r.beside] == [board.home.name]
    for r in sram.regions:
        assert r.arena + r.beside <= r.size == board.usable_bytes(board.chip.region(r.name))
        tops = [b.offset + b.size for b in done.report.memory_map if b.region == r.name]
        assert max(tops, default=0) <= r.arena
    assert {b.region for b in done.report.memory_map} == {r.name for r in sram.regions if r.arena}
    page = (done.out / "report.html").read_text()
    assert all(f"In {r.name}:" in page for r in sram.regions)
    chart = (done.out / "memory.svg").read_text()
    assert all(f">{a.name}</text>" in chart and f" in {a.name}, " in chart for a in done.plan.arenas)


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_memories_of_other_bus_domains_are_clocked_before_they_are_used(name: str, tmp_path: Path) -> None:
    """The model runs in them alone, and their bits in RCC_AHB2ENR are set when the firmware has run."""
    done = compiled(tmp_path, name, DOMAINS[name], 32)
    assert done.report.verify.bit_exact
    assert_linked_where_it_is_planned(done, load_board(name))
    chip = load_board(name).chip
    (row,) = [r for r in chip.expected_final if "AHB2ENR" in r.comment]
    pokes = [Poke(f"mcuc_arena_{done.plan.arena_of(n)}", done.plan.tensors[n], bytes(64)) for n in done.graph.inputs]
    registers = CortexM(done.firmware.elf, chip).run(pokes).registers
    assert registers[row.address] & row.mask == row.value


def test_external_memory_is_used_when_named_and_the_report_says_what_it_needs(tmp_path: Path) -> None:
    done = compiled(tmp_path, "stm32f746g-disco", ("sdram", "sram2"), 128)
    assert [a.name for a in done.plan.arenas] == ["sram2", "sdram"]
    assert done.report.verify.bit_exact
    assert_linked_where_it_is_planned(done, load_board("stm32f746g-disco"))
    (note,) = [n for n in done.report.notes if "outside the chip" in n]
    assert "sdram" in note and "initialise" in note


def test_external_memory_is_left_alone_where_a_schedule_fits_inside(tmp_path: Path) -> None:
    """Layer by layer the model takes more than the 64 KB of DTCM; row by row it does not."""
    done = compiled(tmp_path, "stm32f746g-disco", ("dtcm", "sdram"), 184)
    assert [a.name for a in done.plan.arenas] == ["dtcm"] and done.plan.several
    assert any(s.kind == "stream" for s in done.report.segments) and done.report.verify.bit_exact


def test_memory_without_dma_alone_is_used_and_noted(tmp_path: Path) -> None:
    done = compiled(tmp_path, "stm32f4-discovery", ("ccm",), 32)
    assert ([a.name for a in done.plan.arenas], done.plan.several) == (["ccm"], False)
    address, size = symbols(done.firmware.elf)["mcuc_arena"]
    assert (address, size) == (0x10000000, done.plan.arena)
    assert any("DMA reaches none of ccm" in n for n in done.report.notes)
    assert done.report.verify.bit_exact and "void *arena" in (done.out / "net.h").read_text()


def test_an_input_by_rows_larger_than_the_regions_is_emulated(tmp_path: Path) -> None:
    """The test firmware takes it in row by row too, and needs no more RAM than the arenas."""
    done = compiled(tmp_path, "stm32f4-discovery", ("ccm", "sram2"), 288, rows_in=True)
    assert sum(a.bytes for a in done.plan.arenas) < 288 * 288 and "mcuc_input" not in symbols(done.firmware.elf)
    assert load_board("stm32f4-discovery").chip.region("ccm").size < 288 * 288
    assert done.report.verify.bit_exact


def test_regions_too_small_together_are_refused_with_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(McucError) as caught:
        compiled(tmp_path, "nucleo-f746zg", ("sram2",), 224)
    assert caught.value.code == "over-budget" and "sram2" in caught.value.found
    assert "larger regions" in caught.value.try_this and "an input of" in caught.value.try_this
    with pytest.raises(McucError, match="found no room") as caught:
        compiled(tmp_path, "stm32f4-discovery", ("ccm", "sram2"), 224)
    assert caught.value.code == "over-budget"
    assert not (tmp_path / "out").exists()


def test_a_budget_limits_all_regions_together(tmp_path: Path) -> None:
    """Input and output cannot lie over what is in memory that DMA does not reach, so dividing takes more bytes."""
    model = tmp_path / "model.tflite"
    model.write_bytes(small_models.exported(small_models.tiny_graph(side=32)))
    board, regions = "nucleo-h743zi", ("dtcm", "axi_sram")
    free = mcuc.compile(model, board=board, regions=regions, optimize="latency", out=tmp_path / "a").report
    budget = free.sram.total - 1
    tight = mcuc.compile(
        model, board=board, regions=regions, optimize="latency", budget=budget, out=tmp_path / "b"
    ).report
    assert tight.sram.total < free.sram.total and tight.verify.bit_exact


# The request


@pytest.mark.parametrize("board", list_boards(), ids=lambda b: b.name)
def test_all_stands_for_every_memory_of_the_chip_that_may_hold_data(board: Board) -> None:
    named = {r.name for r in ram.chosen(board, ("all",))}
    assert named == {r.name for r in board.chip.regions if r.kind == "ram" and r.data and not r.external}
    assert set(board.chip.linked_ram) <= named and "itcm" not in named
    assert ram.chosen(board, ()) == ()
    assert ram.chosen(board, ("all",)) == ram.chosen(board, tuple(sorted(named, reverse=True)))


def test_names_that_are_no_memory_for_data_are_refused_with_the_list() -> None:
    board = load_board("stm32f746g-disco")
    with pytest.raises(McucError) as caught:
        ram.chosen(board, ("dtcm", "ccm", "itcm", "flash"))
    assert caught.value.code == "unknown-region"
    assert all(f"'{n}'" in caught.value.found for n in ("ccm", "itcm", "flash")) and "'dtcm'" not in caught.value.found
    for name in ("dtcm (64 KB)", "sram1 (240 KB)", "sram2 (16 KB)", "sdram (8192 KB, external)", "all"):
        assert name in caught.value.try_this


def test_the_reserve_and_the_stack_are_left_out_of_the_room() -> None:
    board = msgspec.structs.replace(load_board("nucleo-f746zg"), reserved_sram=20 * 1024)
    assert board.home.name == "sram1"  # all of sram2 is reserved, and 4 KB of sram1
    sizes = {r.name: r.size for r in ram.room(board, ram.chosen(board, ("all",)), 0, 10)}
    assert sizes["dtcm"] == 64 * 1024 and sizes["sram2"] == 0
    assert 233 * 1024 < sizes["sram1"] <= 236 * 1024 - 2048
    more = {r.name: r.size for r in ram.room(board, ram.chosen(board, ("all",)), 5000, 10)}
    assert (more["dtcm"], sizes["sram1"] - more["sram1"]) == (sizes["dtcm"], 2944)  # 5000 - 2048, whole cache lines


def test_the_linker_script_has_a_memory_for_every_region() -> None:
    board = load_board("stm32f4-discovery")
    script = render_linker_script(board, 2048, {".mcuc_arena_0": "ccm", ".mcuc_arena_1": "sram1"})
    memories = re.findall(r"(\w+) \(rwx\) : ORIGIN = (\w+), LENGTH = (\d+)", script)
    assert sorted(memories) == [
        ("RAM_CCM", "0x10000000", "65536"),
        ("RAM_SRAM1", "0x20000000", "114688"),
        ("RAM_SRAM2", "0x2001C000", "16384"),
    ]
    assert "KEEP(*(.mcuc_arena_0)) } > RAM_CCM" in script and "KEEP(*(.mcuc_arena_1)) } > RAM_SRAM1" in script
    assert "__stack_top = ORIGIN(RAM_SRAM2) + LENGTH(RAM_SRAM2);" in script


# Files of boards and chips

BOARD = """name = "b"
title = "t"
chip = "stm32f746"
source = "s"
external = [{ name = "%s", kind = "%s", base = %s, size = 0x100000, dma = true, source = "%s" }]
"""


def test_external_memory_of_a_board_is_a_region_of_its_chip(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(BOARD % ("psram", "ram", "0x60000000", "somewhere"))
    found = load_board(str(path)).chip.region("psram")
    assert found == Region("psram", "ram", 0x60000000, 0x100000, True, "somewhere", distance=3, external=True)
    assert "psram" not in {r.name for r in load_board("nucleo-f746zg").chip.regions}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (("psram", "flash", "0x60000000", "s"), "has no read"),
        (("dtcm", "ram", "0x60000000", "s"), "same name"),
        (("psram", "ram", "0x20000000", "s"), "overlap"),
        (("psram", "ram", "0x60000000", ""), "source"),
        (("two words", "ram", "0x60000000", "s"), "letters"),
        (("all", "ram", "0x60000000", "s"), "all"),
    ],
)
def test_wrong_external_memory_is_refused(values: tuple[str, ...], word: str, tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(BOARD % values)
    with pytest.raises(McucError) as caught:
        load_board(str(path))
    assert caught.value.code == "board-file" and word in caught.value.found


def test_a_wrong_distance_or_a_linked_memory_that_holds_no_data_is_refused(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "targets/chips/stm32f746.toml").read_text()
    for old, new, word in (
        ("distance = 0, data", "distance = 4, data", "distance"),
        ('linked_ram = ["dtcm", "sram1"', 'linked_ram = ["itcm", "sram1"', "not for data"),
    ):
        assert old in text
        (tmp_path / "chip.toml").write_text(text.replace(old, new))
        (tmp_path / "b.toml").write_text('name = "b"\ntitle = "t"\nchip = "chip.toml"\nsource = "s"\n')
        with pytest.raises(McucError) as caught:
            load_board(str(tmp_path / "b.toml"))
        assert caught.value.code == "board-file" and word in caught.value.found


def code_runs_from(done: Compiled, board: str) -> str:
    """The region in which the model's functions lie, all of them the same."""
    chip, found = load_board(board).chip, symbols(done.firmware.elf)
    places = [found[n][0] for n in (*done.emitted.symbols, *done.emitted.entries)]
    (name,) = {r.name for r in chip.regions for at in places if r.base <= at < r.end}
    return name


@pytest.mark.parametrize(
    ("board", "optimize", "place"),
    [
        ("nucleo-h743zi", "latency", "itcm"),
        ("nucleo-f746zg", "latency", "itcm"),
        ("nucleo-g0b1re", "latency", "sram"),
        ("nucleo-g0b1re", "balanced", "flash"),
        ("nucleo-l4r5zi", "latency", "flash"),
    ],
)
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_code_runs_from_ram_where_the_chip_has_ram_for_it(
    board: str, optimize: Optimize, place: str, toolchain: str, tmp_path: Path
) -> None:
    """The emulated start copies it, the answers are the reference's, and what is copied counts as static data."""
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    model = tmp_path / "model.tflite"
    model.write_bytes(small_models.exported(small_models.tiny_graph(side=32)))
    done = mcuc.compile(model, board=board, optimize=optimize, toolchain=toolchain, name="net", out=tmp_path / "out")
    assert code_runs_from(done, board) == place and done.report.verify.bit_exact and done.report.verify.audit == 0
    copied = done.firmware.sizes.code_in_ram
    assert (copied > 0) == (place != "flash") and done.report.sram.static >= copied
    assert any(note.startswith(f"code: {copied:,} bytes") for note in done.report.notes) == (copied > 0)


def test_code_that_does_not_fit_stays_in_flash(tmp_path: Path) -> None:
    """A budget without room for it, at which the model is as fast as it can be from flash."""
    model = tmp_path / "model.tflite"
    model.write_bytes(small_models.exported(small_models.tiny_graph(side=32)))
    roomy = mcuc.compile(model, board="nucleo-g0b1re", optimize="latency", name="net", out=tmp_path / "a")
    code, sram = roomy.firmware.sizes.code_in_ram, roomy.report.sram
    budget = sram.arena + sram.stack + code - 64
    tight = mcuc.compile(
        model, board="nucleo-g0b1re", optimize="latency", budget=budget, name="net", out=tmp_path / "b"
    )
    assert code > 0 and tight.firmware.sizes.code_in_ram == 0 and code_runs_from(tight, "nucleo-g0b1re") == "flash"
    assert tight.report.sram.arena == roomy.report.sram.arena and tight.report.cycles > roomy.report.cycles
