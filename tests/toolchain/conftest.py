"""The compilers that these tests run with; an absent one is a skip that says so."""

from __future__ import annotations

import shutil

import pytest

from mcuc.toolchain import Toolchain, find


@pytest.fixture(scope="module", params=["zig", "gcc"])
def tools(request: pytest.FixtureRequest) -> Toolchain:
    name: str = request.param
    if name == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    return find(name)
