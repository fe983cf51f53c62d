"""mcuc build --space vit-lowrank end to end, on a space of a few tiny networks."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import stripes, teacher

pytest.importorskip("torch", reason="the search needs torch")

import torch

from mcuc.cli import main
from mcuc.data.dataset import Dataset
from mcuc.data.npz import write_npz
from mcuc.errors import McucError
from mcuc.request import Request
from mcuc.search import build as road
from mcuc.search import quantized
from mcuc.search.build import BuildRequest, VitOptions, build
from mcuc.search.effort import EFFORTS, Effort
from mcuc.search.evolution import Plan, require_feasible
from mcuc.search.pareto import Constraints
from mcuc.search.spaces import vit_lowrank
from mcuc.search.spaces.vit_lowrank import VitSpace
from mcuc.search.supernet import to_tensor
from mcuc.search.train import Recipe, Trained
from mcuc.search.training import loop
from mcuc.search.training.teacher import soft_labels, teacher_of
from mcuc.search.vit import cost, supernet
from mcuc.search.vit.cost import VitCost
from mcuc.search.vit.space import VitLowRank
from mcuc.search.vit.weights import init_supernet

BOARD = "stm32f746g-disco"
TINY = replace(EFFORTS["quick"], supernet_work=1e9, final_work=1e9, tuning_work=2e8, plan=Plan(3, 2, 1))


def space_for(shape: tuple[int, int, int], classes: int, width: float = 1.0, image: int | None = None) -> VitSpace:
    return VitSpace((image or 8,), (4,), (8, 16), 8, (0.5, 0.95), (1,), (1, 2), (2.0,), shape[2], classes)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(EFFORTS, "quick", TINY)
    monkeypatch.setattr(vit_lowrank, "space_for", space_for)
    monkeypatch.setattr(cost, "WARM_CANDIDATES", 1)
    cheap = replace(quantized.OPTIONS, methods=("minmax",), equalize=(False,), compensate=False)
    monkeypatch.setattr(quantized, "OPTIONS", cheap)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x, y = stripes(200, 8)
    write_npz(tmp_path / "images.npz", {"x": x[:160], "y": y[:160], "x_test": x[160:], "y_test": y[160:]})
    return tmp_path / "images.npz"


def test_a_transformer_is_searched_trained_merged_compiled_and_exact(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    teacher(tmp_path / "big.onnx", 8, 2, channels=1, scale=1e-3)  # undecided, so that it does no harm
    command = ["mcuc", "build", "--space", "vit-lowrank", "--budget", "320KB", "--flash", "1MB", "--board", BOARD,
               "--data", str(tiny), "--pool", "mean", "--attention", "linear", "--teacher", str(tmp_path / "big.onnx"),
               "-o", str(out)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as done:
        sys.exit(main())
    assert not done.value.code
    report = json.loads((out / "report.json").read_text())
    assert report["verify"]["bit_exact"] is True and report["verify"]["emulated"] > 0
    assert report["accuracy"]["int8"] > 0.6, "two classes: chance is a half"
    assert report["sram"]["total"] <= 320 * 1024 and report["flash"]["total"] <= 1024 * 1024
    (chosen,) = [p for p in report["pareto"] if p["chosen"]]
    candidate = vit_lowrank.parse(chosen["name"])
    assert candidate.pool == "mean" and {b.attention for b in candidate.blocks} == {"linear"}
    assert 0 < chosen["latency_ms"] < 10
    assert 0.5 < chosen["latency_ms"] / report["latency_ms"] < 2, "so few tokens: what calls the layers weighs in"
    assert abs(chosen["sram"] - report["sram"]["arena"] - cost.STACK_ALLOWANCE) <= 0.1 * report["sram"]["arena"]
    notes = "\n".join(report["notes"])
    assert "the answers of a teacher, big.onnx" in notes
    assert "factors merged in 4 dense layers" in notes and "bytes of weights instead of" in notes
    assert {"model.onnx", "model.c", "firmware.elf"} <= {f.name for f in out.iterdir()}


def test_the_t_space_is_searched_with_its_weights_in_the_boards_external_flash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corner of it, up to its training: refused where --flash keeps weights on the chip, and not without."""
    tiny_space = vit_lowrank.tiny_space
    few = {"patches": (32,), "embeds": (168,), "ranks": (0.4,), "depths": (12,), "heads": (3,), "ratios": (3.5,)}
    monkeypatch.setattr(vit_lowrank, "tiny_space", lambda *args: replace(tiny_space(*args), **few))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cost, "WARM_CANDIDATES", 0)
    asked: list[tuple[VitSpace, Constraints]] = []

    def search(
        dataset: Dataset, space: VitLowRank, limits: Constraints, effort: Effort, seed: int, found: VitCost,
        *others: object, flash_ways: Sequence[str], **more: object,
    ) -> None:  # fmt: skip
        asked.append((space.space, limits))
        if not found.legal(space.smallest()):
            require_feasible(space, limits, found, flash_ways)
        raise McucError("stop", "it fits", where="here", try_this="nothing")

    monkeypatch.setattr(road, "run_search", search)
    x, y = stripes(12, 8)
    write_npz(tmp_path / "images.npz", {"x": x[:8], "y": y[:8], "x_test": x[8:], "y_test": y[8:]})
    said = []
    for flash in (None, 1 << 20):
        request = Request(BOARD, budget=320 << 10, flash=flash)
        with pytest.raises(McucError) as stopped:
            build(BuildRequest(request, data=str(tmp_path / "images.npz"), space="vit-lowrank",
                               vit=VitOptions(240, pool="mean")), tmp_path / "out", lambda *_: None)  # fmt: skip
        said.append(stopped.value)
    assert [error.code for error in said] == ["stop", "nothing-fits"]
    assert "without --flash" in said[1].try_this and "16,777,216 bytes in qspi" in said[1].try_this
    assert [limits.flash_bytes for _, limits in asked] == [17 << 20, 1 << 20]
    assert [limits.sram_bytes for _, limits in asked] == [320 << 10] * 2 and asked[0][0].patches == (32,)


def test_limits_that_no_transformer_meets_are_refused_with_numbers(tiny: Path, tmp_path: Path) -> None:
    for request in (Request(BOARD, budget=1100), Request(BOARD, flash=500)):
        with pytest.raises(McucError, match="the smallest network") as refused:
            build(BuildRequest(request, data=str(tiny), space="vit-lowrank"), tmp_path / "out", lambda *_: None)
        assert refused.value.code == "nothing-fits" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("side", "classes", "channels", "said"),
    [(9, 2, 1, "9 x 9 pixels, the networks see images of 8 x 8"), (8, 3, 1, "3 answers for 2"), (8, 2, 3, "1 channel")],
    ids=["size", "classes", "channels"],
)
def test_a_teacher_of_other_images_is_refused_before_anything_is_planned(
    tiny: Path, tmp_path: Path, side: int, classes: int, channels: int, said: str
) -> None:
    teacher(tmp_path / "big.onnx", side, classes, channels=channels)
    options = VitOptions(teacher=tmp_path / "big.onnx")
    stages: list[str] = []
    with pytest.raises(McucError, match=said) as refused:
        build(BuildRequest(Request(BOARD), data=str(tiny), space="vit-lowrank", vit=options), tmp_path / "out",
              lambda stage, *_: stages.append(stage))  # fmt: skip
    assert refused.value.code == "bad-teacher" and not stages
    with pytest.raises(McucError, match="transformers alone"):
        build(BuildRequest(Request(BOARD), data=str(tiny), vit=options), tmp_path / "out", lambda *_: None)


def test_half_of_what_supernet_and_network_learn_is_the_teachers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher(tmp_path / "big.onnx", 8, 2, channels=1)
    x, y = stripes(6, 8)
    learnt: list[torch.Tensor] = []

    def fit(*args: object, **more: object) -> Trained:
        learnt.extend(a for a in args if isinstance(a, torch.Tensor) and a.shape == (6, 2))
        return Trained({}, ())

    monkeypatch.setattr(supernet, "train_supernet", fit)
    monkeypatch.setattr(loop, "fit", fit)
    space = space_for((8, 8, 1), 2)
    whole = VitLowRank(space, teacher=teacher_of(tmp_path / "big.onnx", 8, 1, 2))
    labels, recipe = torch.from_numpy(y), Recipe(1, 1)
    whole.train_shared(x[..., None], labels, recipe, 0, tmp_path / "a", lambda *_: None)
    whole.train_one(init_supernet(space, 0), whole.smallest(), to_tensor(x[..., None], 8), labels, recipe, 0,
                    tmp_path / "b", lambda *_: None)  # fmt: skip
    answers = soft_labels(tmp_path / "big.onnx", x[..., None], 2)
    for targets in learnt:
        assert torch.allclose(targets, 0.5 * torch.eye(2)[labels] + 0.5 * torch.from_numpy(answers), atol=1e-6)
    assert len(learnt) == 2 and whole.settings() != replace(whole, teacher=None).settings()


@pytest.mark.parametrize("options", [VitOptions(memory_model="oracle"), VitOptions(pool="max"),
                                     VitOptions(position="none"), VitOptions(attention="none")])  # fmt: skip
def test_strange_options_are_refused(tiny: Path, tmp_path: Path, options: VitOptions) -> None:
    with pytest.raises(McucError) as refused:
        build(BuildRequest(Request(BOARD), data=str(tiny), space="vit-lowrank", vit=options), None, lambda *_: None)
    assert refused.value.code == "unknown-option" and "one of" in refused.value.try_this


def test_the_command_hands_the_flags_of_transformers_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[BuildRequest] = []

    def search(request: BuildRequest, *others: object) -> None:
        asked.append(request)
        raise McucError("stop", "far enough", where="here", try_this="nothing")

    def run(*flags: str) -> object:
        monkeypatch.setattr(sys, "argv", ["mcuc", "build", *flags])
        with pytest.raises(SystemExit) as done:
            sys.exit(main())
        return done.value.code

    monkeypatch.setattr(road, "build", search)
    flags = ("--image-size", "64", "--keep-factors", "--memory-model", "paper", "--pool", "token", "--positions",
             "relative", "--attention", "both", "--teacher", "big.onnx")  # fmt: skip
    assert run("--space", "vit-lowrank", *flags) == 1 and run("--space", "vit-lowrank") == 1
    every = VitOptions(64, True, "paper", "token", "relative", "both", Path("big.onnx"))
    assert [r.vit for r in asked] == [every, VitOptions()]
    assert [r.space for r in asked] == ["vit-lowrank"] * 2
    assert run(*flags) == 2 and run("--pool", "mean", "--space", "ds-conv") == 2 and len(asked) == 2
