"""The supernet of transformers and what trains it: shares, steps, averages, several processes, kills."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import made_up
import numpy as np
import pytest

import mcuc.search  # noqa: F401  before torch

torch = pytest.importorskip("torch", reason="the search needs torch")

from mcuc.errors import McucError  # noqa: E402
from mcuc.search.spaces.vit_lowrank import (  # noqa: E402
    ATTENTIONS,
    POOLS,
    POSITIONS,
    VitCandidate,
    VitSpace,
    largest,
    sample,
    smallest,
)
from mcuc.search.train import reproducible  # noqa: E402
from mcuc.search.training.augment import Augment, batch  # noqa: E402
from mcuc.search.training.averaging import follow, greedy_soup  # noqa: E402
from mcuc.search.training.distributed import Place, place_for  # noqa: E402
from mcuc.search.training.loop import HERE, Recipe, Trained, fit, rate_at  # noqa: E402
from mcuc.search.training.optimizers import optimizer_for  # noqa: E402
from mcuc.search.vit.final import train_network  # noqa: E402
from mcuc.search.vit.supernet import Judge, Sandwich, accuracy, given, share_right  # noqa: E402
from mcuc.search.vit.supernet import train_supernet as trained_supernet  # noqa: E402
from mcuc.search.vit.weights import from_pixels, init, init_supernet, network, view  # noqa: E402

SPACE = VitSpace((12, 16), (4, 5, 8), (16, 24), 8, (0.5, 0.9), (1, 2), (1, 2), (2.0, 3.0), 1, 2, POOLS, POSITIONS,
                 ATTENTIONS)  # fmt: skip
RECIPE = Recipe(1, 3, batch=16, average=0.9, snapshots=2, augment=Augment(padding=2, erase=0.3, mixup=0.3, cutmix=1.0))
ONE = replace(largest(SPACE), blocks=largest(SPACE).blocks[:1])


def stripes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As made_up.stripes, uint8 [n, 1, 16, 16]."""
    x, y = made_up.stripes(n, 16)
    return torch.from_numpy(x[:, None]), torch.from_numpy(y)


class Killed(Exception):
    pass


def supernet(folder: Path, recipe: Recipe = RECIPE, kill_at: int = 0, place: Place = HERE) -> Trained:
    x, y = stripes(48)
    calls = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed

    with reproducible(1):
        return trained_supernet(SPACE, x, torch.eye(2)[y], recipe, 0, folder / "supernet.npz", progress, place)


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def candidates() -> list[VitCandidate]:
    rng = np.random.default_rng(3)
    return [largest(SPACE), smallest(SPACE), *(sample(SPACE, rng) for _ in range(10))]


def test_a_candidate_in_the_supernet_is_the_network_that_inherits_from_it() -> None:
    shared = {k: v + 0.1 * torch.randn_like(v) for k, v in init_supernet(SPACE, 0).items()}
    x = torch.rand(3, 1, 16, 16)
    for candidate in candidates():
        own = network(view(shared, SPACE, candidate), candidate)
        pixels = torch.nn.functional.interpolate(x, size=candidate.image) if candidate.image != 16 else x
        inside = given(shared, SPACE, candidate, pixels)
        assert torch.equal(own(pixels), inside)
        back, share = from_pixels(dict(own.named_parameters())), view(shared, SPACE, candidate)
        assert back.keys() == share.keys()
        for name, value in share.items():
            assert torch.allclose(back[name], value, atol=1e-6), (candidate.key, name)


def test_heads_are_taken_whole_and_what_a_candidate_lacks_does_not_reach_it() -> None:
    """Written out once more for queries, keys and values: the first heads of each, not the first rows of all three."""
    shared = init_supernet(SPACE, 0)
    small = replace(ONE, embed=16, rank=0.5, blocks=(replace(ONE.blocks[0], heads=1),))
    whole, k = shared["blocks.0.qkv.c"], small.inner
    rows = [part * 16 + row for part in range(3) for row in range(8)]  # 2 heads of 8 in the supernet, 1 here
    assert torch.equal(view(shared, SPACE, small)["blocks.0.qkv.c"], whole[rows][:, :k])
    x, before = torch.rand(2, 1, 16, 16), None
    for _ in range(2):
        after = given(shared, SPACE, small, x)
        assert before is None or torch.equal(after, before)
        before = after
        shared["blocks.0.fc1.a"][k:] += 1
        shared["blocks.0.qkv.c"][8:16] += 1
        shared["blocks.1.fc1.c"] += 1
        shared["patch.8.weight"] += 1
        shared["norm.weight"][16:] += 1


def test_a_step_trains_what_its_candidates_have_and_nothing_else() -> None:
    weights = {k: v.requires_grad_() for k, v in init_supernet(SPACE, 0).items()}
    x, y = stripes(8)
    Sandwich(SPACE, 0)(weights, x.float() / 255, torch.eye(2)[y], np.random.default_rng(0))
    common = {k: v for k, v in weights.items() if k.startswith(("blocks", "norm", "head")) and ".local." not in k}
    assert all(v.grad is not None for v in common.values())
    Sandwich(replace(SPACE, attentions=("linear",)), 0)(weights, x.float() / 255, torch.eye(2)[y],
                                                        np.random.default_rng(0))  # fmt: skip
    assert all(v.grad is not None for k, v in weights.items() if ".local." in k)
    assert sum(weights[f"patch.{p}.weight"].grad is not None for p in SPACE.patches) <= 2


@pytest.mark.parametrize("kill_at", [1, 4, 7, 9])
def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path, kill_at: int) -> None:
    whole = supernet(tmp_path / "whole")
    with pytest.raises(Killed):
        supernet(tmp_path / "killed", kill_at=kill_at)
    again = supernet(tmp_path / "killed")
    assert again.losses == whole.losses and same(again.weights, whole.weights) and same(again.average, whole.average)
    assert len(whole.snapshots) == 2 and all(same(a, b) for a, b in zip(again.snapshots, whole.snapshots, strict=True))
    assert (tmp_path / "killed" / "supernet.npz").read_bytes() == (tmp_path / "whole" / "supernet.npz").read_bytes()


def test_a_killed_training_with_lion_too(tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer="lion", rate=3e-4)
    with pytest.raises(Killed):
        supernet(tmp_path / "killed", recipe, 7)
    assert same(supernet(tmp_path / "killed", recipe).weights, supernet(tmp_path / "whole", recipe).weights)


def test_one_step_of_each_optimiser_is_the_one_of_its_paper() -> None:
    """In NumPy, in double precision, from the papers: two steps, a matrix that decays and a vector that does not."""
    rng = np.random.default_rng(0)
    start = {"w": rng.normal(size=(3, 4)), "bias": rng.normal(size=5)}
    gradients = [{k: rng.normal(size=v.shape) for k, v in start.items()} for _ in range(2)]
    rate, decay = 0.01, 0.1
    for name in ("adamw", "lion"):
        weights = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in start.items()}
        optimizer = optimizer_for(name, weights, rate, decay)
        wanted = {k: v.copy() for k, v in start.items()}
        m, v2 = ({k: np.zeros_like(v) for k, v in start.items()} for _ in range(2))
        for t, step in enumerate(gradients, 1):
            for k, g in step.items():
                weights[k].grad = torch.tensor(g)
                wanted[k] *= 1 - rate * (decay if k == "w" else 0)
                if name == "lion":
                    wanted[k] -= rate * np.sign(0.9 * m[k] + 0.1 * g)
                    m[k] = 0.99 * m[k] + 0.01 * g
                else:
                    m[k], v2[k] = 0.9 * m[k] + 0.1 * g, 0.999 * v2[k] + 0.001 * g * g
                    wanted[k] -= rate * m[k] / (1 - 0.9**t) / (np.sqrt(v2[k] / (1 - 0.999**t)) + 1e-8)
            optimizer.step()
        for k, value in wanted.items():
            np.testing.assert_allclose(weights[k].detach().numpy(), value, rtol=1e-12)
    with pytest.raises(McucError) as caught:
        optimizer_for("sgd", {}, rate, decay)
    assert caught.value.code == "unknown-optimizer"


def test_a_greedy_soup_is_never_worse_than_its_best_member() -> None:
    goal = torch.tensor([1.0, -2.0, 3.0])

    def score(weights: Mapping[str, torch.Tensor]) -> float:
        return -float((weights["w"] - goal).square().sum())

    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        found = [{"w": goal + torch.randn(3, generator=generator)} for _ in range(5)]
        before = [one["w"].clone() for one in found]
        soup = greedy_soup(found, score)
        assert soup.score == score(soup.weights) >= max(score(w) for w in found)
        mean = torch.stack([found[i]["w"] for i in soup.members]).mean(0)
        assert torch.allclose(soup.weights["w"], mean, atol=1e-6)
        assert all(torch.equal(a, b["w"]) for a, b in zip(before, found, strict=True))
    opposite = greedy_soup([{"w": goal + 1}, {"w": goal - 1}], score)
    assert len(opposite.members) == 2 and torch.allclose(opposite.weights["w"], goal)


def test_a_moving_average_follows_as_its_formula_says() -> None:
    average, wanted = {"w": torch.zeros(2)}, np.zeros(2)
    for step in range(30):
        value = np.array([step, 1.0])
        follow(average, {"w": torch.tensor(value, dtype=torch.float32)}, step, 0.7)
        d = min(0.7, (1 + step) / (10 + step))
        wanted = d * wanted + (1 - d) * value
    np.testing.assert_allclose(average["w"].numpy(), wanted, rtol=1e-5)


def test_augmented_batches_hold_to_their_options_and_to_any_division() -> None:
    x, y = stripes(16)
    targets, rows = torch.eye(2)[y], torch.arange(16)
    plain, labels = batch(x, targets, rows, Augment(False, smoothing=0), np.random.default_rng(0))
    assert torch.equal(plain, x / 255) and torch.equal(labels, targets)
    for augment in (Augment(padding=3), Augment(erase=1.0), Augment(mixup=0.5), Augment(cutmix=0.5), RECIPE.augment):
        whole = batch(x, targets, rows, augment, np.random.default_rng(1))
        parts = [batch(x, targets, rows, augment, np.random.default_rng(1), Place(rank=r, world=4).own(16))
                 for r in range(4)]  # fmt: skip
        for i in range(2):
            assert torch.equal(whole[i], torch.cat([p[i] for p in parts]))
        assert torch.allclose(whole[1].sum(1), torch.ones(16)) and not torch.equal(whole[0], plain)
    erased, _ = batch(x, targets, rows, Augment(False, erase=1.0), np.random.default_rng(2))
    share = (erased != plain).float().mean((1, 2, 3))  # a little less than the boxes: some pixels are grey already
    assert share.min() > 0.005 and share.max() < 0.3
    cut, mixed = batch(x, targets, rows, Augment(False, cutmix=1.0, smoothing=0), np.random.default_rng(5))
    own = (cut == plain).float().mean((1, 2, 3))
    assert torch.allclose(own, mixed[rows, y], atol=0.02)  # labels count pixels
    with pytest.raises(McucError) as caught:
        Place(world=3).own(16)
    assert caught.value.code == "bad-batch"


def test_the_rate_rises_falls_and_ends_at_nothing() -> None:
    rates = [rate_at(replace(RECIPE, rate=1.0, warmup=0.25), i, 100) for i in range(100)]
    assert rates[0] > 0 and max(rates) == pytest.approx(1, abs=0.01) and rates[-1] == pytest.approx(0, abs=1e-3)
    assert rates[:24] == sorted(rates[:24]) and rates[25:] == sorted(rates[25:], reverse=True)


def test_bfloat16_learns_the_same_within_its_precision(tmp_path: Path) -> None:
    with place_for("cpu", "bfloat16") as place:
        half = supernet(tmp_path / "half", place=place)
    full = supernet(tmp_path / "full")
    assert half.weights.keys() == full.weights.keys() and all(v.dtype == torch.float32 for v in half.weights.values())
    assert half.losses != full.losses and half.losses == pytest.approx(full.losses, abs=0.02)


def test_a_network_of_its_own_learns_from_inherited_weights_or_from_none(tmp_path: Path) -> None:
    x, y = stripes(256)
    candidate = replace(ONE, patch=8)
    recipe = Recipe(3, 16, batch=32, rate=5e-3, average=0.9, snapshots=3, augment=Augment(False, smoothing=0.0))
    held, shared = (x[128:], y[128:]), init_supernet(SPACE, 0)
    for i, start in enumerate((None, view(shared, SPACE, candidate))):
        file = tmp_path / f"{i}.npz"
        with reproducible(1):
            made = train_network(candidate, start, x[:128], torch.eye(2)[y[:128]], held, recipe, 0, file,
                                 lambda stage, done, total: None)  # fmt: skip
            shares = dict(made.validated)
            assert shares["soup"] >= max(shares["last"], shares["average"]) and shares["soup"] > 0.9
            own = from_pixels(dict(made.network.named_parameters()))
            assert share_right(own, candidate, *held) == pytest.approx(shares["soup"], abs=0.01)
    judge = Judge({16: held[0]}, held[1])
    assert 0.2 < accuracy(shared, SPACE, candidate, judge) < 0.8  # untrained


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_vit_training as t
from mcuc.search.training.distributed import place_for
with place_for("cpu") as place:
    assert place.world == 2
    t.supernet(Path(sys.argv[2]), t.SHARED, place=place)
"""
SHARED = replace(RECIPE, epochs=2, optimizer="adamw", snapshots=0)


def test_two_processes_of_torchrun_train_as_one(tmp_path: Path) -> None:
    """Gloo, the same batches: only the order of sums of float32 differs (each gradient is a mean of two halves), which
    Adam's division by the root of small second moments amplifies; the weights stay within 2e-4 of each other after 6
    steps at a rate of 2e-3, which is a hundredth of what they moved."""
    one = supernet(tmp_path / "one", SHARED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "worker.py").write_text(WORKER)
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    words = [sys.executable, str(tmp_path / "worker.py"), str(Path(__file__).parent), str(tmp_path / "two")]
    started = [
        subprocess.Popen(words, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in started:
        assert process.wait(120) == 0, process.stderr and process.stderr.read().decode()
    two = supernet(tmp_path / "two", SHARED)  # reads what the two have written
    begun = init_supernet(SPACE, 0)
    moved = max(float((one.weights[k] - begun[k]).abs().max()) for k in begun)
    apart = max(float((one.weights[k] - two.weights[k]).abs().max()) for k in begun)
    assert one.losses == pytest.approx(two.losses, abs=1e-5) and 0 < apart < 2e-4 and moved > 5e-3


def test_fit_takes_fewer_images_than_a_batch_and_starts_from_the_seed_alone(tmp_path: Path) -> None:
    x, y = stripes(5)
    torch.manual_seed(1)
    first = init(ONE, 2, 1, 7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same(first, init(ONE, 2, 1, 7)) and torch.equal(torch.get_rng_state(), state)

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        assert len(x) == len(y) == 5
        value = weights["head.bias"].square().sum()
        value.backward()
        return float(value.detach())

    recipe = replace(RECIPE, epochs=1, augment=Augment())
    done = fit(first, x, torch.eye(2)[y], recipe, 0, loss, tmp_path / "t.npz", lambda stage, done, total: None, "t")
    assert len(done.losses) == 1
