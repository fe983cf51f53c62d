"""The command line as people and programs meet it: help, start-up time, terminals, pipes, interrupts."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import Run

import mcuc

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = ("build", "compile", "check", "verify", "profile", "report", "boards", "ops", "doctor")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "compiler"), "COLUMNS": "160", "TERM": "dumb"}


def python(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=cwd
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run: Run, command: str) -> None:
    for words in ((command,), *((("report", "diff"),) if command == "report" else ())):
        done = run(*words, "--help")
        assert done.code == 0 and f"mcuc {command}" in done.out and "Example:" in done.out and done.err == ""


def test_help_and_version(run: Run) -> None:
    done = run("--help")
    assert done.code == 0 and all(command in done.out for command in COMMANDS)
    assert run("--version").out == f"mcuc {mcuc.__version__}\n"
    assert run().code == 2


def loaded(*words: object, cwd: Path) -> set[str]:
    """The modules that a command line imports."""
    code = (
        "import sys; from mcuc.cli import main; code = main(sys.argv[1:]); "
        "print('\\n'.join(['', *sys.modules])); sys.exit(code)"
    )
    done = python("-c", code, *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def test_help_starts_quickly(tmp_path: Path) -> None:
    """Processor time, since the machine may be busy; and nothing heavy is imported."""
    assert not loaded("--help", cwd=tmp_path) & {
        "numpy",
        "jinja2",
        "unicorn",
        "msgspec",
        "onnx",
        "torch",
        "mcuc.pipeline",
    }
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python("-m", "mcuc", "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_compiling_tflite_imports_no_training_and_no_onnx(model: Path, tmp_path: Path) -> None:
    found = loaded("compile", model, "-o", "out", cwd=tmp_path)
    assert not found & {"torch", "onnx", "onnxruntime", "tflite_micro", "PIL"}
    assert "mcuc.pipeline" in found and (tmp_path / "out" / "report.json").is_file()


def test_python_interface_is_lazy_and_the_same(model: Path, tmp_path: Path) -> None:
    done = python("-c", "import sys, mcuc; print('numpy' in sys.modules)")
    assert done.stdout == "False\n"
    compiled = mcuc.compile(model, board="nucleo-l4r5zi", budget="64KB", out=tmp_path / "out")
    assert isinstance(compiled, mcuc.Compiled) and isinstance(compiled.report, mcuc.Report)
    assert compiled.report.board == "nucleo-l4r5zi" and compiled.report.sram.budget == 65536
    with pytest.raises(mcuc.McucError, match="fastest"):
        mcuc.compile(model, optimize="fastest")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        mcuc.compiel  # type: ignore[attr-defined]  # noqa: B018


def start(*words: object, cwd: Path, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
    """The command line with a terminal as its stderr; returns the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcuc", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**ENVIRONMENT, "TERM": "xterm", **environment},
        cwd=cwd,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def said(terminal: int, until: bytes = b"") -> bytes:
    """What was shown on the terminal, up to those words or to the end."""
    text = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            return text
        text += chunk
        if not chunk or (until and until in text):
            return text


def test_progress_shows_on_a_terminal(model: Path, tmp_path: Path) -> None:
    process, terminal = start("compile", model, "-o", "out", cwd=tmp_path)
    shown = said(terminal)
    os.close(terminal)
    assert process.wait() == 0 and b"compiling for the board" in shown and b"\x1b[" in shown


def test_an_interrupt_ends_with_130_and_leaves_nothing(
    model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """While a compiler is at work: a slow one, so that a busy machine still sends the signal in time."""
    tools = tmp_path_factory.mktemp("tools")
    compiler = tools / "arm-none-eabi-gcc"
    compiler.write_text('#!/bin/sh\n[ "$1" = -dumpfullversion ] && echo 12.2.1 && exit\nsleep 30\nexit 1\n')
    compiler.chmod(0o755)
    words = ("compile", model, "--toolchain", "gcc", "-o", "out")
    process, terminal = start(*words, cwd=tmp_path, PATH=f"{tools}:{os.environ['PATH']}")
    shown = said(terminal, until=b"compiling")
    os.killpg(process.pid, signal.SIGINT)
    shown += said(terminal)
    os.close(terminal)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.wait() == 130 and b"interrupted" in shown and b"Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "mcuc", "boards", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    os.close(write)
    assert done.returncode == 1 and "Traceback" not in done.stderr
