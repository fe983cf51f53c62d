"""Builders of small firmwares, each built once per session."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from firmwares import FRAME, HERE, Build, link


@pytest.fixture(scope="session")
def build_net(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build_net(core) -> ELF of net.c."""
    folder, built = tmp_path_factory.mktemp("net"), {}

    def build(core: str, *defines: str) -> Path:
        if (core, defines) not in built:
            elf = folder / f"{core}{'-'.join(defines)}.elf"
            link(core, [HERE / "firmware/start.S", HERE / "firmware/net.c"], elf, defines)
            built[core, defines] = elf
        return built[core, defines]

    return build


@pytest.fixture(scope="session")
def build_asm(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build_asm(core, body, after="", defines=(), mcpu="") -> ELF of main with this body."""
    folder, built = tmp_path_factory.mktemp("asm"), {}

    def build(core: str, body: str, after: str = "", defines: tuple[str, ...] = (), mcpu: str = "") -> Path:
        key = (core, body, after, defines, mcpu)
        if key not in built:
            elf = folder / f"{len(built)}.elf"
            source = elf.with_suffix(".S")
            source.write_text(FRAME.format(body=body, after=after))
            link(core, [HERE / "firmware/start.S", source], elf, defines, mcpu)
            built[key] = elf
        return built[key]

    return build


@pytest.fixture(scope="session")
def cmemu(shared_data: Path) -> ModuleType:
    """The independent counter, beside the shared data."""
    path = shared_data.parent / "tools" / "cmemu.py"
    if not path.exists():
        reason = f"the independent counter is not at {path}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    spec = importlib.util.spec_from_file_location("cmemu", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
