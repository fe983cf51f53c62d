"""Shared fixtures. `shared_data` finds the data folder that the project does not carry."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MADE_ONCE = {"built", "done", "golden", "made", "searched"}  # fixtures: compiled models, finished builds and searches


def shared_folder() -> Path:
    """The folder named by MCUC_SHARED_DATA, by default ../shared/data beside the repository."""
    return Path(os.environ.get("MCUC_SHARED_DATA", ROOT.parent / "shared" / "data"))


def pytest_configure() -> None:
    """A shell without job control starts background jobs with SIGINT ignored, and what they start inherits it: tests
    that interrupt a process would wait in vain."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses the fixture carries the marker, so that `-m "not shared"` leaves it out. Tests that share what
    takes long to make stay on one worker, which makes it once."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "shared_data" in names:
            item.add_marker(pytest.mark.shared)
        for name in MADE_ONCE & set(names):
            of = getattr(item, "callspec", None)
            item.add_marker(pytest.mark.xdist_group(f"{item.path.name} {of.params.get(name, '') if of else ''}"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data folder: skipped where it is missing, a failure there when CI=true."""
    folder = shared_folder()
    if (folder / "models" / "manifest.json").is_file():
        return folder
    reason = f"shared data not found at {folder}; set MCUC_SHARED_DATA"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
