"""What a transformer of the space costs: the graph of made-up weights is that of trained ones, the front of a network
follows from its halves, and the compiler gets what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_up import moved

torch = pytest.importorskip("torch", reason="the search needs torch")

from mcuc import passes, quantize  # noqa: E402
from mcuc.api import no_bar  # noqa: E402
from mcuc.ir import Graph  # noqa: E402
from mcuc.pipeline import compile_graph  # noqa: E402
from mcuc.plan import plan  # noqa: E402
from mcuc.quantize.model import to_proto  # noqa: E402
from mcuc.quantize.network import Converted, convert  # noqa: E402
from mcuc.quantize.runtime import Runtime  # noqa: E402
from mcuc.request import Request  # noqa: E402
from mcuc.schedule.explore import explore  # noqa: E402
from mcuc.search.naming import named  # noqa: E402
from mcuc.search.pareto import Constraints, Cost, fits  # noqa: E402
from mcuc.search.quantized import OPTIONS, as_columns  # noqa: E402
from mcuc.search.spaces import vit_lowrank as vit  # noqa: E402
from mcuc.search.spaces.vit_lowrank import VitBlock, VitCandidate, VitSpace  # noqa: E402
from mcuc.search.vit import narrowing  # noqa: E402
from mcuc.search.vit.cost import STACK_ALLOWANCE, VitCost, paper_bytes, within  # noqa: E402
from mcuc.search.vit.export import float_model  # noqa: E402
from mcuc.search.vit.narrowing import FEWEST, LEGAL, Narrowed, narrow, worthwhile  # noqa: E402
from mcuc.search.vit.network import merged  # noqa: E402
from mcuc.search.vit.pieces import Pieces  # noqa: E402
from mcuc.search.vit.skeleton import int8_graph, skeleton  # noqa: E402
from mcuc.search.vit.space import constants_of  # noqa: E402
from mcuc.targets import load_board  # noqa: E402
from mcuc.verify import reference  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BOARD_NAME = "stm32f746g-disco"
BOARD = load_board(BOARD_NAME)
SMALL = vit.parse("i12-p4-e16-d8-k0.5-token-absolute-h2x4")
CHEAP = replace(OPTIONS, methods=("minmax",), equalize=(False,), compensate=False)
LINEAR = vit.parse("i12-p4-e16-d8-k0.5-token-absolute-h2x4l")
SPACE = VitSpace((12,), (4, 6), (8, 16, 24), 8, (0.5, 0.9), (1, 2), (1, 2), (2.0,), 1, 10)


@cache
def images(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, side, side, 1)).astype(np.uint8)


@cache
def converted(candidate: VitCandidate, keep: bool = False) -> Converted:
    """The real thing: trained weights, written, calibrated, quantized."""
    import onnx

    model = float_model("net", candidate, 10, 1, constants_of(merged(moved(candidate), keep)))
    proto = onnx.load_from_string(to_proto(model))
    return convert(proto, "net", "net", (as_columns(images(candidate.image)),), CHEAP)


CASES = [replace(SMALL, pool=pool, position=position) for pool, position in product(vit.POOLS, vit.POSITIONS)]
CASES += [replace(LINEAR, pool=pool) for pool in vit.POOLS]


@pytest.mark.parametrize("candidate", CASES, ids=lambda c: f"{c.pool}, {c.position}, {c.blocks[0].attention}")
@pytest.mark.parametrize("keep", [False, True], ids=["merged", "factors"])
def test_the_float_network_computes_what_the_module_does(candidate: VitCandidate, keep: bool) -> None:
    model = float_model("net", candidate, 10, 1, constants_of(merged(moved(candidate), keep)))
    columns = as_columns(images(candidate.image))
    with Runtime("net") as runtime:
        runtime.set_samples([columns])
        found = runtime.outputs(runtime.open(to_proto(model)), ["softmax"])[0].reshape(len(columns), -1)
    with torch.no_grad():
        wanted = moved(candidate)(torch.from_numpy(columns[:, 0])).softmax(1).numpy()
    assert np.abs(found - wanted).max() < 1e-5 < wanted.std()


def test_the_module_exports_so_that_attention_is_recognised(tmp_path: Path) -> None:
    """By PyTorch's own exporter, for those who take the module elsewhere."""
    from mcuc.importers.torch import to_onnx

    module = merged(moved(SMALL))
    made = convert(to_onnx(module, (torch.zeros(1, 1, 12, 12),)), "net", "net", (as_columns(images(12)),), CHEAP)
    ops = [n.op for n in passes.optimize(made.graph).nodes]
    assert ops.count("batch_matmul") == 2 * sum(b.heads for b in SMALL.blocks) and "transpose" not in ops


def layers(graph: Graph) -> list[tuple[str, str, list[tuple[int, ...]]]]:
    """Nodes with the shapes of their tensors but biases: a zero point that happens to be 0 leaves none behind."""
    found = []
    for n in graph.nodes:
        shapes = [graph.tensors[t].shape for t in (*n.inputs, *n.outputs) if t]
        found.append((n.name, n.op, [shape for shape in shapes if len(shape) > 1]))
    return found


GRAPHS = {"merged": (0, False), "factors": (3, True), "linear, merged": (4, False), "linear, factors": (5, True)}


@pytest.mark.parametrize(("candidate", "keep"), [(CASES[i], keep) for i, keep in GRAPHS.values()], ids=GRAPHS)
def test_made_up_weights_give_the_graph_that_trained_ones_become(candidate: VitCandidate, keep: bool) -> None:
    """The same layers and kernels, arena and bytes of tables, at both ends of the front. Which kernel of
    dense layers and additions applies depends on weights and scales (whether an output stage of one multiply is exact).
    """
    made, real = (
        passes.optimize(g) for g in (skeleton(candidate, 10, 1, keep), named(converted(candidate, keep).graph))
    )
    assert layers(made) == layers(real)
    for goal in ("latency", "sram"):
        schedules = [explore(g, BOARD.chip, goal).candidates[0] for g in (made, real)]
        kernels, arenas, tables = [], [], []
        for one in schedules:
            calls = [(la.node.name, call.family, k.id) for la in one.schedule.layers for call, k in la.calls]
            kernels.append([(n, f, "" if f in ("dot", "binary") else kernel) for n, f, kernel in calls])
            arenas.append(plan(one.graph, one.schedule, fast=True).arena)
            tables.append(sum(la.table_bytes for la in one.schedule.layers))
        assert kernels[0] == kernels[1] and arenas[0] == arenas[1]
        assert tables[0] == pytest.approx(tables[1], rel=0.05), "biases and stages depend on weights"


MIXED = "i12-p4-e24-d8-k0.5-token-absolute-h2x4-h1x2-h1x4-h2x2l"


@pytest.mark.parametrize("goal", ["latency", "balanced"])
def test_the_front_of_a_network_follows_from_its_halves(goal: str) -> None:
    candidate = vit.parse(MIXED)
    pieces = Pieces(BOARD, goal, 10, 1)
    whole = explore(passes.optimize(skeleton(candidate, 10, 1)), BOARD.chip, goal).candidates
    found = pieces.wholes(candidate)
    assert len(pieces.families) == 6, "the ends, three attentions, two MLPs"
    assert found[0].peak == pytest.approx(whole[0].peak, abs=64), "what a stream across two halves adds"
    assert min(f.peak for f in found) == min(w.peak for w in whole)
    assert max(f.cost for f in found) == pytest.approx(max(w.cost for w in whole), rel=0.01)
    assert pieces.arena(found[0]) == plan(whole[0].graph, whole[0].schedule, fast=True).arena
    if goal == "latency":
        fastest = pieces.fastest(candidate)
        assert (fastest.peak, fastest.cost) == (found[0].peak, found[0].cost)


def test_the_compiler_gets_what_the_search_was_told(tmp_path: Path) -> None:
    """Arena to the byte, latency within 3 %; of code not much less, and not half as much again."""
    candidate = vit.parse("i12-p4-e16-d8-k0.5-token-absolute-h2x4-h1x2l")
    assert candidate.blocks[0] != candidate.blocks[1]
    cost = VitCost(Pieces(BOARD, "latency", 10, 1), BOARD, "auto", "balanced", Constraints(BOARD.sram_bytes))
    told, tables = cost(candidate), cost.planned(candidate).flash_bytes
    request = Request(board=BOARD_NAME, budget=BOARD.sram_bytes)
    report = compile_graph(skeleton(candidate, 10, 1), request, "a candidate", tmp_path / "out").report
    assert report.verify.bit_exact and told.sram_bytes == report.sram.arena + STACK_ALLOWANCE
    assert told.latency_ms == pytest.approx(report.latency_ms, rel=0.03)
    assert 0.9 * report.flash.code < told.flash_bytes - tables < 1.5 * report.flash.code
    tight = replace(cost, limits=Constraints(BOARD.sram_bytes, tables - 1))
    assert not within(tight(candidate), tight.limits) and tight(candidate).latency_ms == 0


def test_linear_attention_takes_memory_and_time_that_grow_with_the_tokens_and_not_with_their_square() -> None:
    """From 64 tokens to 256 the fastest schedule of softmax takes about 16 times its scores."""
    pieces, grown = Pieces(BOARD, "latency", 10, 1), {}
    for attention in vit.ATTENTIONS:
        small, large = (
            replace(vit.parse(f"i{side}-p4-e24-d8-k0.5-mean-absolute-h2x1"), blocks=(VitBlock(2, 1.0, attention),))
            for side in (32, 64)
        )
        grown[attention] = pieces.fastest(large).peak / pieces.fastest(small).peak
    assert grown["linear"] < 4.5 < 8 < grown["softmax"]


def test_int8_answers_as_float_does_with_either_attention() -> None:
    x = np.random.default_rng(1).integers(0, 256, (40, 12, 12, 1)).astype(np.uint8)
    for candidate in (CASES[0], CASES[4], CASES[5]):
        graph, columns = converted(candidate).graph, as_columns(x)
        with torch.no_grad():
            wanted = moved(candidate)(torch.from_numpy(columns[:, 0])).softmax(1).numpy()
        pixels = (x ^ np.uint8(0x80)).view(np.int8)
        found = np.stack([reference.run(graph, {graph.inputs[0]: one[None]})[graph.outputs[0]] for one in pixels])
        real = (found.reshape(wanted.shape) + 128.0) / 256
        a, b = real - real.mean(0), wanted - wanted.mean(0)  # what differs between images
        assert np.abs(real - wanted).max() < 0.015
        assert (a * b).sum() > 0.95 * np.linalg.norm(a) * np.linalg.norm(b)
        lead = np.diff(np.sort(wanted, 1)[:, -2:])[:, 0]
        assert (real.argmax(1) == wanted.argmax(1))[lead > 0.02].all(), "the others are near ties"


def small_flash(folder: Path, flash: int) -> str:
    """BOARD with so many bytes of flash on its chip; that outside it stays."""
    chip = (ROOT / "targets/chips/stm32f746.toml").read_text()
    board = (ROOT / f"targets/boards/{BOARD_NAME}.toml").read_text()
    own = "base = 0x08000000, size = "
    (folder / "chip.toml").write_text(chip.replace(f"{own}0x100000", f"{own}{flash}"))
    (folder / "board.toml").write_text(board.replace('chip = "stm32f746"', 'chip = "chip.toml"'))
    return str(folder / "board.toml")


def test_weights_outside_the_chip_are_priced_as_the_compiler_prices_them(tmp_path: Path) -> None:
    """Latency within 5 %, the arena within a twentieth; with --flash of the chip's size the network does not fit."""
    candidate = vit.parse("i24-p8-e64-d16-k0.7-token-absolute-h3x4")
    name = small_flash(tmp_path, 40 << 10)
    board = load_board(name)
    cost = VitCost(Pieces(board, "latency", 10, 1), board, "auto", "balanced", Constraints(32 << 10, None))
    told, found = cost(candidate), cost.chosen(candidate)
    assert found.pieces is cost.far and cost.far.weights(candidate) > board.flash_bytes
    graph = int8_graph(float_model("net", candidate, 10, 1, constants_of(merged(moved(candidate)))))
    report = compile_graph(graph, Request(name, budget=32 << 10), "a candidate", tmp_path / "out").report
    assert report.verify.bit_exact and [r.weights > 0 for r in report.flash.regions] == [True, True]
    assert told.latency_ms == pytest.approx(report.latency_ms, rel=0.05)
    assert told.sram_bytes - STACK_ALLOWANCE == pytest.approx(report.sram.arena, rel=0.05)
    assert told.flash_bytes == pytest.approx(report.flash.total, rel=0.15)
    near = replace(cost, limits=Constraints(32 << 10, board.flash_bytes))
    assert near.far is None and not within(near(candidate), near.limits)


PAPER = [(16, 168, 4, 0.9, 284.6), (16, 192, 4, 0.9, 341.5), (16, 192, 3.5, 0.9, 304.1), (16, 216, 4, 0.4, 311.3),
         (20, 216, 4, 0.9, 317.0), (20, 216, 4, 0.95, 326.1), (20, 192, 4, 0.95, 272.7), (24, 216, 4, 0.95, 279.7),
         (32, 216, 4, 0.95, 233.5)]  # fmt: skip


@pytest.mark.parametrize(("patch", "embed", "ratio", "rank", "kib"), PAPER)
def test_the_papers_formula_gives_its_values(patch: int, embed: int, ratio: float, rank: float, kib: float) -> None:
    blocks = (VitBlock(3, 3.0), VitBlock(3, ratio))
    assert round(paper_bytes(VitCandidate(240, patch, embed, 64, rank, "token", "absolute", blocks)) / 1024, 1) == kib


def test_what_cannot_fit_is_left_out_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "DRAWS", 2)
    pieces = Pieces(BOARD, "latency", 10, 1)
    lean = VitCost(pieces, BOARD, "auto", "balanced", Constraints(None, None))
    sizes = {e: pieces.weights(replace(vit.smallest(SPACE), embed=e)) for e in SPACE.embeds}
    limited = replace(lean, limits=Constraints(None, sizes[16]))
    found = narrow(SPACE, limited, 0, no_bar)
    assert found.space.embeds == (8, 16) and "embeddings 8, 16 alone fit" in found.note
    assert set(found.shares) == set(product(SPACE.ranks, SPACE.patches)) and sum(found.shares.values()) > 0
    nothing, one = replace(lean, limits=Constraints(None, 100)), replace(SPACE, embeds=(8,), patches=(4,))
    assert narrow(one, nothing, 0, no_bar).space == one, "the search says what the smallest takes"
    assert narrow(one, lean, 0, no_bar) == Narrowed(one, {(0.5, 4): 1.0, (0.9, 4): 1.0})


@dataclass(frozen=True, eq=False)
class MadeUp:
    """In VitCost's place: bytes and time that follow from rank, patch and embedding; counts how often it is asked."""

    limits: Constraints
    asked: list[str] = field(default_factory=list)

    def afresh(self) -> MadeUp:
        return self

    def roomy(self) -> MadeUp:
        return replace(self, limits=Constraints(self.limits.sram_bytes))

    def legal(self, c: VitCandidate, planned: bool = False) -> bool:
        self.asked.append(c.key)
        time = c.rank * c.tokens * sum(b.ratio for b in c.blocks)
        return fits(Cost(c.tokens * c.embed, round(c.rank * c.embed * len(c.blocks) * 1000), time), self.limits)


def test_the_share_of_a_pair_is_that_of_its_candidates_and_few_are_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against all candidates counted, one by one; and asked about once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    space = replace(vit.tiny_space(3, 10), embeds=(168, 216), depths=(2, 3), ratios=(2.0, 4.0), heads=(3,))
    cost = MadeUp(Constraints(45_000, 350_000, 1200.0))
    found = narrow(space, cost, 0, no_bar, "the rules")  # type: ignore[arg-type]
    asked, shares = len(cost.asked), {}
    for rank, patch in product(space.ranks, space.patches):
        blocks = [c for d in space.depths for c in product([VitBlock(3, 2.0), VitBlock(3, 4.0)], repeat=d)]
        weight = [1 / 2 / 2 ** len(b) for b in blocks]
        both = product((168, 216), zip(blocks, weight, strict=True))
        right = [w / 2 for e, (b, w) in both
                 if cost.legal(VitCandidate(240, patch, e, 64, rank, "token", "absolute", b))]  # fmt: skip
        shares[rank, patch] = sum(right)
    assert {p for p, s in found.shares.items() if s == 0} == {p for p, s in shares.items() if s == 0}
    assert {p for p, s in found.shares.items() if s == 1} == {p for p, s in shares.items() if s > 0.999}
    assert all(abs(found.shares[p] - shares[p]) < 0.4 for p in shares) and 0 < asked < 1000
    before = len(cost.asked)
    assert narrow(space, cost, 0, no_bar, "the rules") == found and len(cost.asked) == before  # type: ignore[arg-type]
    assert narrow(space, cost, 0, no_bar, "others") == found and len(cost.asked) == before + asked  # type: ignore[arg-type]
    (kept_file, *_) = (tmp_path / "mcuc" / "shares").iterdir()
    kept_file.write_text("[[1, 2], []]")
    assert narrow(space, cost, 0, no_bar, "the rules") == found  # type: ignore[arg-type]
    kept = {p for p, s in found.shares.items() if s >= LEGAL}
    assert set(vit.pairs_of(found.space)) == kept and FEWEST < len(kept) < len(shares)
    assert found.space.pairs and f"{len(kept)} of 60 pairs" in found.note and "patches of 16: " in found.note
    rng = np.random.default_rng(0)
    assert {(c.rank, c.patch) for c in (vit.sample(found.space, rng) for _ in range(500))} <= kept


def test_a_few_pairs_stay_where_hardly_anything_fits() -> None:
    shares = {(0.4 + 0.05 * i, 16): 0.02 * i for i in range(10)} | {(0.4, 20): 0.3}
    assert len(worthwhile(shares)) == FEWEST and (0.4, 20) in worthwhile(shares) and (0.4, 16) not in worthwhile(shares)
    assert worthwhile({(0.4, 16): 0.01, (0.5, 16): 0.0}) == ((0.4, 16),) and worthwhile({(0.4, 16): 0.0}) == ()


@pytest.mark.parametrize("candidate", [CASES[0], CASES[3], CASES[4]], ids=["class token", "mean, distances", "linear"])
def test_training_with_quantization_takes_a_batch_as_it_takes_each_image(candidate: VitCandidate) -> None:
    made, columns = converted(candidate, candidate is CASES[3]), as_columns(images(12))[:, 0]
    net = quantize.prepare(made, columns, options=CHEAP).eval()
    x = torch.from_numpy(as_columns(images(12))[:, 0])
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(one[None]) for one in x])
    assert together.shape == (16, 10) and torch.equal(together.argmax(1), alone.argmax(1))
    torch.testing.assert_close(together, alone, rtol=0, atol=1 / 256 + 1e-6)
