"""Float models through the command line: quantized, exported, compiled, judged; refusals that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from running import Run

from mcuc.importers import load, load_with_ports
from mcuc.quantize.samples import CALIBRATION

H = 12


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float network and samples labelled by itself, so that its accuracy is 1."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent / "quantize"))
    from float_networks import answers, residual, samples, simplified

    from mcuc.quantize.runtime import Runtime

    folder = tmp_path_factory.mktemp("float")
    proto, x = residual(), samples(60, (1, 3, H, H))
    onnx.save(proto, str(folder / "net.onnx"))
    with Runtime("net") as runtime:
        model = simplified(proto, x, runtime)
    y = answers(model, x).reshape(60, -1).argmax(1)
    np.savez(folder / "samples.npz", x=x[:, 0], y=y)
    np.savez(
        folder / "pixels.npz", x=np.round(x[:, 0].transpose(0, 2, 3, 1) * 16 + 128).clip(0, 255).astype(np.uint8), y=y
    )
    return folder


def test_a_float_model_is_built_and_judged(run: Run, net: Path) -> None:
    done = run(
        "build", net / "net.onnx", "--data", net / "samples.npz", "--board", "nucleo-f446re", "-o", "out", "--json"
    )
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    accuracy = report["accuracy"]
    assert accuracy["float"] == 1.0 and accuracy["int8"] > 0.8 and accuracy["samples"] == 45
    assert accuracy["negative_flips"] == round((1 - accuracy["int8"]) * 45) and accuracy["gained"] == 0
    low, high = accuracy["difference"]
    assert low < accuracy["int8"] - 1 <= high or low < 0 < high
    assert report["verify"]["bit_exact"] and report["profile"] == "tflite"
    names = {p.name for p in Path("out").iterdir()}
    assert {"net.onnx", "net.tflite", "quantization.json", "quantization.html"} <= names
    said = json.loads(Path("out/quantization.json").read_text())
    assert said["samples"] == {"source": str(net / "samples.npz"), "calibration": 15, "test": 45}
    assert all(layer["alone_db"] is None for layer in said["layers"]) and len(said["tried"]) == 10
    assert run("verify", "out/net.tflite", "--samples", "4").code == 0


def test_images_are_scaled_and_turned_as_asked(run: Run, net: Path) -> None:
    words = ["build", net / "net.onnx", "--data", net / "pixels.npz", "--mean", "128", "--std", "16,16,16"]
    done = run(*words, "--calibration", "10", "--sensitivity", "-o", "out", "--json")
    assert done.code == 0 and json.loads(done.out)["accuracy"]["int8"] > 0.75
    said = json.loads(Path("out/quantization.json").read_text())
    assert said["samples"]["calibration"] == 10
    assert all(layer["alone_db"] is not None for layer in said["layers"])


@pytest.mark.parametrize("ending", ("tflite", "onnx"))
@pytest.mark.parametrize("more", ([], ["--float-io"]))
def test_export_writes_what_can_be_read_again(run: Run, net: Path, ending: str, more: list[str]) -> None:
    out = Path(f"int8.{ending}")
    done = run("export", net / "net.onnx", "--data", net / "samples.npz", "-o", out, *more)
    assert done.code == 0 and f"{out.stat().st_size:,} bytes" in done.out
    graph = load(out)
    names = [e.file_name for e in load_with_ports(out)[1]] or [*graph.inputs, *graph.outputs]
    assert " input x: " in done.out and names == ["x", onnx.load(str(net / "net.onnx")).graph.output[0].name]
    assert graph.profile == ("onnx" if ending == "onnx" else "tflite")
    assert bool(graph.float_inputs) is False
    if ending == "tflite":
        assert {graph.tensors[n].dtype.value for n in (*graph.inputs, *graph.outputs)} == {
            "float32" if more else "int8"
        }
    else:
        ends = onnx.load(str(out)).graph
        kinds = {e.type.tensor_type.elem_type for e in (*ends.input, *ends.output)}
        assert kinds == {onnx.TensorProto.FLOAT if more else onnx.TensorProto.INT8}


def test_export_of_operators_instead_of_pairs(run: Run, model: Path) -> None:
    assert run("export", model, "-o", "a.onnx", "--style", "qoperator").code == 0
    assert run("export", model, "-o", "b.onnx", "--style", "qdq").code == 0
    kinds = [{n.op_type for n in onnx.load(name).graph.node} for name in ("a.onnx", "b.onnx")]
    assert "QLinearConv" in kinds[0] and "QLinearConv" not in kinds[1]


@pytest.mark.slow
def test_the_same_samples_give_the_same_files(run: Run, net: Path) -> None:
    for name in ("a.tflite", "b.tflite"):
        assert run("export", net / "net.onnx", "--data", net / "samples.npz", "-o", name).code == 0
    assert Path("a.tflite").read_bytes() == Path("b.tflite").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    (
        (["build", "net.onnx", "--data", "nothing.npz"], 1, "no file, folder or data set"),
        (["build", "net.onnx", "--data", "wrong.npz"], 1, "a sample has the shape (5,), the model's input 3x12x12"),
        (["build", "net.onnx", "--mean", "1"], 2, "--data"),
        (["build", "net.onnx", "--data", "samples.npz", "--mean", "a"], 2, "no list of numbers"),
        (["build", "net.onnx", "--data", "samples.npz", "--std", "0"], 1, "std above 0"),
        (["build", "net.onnx", "--data", "samples.npz", "--flip"], 2, "for the search"),
        (["export", "net.onnx", "--data", "samples.npz", "-o", "int8.bin"], 1, "name a .tflite or .onnx file"),
        (["export", "net.onnx", "--data", "samples.npz", "-o", "no/int8.tflite"], 1, "there is no folder no"),
        (["export", "net.onnx", "-o", "int8.tflite"], 1, "mcuc build MODEL --data"),
        (["compile", "net.onnx"], 1, "mcuc build MODEL --data"),
    ),
)
def test_refusals_say_what_to_do(
    run: Run, net: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    np.savez(net / "wrong.npz", x=np.zeros((8, 5), np.float32))
    monkeypatch.chdir(net)
    before = {p.name for p in net.iterdir()}
    done = run(*words)
    assert done.code == code and said in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err and {p.name for p in net.iterdir()} == before


def test_the_default_of_the_help_is_the_library_s() -> None:
    from mcuc.cli import _options

    assert _options.CALIBRATION == CALIBRATION


@pytest.mark.slow
def test_activations_and_weights_of_other_sizes(run: Run, net: Path) -> None:
    arguments = ["build", net / "net.onnx", "--data", net / "samples.npz", "--board", "nucleo-f446re", "--json"]
    done = run(*arguments, "--activations", "mixed", "--weights", "mixed", "--snr", "60", "-o", "mixed")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["verify"]["bit_exact"] and report["accuracy"]["int8"] > 0.8
    said = json.loads(Path("mixed/quantization.json").read_text())["precision"]
    assert said["int16_values"] and said["mixed_db"] > said["int8_db"]
    assert set(said["int16_values"]) <= set(said["int8_alone_db"])
    done = run("export", net / "net.onnx", "--data", net / "samples.npz", "--activations", "int16", "-o", "wide.tflite")
    assert done.code == 0 and {t.dtype.value for t in load(Path("wide.tflite")).tensors.values()} >= {"int16", "int64"}
    assert run("verify", "wide.tflite", "--samples", "4").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--activations", "--weights"])
def test_mixed_precision_has_a_ratio_of_its_own(run: Run, net: Path, flag: str) -> None:
    done = run("build", net / "net.onnx", "--data", net / "samples.npz", "--board", "nucleo-f446re", flag, "mixed",
               "-o", "own", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["options"]["snr_db"] == "default"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--snr", "30"), "nothing is mixed"),
        (("--activations", "int16", "--snr", "30"), "nothing is mixed"),
    ],
)
def test_a_ratio_that_nothing_needs_is_refused(run: Run, net: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("build", net / "net.onnx", "--data", net / "samples.npz", *arguments)
    assert done.code == 1 and said in done.err and "--activations mixed" in done.err


@pytest.mark.parametrize("flag", [("--activations", "int16"), ("--weights", "mixed"), ("--snr", "30")])
@pytest.mark.parametrize("command", [("build",), ("export", "-o", "x.tflite")])
def test_mixed_precision_needs_samples(
    run: Run, net: Path, command: tuple[str, ...], flag: tuple[str, ...]
) -> None:
    done = run(command[0], net / "net.onnx", *command[1:], *flag)
    assert done.code == 2 and "float MODEL" in done.err
