"""The winner of a search in int8: quantized after training, then trained with quantization, which must be better.

Ranges come from training images, the choice from validation images that no training saw. The images of the test decide
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from mcuc import data, quantize
from mcuc.data.dataset import U8, Dataset
from mcuc.ir import Array
from mcuc.quantize.model import to_proto
from mcuc.quantize.network import Converted, convert
from mcuc.quantize.qat import Trained as Network
from mcuc.quantize.quantizer import Options, judged
from mcuc.quantize.runtime import Runtime
from mcuc.search.effort import Effort
from mcuc.search.naming import named
from mcuc.search.run import THREADS, SearchResult
from mcuc.search.skeleton import INPUT
from mcuc.search.supernet import to_tensor
from mcuc.search.train import Loss, Progress, Recipe, fit, reproducible

CALIBRATION_IMAGES = 200
OPTIONS = Options(inputs=(INPUT,))
STAGE = 6  # the random stream of the fine-tuning
RATE = 1e-3  # peak learning rate; the norms are folded, which makes a network touchier
FROZEN = 0.5  # share of the epochs, the last, in which the ranges stay
NAME = "model"
WHERE = "the trained network"


@dataclass(frozen=True, eq=False)
class Int8:
    """made: the better network; original is the float one of the search. images: what calibrated it, uint8
    [n, h, w, c]. validated: (name, share of the validation images that it gets right) of the float network, the one
    quantized after training, and the one trained with quantization; chosen: the name of one of these two, the latter
    where it is clearly better."""

    made: Converted
    images: U8
    validated: tuple[tuple[str, float], ...]
    chosen: str


def quantized(found: SearchResult, dataset: Dataset, effort: Effort, seed: int, flip: bool, progress: Progress) -> Int8:
    """Both ways, compared. The fine-tuning saves its state beside the search's, and goes on where it was.

    Raises McucError where the network cannot be quantized or the state cannot be written.
    """
    side = found.candidate.resolution
    rows = np.sort(np.random.default_rng((seed, 5)).permutation(found.training)[:CALIBRATION_IMAGES])
    images = data.resize(dataset.train_x[rows], side, side)
    after = convert(found.proto, NAME, WHERE, (as_columns(images),), OPTIONS, found.profile, progress)
    recipe = _recipe(found, effort, flip)
    tuned = _tuned(after, images, found, dataset, recipe, seed, progress)
    validation = as_columns(data.resize(dataset.train_x[found.validation], side, side))
    labels = dataset.train_y[found.validation]
    names = ("float", "quantized after training", "trained with quantization")
    right = [
        answers(proto, validation).argmax(1) == labels for proto in (to_proto(after.original), after.onnx, tuned.onnx)
    ]
    better = clearly_better(right[2], right[1])
    made = replace(tuned, original=after.original) if better else after
    made = replace(made, graph=named(made.graph))
    shares = tuple((name, float(one.mean())) for name, one in zip(names, right, strict=True))
    return Int8(made, images, shares, names[2 if better else 1])


def clearly_better(right: Array, than: Array) -> bool:
    """Whether more samples were won than lost, by more than one standard error (McNemar 1947: of paired answers only
    those count that differ). right, than: bool [samples], who is right where."""
    won, lost = int((right & ~than).sum()), int((than & ~right).sum())
    return won - lost > math.sqrt(won + lost)


def _tuned(
    after: Converted, images: U8, found: SearchResult, dataset: Dataset, recipe: Recipe, seed: int, progress: Progress
) -> Converted:
    """Trained with quantization, from the network that was quantized after training."""
    with reproducible(THREADS):
        net = quantize.prepare(after, as_columns(images)[:, 0], options=OPTIONS)
        logits = Logits(net).train()
        x = to_tensor(dataset.train_x[found.training], found.candidate.resolution)
        y = torch.from_numpy(dataset.train_y[found.training])
        trained = fit(
            dict(logits.named_parameters()),
            x,
            y,
            recipe,
            seed,
            label_loss(logits, recipe.smoothing),
            found.folder / "tuning.npz",
            progress,
            "fine-tuning",
            {"ends": net.ends},
            freezing(net, recipe.epochs),
        )
        with torch.no_grad():
            for name, value in logits.named_parameters():
                value.copy_(trained.weights[name])
        return quantize.convert(net, found.profile)


def _recipe(found: SearchResult, effort: Effort, flip: bool) -> Recipe:
    count = len(found.training)
    epochs = min(100, max(2, round(effort.tuning_work / found.work / count)))
    return Recipe(
        STAGE,
        epochs,
        batch=max(2, min(128, count // 4)),
        rate=RATE,
        decay=0.0,
        shift=effort.shift,
        flip=flip,
    )


class Logits(torch.nn.Module):
    """A network up to what its final softmax reads."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net, (self.name,) = net, judged(net.model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.values(x)[self.name]


def label_loss(logits: Logits, smoothing: float) -> Loss:
    """Cross entropy of the rounded logits against smoothed labels."""

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        x = x.contiguous(memory_format=torch.channels_last)
        value = F.cross_entropy(torch.func.functional_call(logits, weights, (x,)), y, label_smoothing=smoothing)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return loss


def freezing(net: Network, epochs: int) -> Callable[[int], None]:
    """Freezes the ranges before the last FROZEN of the epochs; a run that goes on there finds them frozen."""

    def before(epoch: int) -> None:
        if epoch >= round(epochs * (1 - FROZEN)):
            net.freeze()

    return before


def as_columns(images: U8) -> Array:
    """uint8 images [n, h, w, c] as the float network takes them: float32 [n, 1, c, h, w], pixel / 255."""
    return np.ascontiguousarray((images.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2)[:, None])


def answers(proto: bytes, column: Array) -> Array:
    """What an ONNX file with one input and one output answers in ONNX Runtime, operator by operator [n, values]."""
    with Runtime(WHERE) as runtime:
        runtime.set_samples([column])
        return runtime.outputs(runtime.open(proto), [_output(proto)])[0].reshape(len(column), -1)


def _output(proto: bytes) -> str:
    import onnx

    return str(onnx.load_from_string(proto).graph.output[0].name)
