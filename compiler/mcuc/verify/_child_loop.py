"""What a child process of mcuc.verify.child runs: a script's answer(request, *arguments) to one frame after the other.

Arguments: the script, the most bytes of address space, the script's own arguments. Imports nothing of mcuc.
Frames on both pipes: 8 bytes little-endian length, then an .npz archive without pickled objects.
"""

from __future__ import annotations

import io
import os
import resource
import runpy
import struct
import sys
from typing import BinaryIO

import numpy as np


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    blob = stream.read(count)
    if len(blob) < count:
        sys.exit(0)  # the parent is gone
    return blob


def main() -> None:
    script, memory, *arguments = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # runtimes print on stdout
    answer = runpy.run_path(script)["answer"]
    while True:
        (size,) = struct.unpack("<Q", read_exactly(sys.stdin.buffer, 8))
        with np.load(io.BytesIO(read_exactly(sys.stdin.buffer, size)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        reply = io.BytesIO()
        np.savez(reply, **answer(arrays, *arguments))
        replies.write(struct.pack("<Q", reply.tell()) + reply.getvalue())
        replies.flush()


if __name__ == "__main__":
    main()
