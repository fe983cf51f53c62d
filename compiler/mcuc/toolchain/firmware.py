"""From C files to a bootable image for a board."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType

import jinja2

from mcuc.errors import McucError
from mcuc.targets import Board, Chip, ClockStep, Region

from . import gcc, zig
from ._find import find
from ._model import C_FLAGS, Firmware, Optimize, Toolchain
from ._process import disk_errors, in_parallel, run_compiler
from .sizes import flash_left, sizes_of

DEFAULT_STACK_BYTES = 2048
CODE_OFFSET = 32  # bytes at the start of a RAM for code that stay free
BEHIND = 128  # bytes behind the last table that stay free: kernels ask for lines ahead (kernels/dot/_pairs.py)
HARNESS_PREFIX = "mcuc_harness_obj_"  # the linker script knows these objects by it
_RUNTIME_FILES = ("mcuc_startup.c", "mcuc_startup.h", "mcuc_semihost.h")


@dataclass(frozen=True)
class _Unit:
    source: Path
    object: Path
    flags: tuple[str, ...]


def build_firmware(
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    board: Board,
    out_elf: Path,
    toolchain: str = "auto",
    optimize: Optimize = "balanced",
    defines: Mapping[str, str] | None = None,
    *,
    harness_sources: Sequence[Path] = (),
    stack_bytes: int = DEFAULT_STACK_BYTES,
    extra_flags: Sequence[str] = (),
    arenas: Mapping[str, str] | None = None,
    code_in_ram: bool = False,
    keep_inside: Callable[[int], Sequence[str]] | None = None,
) -> Firmware:
    """Compile, add startup, clock table and linker script of the board, link to out_elf.

    sources: the model. harness_sources: test program and the like, whose code and RAM `Firmware.sizes` leaves out.
    One of them defines main(). stack_bytes: what the link must leave free for the stack. arenas: section -> name of its
    RAM region, where sections go to regions of their own. code_in_ram: the model's code is copied to the chip's RAM for
    code at start. keep_inside: where weights lie outside the chip, which tables (symbols) lie in the chip's own flash
    after all, of which so many bytes are left. The same input gives the same bytes, wherever the files lie.
    out_elf appears only when all went well. McucError where anything fails.
    """
    tools = find(toolchain)
    with disk_errors(str(out_elf)), tempfile.TemporaryDirectory(prefix="mcuc-build-") as temporary:
        work = Path(temporary)
        _unpack_runtime(work, board)
        flags = tuple(f"-D{name}={value}" if value else f"-D{name}" for name, value in sorted((defines or {}).items()))
        flags += tuple(extra_flags)
        units = [
            *_units(sources, work, "", flags),
            *_units(harness_sources, work, HARNESS_PREFIX, flags),
            *_units(
                [work / "mcuc_startup.c", work / "mcuc_clock.c"],
                work,
                f"{HARNESS_PREFIX}start_",
                _startup_flags(board.chip),
            ),
        ]
        folders = [*include_dirs, work]

        def compile_unit(unit: _Unit) -> None:
            if unit.source.parent == work:
                _compile_startup(unit, board.chip, tools, optimize)
            else:
                compile_object(unit.source, unit.object, board.chip, tools, optimize, folders, unit.flags)

        in_parallel(compile_unit, units)
        script, image, inside = work / "link.ld", work / "firmware.elf", list[str]()

        def link(spare: int = 0) -> None:
            text = render_linker_script(board, stack_bytes, arenas, code_in_ram, inside, spare)
            script.write_text(text, encoding="utf-8")
            _link(tools, board.chip, [unit.object.name for unit in units], script, image, optimize)

        if board.chip.weights_in and keep_inside is not None:
            link(board.flash_bytes)  # to see what the code leaves
            inside += keep_inside(flash_left(image, board.chip.flash_region) - BEHIND)
        link()
        _install(image, out_elf)
    return Firmware(out_elf, tools.label, sizes_of(out_elf), tuple(inside))


_STARTUP: dict[tuple[object, ...], bytes] = {}  # objects of this process's earlier builds


def _compile_startup(unit: _Unit, chip: Chip, tools: Toolchain, optimize: Optimize) -> None:
    """Startup and clock table, which most builds of a command share: many boards have the same core and clock."""
    key = (tools, _adapter(tools).target_flags(chip), optimize, unit.flags, unit.source.read_bytes())
    if key not in _STARTUP:
        compile_object(unit.source, unit.object, chip, tools, optimize, [unit.source.parent], unit.flags)
        _STARTUP[key] = unit.object.read_bytes()
    unit.object.write_bytes(_STARTUP[key])


def compile_object(
    source: Path,
    out: Path,
    chip: Chip,
    toolchain: Toolchain,
    optimize: Optimize = "balanced",
    include_dirs: Sequence[Path] = (),
    extra_flags: Sequence[str] = (),
) -> None:
    """Compile one C file for a chip. McucError "compile-failed" with the compiler's first lines where it refuses."""
    adapter = _adapter(toolchain)
    source = source.resolve()
    command = [
        *toolchain.command,
        *adapter.target_flags(chip),
        *C_FLAGS,
        *adapter.COMPILE_FLAGS,
        *adapter.OPTIMIZE_FLAGS[optimize],
        *(f"-I{folder.resolve()}" for folder in include_dirs),
        f"-ffile-prefix-map={source.parent}{os.sep}=",
        *extra_flags,
        "-c",
        str(source),
        "-o",
        str(out.resolve()),
    ]
    run_compiler(command, source.name, out.resolve().parent)


def render_linker_script(
    board: Board,
    stack_bytes: int = DEFAULT_STACK_BYTES,
    arenas: Mapping[str, str] | None = None,
    code_in_ram: bool = False,
    inside: Sequence[str] = (),
    spare: int = 0,
) -> str:
    """The linker script of a board: flash regions, linked RAM less the reserve, stack at the end of RAM.

    arenas: section -> name of its RAM region. Then every region is a memory of its own, and static data and the stack
    share the last linked one. code_in_ram: the model's code runs from the chip's RAM for code. inside: tables in the
    chip's flash where weights lie outside; spare: bytes by which the flash outside is taken to be larger. Raises
    KeyError for a region that the chip lacks.
    """
    chip = board.chip
    memories = [("RAM", chip.ram_base, board.sram_bytes)]
    if arenas:
        used = [chip.region(name) for name in dict.fromkeys([board.home.name, *arenas.values()])]
        memories = [(_memory(r), r.base, board.usable_bytes(r)) for r in used]
    home, code = memories[0][0], "FLASH"
    if code_in_ram and (place := chip.code_ram) is not None:
        code = home
        if place.name not in chip.linked_ram:
            code = _memory(place)  # no function at address 0, where ITCM begins
            memories.append((code, place.base + CODE_OFFSET, place.size - CODE_OFFSET))
    outside = chip.region(chip.weights_in) if chip.weights_in else None
    behind = BEHIND if chip.caches.dcache_bytes else 0
    return _template("link.ld.j2").render(
        board=board.name,
        chip=chip.name,
        core=chip.core,
        flash_base=f"0x{chip.flash_region.base:08X}",
        flash_bytes=board.flash_bytes,
        outside=outside and {"base": f"0x{outside.base:08X}", "bytes": outside.size + spare - behind},
        inside=inside,
        weights=f"FLASH_{outside.name.upper()}" if outside else "FLASH",
        memories=[(name, f"0x{base:08X}", length) for name, base, length in memories],
        home=home,
        code=code,
        arenas=[(section, _memory(chip.region(name))) for section, name in (arenas or {}).items()],
        stack_bytes=stack_bytes,
        harness_objects=f"*{HARNESS_PREFIX}*.o",
    )


def _memory(region: Region) -> str:
    """The region's name in a linker script."""
    return f"RAM_{region.name.upper()}"


def render_clock_table(steps: Sequence[ClockStep]) -> str:
    """C source of mcuc_clock_steps[], which the startup executes."""
    return _template("clock.c.j2").render(steps=steps)


def runtime_folder() -> Traversable:
    """The folder of the hand-written C: the installed package mcuc_runtime, or runtime_c/ of a checkout."""
    try:
        return resources.files("mcuc_runtime")
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[3] / "runtime_c"


def _units(sources: Sequence[Path], work: Path, prefix: str, flags: tuple[str, ...]) -> list[_Unit]:
    """The number keeps files of the same name in different folders apart."""
    stems = [re.sub(r"[^A-Za-z0-9_]", "_", source.stem) for source in sources]
    objects = [work / f"{prefix}{i:02d}_{stem}.o" for i, stem in enumerate(stems)]
    return [_Unit(source, target, flags) for source, target in zip(sources, objects, strict=True)]


def _startup_flags(chip: Chip) -> tuple[str, ...]:
    """-fno-builtin: a copy loop of the startup must not become a call of memcpy, nor memcpy a call of itself."""
    return ("-fno-builtin", "-DMCUC_LEVEL1_CACHES") if chip.caches.dcache_bytes else ("-fno-builtin",)


def _unpack_runtime(work: Path, board: Board) -> None:
    folder = runtime_folder()
    for name in _RUNTIME_FILES:
        (work / name).write_bytes((folder / name).read_bytes())
    (work / "mcuc_clock.c").write_text(render_clock_table(board.chip.clock_init), encoding="utf-8")


def _link(tools: Toolchain, chip: Chip, objects: Sequence[str], script: Path, image: Path, optimize: Optimize) -> None:
    adapter = _adapter(tools)
    command = [
        *tools.command,
        *adapter.target_flags(chip),
        *adapter.OPTIMIZE_FLAGS[optimize],
        *adapter.LINK_FLAGS,
        f"-Wl,-T,{script.name}",
        *objects,
    ]
    *attempts, last = adapter.LIBRARY_CHOICES
    for libraries in attempts:
        try:
            run_compiler([*command, *libraries, "-o", image.name], "linking the firmware", image.parent)
            return
        except McucError as e:
            if "undefined symbol" not in e.found:
                raise
    run_compiler([*command, *last, "-o", image.name], "linking the firmware", image.parent)


def _install(image: Path, out: Path) -> None:
    """Copy next to out, then rename: out is either whole or absent."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.copyfile(image, partial)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def _adapter(tools: Toolchain) -> ModuleType:
    """The module of that compiler: target_flags and the tables of flags."""
    return gcc if tools.id == "gcc" else zig


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mcuc", "emit"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _template(name: str) -> jinja2.Template:
    try:
        return _environment().get_template(name)
    except jinja2.TemplateNotFound as e:
        raise McucError(
            "broken-install",
            f"The template {name} is missing.",
            where="the installed package mcuc",
            try_this="install mcuc again",
        ) from e
