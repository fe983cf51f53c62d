"""Samples that the user gives: an .npz file or a data set's name, brought to the model's own integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcuc import data
from mcuc.data.npz import read_arrays
from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Tensor
from mcuc.verify.samples import bounds, quantized, random_samples

RANDOM_SAMPLES = 32
MOST_RESIZED = 4  # a data set's images may be this many times smaller or larger than the model's input


@dataclass(frozen=True, eq=False)
class Given:
    """samples[sample][input], in the types and shapes of the graph's inputs; labels: one integer each, None where there
    are none; source: for the report."""

    samples: list[list[Array]]
    labels: Array | None
    source: str


def given_samples(graph: Graph, spec: str | None, count: int | None, seed: int) -> Given:
    """The samples of an .npz file (x, or x0, x1 ... where the model has several inputs; labels in y) or of a bundled
    data set's test part; seeded random ones where spec is None. count: only the first ones.

    Integers of the input's type stay; uint8 images for an int8 input are shifted by 128; floats are quantized as
    samples.quantized does. Raises McucError("bad-data") where they do not fit the model.
    """
    if spec is None:
        return Given(random_samples(graph, count or RANDOM_SAMPLES, seed), None, f"random (seed {seed})")
    tensors = [graph.tensors[n] for n in graph.inputs]
    if spec in data.BUNDLED:
        dataset = data.load(spec)
        labels: Array | None = dataset.test_y
        columns = [_sized(dataset.test_x[:count], tensors[0], spec)]
    else:
        columns, labels = _columns(spec, len(tensors), count)
    if len(columns) != len(tensors):
        raise _bad(f"the model has {len(tensors)} inputs, the data set has one", spec, "give an .npz with x0, x1, ...")
    if len({len(c) for c in columns}) > 1 or len(columns[0]) == 0:
        raise _bad(
            f"the inputs have {', '.join(str(len(c)) for c in columns)} samples",
            spec,
            "give as many for each, at least one",
        )
    if labels is not None and (labels.dtype.kind not in "iu" or labels.ndim != 1 or len(labels) < len(columns[0])):
        raise _bad(
            f"y is {labels.dtype}{labels.shape} for {len(columns[0])} samples",
            spec,
            "give one integer label per sample as y, or leave y out",
        )
    if labels is not None:
        _check_labels(labels[: len(columns[0])], graph, spec)
    arrays = [_integers(c, t, graph, spec) for c, t in zip(columns, tensors, strict=True)]
    samples = [list(sample) for sample in zip(*arrays, strict=True)]
    return Given(samples, None if labels is None else labels[: len(samples)].astype(np.int64), spec)


def _check_labels(labels: Array, graph: Graph, where: str) -> None:
    output = graph.tensors[graph.outputs[0]]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= output.elements:
        raise _bad(
            f"labels are from {low} to {high}, output {output.name!r} has {output.elements} values",
            where,
            f"give labels from 0 to {output.elements - 1}, or leave y out",
        )


def accuracy(outputs: Array, labels: Array) -> float:
    """Share of samples whose largest output (the first of equal ones) is the label's. outputs: [n, classes...]."""
    return float((outputs.reshape(len(labels), -1).argmax(1) == labels).mean())


def _columns(spec: str, inputs: int, count: int | None) -> tuple[list[Array], Array | None]:
    path = Path(spec)
    if not path.is_file():
        raise McucError(
            "no-such-data",
            f"there is no file and no data set {spec[:200]!r}",
            where="--data",
            try_this=f"an .npz file with x and optionally y, or one of: {', '.join(sorted(data.BUNDLED))}",
        )
    arrays = read_arrays(path)
    names = ["x"] if inputs == 1 else [f"x{i}" for i in range(inputs)]
    missing = [n for n in names if n not in arrays]
    if missing:
        raise _bad(
            f"it has no array {', '.join(missing)}; found: {', '.join(sorted(arrays)) or 'none'}",
            spec,
            f"store the samples as {', '.join(names)}, the sample number being the first axis",
        )
    if any(arrays[n].ndim == 0 for n in names):
        raise _bad("x is a single number", spec, "the first axis is the sample number")
    return [arrays[n][:count] for n in names], arrays.get("y")


def _integers(x: Array, tensor: Tensor, graph: Graph, where: str) -> Array:
    """[n, ...] in the tensor's integers and shape."""
    size = int(np.prod(x.shape[1:], dtype=np.int64))
    # axes of length 1 say nothing, and a flat sample is in the input's order
    fits = x.ndim == 2 or [d for d in x.shape[1:] if d != 1] == [d for d in tensor.shape if d != 1]
    if size != tensor.elements or not fits:
        raise _bad(
            f"a sample has {size} values {x.shape[1:]}, input {tensor.name!r} has {tensor.elements} {tensor.shape}",
            where,
            "give samples of the input's shape (height x width x channels)",
        )
    low, high = bounds(tensor.dtype)
    shaped = x.reshape(len(x), *tensor.shape)
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            raise _bad("x has values that are not finite", where, "remove them")
        if tensor.quant is None:
            raise _bad(
                f"x is {x.dtype}, and input {tensor.name!r} has no scale", where, f"give {tensor.dtype.value} values"
            )
        return np.stack([quantized(graph, tensor.name, sample) for sample in shaped])
    if x.dtype == np.uint8 and tensor.dtype.value == "int8":
        return np.asarray((shaped ^ np.uint8(0x80)).view(np.int8))
    if x.dtype.kind not in ("iub" if tensor.dtype is DType.BOOL else "iu"):
        raise _bad(f"x is {x.dtype}", where, f"give {tensor.dtype.value}, uint8 images, or float values")
    if x.size and (x.min() < low or x.max() > high):
        raise _bad(
            f"x has values from {x.min()} to {x.max()}, input {tensor.name!r} is {tensor.dtype.value}",
            where,
            f"give {tensor.dtype.value}, uint8 images, or float values",
        )
    return shaped.astype(tensor.dtype.value)


def _sized(images: Array, tensor: Tensor, where: str) -> Array:
    """A data set's images at the model's resolution, where that has their aspect ratio and channels."""
    shape = tensor.shape[-3:]
    if len(shape) != 3 or shape[2] != images.shape[3]:
        raise _bad(
            f"its images have {images.shape[3]} channels, input {tensor.name!r} is {tensor.shape}",
            where,
            "name data that fits the model",
        )
    stretched = shape[0] * images.shape[2] != shape[1] * images.shape[1]
    scales = [a / b for a, b in zip(shape[:2], images.shape[1:3], strict=True)]
    if stretched or any(not 1 / MOST_RESIZED <= s <= MOST_RESIZED for s in scales):
        raise _bad(
            f"its images are {images.shape[1]}x{images.shape[2]}, input {tensor.name!r} is {tensor.shape}",
            where,
            "name data that fits the model",
        )
    return data.resize(images, shape[0], shape[1])


def _bad(found: str, where: str, try_this: str) -> McucError:
    return McucError("bad-data", found, where=where, try_this=try_this)
