"""A child process that answers requests over pipes: outside runtimes crash and hang on hostile files, the parent lives.

Frames on both pipes: see _child_loop.py, which the child runs.
"""

from __future__ import annotations

import os
import selectors
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_LOOP = Path(__file__).with_name("_child_loop.py")


class Child:
    """A live child process that answers by a script's answer(request, *arguments), in so many bytes of memory."""

    def __init__(self, script: Path, memory: int, arguments: Sequence[str] = ()) -> None:
        self.owner = os.getpid()
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(_LOOP), str(script), str(memory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            bufsize=0,
        )

    def usable(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None

    def close(self) -> None:
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self.log):
                if stream is not None:
                    stream.close()

    def last_words(self) -> str:
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 500))
        lines = self.log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def exchange(self, request: bytes, seconds: float) -> bytes:
        """Raises TimeoutError past the limit and EOFError when the child died."""
        assert self.process.stdin is not None and self.process.stdout is not None
        sender, receiver = self.process.stdin.fileno(), self.process.stdout.fileno()
        deadline = time.monotonic() + seconds
        outgoing = memoryview(struct.pack("<Q", len(request)) + request)
        incoming = bytearray()
        os.set_blocking(sender, False)
        with selectors.DefaultSelector() as ready:
            ready.register(sender, selectors.EVENT_WRITE)
            ready.register(receiver, selectors.EVENT_READ)
            while True:
                events = ready.select(deadline - time.monotonic())
                if time.monotonic() > deadline:
                    raise TimeoutError
                for key, _ in events:
                    if key.fd == receiver:
                        chunk = os.read(receiver, 1 << 20)
                        if not chunk:
                            raise EOFError
                        incoming += chunk
                        if len(incoming) >= 8 and len(incoming) - 8 >= struct.unpack_from("<Q", incoming)[0]:
                            return bytes(incoming[8:])
                        continue
                    try:
                        outgoing = outgoing[os.write(sender, outgoing[: 1 << 20]) :]
                    except BrokenPipeError:
                        raise EOFError from None
                    if not outgoing:
                        ready.unregister(sender)
