"""The protocol of benchmarks/search_pays_vit.py, its parts, and all of it at a scale of seconds."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the search needs torch")

import torch
from made_up import formula, made_up_accuracy, teacher
from PIL import Image

import search_pays_vit as protocol
from mcuc.accuracy.statistics import kendall
from mcuc.errors import McucError
from mcuc.search.evolution import Plan, Pool, evolve_many
from mcuc.search.pareto import Constraints
from mcuc.search.spaces.vit_lowrank import VitSpace, contains, parse
from mcuc.search.training.files import Files, class_folders
from mcuc.search.training.teacher import soft_labels, taught, teacher_of
from mcuc.search.vit.space import VitLowRank
from mcuc.search.workers import spread, worker_count
from vit_data import imagenet

SPACE = VitSpace((32,), (4, 8), (32, 48, 64), 16, (0.5, 1.0), (2, 3, 4), (2, 3, 4), (2.0, 4.0), 3, 10)


def searched(workers: int, file: Path, kill_after: int = 0) -> Pool:
    limits = Constraints(None, None, 60.0)
    calls = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_after:
            raise KeyboardInterrupt

    with (
        spread(formula, (SPACE, limits), workers) as costs,
        spread(made_up_accuracy, (SPACE, limits), 1) as accuracies,
    ):
        return evolve_many(VitLowRank(SPACE), limits, Plan(12, 6, 4), 0, costs, accuracies, file, progress)


@pytest.mark.slow
def test_any_number_of_processes_and_a_killed_one_find_the_same(tmp_path: Path) -> None:
    one = searched(1, tmp_path / "1.json")
    assert len(one.evaluated) == 30 and one.refused
    with pytest.raises(KeyboardInterrupt):
        searched(1, tmp_path / "2.json", kill_after=20)
    assert searched(2, tmp_path / "2.json") == one
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert worker_count(3) == 3 and worker_count(None) >= 1
    with pytest.raises(McucError):
        worker_count(0)


def test_the_hand_made_network_has_deits_proportions_and_fills_the_limit() -> None:
    for latency in (40.0, 60.0, 120.0, 1e9):
        limits = Constraints(None, None, latency)
        cost = formula(SPACE, limits)
        made = protocol.hand_made(SPACE, limits, cost)
        assert contains(SPACE, made) and cost(made).latency_ms <= latency and made.patch == 4 and made.rank == 1
        assert {(b.heads * 16, b.ratio) for b in made.blocks} == {(made.embed, 4.0)} and made.pool == "token"
        deeper = replace(made, blocks=(*made.blocks, made.blocks[0]))
        assert len(made.blocks) == 4 or cost(deeper).latency_ms > latency
    with pytest.raises(SystemExit):
        protocol.hand_made(SPACE, Constraints(1), cost)
    assert {protocol.hand_made(SPACE, Constraints(latency_ms=ms), cost).embed for ms in (40.0, 1e9)} == {32, 64}


def test_random_ones_fit_differ_and_are_the_same_again() -> None:
    limits = Constraints(None, None, 40.0)
    cost = formula(SPACE, limits)
    found = protocol.random_ones(SPACE, limits, 6, cost)
    assert len({one.key for one in found}) == 6 and all(cost(one).latency_ms <= 40 for one in found)
    assert found == protocol.random_ones(SPACE, limits, 6, cost)


def test_kendalls_tau_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.permutation(8), rng.permutation(8)
        signs = [np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in combinations(range(8), 2)]
        assert kendall(a, b) == pytest.approx(sum(signs) / 28)
    assert kendall(np.arange(5), np.arange(5)) == 1 and kendall(np.arange(5), np.zeros(5)) is None
    assert kendall(np.array([1, 1, 2, 3]), np.array([1, 2, 3, 3])) == pytest.approx(4 / 5)  # two ties, one each


def test_the_summary_is_arithmetic_on_the_cells() -> None:
    keys = {"found": "f", "hand": "h", "random 0": "a", "random 1": "b"}
    single = {"f": [0.62, 0.63, 0.64], "h": [0.60, 0.61, 0.59], "a": [0.5], "b": [0.61, 0.62, 0.60]}
    cells: dict[str, Any] = {f"train {k} {i}": {"accuracy": v} for k, vs in single.items() for i, v in enumerate(vs)}
    cells["networks"] = {"keys": keys, "supernet": {"f": 0.5, "h": 0.4, "a": 0.3, "b": 0.45}}
    found = protocol.summary(cells, (0, 1, 2))
    assert found["best_random"] == "b" and found["kendall_tau"] == 1
    assert found["found"] == {"mean": 63.0, "spread": 1.0}
    assert found["found_minus_random"] == {"mean": 2.0, "by_seed": [1.0, 1.0, 4.0]}
    assert found["found_minus_hand"]["mean"] == 3.0


@pytest.mark.slow
def test_the_whole_protocol_at_a_scale_of_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path
) -> None:
    """With a formula for the cost and without int8: those have tests of their own. A cell that is missing from the
    results is made again from the saved state, with the same numbers; one that is there is left alone."""
    monkeypatch.setattr(protocol, "cost_function", formula)
    monkeypatch.setattr(protocol, "quantized", lambda job, key: {"accuracy": None})
    results = tmp_path / "results.json"
    teacher(tmp_path / "teacher.onnx", 32, 10)
    words = [str(shared_data), "--scale", "smoke", "--only", "cifar10", "--teacher", str(tmp_path / "teacher.onnx"),
             "--workers", "1", "--device", "cpu",
             "--precision", "float32", "--folder", str(tmp_path / "state"), "--results", str(results)]  # fmt: skip
    assert protocol.main(words) == 0
    whole = json.loads(results.read_text())
    cells = whole["cifar10, smoke"]["cells"]
    keys = cells["networks"]["keys"]
    limits = cells["networks"]["limits"]
    assert set(keys) == {"found", "hand", "random 0", "random 1"}
    for key, cost in cells["networks"]["costs"].items():
        assert all(cost[name] <= limits[name] for name in limits) and parse(key).image == 32
    assert all(0 <= cells[f"train {key} 0"]["accuracy"] <= 1 for key in keys.values())
    assert whole["cifar10, smoke"]["summary"]["found"]["mean"] > 0
    gone = f"train {keys['found']} 0"
    kept = cells.pop(gone)
    cells["search"]["mark"] = 1
    results.write_text(json.dumps(whole))
    assert protocol.main(words) == 0
    again = json.loads(results.read_text())["cifar10, smoke"]["cells"]
    assert again["search"]["mark"] == 1
    assert {k: again[gone][k] for k in ("accuracy", "losses")} == {k: kept[k] for k in ("accuracy", "losses")}


def test_images_in_class_folders_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    paths, labels, names = class_folders(tmp_path)
    files = Files(paths, 24)
    assert names == ("cat", "dog") and labels.tolist() == [0, 0, 1, 1] and len(files) == 4
    both = files[torch.tensor([3, 0])]
    assert both.shape == (2, 3, 24, 24) and both.dtype == torch.uint8
    again = pickle.loads(pickle.dumps(files.part([3])))  # as another process gets it
    assert torch.equal(again[torch.tensor([0])], both[:1])
    (tmp_path.parent / "whole").mkdir()
    for part in ("train", "val"):
        (tmp_path.parent / "whole" / part).symlink_to(tmp_path)
    data = imagenet(tmp_path.parent / "whole", 16, 2, "cpu")
    assert data.classes == 2 and len(data.kept) == len(data.held) == 2 and data.test[torch.tensor([1])].shape[-1] == 16
    with pytest.raises(McucError) as caught:
        class_folders(tmp_path / "cat")
    assert caught.value.code == "bad-dataset"


def test_a_teachers_answers_are_its_own(tmp_path: Path) -> None:
    """Its softmax, worked out here."""
    rng = np.random.default_rng(1)
    for name in ("logits", "shares"):
        weight = teacher(tmp_path / f"{name}.onnx", 4, 5, name == "shares")
    images = rng.integers(0, 256, (7, 4, 4, 3), np.uint8)
    logits = (images.transpose(0, 3, 1, 2).reshape(7, -1) / 255.0) @ weight / 2.0
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for name in ("logits", "shares"):
        found = soft_labels(tmp_path / f"{name}.onnx", images, 5, temperature=2.0)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    targets = taught(np.arange(7) % 5, found, 0.25)
    assert torch.allclose(targets.sum(1), torch.ones(7)) and float(targets[2, 2]) > 0.75
    with pytest.raises(McucError) as caught:
        soft_labels(tmp_path / "logits.onnx", images, 4)
    assert caught.value.code == "bad-teacher"
    with pytest.raises(McucError) as caught:
        soft_labels(tmp_path / "logits.onnx", images[..., :1], 5)
    assert caught.value.code == "bad-teacher"
    with pytest.raises(McucError, match="4 x 4 pixels, the networks see images of 7 x 7"):
        teacher_of(tmp_path / "logits.onnx", 7, 3, 5)
    assert len(teacher_of(tmp_path / "logits.onnx", 4, 3, 5).digest) == 64
