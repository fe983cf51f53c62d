"""Every command and flag once on a small network, what is printed where, and the exit codes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Run

import small_models
from mcuc.cli import _options
from mcuc.emulate import cortex_m, host
from mcuc.emulate.audit import Audit, Finding
from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.report.json import from_json
from mcuc.request import DEFAULT_BOARD, Request
from mcuc.verify import reference

DELIVERED = {"firmware.elf", "report.json", "report.html", "manifest.json", "mcuc_dot.h", "mcuc_dsp.h", "mcuc_math.h",
             "mcuc_port.h"}
DELIVERED |= {"mcuc_stream.h", "memory.svg"}


def test_compile_with_every_flag(run: Run, model: Path) -> None:
    words = [
        "compile",
        model,
        "--board",
        "nucleo-f446re",
        "--budget",
        "64KB",
        "--optimize",
        "latency",
        "--toolchain",
        "zig",
        "--profile",
        "tflite",
        "--name",
        "net",
        "--seed",
        "7",
        "-o",
        "deep/out",
        "--json",
    ]
    done = run(*words)
    assert (done.code, done.err) == (0, "")
    report = from_json(done.out)
    out = Path("deep/out")
    assert {p.name for p in out.iterdir()} == DELIVERED | {"net.c", "net.h", "net_weights.c"}
    assert (out / "report.json").read_text() == done.out
    assert (report.model, report.board, report.profile, report.optimize) == (
        "net",
        "nucleo-f446re",
        "tflite",
        "latency",
    )
    assert report.sram.budget == 64 * 1024 and report.toolchain.startswith("zig")
    assert (
        report.verify.bit_exact and report.verify.host > 1 and report.verify.emulated >= 1 and report.verify.audit == 0
    )
    assert report.instructions > report.macs > 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(*words).code == 0  # a folder of our own is replaced
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before  # same input, same bytes
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_compile_without_flags_writes_beside_and_says_what_it_found(run: Run, model: Path) -> None:
    done = run("compile", model, "-v")
    assert done.code == 0
    assert "bit-exact" in done.out and "1 KB = 1024 bytes" in done.out and "tiny_mcuc" in done.out
    assert "planning memory" in done.err and "Traceback" not in done.err
    assert (Path("tiny_mcuc") / "tiny.c").is_file()
    report = from_json((Path("tiny_mcuc") / "report.json").read_text())
    assert report.board == DEFAULT_BOARD == _options.DEFAULT_BOARD


@pytest.mark.parametrize("goal", ["sram", "flash"])
def test_compile_for_each_goal(run: Run, model: Path, goal: str) -> None:
    done = run("compile", model, "--optimize", goal, "--json", "--budget", "min", "-o", "out")
    assert done.code == 0 and json.loads(done.out)["optimize"] == goal


def test_compile_with_gcc(run: Run, model: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    done = run("compile", model, "--toolchain", "gcc", "--json", "-o", "out")
    assert done.code == 0 and json.loads(done.out)["toolchain"].startswith("gcc")


def test_a_wrong_program_is_found_and_its_layer_named(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias of the depthwise layer is wrong in the C that the host compiles: compile and verify exit 1."""
    real = host.build

    def build(emitted, graph, folder, **flags):  # type: ignore[no-untyped-def]
        wrong = dict(emitted.files)
        name = next(n for n in wrong if n.endswith("_weights.c"))
        head, brace, tail = _depthwise_table(wrong[name])
        first, comma, rest = tail.partition(",")
        wrong[name] = f"{head}{brace}{int(first) ^ 1 << 18}{comma}{rest}"
        return real(replace(emitted, files=wrong), graph, folder, **flags)

    monkeypatch.setattr(host, "build", build)
    done = run("compile", model, "-o", "out")
    assert done.code == 1 and "differ" in done.err and "1:DEPTHWISE_CONV_2D" in done.err
    assert not json.loads(Path("out/report.json").read_text())["verify"]["bit_exact"]
    done = run("verify", model, "--samples", "2", "--emulate", "0", "--json")
    found = json.loads(done.out)
    assert done.code == 1 and not found["bit_exact"] and found["differing"] > 0
    assert found["first_diff_layer"].startswith("1:DEPTHWISE_CONV_2D") and "1:DEPTHWISE_CONV_2D" in done.err


def _depthwise_table(text: str) -> tuple[str, str, str]:
    """The text before, and behind, the opening brace of the second layer's weights."""
    opening = text.index("{", text.index("_l01_weights["))
    return text[:opening], "{", text[opening + 1 :].lstrip()


def test_audit_findings_fail_a_compile_and_are_listed(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("align", 0x08000123, "ldrd r0, r1, [r2]", "net_layer_00", "unaligned", True, 3)
    judge = cortex_m.audit_firmware

    def with_a_finding(*arguments: Any) -> Audit:
        return replace(judge(*arguments), findings=(finding,))

    monkeypatch.setattr(cortex_m, "audit_firmware", with_a_finding)
    done = run("compile", str(model), "--board", "nucleo-l4r5zi", "-o", "audited")
    assert done.code == 1 and str(finding) in done.err and "audited/firmware.elf" in done.err
    assert json.loads(Path("audited/report.json").read_text())["verify"]["findings"] == [str(finding)]


def test_check_names_a_kernel_for_every_node(run: Run, model: Path) -> None:
    done = run("check", model)
    assert (done.code, done.err) == (0, "") and "softmax" in done.out
    found = json.loads(run("check", model, "--json", "--board", "nucleo-g0b1re").out)
    assert found["supported"] and found["core"] == "cortex-m0plus" and len(found["nodes"]) == 7
    assert all(node["kernels"] or node["why"] for node in found["nodes"])


@pytest.mark.shared
def test_check_says_what_dead_channels_save(run: Run, shared_data: Path) -> None:
    done = run("check", shared_data / "models" / "vww96_int8.tflite")
    assert done.code == 0 and "MACs 7,489,664 -> 3,727,313" in " ".join(done.out.split())


def test_check_lists_every_unsupported_node(run: Run, models: Path) -> None:
    done = run("check", models / "unsupported.tflite", "--json")
    found = json.loads(done.out)
    refused = [(n["name"], bool(n["try_this"])) for n in found["nodes"] if n["problem"]]
    assert done.code == 1 and not found["supported"] and refused == [("1:SIN", True), ("6:COS", True)]
    judged = {n["name"]: n["kernels"] for n in found["nodes"] if not n["problem"]}
    assert judged["0:CONV_2D"] and judged["5:FULLY_CONNECTED"] and len(found["nodes"]) == 7
    done = run("check", models / "unsupported.tflite")
    assert done.code == 1 and "SIN" in done.out and "COS" in done.out and "2 of 7" in done.err


@pytest.mark.parametrize("name", ["float", "hybrid"])
def test_check_of_a_float_model_refuses_every_computing_node(run: Run, models: Path, name: str) -> None:
    done = run("check", models / f"{name}.tflite", "--json")
    found = json.loads(done.out)
    assert (
        done.code == 1 and all(node["problem"] for node in found["nodes"]) and "INT8" in found["nodes"][0]["try_this"]
    )
    here = ["mcuc build" in node["try_this"] for node in found["nodes"]]
    assert all(here) if name == "float" else not any(here)  # mcuc build refuses a dynamic-range model
    assert ("this is a float model" in done.out) == (name == "float")


def test_check_of_an_onnx_model_lists_every_unknown_operator(run: Run) -> None:
    Path("two.onnx").write_bytes(onnx_model("Det", "Bernoulli"))
    done = run("check", "two.onnx", "--json")
    found = json.loads(done.out)
    assert done.code == 1 and [n["op"] for n in found["nodes"] if n["problem"]] == ["Det", "Bernoulli"]


def onnx_model(*kinds: str) -> bytes:
    """A chain of operators behind a quantized input."""
    from onnx import TensorProto, helper

    scalar = [helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]), helper.make_tensor("z", TensorProto.INT8, [], [0])]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["v0"]),
    ]
    nodes += [helper.make_node(kind, [f"v{i}"], [f"v{i + 1}"]) for i, kind in enumerate(kinds)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", f"v{len(kinds)}")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], scalar), opset_imports=[helper.make_opsetid("", 17)]
    )
    return bytes(model.SerializeToString())


def _labelled(graph: Graph, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random samples of the tiny network and labels: right for all but the last."""
    x = np.random.default_rng(3).integers(-128, 128, (count, 8, 8, 1)).astype(np.int8)
    y = np.array([reference.run(graph, {"image": s[None]})["probabilities"].argmax() for s in x])
    y[-1] = (y[-1] + 1) % 4
    return x, y


def test_verify_compares_given_samples_and_counts_labels(run: Run, model: Path, models: Path) -> None:
    pytest.importorskip("tflite_micro")
    x, y = _labelled(small_models.tiny_graph(), 10)
    np.savez("given.npz", x=x, y=y)
    done = run(
        "verify",
        model,
        "--data",
        "given.npz",
        "--board",
        "nucleo-l4r5zi",
        "--emulate",
        "3",
        "--oracle",
        "tflite-micro",
        "--toolchain",
        "auto",
        "--json",
    )
    found = json.loads(done.out)
    assert (done.code, done.err) == (0, "") and found["bit_exact"] and found["first_diff_layer"] is None
    assert (found["host"], found["emulated"], found["elements"]) == (10, 3, 10 * 4 + 3 * 4)
    assert found["accuracy"] == 0.9 and "tflite-micro" in found["oracle"] and found["board"] == "nucleo-l4r5zi"
    images = (x.view(np.uint8) ^ 0x80).astype(np.uint8)
    np.savez("images.npz", x=images, y=y)  # the same pixels, 0..255
    np.savez("floats.npz", x=images / 255, y=y)  # and as what the model's scale makes of them
    for data, network in (("images.npz", model), ("floats.npz", models / "ends.tflite")):
        done = run("verify", network, "--data", data, "--emulate", "0", "--samples", "9", "--json")
        found = json.loads(done.out)
        assert done.code == 0 and (found["host"], found["emulated"], found["accuracy"]) == (9, 0, 1.0), data


def test_verify_on_random_samples_in_words(run: Run, model: Path) -> None:
    done = run("verify", model, "--samples", "5", "--seed", "3", "--oracle", "numpy", "--emulate", "1")
    assert done.code == 0 and "bit-exact" in done.out and "5 samples (random (seed 3))" in done.out


def test_verify_takes_a_bundled_data_set(run: Run) -> None:
    """Fashion-MNIST at the model's 8x8 pixels; accuracy is that of random weights, but it is counted."""
    Path("ten.tflite").write_bytes(small_models.exported(small_models.tiny_graph(classes=10)))
    found = json.loads(
        run(
            "verify",
            "ten.tflite",
            "--data",
            "fashion-mnist",
            "--samples",
            "20",
            "--emulate",
            "0",
            "--oracle",
            "numpy",
            "--json",
        ).out
    )
    assert found["bit_exact"] and found["host"] == 20 and 0 <= found["accuracy"] < 1


def test_profile_sorts_the_layers(run: Run, model: Path) -> None:
    done = run(
        "profile",
        model,
        "--sort",
        "cycles",
        "--json",
        "--board",
        "nucleo-l4r5zi",
        "--optimize",
        "latency",
        "--toolchain",
        "auto",
    )
    found = json.loads(done.out)
    cycles = [layer["cycles"] for layer in found["layers"]]
    assert done.code == 0 and cycles == sorted(cycles, reverse=True) and len(cycles) == 7
    assert sorted(layer["index"] for layer in found["layers"]) == list(range(7))
    best = max(found["layers"], key=lambda layer: layer["macs"])
    assert best["mac_per_cycle"] == round(best["macs"] / best["cycles"], 4) and found["board"] == "nucleo-l4r5zi"
    assert not list(Path().iterdir())


@pytest.mark.parametrize("order", ["order", "macs"])
def test_profile_in_words(run: Run, model: Path, order: str) -> None:
    done = run("profile", model, "--sort", order)
    assert done.code == 0 and "MAC/cycle" in done.out and "estimated" in done.out and done.err == ""


def test_boards_are_those_of_the_toml_files(run: Run) -> None:
    listed = {b["name"]: b for b in json.loads(run("boards", "--json").out)}
    text = run("boards").out
    folder = Path(__file__).resolve().parents[2] / "targets" / "boards"
    assert set(listed) == {p.stem for p in folder.glob("*.toml")} and all(name in text for name in listed)
    default = listed["nucleo-f746zg"]
    assert (default["core"], default["sram_bytes"], default["flash_bytes"]) == ("cortex-m7", 320 * 1024, 1 << 20)
    assert "320 KB" in text and "1 KB is 1024 bytes" in text


def test_the_operator_page_is_not_stale(run: Run) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
    assert run("ops", "--markdown").out == page.read_text(encoding="utf-8"), (
        "run: mcuc ops --markdown > docs/operators.md"
    )


def test_ops_lists_every_operator(run: Run) -> None:
    from mcuc import ops

    rows = json.loads(run("ops", "--json").out)
    named = [n for n in ops.NAMES if ops.get(n).tflite or ops.get(n).onnx]  # the others are made by passes
    assert [row["name"] for row in rows] == named
    text = run("ops").out
    assert "CONV_2D" in text and "Activations are int8" in text
    assert all(kind in run("ops", "--markdown").out for row in rows for kind in (*row["tflite"], *row["onnx"]))


def test_doctor_tries_the_tools(run: Run) -> None:
    done = run("doctor", "--json")
    found = json.loads(done.out)
    works = {tool["tool"]: tool["works"] for tool in found["tools"]}
    assert done.code == 0 and found["ready"] and works["zig"] and works["unicorn"] and works["host C compiler"]
    assert works["arm-none-eabi-gcc"] == (shutil.which("arm-none-eabi-gcc") is not None)
    assert all(tool["purpose"] and tool["install"] for tool in found["tools"])


def test_doctor_says_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcuc import doctor

    def absent() -> str:
        raise RuntimeError("not on PATH")

    monkeypatch.setattr(
        doctor,
        "_PROBES",
        tuple(
            (tool, required, purpose, install, absent if tool in ("zig", "arm-none-eabi-gcc") else lambda: "here")
            for tool, required, purpose, install, _ in doctor._PROBES
        ),
    )
    done = run("doctor")
    assert done.code == 1 and "zig" in done.err and "pip install ziglang" in done.err and "not on PATH" in done.out


def test_build_hands_every_flag_to_the_search(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from mcuc.search import build

    asked = []

    def search(request: build.BuildRequest, out: Path | None, progress: object) -> None:
        asked.append((request, out))
        raise McucError("nothing-fits", "nothing fits", "ds-conv", try_this="a larger budget")

    monkeypatch.setattr(build, "build", search)
    done = run(
        "build", "--budget", "64KB", "--flash", "256KB", "--latency", "20ms", "--board", "nucleo-f446re", "--data", "d",
        "--space", "ds-conv", "--effort", "standard", "--optimize", "latency", "--toolchain", "gcc", "--name", "n",
        "--seed", "4", "-o", "out", "--json", "-v",
    )  # fmt: skip
    assert done.code == 1 and "nothing fits" in done.err
    assert run("build").code == 1
    (request, out), (default, nowhere) = asked
    compiled = Request("nucleo-f446re", 65536, 262144, "latency", "gcc", None, "n", 4)
    assert out == Path("out") and request == build.BuildRequest(compiled, 20.0, "d", "ds-conv", "standard", 4)
    assert nowhere is None and default == build.BuildRequest(Request())


def test_the_page_names_every_flag(run: Run) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in ("build", "compile", "check", "verify", "profile", "report diff", "boards", "ops", "doctor"):
        flags = set(re.findall(r"(?<![\w-])--[a-z-]+[a-z]", run(*command.split(), "--help").out))
        flags -= {"--help", "--out", "--verbose"}
        assert flags and all(f"`{flag}" in page for flag in flags), (command, [f for f in flags if f"`{f}" not in page])
