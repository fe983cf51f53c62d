"""The TOML files under targets/ hold what they promise, and wrong ones are refused with the place."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mcuc.errors import McucError
from mcuc.targets import list_boards, load_board, load_chip, weights_outside

ROOT = Path(__file__).resolve().parents[2]
KB = 1024

# name: core, FPU, SRAM KB, flash KB, clock MHz, arena alignment (the datasheets' first pages)
BOARDS = {
    "nucleo-l4r5zi": ("cortex-m4", "fpv4-sp-d16", 640, 2048, 120, 16),
    "nucleo-f746zg": ("cortex-m7", "fpv5-sp-d16", 320, 1024, 216, 32),
    "stm32f746g-disco": ("cortex-m7", "fpv5-sp-d16", 320, 1024, 216, 32),
    "virtual-f746-64mb": ("cortex-m7", "fpv5-sp-d16", 320, 1024, 216, 32),
    "nucleo-h743zi": ("cortex-m7", "fpv5-sp-d16", 512, 2048, 480, 32),
    "nucleo-h743zi-qspi": ("cortex-m7", "fpv5-sp-d16", 512, 2048, 480, 32),
    "nucleo-h7a3zi-q": ("cortex-m7", "fpv5-sp-d16", 1024, 2048, 280, 32),
    "nucleo-f446re": ("cortex-m4", "fpv4-sp-d16", 128, 512, 180, 16),
    "stm32f4-discovery": ("cortex-m4", "fpv4-sp-d16", 128, 1024, 168, 16),
    "nucleo-u575zi-q": ("cortex-m33", "fpv5-sp-d16", 768, 2048, 160, 16),
    "nucleo-g0b1re": ("cortex-m0plus", "none", 144, 512, 64, 16),
    "nucleo-f103rb": ("cortex-m3", "none", 20, 128, 64, 16),
    "mps2-an385": ("cortex-m3", "none", 4096, 4096, 25, 16),
    "mps2-an386": ("cortex-m4", "fpv4-sp-d16", 4096, 4096, 25, 16),
    "mps2-an500": ("cortex-m7", "fpv5-sp-d16", 4096, 4096, 25, 16),
    "mps2-an505": ("cortex-m33", "fpv5-sp-d16", 4096, 4096, 20, 16),
}


def test_the_list_is_complete() -> None:
    assert {board.name for board in list_boards()} == set(BOARDS)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_board_has_the_datasheet_figures(name: str) -> None:
    board = load_board(name)
    chip = board.chip
    figures = (chip.core, chip.fpu, board.sram_bytes, board.flash_bytes, chip.clock_hz, chip.arena_align)
    core, fpu, sram, flash, clock, align = BOARDS[name]
    assert (core, fpu, sram * KB, flash * KB, clock * 1_000_000, align) == figures


@pytest.mark.parametrize("path", sorted(ROOT.glob("targets/chips/*.toml")), ids=lambda p: p.stem)
def test_chip_file(path: Path) -> None:
    """Named as its file; regions apart (checked here without the loader's own code); every number with a source."""
    chip = load_chip(path.stem)
    assert chip.name == path.stem
    taken: set[int] = set()
    for region in chip.regions:
        pages = set(range(region.base, region.end, 1024))
        assert not taken & pages, f"{region.name} overlaps another region"
        taken |= pages
    raw = tomllib.loads(path.read_text())
    assert all(len(row["source"]) > 10 for row in [raw, raw["flash"], raw["caches"], *raw["regions"]])
    assert all(row["comment"] for key in ("clock_init", "ready", "expected_final") for row in raw.get(key, ()))


@pytest.mark.parametrize("path", sorted(ROOT.glob("targets/chips/stm32*.toml")), ids=lambda p: p.stem)
def test_every_wait_can_end(path: Path) -> None:
    """A bit that the startup waits for is one that some ready row sets, or one that a step wrote before."""
    chip = load_chip(path.stem)
    assert chip.clock_init and chip.expected_final
    written: dict[int, int] = {}
    for step in chip.clock_init:
        if step.op == "wait":
            able = written.get(step.address, 0)
            for row in chip.ready:
                able |= row.ready if row.target == step.address else 0
            assert step.value & ~able == 0, step.comment
        elif step.op != "delay":
            written[step.address] = written.get(step.address, 0) | step.value


def test_unknown_board_names_its_neighbours() -> None:
    with pytest.raises(McucError) as caught:
        load_board("nucleo-f764zg")
    assert caught.value.code == "unknown-board"
    assert "nucleo-f746zg" in caught.value.try_this and "mcuc boards" in caught.value.try_this


def test_own_board_file_with_own_chip(tmp_path: Path) -> None:
    chip = (ROOT / "targets/chips/stm32g0b1.toml").read_text().replace('"stm32g0b1"', '"mine"')
    (tmp_path / "chip.toml").write_text(chip)
    board = 'name = "b"\ntitle = "t"\nchip = "chip.toml"\nsource = "s"\nreserved_sram = 1024\n'
    (tmp_path / "my.toml").write_text(board)
    loaded = load_board(str(tmp_path / "my.toml"))
    assert (loaded.chip.name, loaded.sram_bytes) == ("mine", 143 * KB)
    (tmp_path / "my.toml").write_text(board.replace("chip.toml", "stm32l4r5"))
    assert load_board(str(tmp_path / "my.toml")).chip.core == "cortex-m4"


# Each changes a valid file so that one rule is broken: what is replaced, by what, a word of the message.
WRONG = {
    "unknown key": ('core = "cortex-m0plus"', 'core = "cortex-m0plus"\ncoer = 1', "coer"),
    "unknown core": ('core = "cortex-m0plus"', 'core = "cortex-m1"', "cortex-m1"),
    "FPU that the core lacks": ('fpu = "none"', 'fpu = "fpv4-sp-d16"', "fpv4-sp-d16"),
    "DSP that the core lacks": ("dsp = false", "dsp = true", "dsp"),
    "clock of zero": ("clock_hz = 64_000_000", "clock_hz = 0", "clock_hz"),
    "missing key": ('source = "DS13560 (STM32G0B1xB/xC/xE), features: Cortex-M0+, 64 MHz"', "", "source"),
    "empty source": ('"DS13560 (STM32G0B1xB/xC/xE), features: Cortex-M0+, 64 MHz"', '""', "source"),
    "overlap": ("base = 0x20000000", "base = 0x08000400", "overlap"),
    "outside": ("base = 0x20000000", "base = 0xFFFFF000", "32-bit"),
    "no flash": ('kind = "flash"', 'kind = "ram"', "flash"),
    "unknown linked region": ('linked_ram = ["sram"]', 'linked_ram = ["dram"]', "dram"),
    "no linked region": ('linked_ram = ["sram"]', "linked_ram = []", "linked_ram"),
    "linked regions with a gap": ('linked_ram = ["sram"]', 'linked_ram = ["sram", "sram"]', "ends"),
    "value outside its mask": ("mask = 0x00000307, value = 0x00000302", "mask = 0x300, value = 0x302", "range"),
    "unaligned register": ("address = 0x40022000", "address = 0x40022002", "range"),
    "cache of broken lines": ("line_bytes = 8", "line_bytes = 7", "lines of 7"),
    "comment that ends a C comment": ('comment = "', 'comment = "x */ int y; /* ', "*/"),
    "comment of two lines": ('comment = "', 'comment = "x\\n', "line break"),
    "no TOML": ('name = "stm32g0b1"', "name = ", "Invalid"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_wrong_chip_file_is_refused(what: str, tmp_path: Path) -> None:
    old, new, word = WRONG[what]
    text = (ROOT / "targets/chips/stm32g0b1.toml").read_text()
    assert old in text
    path = tmp_path / "chip.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(McucError) as caught:
        load_chip(str(path))
    assert caught.value.code == "board-file"
    assert word in caught.value.found and str(path) in caught.value.where


@pytest.mark.parametrize("name", ["", "a */ b", "a\\nb", "\\u001b[2J", "größe", "-x", "n" * 65, "a b", "a\\n"])
def test_names_that_could_leave_a_comment_are_refused(name: str, tmp_path: Path) -> None:
    text = (ROOT / "targets/chips/stm32g0b1.toml").read_text()
    (tmp_path / "chip.toml").write_text(text.replace('name = "stm32g0b1"', f'name = "{name}"'))
    (tmp_path / "board.toml").write_text(f'name = "{name}"\ntitle = "t"\nchip = "stm32g0b1"\nsource = "s"\n')
    for load, file in ((load_chip, "chip.toml"), (load_board, "board.toml")):
        with pytest.raises(McucError, match="must be 1 to 64 letters") as caught:
            load(str(tmp_path / file))
        assert caught.value.code == "board-file" and str(tmp_path / file) in caught.value.where


EXTERNAL = (
    '{ name = "q", kind = "flash", base = 0x90000000, size = 0x100000, dma = true, source = "s", '
    'read = { bytes = 32, cycles = 100.5, source = "s" } }'
)
# Of an external region: what is replaced, by what, a word of the message.
WRONG_EXTERNAL = {
    "no timing": (', read = { bytes = 32, cycles = 100.5, source = "s" }', "", "external flash q has no read"),
    "timing of a RAM": ('kind = "flash"', 'kind = "ram"', "region q has read"),
    "unknown kind": ('kind = "flash"', 'kind = "eeprom"', "eeprom"),
    "no bytes": ("bytes = 32, ", "", "bytes"),
    "bytes of zero": ("bytes = 32", "bytes = 0", "is of 0 bytes"),
    "no cycles": ("cycles = 100.5", "cycles = 0", "takes 0 cycles"),
    "cycles that are none": ("cycles = 100.5", "cycles = nan", "takes nan cycles"),
    "slower in order": ("cycles = 100.5", "cycles = 100.5, next_cycles = 101", "next_cycles 101"),
    "order that is none": ("cycles = 100.5", "cycles = 100.5, next_cycles = nan", "next_cycles nan"),
    "timing without a source": ('source = "s" } }', 'source = "" } }', "read of region q has no source"),
    "unknown key": ("bytes = 32", "bytes = 32, speed = 1", "speed"),
    "overlap": ("base = 0x90000000", "base = 0x08000000", "overlap"),
    "unaligned": ("base = 0x90000000", "base = 0x90000004", "multiple of 32"),
}


def test_external_flash_holds_weights_and_is_no_flash_for_code(tmp_path: Path) -> None:
    head = 'name = "b"\ntitle = "t"\nchip = "stm32g0b1"\nsource = "s"\n'
    (tmp_path / "b.toml").write_text(f"{head}external = [{EXTERNAL}]\n")
    board, plain = load_board(str(tmp_path / "b.toml")), load_board("nucleo-g0b1re")
    assert (board.chip.flash_region, board.flash_bytes) == (plain.chip.flash_region, 512 * KB)
    assert board.all_flash_bytes == 512 * KB + (1 << 20) and board.data_regions == plain.data_regions
    assert board.holds(1 << 20, 512 * KB) and not board.holds((1 << 20) + 1, 512 * KB)
    assert board.holds(500 * KB, 12 * KB) and not board.holds(1, 512 * KB + 1) and not plain.holds(500 * KB, 13 * KB)
    moved = weights_outside(board)
    assert moved is not None and moved.chip.weights_region.name == "q" and moved.flash_bytes == board.flash_bytes
    assert weights_outside(moved) is None and weights_outside(plain) is None
    other = EXTERNAL.replace('"q"', '"large"').replace("0x90000000", "0xA0000000").replace("0x100000", "0x200000")
    (tmp_path / "b.toml").write_text(f"{head}external = [{EXTERNAL}, {other}]\n")
    largest = load_board(str(tmp_path / "b.toml")).chip.external_flash
    assert largest is not None and largest.name == "large"


@pytest.mark.parametrize("what", sorted(WRONG_EXTERNAL))
def test_wrong_external_region_is_refused(what: str, tmp_path: Path) -> None:
    old, new, word = WRONG_EXTERNAL[what]
    assert EXTERNAL.count(old) == 1
    path = tmp_path / "b.toml"
    external = EXTERNAL.replace(old, new)
    path.write_text(f'name = "b"\ntitle = "t"\nchip = "stm32g0b1"\nsource = "s"\nexternal = [{external}]\n')
    with pytest.raises(McucError) as caught:
        load_board(str(path))
    assert caught.value.code == "board-file" and word in caught.value.found and str(path) in caught.value.where


def test_where_weights_lie_is_no_key_of_a_chip_file(tmp_path: Path) -> None:
    text = (ROOT / "targets/chips/stm32g0b1.toml").read_text()
    (tmp_path / "chip.toml").write_text(text.replace("dsp = false", 'dsp = false\nweights_in = "flash"'))
    with pytest.raises(McucError, match="weights_in is no key") as caught:
        load_chip(str(tmp_path / "chip.toml"))
    assert caught.value.code == "board-file"


@pytest.mark.parametrize("reserve", [-8, 4, 1 << 20])
def test_wrong_reserve_is_refused(reserve: int, tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(f'name = "b"\ntitle = "t"\nchip = "stm32g0b1"\nsource = "s"\nreserved_sram = {reserve}\n')
    with pytest.raises(McucError, match="reserved_sram"):
        load_board(str(path))


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(McucError, match="cannot be read"):
        load_board(str(tmp_path / "none.toml"))
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(McucError) as caught:
        load_board(str(tmp_path / "bin.toml"))
    assert caught.value.code == "board-file"
