"""The models of the shared data folder with the real samples that belong to each, and what their files claim.

Used by the benchmarks and by the tests of whole models. Nothing of the data is carried by the project.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mcuc.ir import Array


@dataclass(frozen=True, eq=False)
class Samples:
    """x: [n, ...] as the file's input wants it (float32 for models with a float input); y: labels or None."""

    x: Array
    y: Array | None = None


@dataclass(frozen=True)
class Entry:
    """A model of the zoo. source: its samples, None for the golden ones only; offset: added to labels to index outputs.

    oracle: "t" golden outputs of TFLite Micro, "y" of TFLite's reference kernels (what TFLite Micro cannot run).
    """

    name: str
    source: Callable[[Path], Samples] | None = None
    oracle: str = "t"
    offset: int = 0


def load_golden(data: Path, name: str) -> dict[str, Array]:
    """golden_NAME.npz as a mapping: x, y0.., t0.."""
    with np.load(data / "models" / f"golden_{name}.npz", allow_pickle=False) as file:
        return {k: file[k] for k in file.files}


def claim(data: Path, name: str) -> str:
    """What the data's manifest says was measured of the model."""
    entries = json.loads((data / "models" / "manifest.json").read_text(encoding="utf-8"))
    return next(str(e["measured"]) for e in entries if e["file"] == f"{name}.tflite")


def keywords(data: Path) -> Samples:
    """502 keywords as MFCC, int8 with the model's own scale and zero point."""
    with np.load(data / "audio" / "mlperf_kws01_mfcc_a.npz", allow_pickle=False) as f:
        return Samples(f["mfcc"].reshape(-1, 49, 10, 1), f["y"])


def cifar(data: Path) -> Samples:
    """106 CIFAR-10 test images, exact pixels, as int8 = pixel - 128 (input scale 1, zero point -128)."""
    with np.load(data / "images" / "mlperf_ic01_a.npz", allow_pickle=False) as f:
        return Samples((f["x"] ^ 0x80).view(np.int8), f["y"])


def persons(data: Path) -> Samples:
    """500 person / no person images of 96x96 as int8 = pixel - 128 (scale 1/255, zero point -128)."""
    with np.load(data / "images" / "mlperf_vww01_a.npz", allow_pickle=False) as f:
        return Samples((f["x"] ^ 0x80).view(np.int8), f["y"])


def persons80(data: Path) -> Samples:
    """The same scaled to 80x80 (bilinear), float in [-1, 1]."""
    from PIL import Image

    with np.load(data / "images" / "mlperf_vww01_a.npz", allow_pickle=False) as f:
        small = np.stack([np.asarray(Image.fromarray(x).resize((80, 80), Image.Resampling.BILINEAR)) for x in f["x"]])
        return Samples((small.astype(np.float32) / np.float32(127.5) - np.float32(1)), f["y"])


def machine_windows(data: Path) -> Samples:
    """Every window of 5 frames of the 124 machine sounds (124 x 196 x 640) as int8; y: anomaly per window's clip."""
    with np.load(data / "audio" / "mlperf_ad01_a.npz", allow_pickle=False) as f:
        clips, labels = f["x"].astype(np.float32), f["y"]
    windows = np.stack([clips[:, t : t + 5].reshape(len(clips), 640) for t in range(196)], axis=1).reshape(-1, 640)
    scaled = np.rint(windows / np.float32(0.3910152316093445)) + 89
    return Samples(np.clip(scaled, -128, 127).astype(np.int8), np.repeat(labels, 196))


def imagenet(size: int, signed: bool) -> Callable[[Path], Samples]:
    """500 ImageNet images at size x size (centre of the 224 ones, bilinear), uint8 or int8 = pixel - 128."""

    def load(data: Path) -> Samples:
        from PIL import Image

        with np.load(data / "images" / "imagenet1k_sample_a_224jpeg.npz", allow_pickle=False) as f:
            blob, off, labels = f["jpeg"], f["off"], f["y"]
        images = [Image.open(io.BytesIO(blob[a:b].tobytes())).convert("RGB") for a, b in pairwise(off)]
        x = np.stack(
            [
                np.asarray(i if i.size == (size, size) else i.resize((size, size), Image.Resampling.BILINEAR))
                for i in images
            ]
        )
        return Samples((x ^ 0x80).view(np.int8) if signed else x, labels)

    return load


ZOO = (
    Entry("kws_dscnn_int8", keywords),
    Entry("ic_resnet8_int8", cifar),
    Entry("vww96_int8", persons),
    Entry("ad_autoenc_int8", machine_windows),
    Entry("te_vww80", persons80),
    Entry("te_persondet"),
    Entry("micro_speech_int8"),
    Entry("hello_world_int8"),
    Entry("tm_mbv1_025_128_int8", imagenet(128, signed=True)),
    Entry("mbv1_025_128_u8", imagenet(128, signed=False), "y", 1),
    Entry("mbv2_100_224_u8", imagenet(224, signed=False), "y", 1),
)


def score(entry: Entry, outputs: Array, x: Array, labels: Array) -> tuple[str, float]:
    """("accuracy", top-1 fraction), or for the autoencoder ("auc", area under the ROC curve over clips)."""
    if entry.name != "ad_autoenc_int8":
        return "accuracy", float((outputs.reshape(len(outputs), -1).argmax(axis=1) == labels + entry.offset).mean())
    real_in = (x.astype(np.float64) - 89) * 0.3910152316093445
    real_out = (outputs.reshape(len(x), -1).astype(np.float64) - 96) * 0.36449846625328064
    clips = ((real_in - real_out) ** 2).mean(axis=1).reshape(-1, 196).mean(axis=1)
    truth = labels.reshape(-1, 196)[:, 0]
    good, bad = clips[truth == 0], clips[truth == 1]
    wins = (bad[:, None] > good[None, :]).sum() + 0.5 * (bad[:, None] == good[None, :]).sum()
    return "auc", float(wins / (len(good) * len(bad)))
