"""What users get wrong: exit code 1 (2 for usage), one message with what, where and what to try, nothing written."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from running import Ran, Run

import small_models

REPOSITORY = Path(__file__).resolve().parents[2]


def tree(folder: Path = Path()) -> dict[str, bytes]:
    """Every file and folder below, with contents."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def check_refusal(done: Ran, code: int, *needles: str) -> None:
    """One message, no traceback, no internal error; for a refusal where and what to try."""
    assert done.code == code, done
    assert "Traceback" not in done.err and "internal error" not in done.err and done.out == ""
    for needle in needles:
        assert needle.lower() in " ".join(done.err.lower().replace("│", " ").split()), (
            f"{needle!r} is not in: {done.err}"
        )
    if code == 1:
        assert done.err.startswith("mcuc: ") and done.err.count("mcuc: ") == 1, done.err
        assert re.search(r"\n  where: \S.*\n  try:   \S", done.err), done.err


def refused(run: Run, words: list[object], *needles: str, code: int = 1) -> None:
    """The command is refused and leaves the folder as it was."""
    before = tree()
    check_refusal(run(*words), code, *needles)
    assert tree() == before


def truncated(share: float) -> bytes:
    blob = small_models.tiny()
    return blob[: int(len(blob) * share)]


def random_bytes(count: int, seed: int, head: bytes = b"") -> bytes:
    return head + np.random.default_rng(seed).bytes(count)


def float_onnx() -> bytes:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as out:
        out.writestr("weights.bin", "0" * 100)
    return stream.getvalue()


def broken_offsets() -> bytes:
    """A sound beginning, then a root table that points outside."""
    blob = bytearray(small_models.tiny())
    blob[0:4] = (len(blob) * 4).to_bytes(4, "little")
    return bytes(blob)


BAD_FILES = {
    "empty.tflite": lambda: b"",
    "empty.onnx": lambda: b"",
    "one_byte.tflite": lambda: b"\x00",
    "header_only.tflite": lambda: small_models.tiny()[:8],
    "tenth.tflite": lambda: truncated(0.1),
    "third.tflite": lambda: truncated(0.33),
    "half.tflite": lambda: truncated(0.5),
    "most.tflite": lambda: truncated(0.8),
    "nearly.tflite": lambda: truncated(0.97),
    "random.tflite": lambda: random_bytes(5000, 0),
    "random_with_header.tflite": lambda: random_bytes(5000, 1, b"\x1c\x00\x00\x00TFL3"),
    "random.onnx": lambda: random_bytes(5000, 2),
    "zeros.tflite": lambda: bytes(4096),
    "zeros.onnx": lambda: bytes(4096),
    "text.tflite": lambda: b"<html>404 not found</html>" * 20,
    "archive.tflite": archive,
    "other_format.onnx": small_models.tiny,
    "other_format.tflite": float_onnx,
    "offsets.tflite": broken_offsets,
    "float.tflite": lambda: small_models.as_float(small_models.tiny()),
    "hybrid.tflite": lambda: small_models.as_float(small_models.tiny(), weights_too=False),
    "float.onnx": float_onnx,
    "unsupported.tflite": lambda: small_models.with_operators(small_models.tiny(), SOFTMAX="COS"),
    "wrong_operator.tflite": lambda: small_models.with_operators(small_models.tiny(), FULLY_CONNECTED="CONV_2D"),
    "ending.h5": small_models.tiny,
    "no_ending": small_models.tiny,
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_model_files(run: Run, name: str) -> None:
    Path(name).write_bytes(BAD_FILES[name]())
    hint = {"float": "int8", "hybrid": "int8", "unsupported": "COS", "ending": "ending"}.get(name.split(".")[0], "")
    refused(run, ["compile", name, "-o", "out"], hint)
    if not name.startswith(("float.", "hybrid", "unsupported", "wrong")):  # those have nodes to judge
        refused(run, ["check", name])


@pytest.mark.parametrize("flip", range(12))
def test_a_model_with_flipped_bytes_compiles_or_is_refused(run: Run, flip: int) -> None:
    """Never a crash: a changed weight is a model too, a changed table is refused."""
    rng = np.random.default_rng(flip)
    blob = bytearray(small_models.tiny())
    for at in rng.integers(0, len(blob), 6):
        blob[at] ^= int(rng.integers(1, 256))
    Path("flipped.tflite").write_bytes(bytes(blob))
    done = run("check", "flipped.tflite")
    assert done.code in (0, 1) and "Traceback" not in done.err and "internal error" not in done.err


BAD_WORDS: dict[str, tuple[list[object], list[str]]] = {
    "missing model": (["gone.tflite"], ["gone.tflite", "missing"]),
    "a folder as model": (["."], ["folder"]),
    "a device as model": (["/dev/zero"], ["/dev/zero", "not a regular file"]),
    "unknown board": (["MODEL", "--board", "nucleo-f746"], ["nucleo-f746", "nucleo-f746zg", "mcuc boards"]),
    "missing board file": (["MODEL", "--board", "mine.toml"], ["mine.toml"]),
    "profile of the other format": (["MODEL", "--profile", "onnx"], ["profile", "tflite"]),
    "name with a space": (["MODEL", "--name", "a b"], ["'a b'", "--name"]),
    "name beginning with a digit": (["MODEL", "--name", "1st"], ["1st", "letter"]),
    "name that is a keyword": (["MODEL", "--name", "while"], ["while"]),
    "name of ours": (["MODEL", "--name", "mcuc_x"], ["mcuc_x"]),
    "empty name": (["MODEL", "--name", ""], ["--name"]),
    "name not in ASCII": (["MODEL", "--name", "größe"], ["größe"]),
    "name with a path": (["MODEL", "--name", "../x"], ["../x"]),
    "name that is too long": (["MODEL", "--name", "n" * 200], ["--name"]),
    "SRAM budget too small": (["MODEL", "--budget", "100"], ["over", "budget"]),
    "SRAM budget too small for the stack": (["MODEL", "--budget", "256"], ["over", "stack"]),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_arguments(run: Run, model: Path, case: str) -> None:
    words, needles = BAD_WORDS[case]
    refused(run, ["compile", *(model if w == "MODEL" else w for w in words), "-o", "out"], *needles)


def test_a_pipe_as_model(run: Run) -> None:
    """Refused at once: opening it would wait for a writer."""
    os.mkfifo("pipe.tflite")
    for command in ("compile", "check", "verify"):
        check_refusal(run(command, "pipe.tflite"), 1, "pipe.tflite", "not a regular file")


STEERING = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"


def onnx_with_names(name: str, op: str) -> bytes:
    """Quantized, and refused for its last operator."""
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in (name, "y" + name)]
    constants = [helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]),
                 helper.make_tensor("z", TensorProto.INT8, [], [0])]
    nodes = [
        helper.make_node("QuantizeLinear", [name, "s", "z"], ["q" + name], name="q" + name),
        helper.make_node("DequantizeLinear", ["q" + name, "s", "z"], ["d" + name], name="d" + name),
        helper.make_node(op, ["d" + name], ["y" + name], name=name),
    ]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], constants)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


@pytest.mark.parametrize("words", [["check"], ["compile"], ["compile", "-v"], ["verify"], ["check", "--json"]])
def test_names_in_a_model_do_not_steer_the_terminal(run: Run, words: list[str]) -> None:
    Path("names.onnx").write_bytes(onnx_with_names(STEERING, f"Evil{STEERING}"))
    done = run(words[0], "names.onnx", *words[1:])
    assert done.code == 1 and "Evil\N{REPLACEMENT CHARACTER}" in done.err
    for text in (done.out, done.err):
        assert not [c for c in text if c in STEERING and not c.isprintable()], text


def test_too_much_sram_for_the_board(run: Run, models: Path) -> None:
    refused(run, ["compile", models / "wide.tflite", "--board", "nucleo-f446re"], "bytes over", "0:CONV_2D", "131,072")


def test_too_much_flash_for_the_board(run: Run, models: Path) -> None:
    words = ["compile", models / "heavy.tflite", "--board", "nucleo-f103rb"]
    refused(run, words, "more than FLASH has", "bytes of flash; a smaller model")


def test_budgets_of_build_hold_for_a_given_model(run: Run, model: Path) -> None:
    for flag, value, needle in (("--flash", "4KB", "bytes of flash"), ("--latency", "1us", "0.001 ms")):
        refused(run, ["build", model, flag, value, "-o", "out"], needle)
    assert (
        run(
            "build",
            model,
            "--flash",
            "1MB",
            "--latency",
            "1s",
            "--budget",
            "16KB",
            "-o",
            "out",
            "--json",
            "--seed",
            "1",
            "--board",
            "nucleo-l4r5zi",
            "--optimize",
            "flash",
            "--toolchain",
            "auto",
            "--name",
            "n",
        ).code
        == 0
    )
    assert json.loads(Path("out/report.json").read_text())["flash"]["budget"] == 1 << 20


def test_a_broken_board_file(run: Run, model: Path) -> None:
    Path("mine.toml").write_text('name = "mine"\nsram = "lots"\n')
    refused(run, ["compile", model, "--board", "mine.toml"], "mine.toml")


USAGE: dict[str, tuple[list[object], str]] = {
    "unknown command": (["transmogrify"], "transmogrify"),
    "no model": (["compile"], "MODEL"),
    "size without a number": (["compile", "MODEL", "--budget", "abc"], "320KB"),
    "size with an unknown unit": (["compile", "MODEL", "--budget", "12XB"], "320KB"),
    "size zero": (["compile", "MODEL", "--budget", "0"], "more than 0"),
    "negative size": (["compile", "MODEL", "--budget", "-5"], "320KB"),
    "size that is no whole number": (["compile", "MODEL", "--budget", "1.0001KB"], "whole number"),
    "enormous size": (["compile", "MODEL", "--budget", "99999GB"], "320KB"),
    "empty size": (["build", "MODEL", "--flash", ""], "320KB"),
    "time without a unit": (["build", "MODEL", "--latency", "100"], "100ms"),
    "unknown goal": (["compile", "MODEL", "--optimize", "speed"], "balanced"),
    "unknown toolchain": (["compile", "MODEL", "--toolchain", "iar"], "zig"),
    "unknown profile": (["compile", "MODEL", "--profile", "torch"], "tflite"),
    "negative seed": (["compile", "MODEL", "--seed", "-1"], "--seed"),
    "no samples": (["verify", "MODEL", "--samples", "0"], "--samples"),
    "unknown oracle": (["verify", "MODEL", "--oracle", "delphi"], "numpy"),
    "unknown order": (["profile", "MODEL", "--sort", "name"], "cycles"),
    "unknown effort": (["build", "--effort", "heroic"], "quick"),
    "unknown space": (["build", "--space", "everything"], "ds-conv"),
    "search flags with a model": (["build", "MODEL", "--effort", "quick"], "MODEL"),
    "unknown tuning": (["compile", "MODEL", "--tune", "some"], "full"),
    "a front and an index": (["compile", "MODEL", "--pareto", "--argmax"], "--pareto"),
    "a front and a folder": (["compile", "MODEL", "--pareto", "-o", "out"], "--pareto"),
    "a front and a budget": (["compile", "MODEL", "--pareto", "--budget", "64KB"], "--pareto"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_end_with_2(run: Run, model: Path, case: str) -> None:
    words, needle = USAGE[case]
    refused(run, [model if w == "MODEL" else w for w in words], needle, code=2)


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


X = np.zeros((3, 8, 8, 1), np.int8)
BAD_DATA: dict[str, tuple[bytes, str]] = {
    "no x": (npz(images=X), "images"),
    "x of another size": (npz(x=np.zeros((3, 9, 9, 1), np.int8)), "64"),
    "x out of range": (npz(x=np.full((3, 8, 8, 1), 300)), "300"),
    "x is not finite": (npz(x=np.full((3, 8, 8, 1), np.nan)), "finite"),
    "x is text": (npz(x=np.full((3, 64), "a")), "<U1"),
    "x is one number": (npz(x=np.array(3)), "sample number"),
    "no samples": (npz(x=X[:0]), "at least one"),
    "too few labels": (npz(x=X, y=np.zeros(2, np.int64)), "label"),
    "negative label": (npz(x=X, y=np.array([0, -1, 1])), "labels are from -1 to 1"),
    "label beyond the output": (npz(x=X, y=np.array([0, 1, 400])), "to 400"),
    "x of another shape": (npz(x=np.zeros((3, 4, 16, 1), np.int8)), "(4, 16, 1)"),
    "labels that are floats": (npz(x=X, y=np.zeros(3)), "label"),
    "not an archive": (b"x" * 500, "npz"),
    "truncated": (npz(x=X)[:200], "npz"),
    "pickled": (npz(x=np.array([{"a": 1}, None], object)), "npz"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_files(run: Run, model: Path, case: str) -> None:
    blob, needle = BAD_DATA[case]
    Path("bad.npz").write_bytes(blob)
    refused(run, ["verify", model, "--data", "bad.npz", "--oracle", "numpy"], needle)


def test_data_that_is_not_there(run: Run, model: Path) -> None:
    refused(run, ["verify", model, "--data", "gone.npz"], "gone.npz", "fashion-mnist")
    refused(run, ["build", "--budget", "320KB", "--data", "gone"], "gone", "fashion-mnist")


def test_an_oracle_of_the_other_format(run: Run, model: Path) -> None:
    refused(run, ["verify", model, "--oracle", "onnxruntime"], "onnxruntime", ".tflite", "--oracle")


def test_a_folder_that_is_not_ours_is_left_alone(run: Run, model: Path) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter1.txt").write_text("years of work")
    refused(run, ["compile", model, "-o", "thesis"], "thesis", "not written by mcuc")
    Path("thesis/manifest.json").write_text('{"generator": "something else"}')
    refused(run, ["compile", model, "-o", "thesis"], "not written by mcuc")
    refused(run, ["build", "--budget", "320KB", "-o", "thesis"], "not written by mcuc")


def test_a_file_where_the_folder_should_be(run: Run, model: Path) -> None:
    Path("out").write_text("a file")
    refused(run, ["compile", model, "-o", "out"], "out")
    refused(run, ["compile", model, "-o", "out/deeper"], "out")


def test_a_folder_that_cannot_be_written(run: Run, model: Path) -> None:
    refused(run, ["compile", model, "-o", "/proc/mcuc_out"], "/proc")


@pytest.mark.parametrize("name", ["report.html", "manifest.json", "tiny.c"])
def test_a_disk_that_fills_up_while_writing(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The last good output stays as it was, and no half of a new one lies beside it."""
    assert run("compile", model, "-o", "out").code == 0
    real = Path.write_text

    def write_text(self: Path, text: str, *rest: object, **more: object) -> int:
        if self.name == name and ".out." in str(self.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, text, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", write_text)
    refused(run, ["compile", model, "-o", "out"], "disk is full")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, where mounting one is allowed."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "mcuc-test", str(folder)], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(run: Run, model: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "64k") as disk:
        done = run("compile", model, "-o", disk / "out")
        check_refusal(done, 1, "full", str(disk))
        assert tree(disk) == {}


def test_a_full_temporary_folder(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    with small_disk(tmp_path / "small", "16k") as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        refused(run, ["compile", model, "-o", "out"], "full")
        assert tree(disk) == {}


def process(*words: object, **environment: str) -> Ran:
    """The command line as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "mcuc", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "compiler"), **environment},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_as_a_process(run: Run, models: Path, tmp_path: Path) -> None:
    """Exit codes and messages are the same outside the tests' own process."""
    Path("half.tflite").write_bytes(truncated(0.5))
    before = tree()
    check_refusal(process("compile", "half.tflite"), 1, "half.tflite")
    check_refusal(process("compile", models / "float.tflite"), 1, "int8")
    check_refusal(process("compile", models / "tiny.tflite", "--budget", "12XB"), 2, "320KB")
    bare = tmp_path / "bare"
    bare.mkdir()
    check_refusal(
        process("compile", models / "tiny.tflite", "--toolchain", "gcc", PATH=str(bare)), 1, "arm-none-eabi-gcc"
    )
    assert tree() == before
    with_traceback = process("compile", "half.tflite", "-v")
    assert with_traceback.code == 1 and "Traceback" in with_traceback.err


def test_without_torch_the_search_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n == "torch" or n.startswith(("torch.", "mcuc.search"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(run, ["build", "--budget", "320KB"], "torch", "pip install")
