"""What a teacher answers, asked once for every image before the training, and mixed into the targets.

The teacher is a float .onnx (or .tflite) file, run by ONNX Runtime in a child process (Hinton et al. 2015, "Distilling
the Knowledge in a Neural Network"; as each image is asked about once, augmented images keep their answer).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mcuc.data.dataset import I64, U8, resize
from mcuc.emit.deliver import os_errors
from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.quantize.network import input_shapes, read_float
from mcuc.quantize.runtime import Runtime
from mcuc.quantize.samples import Scaling

PIXELS = Scaling((0.0,), (255.0,))
BLOCK = 256  # images sent to the child at a time


def one_hot(labels: I64, classes: int) -> torch.Tensor:
    """Labels int64 [n] as targets, float [n, classes]."""
    return torch.eye(classes)[torch.from_numpy(labels)]


def taught(labels: I64, answers: Array, share: float = 0.5) -> torch.Tensor:
    """Targets [n, classes]: that share the teacher's answers [n, classes], the rest the labels int64 [n]."""
    return (1 - share) * one_hot(labels, answers.shape[1]) + share * torch.from_numpy(answers)


@dataclass(frozen=True)
class Teacher:
    """A file that was opened once: what it answers is decided by its bytes, which digest (SHA-256, hex) names."""

    path: Path
    digest: str


def teacher_of(path: Path, side: int, channels: int, classes: int) -> Teacher:
    """A classifier of images of side x side pixels, asked about a black one to see that it answers.

    Raises McucError("bad-teacher") for another input size or number of channels or classes, and what reading and
    running the file raise.
    """
    soft_labels(path, np.zeros((1, side, side, channels), np.uint8), classes, resized=False)
    with os_errors(path, "read"):
        return Teacher(path, hashlib.sha256(path.read_bytes()).hexdigest())


def soft_labels(
    path: Path, images: U8, classes: int, scaling: Scaling = PIXELS, temperature: float = 1.0, resized: bool = True
) -> Array:
    """The teacher's probabilities float32 [n, classes] for images uint8 [n, h, w, c].

    Images are resized to the teacher's input (resized False: they must have its size) and become (pixel - mean) / std,
    of 0..255, with the channels first or last, as its input has them. Logits go through a softmax; where the answers
    are probabilities already, their logarithms stand for the logits. temperature divides the logits. Raises McucError:
    bad-teacher, or what reading and running the file raise.
    """
    with os_errors(path, "read"):
        proto = read_float(path)
    shape = tuple(input_shapes(proto)[0]) if len(input_shapes(proto)) == 1 else ()
    channels = images.shape[3]
    if len(shape) != 4 or channels not in (shape[1], shape[3]) or shape[0] not in (1, None):
        raise _bad(path, f"its input is {_said(shape)}, one image at a time with {channels} channels is needed")
    first = shape[1] == channels
    height, width = (d or s for d, s in zip(shape[2:] if first else shape[1:3], images.shape[1:3], strict=True))
    if not resized and (height, width) != images.shape[1:3]:
        needed = f"{images.shape[1]} x {images.shape[2]}"
        raise _bad(path, f"its input is {height} x {width} pixels, the networks see images of {needed}")
    found = []
    with Runtime(str(path)) as runtime:
        opened = runtime.open(proto.SerializeToString(), exact=False)
        for start in range(0, len(images), BLOCK):
            x = scaling.apply(resize(images[start : start + BLOCK], int(height), int(width)))
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2) if first else x)[:, None]
            runtime.set_samples([x])
            found.append(runtime.outputs(opened, [proto.graph.output[0].name])[0].reshape(len(x), -1))
    logits = np.concatenate(found).astype(np.float64)
    if logits.shape[1] != classes:
        raise _bad(path, f"it has {logits.shape[1]} answers for {classes} classes")
    if logits.min() >= 0 and np.abs(logits.sum(1) - 1).max() < 1e-3:
        logits = np.log(np.maximum(logits, 1e-9))
    return np.asarray(torch.from_numpy(logits / temperature).softmax(1).numpy(), np.float32)


def _said(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if d is None else str(d) for d in shape) or "not one tensor"


def _bad(path: Path, found: str) -> McucError:
    return McucError("bad-teacher", found, where=str(path), try_this="a classifier of these images as a float .onnx")
