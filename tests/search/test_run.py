"""A whole search at tiny settings: same result from the same seed, also when it is killed on the way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the search needs torch")

from mcuc.data.dataset import Dataset  # noqa: E402
from mcuc.errors import McucError  # noqa: E402
from mcuc.search.conv import DsConv  # noqa: E402
from mcuc.search.effort import EFFORTS, effort_named  # noqa: E402
from mcuc.search.evolution import Plan  # noqa: E402
from mcuc.search.pareto import Constraints, Cost  # noqa: E402
from mcuc.search.run import SearchResult, run_search  # noqa: E402
from mcuc.search.spaces.ds_conv import Candidate, space_for, to_layers  # noqa: E402

TINY = replace(EFFORTS["quick"], name="tiny", width=0.34, supernet_work=6.3e8, final_work=7.8e8, plan=Plan(6, 4, 3))


def stripes(n: int, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Images of two classes: horizontal and vertical stripes under noise."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    wave = np.sin(np.arange(side) * 1.5 + rng.uniform(0, 6, (n, 1)))
    x = np.where((y == 0)[:, None, None], wave[:, :, None], wave[:, None, :])
    return np.clip(128 + 60 * x + rng.normal(0, 20, (n, side, side)), 0, 255).astype(np.uint8)[..., None], y


def dataset() -> Dataset:
    x, y = stripes(240)
    return Dataset("stripes", x[:160], y[:160], x[160:], y[160:], ("rows", "columns"), "made in the test")


SPACE = space_for((12, 12, 1), 2, TINY.width)


def cost_of(candidate: Candidate) -> Cost:
    layers = to_layers(SPACE, candidate)
    peak = max(int(np.prod(one.in_shape) + np.prod(one.out_shape)) for one in layers)
    return Cost(peak, sum(one.weights for one in layers), sum(one.macs for one in layers) / 1e5)


class Killed(Exception):
    pass


def run(folder: Path, kill_at: int | None = None, seed: int = 0, limits: Constraints | None = None) -> SearchResult:
    calls = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        assert 0 <= done <= total and stage in ("supernet", "evolution", "training")
        if calls == kill_at:
            raise Killed

    limits = limits or Constraints(100_000)
    result = run_search(dataset(), DsConv(SPACE), limits, TINY, seed, cost_of, folder, progress, threads=1)
    assert kill_at is None or calls < kill_at
    return result


def digest(result: SearchResult) -> str:
    return hashlib.sha256(result.proto.SerializeToString()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return run(tmp_path_factory.mktemp("whole"))


def test_it_learns_and_fits(whole: SearchResult) -> None:
    assert whole.float_accuracy > 0.8
    assert whole.pareto and all(e.cost.sram_bytes <= 100_000 for e in whole.pareto)
    assert [name for name, _ in whole.history] == ["supernet", "evolution", "training"]
    assert list(whole.history[1][1]) == sorted(whole.history[1][1])
    losses = whole.history[2][1]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kill_at", [2, 6, 14, 20, 26, 33, 40])
def test_a_killed_search_ends_with_the_same_bytes(whole: SearchResult, tmp_path: Path, kill_at: int) -> None:
    with pytest.raises(Killed):
        run(tmp_path, kill_at)
    again = run(tmp_path)
    assert again.candidate == whole.candidate and again.pareto == whole.pareto and again.history == whole.history
    assert digest(again) == digest(whole)
    assert again.float_accuracy == whole.float_accuracy


def test_killed_again_and_again(whole: SearchResult, tmp_path: Path) -> None:
    kills = 0
    while True:
        try:
            result = run(tmp_path, 9)  # more than an epoch or a generation, so that each try gets further
        except Killed:
            kills += 1
            assert kills < 40
        except AssertionError:
            raise
        else:
            break
    assert kills >= 3 and digest(result) == digest(whole)


def test_another_seed_or_limit_has_its_own_state(whole: SearchResult, tmp_path: Path) -> None:
    run(tmp_path)
    other = run(tmp_path, seed=1)
    tight = run(tmp_path, limits=Constraints(500))
    assert digest(other) != digest(whole)
    assert tight.cost.sram_bytes <= 500 < max(e.cost.sram_bytes for e in whole.pareto)
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_fits_is_said_with_numbers(tmp_path: Path) -> None:
    with pytest.raises(McucError) as caught:
        run(tmp_path, limits=Constraints(10))
    assert caught.value.code == "nothing-fits" and "bytes of SRAM" in caught.value.found


def test_broken_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, 12)
    state = next(tmp_path.rglob("supernet.npz"))
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(McucError) as caught:
        run(tmp_path)
    assert caught.value.code == "bad-state" and caught.value.where == str(state)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(McucError) as caught:
        run(tmp_path / "file")
    assert caught.value.code == "cannot-write"


def test_efforts_are_ordered_and_strangers_refused() -> None:
    images = [effort_named(name).final_work for name in ("quick", "standard", "full")]
    assert images == sorted(images)
    with pytest.raises(McucError):
        effort_named("heroic")


def test_torch_settings_are_given_back(tmp_path: Path) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.raises(Killed):
        run(tmp_path, 2)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
