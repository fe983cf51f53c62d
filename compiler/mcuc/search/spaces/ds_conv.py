"""Depthwise-separable convolution networks: resolution, width, depth and kernel are searched.

    image -> 3x3 conv -> stages of [depthwise k x k, ReLU, pointwise, (+ skip), ReLU] -> mean -> dense -> softmax

The first block of a stage changes width and stride; the others are residual (MobileNet's separable block, Howard et
al. 2017, with the skip of He et al. 2016).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil

import numpy as np

from mcuc.errors import McucError
from mcuc.search.layers import Layer, Shape3

KERNELS = (3, 5)
_KEY = re.compile(r"r(\d{1,4})-s(\d{1,4})((?:-w\d{1,4}k[35]{1,9})+)")


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; one kernel size per block."""

    width: int
    kernels: tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """One network of the space. resolution: pixels a side of the (square) input."""

    resolution: int
    stem: int
    stages: tuple[Stage, ...]

    @property
    def key(self) -> str:
        """Stable text form, for example r28-s16-w32k335-w96k33; parse() reads it back."""
        stages = "".join(f"-w{s.width}k{''.join(map(str, s.kernels))}" for s in self.stages)
        return f"r{self.resolution}-s{self.stem}{stages}"


@dataclass(frozen=True)
class StageChoice:
    """What may be chosen for one stage; widths ascending."""

    stride: int
    widths: tuple[int, ...]
    max_depth: int


@dataclass(frozen=True)
class Space:
    """All candidates for one kind of image. resolutions and widths ascending; channels of the image: 1 or 3."""

    resolutions: tuple[int, ...]
    channels: int
    classes: int
    stem_stride: int
    stem_widths: tuple[int, ...]
    stages: tuple[StageChoice, ...]


def parse(key: str) -> Candidate:
    """Candidate.key read back. Raises McucError("bad-candidate")."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise McucError(
            "bad-candidate",
            f"{key!r} is not a candidate",
            where="a candidate's key",
            try_this="for example r28-s16-w32k335-w96k33",
        )
    stages = tuple(Stage(int(w), tuple(map(int, k))) for w, k in re.findall(r"-w(\d+)k(\d+)", found[3]))
    return Candidate(int(found[1]), int(found[2]), stages)


def space_for(image_shape: Shape3, classes: int, width: float = 1.0, largest: int = 96) -> Space:
    """The space for images of (h, w, c).

    Images are brought to squares of at most `largest` pixels; strides bring the last stage to about 5 to 8 pixels a
    side. width scales all channel counts.
    """
    full = min(largest, max(image_shape[:2]))
    halvings = max(1, round(np.log2(full / 7)))
    step = 2**halvings
    top = max(step, full // step * step)
    resolutions = tuple(sorted({max(step, round(top * share / step) * step) for share in (0.72, 0.86, 1.0)}))
    stem_stride = 2 if halvings >= 3 else 1
    strided = halvings - (stem_stride - 1)
    base = [(16, 24, 32), (48, 64, 96), (96, 128, 160), (128, 192, 224)]
    stages = [StageChoice(2, _scaled(base[min(i, 3)], width), 3) for i in range(strided)]
    return Space(resolutions, image_shape[2], classes, stem_stride, _scaled((8, 12, 16), width), tuple(stages))


def _scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Multiples of four: the int8 kernels read four channels at a time."""
    return tuple(sorted({max(4, ceil(w * factor / 4) * 4) for w in widths}))


def largest(space: Space) -> Candidate:
    """The candidate that contains all others."""
    stages = tuple(Stage(s.widths[-1], (KERNELS[-1],) * s.max_depth) for s in space.stages)
    return Candidate(space.resolutions[-1], space.stem_widths[-1], stages)


def smallest(space: Space) -> Candidate:
    """The candidate that all others contain."""
    stages = tuple(Stage(s.widths[0], (KERNELS[0],)) for s in space.stages)
    return Candidate(space.resolutions[0], space.stem_widths[0], stages)


def contains(space: Space, candidate: Candidate) -> bool:
    """Whether the candidate is one of the space's."""
    return (candidate.resolution in space.resolutions and candidate.stem in space.stem_widths
            and len(candidate.stages) == len(space.stages)
            and all(s.width in c.widths and 1 <= len(s.kernels) <= c.max_depth and set(s.kernels) <= set(KERNELS)
                    for s, c in zip(candidate.stages, space.stages, strict=True)))


def sample(space: Space, rng: np.random.Generator) -> Candidate:
    """Uniform over each choice."""
    stages = []
    for choice in space.stages:
        depth = int(rng.integers(1, choice.max_depth + 1))
        stages.append(Stage(int(rng.choice(choice.widths)), tuple(int(k) for k in rng.choice(KERNELS, depth))))
    return Candidate(int(rng.choice(space.resolutions)), int(rng.choice(space.stem_widths)), tuple(stages))


def mutate(space: Space, parent: Candidate, rng: np.random.Generator, rate: float = 0.25) -> Candidate:
    """Each choice is drawn anew with probability rate; kernels one by one."""
    fresh = sample(space, rng)
    draws = rng.random(2 + 3 * len(space.stages)) < rate
    stages = []
    for index, (old, new) in enumerate(zip(parent.stages, fresh.stages, strict=True)):
        wide, deep, kernel = draws[2 + 3 * index:5 + 3 * index]
        kernels = list(old.kernels)
        if deep:
            kernels = (kernels + list(new.kernels))[:len(new.kernels)]
        if kernel:
            kernels[int(rng.integers(len(kernels)))] = int(rng.choice(KERNELS))
        stages.append(Stage(new.width if wide else old.width, tuple(kernels)))
    return Candidate(fresh.resolution if draws[0] else parent.resolution, fresh.stem if draws[1] else parent.stem,
                     tuple(stages))


def cross(first: Candidate, second: Candidate, rng: np.random.Generator) -> Candidate:
    """Each choice from either parent."""
    take = rng.random(2 + len(first.stages)) < 0.5
    stages = tuple(a if t else b for a, b, t in zip(first.stages, second.stages, take[2:], strict=True))
    return Candidate(first.resolution if take[0] else second.resolution, first.stem if take[1] else second.stem, stages)


def to_layers(space: Space, candidate: Candidate) -> tuple[Layer, ...]:
    """The candidate's layers in execution order, shapes filled in."""
    layers: list[Layer] = []

    def add(name: str, op: str, inputs: tuple[str, ...], shape: Shape3, out: Shape3, k: int = 1, s: int = 1,
            relu: bool = False) -> tuple[str, Shape3]:
        layers.append(Layer(name, op, inputs, shape, out, k, s, relu))  # type: ignore[arg-type]
        return name, out

    def strided(side: int, stride: int) -> int:
        return -(-side // stride)

    side = strided(candidate.resolution, space.stem_stride)
    image = (candidate.resolution, candidate.resolution, space.channels)
    at, shape = add("stem", "conv_2d", ("input",), image, (side, side, candidate.stem), 3, space.stem_stride, True)
    for i, (stage, choice) in enumerate(zip(candidate.stages, space.stages, strict=True)):
        for j, kernel in enumerate(stage.kernels):
            stride = choice.stride if j == 0 else 1
            skip, side, block = at, strided(shape[0], stride), f"stage{i}.block{j}"
            at, shape = add(f"{block}.depthwise", "depthwise_conv_2d", (at,), shape, (side, side, shape[2]), kernel,
                            stride, True)
            at, shape = add(f"{block}.pointwise", "conv_2d", (at,), shape, (side, side, stage.width), relu=j == 0)
            if j > 0:
                at, shape = add(f"{block}.add", "add", (skip, at), shape, shape, relu=True)
    vector = (1, 1, shape[2])
    at, shape = add("pool", "mean", (at,), shape, vector)
    at, shape = add("dense", "fully_connected", (at,), shape, (1, 1, space.classes))
    add("softmax", "softmax", (at,), shape, shape)
    return tuple(layers)
