"""One run of a firmware on a board of qemu-system-arm, a second opinion on what the emulated core computes.

QEMU refuses what Unicorn forgives (it models faults), but counts nothing. Input and output go over its debugger port,
since the program itself has no files: memory is written before reset and read at the semihosting call that exits.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcuc.emulate.cortex_m import Dump, Poke
from mcuc.emulate.image import Image, load_image
from mcuc.emulate.instructions import halfwords
from mcuc.errors import McucError
from mcuc.targets import Board

PROGRAM = "qemu-system-arm"
_SEMIHOST = b"\xab\xbe"  # BKPT 0xAB
_EXITS = (0x18, 0x20)  # SYS_EXIT, SYS_EXIT_EXTENDED
_PIECE = 1024  # bytes a packet


@dataclass(frozen=True)
class QemuRun:
    exit_code: int
    dumps: tuple[bytes, ...]
    output: str


def why_not(board: Board) -> str | None:
    """Why the board cannot be run here; None when it can."""
    if not board.qemu_machine:
        return f"qemu-system-arm has no machine for {board.name}"
    return None if shutil.which(PROGRAM) else f"{PROGRAM} is not installed"


def run_qemu(
    elf: Path,
    board: Board,
    pokes: Sequence[Poke] = (),
    dumps: Sequence[Dump] = (),
    timeout_s: float = 60,
    file: tuple[str, bytes] | None = None,
) -> QemuRun:
    """Run from reset to exit. file: name and bytes of a file that the firmware opens by semihosting.

    Raises McucError: qemu-missing, qemu-timeout, qemu-failed, emulated-no-symbol.
    """
    reason = why_not(board)
    if reason:
        raise McucError(
            "qemu-missing",
            reason,
            where=board.name,
            try_this="install qemu-system-arm, or verify on the built-in emulator",
        )
    image = load_image(elf)
    placed = [(image.span(p.symbol, p.offset, len(p.data)), p.data) for p in pokes]
    wanted = [(image.span(d.symbol, d.offset, d.length), d.length) for d in dumps]
    with tempfile.TemporaryDirectory(prefix="mcuc-qemu-") as folder, _qemu(elf, board, Path(folder), file) as process:
        deadline = time.monotonic() + timeout_s
        try:
            with _Debugger(Path(folder, "gdb"), process, deadline) as debugger:
                read = _run(debugger, image, placed, wanted)
            output, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as e:
            raise McucError(
                "qemu-timeout",
                f"QEMU did not end within {timeout_s:g} s",
                where=str(elf),
                try_this="allow it more time, or verify on the built-in emulator",
            ) from e
        except OSError as e:
            process.kill()
            said = process.communicate()[0].strip()[-500:]
            raise McucError(
                "qemu-failed",
                f"QEMU ended early: {said or e}",
                where=str(elf),
                try_this="verify on the built-in emulator",
            ) from e
    return QemuRun(process.returncode, read, output)


def _run(
    debugger: _Debugger, image: Image, pokes: list[tuple[int, bytes]], dumps: list[tuple[int, int]]
) -> tuple[bytes, ...]:
    for address, data in pokes:
        for k in range(0, len(data), _PIECE):
            piece = data[k : k + _PIECE]
            debugger.ask(f"M{address + k:x},{len(piece):x}:{piece.hex()}", "OK")
    calls = [
        s.base + offset
        for s in image.stretches
        if s.kind == "t"
        for offset, _ in halfwords(s.data)
        if s.data[offset : offset + 2] == _SEMIHOST
    ]
    for address in calls:
        debugger.ask(f"Z0,{address:x},2", "OK")
    while True:
        debugger.ask("c", "T05")
        registers = struct.unpack_from("<16I", bytes.fromhex(debugger.ask("g")[:128]))  # r0 to pc
        operation, here = registers[0], registers[15]
        if operation in _EXITS:
            break
        debugger.ask(f"z0,{here:x},2", "OK")
        debugger.ask("s", "T05")
        debugger.ask(f"Z0,{here:x},2", "OK")
    read = tuple(
        b"".join(
            bytes.fromhex(debugger.ask(f"m{address + k:x},{min(_PIECE, size - k):x}")) for k in range(0, size, _PIECE)
        )
        for address, size in dumps
    )
    for address in calls:
        debugger.ask(f"z0,{address:x},2", "OK")
    debugger.send("D")  # detach: the program goes on, and exits
    return read


@contextlib.contextmanager
def _qemu(elf: Path, board: Board, folder: Path, file: tuple[str, bytes] | None) -> Iterator[subprocess.Popen[str]]:
    if file is not None:
        Path(folder, file[0]).write_bytes(file[1])
    command = [PROGRAM, "-machine", board.qemu_machine, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf.resolve()), "-S"]
    command += ["-chardev", f"socket,path={folder / 'gdb'},server=on,wait=off,id=gdb", "-gdb", "chardev:gdb"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


class _Debugger:
    """The GDB remote serial protocol, as much as is needed (GDB manual, appendix E)."""

    def __init__(self, path: Path, process: subprocess.Popen[str], deadline: float) -> None:
        self._path, self._process, self._deadline = path, process, deadline
        self._socket = socket.socket(socket.AF_UNIX)
        self._left = b""

    def __enter__(self) -> _Debugger:
        while True:
            try:
                self._socket.connect(str(self._path))
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > self._deadline:
                    raise
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, command: str) -> None:
        body = command.encode()
        self._socket.sendall(b"$" + body + f"#{sum(body) & 0xFF:02x}".encode())

    def ask(self, command: str, expected: str = "") -> str:
        """Send a command and return its answer, which must begin with `expected`."""
        self.send(command)
        answer = self._packet()
        if not answer.startswith(expected) or answer.startswith("E"):
            raise OSError(f"the debugger answered {answer[:40]!r} to {command[:40]!r}")
        return answer

    def _packet(self) -> str:
        while True:
            start = self._left.find(b"$")
            end = self._left.find(b"#", start)
            if 0 <= start < end and len(self._left) >= end + 3:
                body, self._left = self._left[start + 1 : end], self._left[end + 3 :]
                self._socket.sendall(b"+")
                return body.decode("latin1")
            self._socket.settimeout(max(0.01, self._deadline - time.monotonic()))
            more = self._socket.recv(65536)
            if not more:
                raise OSError("the connection closed")
            self._left += more
