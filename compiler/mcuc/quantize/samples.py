"""Samples for a float model: those that calibrate it and those, apart from them, that judge the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcuc import data
from mcuc.accuracy.known import Known, known_of
from mcuc.data.npz import read_arrays
from mcuc.errors import McucError
from mcuc.ir import Array

CALIBRATION = 200
Shape = Sequence[int | None]


@dataclass(frozen=True)
class Scaling:
    """real = (value - mean) / std, one number for all channels or one each."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def apply(self, x: Array) -> Array:
        """float32 values; channels last."""
        return np.asarray(
            (x.astype(np.float32) - np.array(self.mean, np.float32)) / np.array(self.std, np.float32), np.float32
        )


RAW = Scaling()


@dataclass(frozen=True, eq=False)
class Samples:
    """calibration, test: for each input float32 [n, *shape], mostly a batch of one behind the sample number; known:
    what the data says of the test samples. indices: of both in the source, where they come out of one array."""

    calibration: tuple[Array, ...]
    test: tuple[Array, ...]
    known: Known
    source: str
    indices: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


def load_samples(spec: str, inputs: Sequence[Shape], scaling: Scaling = RAW, count: int = CALIBRATION) -> Samples:
    """Samples for a model whose inputs have these shapes (None: any size), batch first.

    spec: an .npz with x (or x0, x1 ...) and optionally the right answers y and numbers `group` of samples that are
    judged together, a folder of class folders of images, or a bundled name. Data sets of images with a test part are
    judged on that; an .npz without one gives every k-th sample, `count` at most, to calibration and the others to the
    test; with groups it gives those of every k-th group, and the other groups are judged.
    Raises McucError("bad-data") where they do not fit.
    """
    if spec in data.BUNDLED or Path(spec).is_dir():
        dataset = data.load(spec)
        chosen = _spread(len(dataset.train_x), count)
        parts = [_image(x, inputs, scaling, spec) for x in (dataset.train_x[chosen], dataset.test_x)]
        return Samples((parts[0],), (parts[1],), known_of({"x": dataset.test_x}, dataset.test_y, None, spec), spec)
    path = Path(spec)
    if not path.is_file():
        raise McucError(
            "no-such-data",
            f"there is no file, folder or data set {spec[:200]!r}",
            where="--data",
            try_this="an .npz with x (and labels y), a folder of class folders of images, or one of: "
            + ", ".join(sorted(data.BUNDLED)),
        )
    arrays = read_arrays(path)
    columns = _columns(arrays, "", len(inputs), spec)
    fitted = [_fitted(c, s, scaling, spec) for c, s in zip(columns, inputs, strict=True)]
    total = len(fitted[0])
    if "x_test" in arrays and len(inputs) == 1:
        judged = _fitted(arrays["x_test"], inputs[0], scaling, spec)
        known = known_of({"x": arrays["x_test"]}, arrays.get("y_test"), arrays.get("group_test"), spec)
        kept = _spread(total, count)
        return Samples((fitted[0][kept],), (judged,), known, spec)
    named = {f"x{i}": column for i, column in enumerate(columns)}
    known = known_of(named, arrays.get("y"), arrays.get("group"), spec)
    kept, rest = _parted(total, known.group, count, spec)
    return Samples(
        tuple(c[kept] for c in fitted),
        tuple(c[rest] for c in fitted),
        known.of(rest),
        spec,
        (tuple(kept.tolist()), tuple(rest.tolist())),
    )


def _parted(total: int, group: Array | None, count: int, where: str) -> tuple[Array, Array]:
    """Numbers of the samples that calibrate, `count` and a quarter at most, and of those that judge: the others, of
    other groups."""
    if group is None:
        kept = _spread(total, min(count, max(1, total // 4)))
        return kept, np.setdiff1d(np.arange(total), kept)
    names = np.unique(group)
    if len(names) < 2:
        raise _bad("group has a single number", where, "give two groups or more, or leave group out")
    of = np.flatnonzero(np.isin(group, names[_spread(len(names), max(1, len(names) // 4))]))
    return of[_spread(len(of), count)], np.setdiff1d(np.arange(total), of)


def _spread(total: int, count: int) -> Array:
    """`count` of `total` numbers, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))


def _columns(arrays: dict[str, Array], suffix: str, inputs: int, where: str) -> list[Array]:
    names = ["x"] if inputs == 1 else [f"x{i}" for i in range(inputs)]
    missing = [n for n in names if n + suffix not in arrays]
    if missing:
        raise _bad(
            f"it has no array {', '.join(missing)}; found: {', '.join(sorted(arrays)) or 'none'}",
            where,
            f"store the samples as {', '.join(names)}, the sample number being the first axis",
        )
    columns = [arrays[n + suffix] for n in names]
    if any(c.ndim == 0 or len(c) < 2 for c in columns) or len({len(c) for c in columns}) > 1:
        raise _bad(f"{[c.shape for c in columns]} are no samples", where, "give two or more of every input")
    if any(c.dtype.kind not in "fiu" for c in columns):
        raise _bad(f"x is {columns[0].dtype}", where, "give numbers")
    return columns


def _fitted(x: Array, shape: Shape, scaling: Scaling, where: str) -> Array:
    """[n, ...] -> float32 [n, 1, ...] of the input's shape; images channels first where the model wants it. Samples of
    the whole shape, whose first axis is no batch then (time first), stay as they are."""
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise _bad("x has values that are not finite", where, "remove them")
    inner = tuple(x.shape[1:])
    wanted = tuple(shape[1:])
    if shape[:1] != (1,) and None not in shape and inner == tuple(shape):
        return scaling.apply(x)
    if len(inner) == len(wanted) + 1 and inner[0] == 1:
        x, inner = x[:, 0], inner[1:]
    if len(inner) == len(wanted) - 1 and len(wanted) == 3:  # grey images without an axis of channels
        x, inner = (x[..., None], (*inner, 1)) if _fits((*inner, 1), wanted) or wanted[0] == 1 else (x, inner)
    if _fits(inner, wanted):
        return scaled(x, scaling, channels_first=len(inner) == 3 and wanted[0] in (1, 3))[:, None]
    if len(inner) == 3 and _fits((inner[2], inner[0], inner[1]), wanted):
        return np.ascontiguousarray(scaling.apply(x).transpose(0, 3, 1, 2))[:, None]
    size = int(np.prod(inner, dtype=np.int64))
    known = [d for d in wanted if d is not None]
    if len(known) == len(wanted) and size == int(np.prod(known, dtype=np.int64)):
        return scaling.apply(x.reshape(len(x), -1)).reshape(len(x), 1, *known)
    raise _bad(
        f"a sample has the shape {inner}, the model's input {_text(wanted)}",
        where,
        "give samples as the model takes them, without the batch axis",
    )


def scaled(x: Array, scaling: Scaling, channels_first: bool) -> Array:
    """The real values of samples that are in the model's order already."""
    if channels_first and len(scaling.mean) > 1:
        return np.ascontiguousarray(scaling.apply(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    return scaling.apply(x)


def _image(x: Array, inputs: Sequence[Shape], scaling: Scaling, where: str) -> Array:
    """uint8 images [n, h, w, c] at the model's resolution."""
    if len(inputs) != 1 or len(inputs[0]) != 4:
        raise _bad("the data set has images, the model no single image input", where, "give an .npz of samples")
    wanted = inputs[0][1:]
    last = wanted[2] == x.shape[3]
    height, width = (wanted[0], wanted[1]) if last else (wanted[1], wanted[2])
    if height is not None and width is not None and (height, width) != x.shape[1:3]:
        x = data.resize(x, height, width)
    return _fitted(x, inputs[0], scaling, where)


def _fits(inner: Sequence[int], wanted: Shape) -> bool:
    return len(inner) == len(wanted) and all(w is None or d == w for d, w in zip(inner, wanted, strict=True))


def _text(shape: Shape) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "a number"


def _bad(found: str, where: str, try_this: str) -> McucError:
    return McucError("bad-data", found, where=where, try_this=try_this)
