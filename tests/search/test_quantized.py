"""From trained weights to int8: the exported float network, the graph that the search planned, the better of two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the search needs torch")

from mcuc import passes  # noqa: E402
from mcuc.data.dataset import Dataset  # noqa: E402
from mcuc.errors import McucError  # noqa: E402
from mcuc.importers.tflite import parse as parse_tflite  # noqa: E402
from mcuc.plan import plan  # noqa: E402
from mcuc.quantize.build import integers  # noqa: E402
from mcuc.quantize.network import Converted, convert  # noqa: E402
from mcuc.quantize.qdq import REAL  # noqa: E402
from mcuc.quantize.quantizer import Options  # noqa: E402
from mcuc.schedule import Tiling  # noqa: E402
from mcuc.schedule.explore import layer_by_layer  # noqa: E402
from mcuc.search import quantized as road  # noqa: E402
from mcuc.search.build import as_int8  # noqa: E402
from mcuc.search.conv import DsConv  # noqa: E402
from mcuc.search.cost import planned  # noqa: E402
from mcuc.search.effort import EFFORTS  # noqa: E402
from mcuc.search.evolution import Plan  # noqa: E402
from mcuc.search.export import to_onnx  # noqa: E402
from mcuc.search.network import Stats, fixed, forward, init_params, measure_stats, to_float  # noqa: E402
from mcuc.search.pareto import Constraints, Cost  # noqa: E402
from mcuc.search.quantized import OPTIONS, Int8, answers, as_columns, clearly_better, quantized  # noqa: E402
from mcuc.search.run import SearchResult, run_search  # noqa: E402
from mcuc.search.spaces.ds_conv import Candidate, Space, Stage, StageChoice, parse, space_for, to_layers  # noqa: E402
from mcuc.search.supernet import to_tensor  # noqa: E402
from mcuc.targets import load_board  # noqa: E402
from mcuc.verify import oracle, reference  # noqa: E402

GREY = space_for((28, 28, 1), 10), parse("r20-s8-w16k35-w48k53")
ODD = Space((9, 11), 3, 4, 2, (4, 8), (StageChoice(2, (4, 8), 2),)), Candidate(11, 4, (Stage(8, (5, 3)),))
CHEAP = replace(OPTIONS, methods=("minmax",), equalize=(False,))
TINY = replace(
    EFFORTS["quick"], name="tiny", width=0.34, supernet_work=1e8, final_work=5e8, tuning_work=6e8, plan=Plan(2, 2, 1)
)
KILLED_AT = 22  # the step of 28 in which a killed tuning ends; the ranges are frozen from the 17th


@dataclass(frozen=True, eq=False)
class Random:
    """A network of random weights, its statistics, and uint8 images [n, h, w, c]."""

    space: Space
    candidate: Candidate
    params: dict[str, torch.Tensor]
    stats: Stats
    images: np.ndarray

    @property
    def proto(self) -> object:
        return to_onnx("random", self.params, self.space, self.candidate, self.stats)


@cache
def random_network(space: Space, candidate: Candidate) -> Random:
    generator = torch.Generator().manual_seed(0)
    params = init_params(space, candidate, generator)
    for name, value in params.items():
        if value.ndim == 1:
            value.copy_(0.2 * torch.randn(value.shape, generator=generator) + name.endswith(".g"))
    side = candidate.resolution
    images = np.random.default_rng(0).integers(0, 256, (48, side, side, space.channels)).astype(np.uint8)
    stats = measure_stats(params, space, candidate, to_float(to_tensor(images, side)))
    return Random(space, candidate, params, stats, images)


@cache
def converted(space: Space, candidate: Candidate) -> Converted:
    net = random_network(space, candidate)
    return convert(net.proto, "net", "net", (as_columns(net.images),), CHEAP, "tflite")


BOTH = pytest.mark.parametrize(("space", "candidate"), [GREY, ODD], ids=["grey", "odd sizes, colour"])


@BOTH
def test_the_onnx_model_computes_what_was_trained(space: Space, candidate: Candidate) -> None:
    net = random_network(space, candidate)
    x = to_float(to_tensor(net.images, candidate.resolution))
    with torch.no_grad():
        wanted = forward(net.params, space, candidate, x, fixed(net.stats)).softmax(1).numpy()
    found = answers(net.proto.SerializeToString(), as_columns(net.images))  # type: ignore[attr-defined]
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-5 and wanted.std() > 0.01


@BOTH
def test_the_search_plans_the_graph_that_the_trained_network_becomes(space: Space, candidate: Candidate) -> None:
    layers, board = to_layers(space, candidate), load_board("nucleo-f746zg")
    graph, schedule, arena = planned(layers, board)
    real = passes.optimize(converted(space, candidate).graph)
    trained = layer_by_layer(real, board.chip, Tiling())
    assert [n.op for n in graph.nodes] == [n.op for n in real.nodes if n.op != "reshape"]  # which moves no byte
    calls = [
        [
            (type(kernel).__name__, call.family, call.height, call.channels)
            for s in one.layers
            for call, kernel in s.calls
        ]
        for one in (schedule, trained)
    ]
    assert calls[0] == calls[1] and len(calls[0]) >= len(graph.nodes)
    windows = [[w for n in g.nodes if (w := getattr(n.attrs, "window", None))] for g in (graph, real)]
    assert windows[0] == windows[1] and windows[0]
    assert arena == plan(real, trained, fast=True).arena
    assert str(planned(layers, board)[0]) == str(graph)


@BOTH
def test_tflite_micro_computes_the_same_bytes(space: Space, candidate: Candidate) -> None:
    made = converted(space, candidate)
    assert made.tflite is not None
    ours = str(made.graph).replace(REAL, "")  # a file's ends have the model's names
    assert str(parse_tflite(made.tflite, "net.tflite", made.graph.name)) == ours
    x = as_int8(random_network(space, candidate).images[:4])
    assert np.array_equal(
        np.stack(integers(made.ports[0], as_columns(random_network(space, candidate).images[:4]))), x[:, None]
    )
    for sample, answer in zip(x, oracle.tflite_micro(made.tflite, [[s[None]] for s in x]), strict=True):
        run = reference.run(made.graph, {made.graph.inputs[0]: sample[None]})
        assert np.array_equal(run[made.graph.outputs[0]], answer[0])


def test_an_input_whose_scale_is_given_keeps_it_whatever_the_samples_are() -> None:
    net = random_network(*ODD)
    dark = as_columns(net.images // 3)
    scales = [
        made.graph.tensors[made.graph.inputs[0]].quant.scale[0]  # type: ignore[union-attr]
        for options in (CHEAP, Options(methods=("minmax",), equalize=(False,)))
        for made in (convert(net.proto, "net", "net", (dark,), options),)
    ]
    assert scales[0] == np.float32(1 / 255) and scales[1] < 0.4 / 255


def test_a_dead_layer_quantizes_and_weights_that_are_not_finite_are_refused() -> None:
    net = random_network(*ODD)
    name = "stage0.block0.depthwise.g"
    dead = replace(net, params={**net.params, name: torch.zeros_like(net.params[name])})
    assert convert(dead.proto, "net", "net", (as_columns(net.images),), CHEAP, "tflite").tflite
    broken = replace(net, params={**net.params, name: net.params[name] * float("nan")})
    with pytest.raises(McucError) as caught:
        convert(broken.proto, "net", "net", (as_columns(net.images),), CHEAP, "tflite")
    assert caught.value.code == "not-finite"


class Killed(Exception):
    pass


def stripes() -> Dataset:
    """Two classes of 8x8: stripes across and along, under noise."""
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    wave = np.sin(np.arange(8) * 1.5 + rng.uniform(0, 6, (160, 1)))
    x = np.where((y == 0)[:, None, None], wave[:, :, None], wave[:, None, :])
    x = np.clip(128 + 60 * x + rng.normal(0, 30, x.shape), 0, 255).astype(np.uint8)[..., None]
    return Dataset("stripes", x[:120], y[:120], x[120:], y[120:], ("rows", "columns"), "made in the test")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    folder = tmp_path_factory.mktemp("search")
    space = DsConv(space_for((8, 8, 1), 2, TINY.width))
    return run_search(
        stripes(), space, Constraints(), TINY, 0, lambda layers: Cost(1, 1, 1.0), folder, lambda *_: None, threads=1
    )


def tuned(found: SearchResult, folder: Path, kill_at: int = 0) -> Int8:
    calls = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += stage == "fine-tuning"
        assert 0 <= done <= total
        if stage == "fine-tuning" and calls == kill_at:
            raise Killed

    return quantized(replace(found, folder=folder), stripes(), TINY, 0, False, progress)


@pytest.mark.parametrize(("won", "lost", "wanted"), [(0, 0, False), (8, 4, True), (7, 4, False), (1, 0, False),
                                                     (2, 0, True), (4, 9, False)])  # fmt: skip
def test_chance_does_not_choose(won: int, lost: int, wanted: bool) -> None:
    right = np.array([True] * won + [False] * lost + [True, False] * 30)
    than = np.array([False] * won + [True] * lost + [True, False] * 30)
    assert clearly_better(right, than) is wanted


def test_two_images_a_class_are_enough(tmp_path: Path) -> None:
    """One of them is held out, which judges the candidates and the quantization."""
    whole = stripes()
    few = replace(whole, train_x=whole.train_x[:4], train_y=whole.train_y[:4])
    limits, cost, least = Constraints(), Cost(1, 1, 1.0), replace(TINY, final_work=1e6, tuning_work=1e6)
    space = DsConv(space_for((8, 8, 1), 2, least.width))
    found = run_search(few, space, limits, least, 0, lambda layers: cost, tmp_path, lambda *_: None, threads=1)
    made = quantized(found, few, least, 0, False, lambda *_: None)
    assert len(found.validation) == 2 and all(0 <= share <= 1 for _, share in made.validated)


def test_validation_images_are_in_no_training(searched: SearchResult) -> None:
    assert not set(searched.validation) & set(searched.training)
    assert len(searched.validation) + len(searched.training) == len(stripes().train_y)
    assert np.bincount(stripes().train_y[searched.validation]).tolist() == [6, 6]


def test_the_clearly_better_one_by_validation_is_kept_and_a_killed_tuning_ends_the_same(
    searched: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(road, "OPTIONS", CHEAP)
    labels = stripes().train_y[searched.validation]
    asked: list[bytes] = []
    wrong_for: list[int] = [1]

    def stub(proto: bytes, column: np.ndarray) -> np.ndarray:
        asked.append(proto)
        wrong = (len(asked) - 1) % 3 in wrong_for
        return np.eye(2)[labels ^ wrong]

    with pytest.raises(Killed):
        tuned(searched, tmp_path, KILLED_AT)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(road, "answers", stub)
    resumed = tuned(searched, tmp_path)
    assert resumed.chosen == "trained with quantization" and resumed.made.quantized.way == "trained"
    assert resumed.made.onnx == asked[2] != asked[1]
    wrong_for.clear()  # both are as good: what needs no training
    whole = tuned(searched, tmp_path / "whole")
    assert asked[3:] == asked[:3], "killed or not"
    assert whole.chosen == "quantized after training" and whole.made.onnx == asked[1]
    assert [share for _, share in whole.validated] == [1.0, 1.0, 1.0]
