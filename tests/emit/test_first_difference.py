"""One wrong constant in a copy of the generated C: verification finds it and names the layer, on host and core."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import activation, samples, tflite_graph
from programs import Made, made, tiny

from mcuc.emit.model import Emitted
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.image import build_image
from mcuc.ir import Graph, check
from mcuc.request import Request
from mcuc.targets import load_board
from mcuc.verify.answers import check_answers
from mcuc.verify.compare import (
    difference,
    expected,
    first_difference_emulated,
    first_difference_host,
    first_wrong,
)

BOARD = "mps2-an386"  # a Cortex-M4
# constant of the generated C -> the layer that reads it
PLANTED = {
    "net_l00_bias": "conv",
    "net_l01_bias": "depthwise",
    "net_l02_bias": "pointwise",
    "net_l04_bias": "dense",
    "net_l05_table": "probabilities",
}


def spoilt(emitted: Emitted, table: str) -> Emitted:
    """The same files with every value of one table but the first another."""
    source = emitted.files["net_weights.c"]
    head, body = re.search(rf"(const \w+ {table}\[\d+\] = \{{\n)(.*?)\n\}};", source, re.S).groups()  # type: ignore[union-attr]
    values = [int(v) for v in re.findall(r"-?\d+", body)]
    changed = ", ".join(str(v // 2 + 77 if n else v) for n, v in enumerate(values))
    assert changed != body
    return replace(emitted, files={**emitted.files, "net_weights.c": source.replace(head + body, head + changed)})


def tables(model: Made) -> list[str]:
    return re.findall(r"const \w+ (net_\w+)\[\d+\] = ", model.emitted.files["net_weights.c"])


def named(model: Made, tensor: str) -> str:
    (node,) = [n for n in model.graph.nodes if n.outputs[0] == tensor]
    return f"{node.name}, tensor {tensor!r}"


@pytest.fixture(scope="module")
def model() -> Made:
    return tiny()


def test_the_constants_planted_are_those_that_exist(model: Made) -> None:
    assert set(PLANTED) <= set(tables(model)), tables(model)


@pytest.mark.parametrize("table", PLANTED)
def test_the_host_names_the_layer(model: Made, table: str, tmp_path: Path) -> None:
    bad = spoilt(model.emitted, table)
    sample = samples(model.graph, 4)[3]
    program = host.build(bad, model.graph, tmp_path / "host")
    found = host.run(program, [sample]).outputs
    assert difference(found, expected(model.graph, [sample])).differing > 0
    where = first_difference_host(model.graph, model.schedule, bad, sample, tmp_path / "trace")
    assert where == named(model, PLANTED[table])


@pytest.mark.parametrize("table", list(PLANTED)[1::2])
def test_the_emulated_core_names_the_layer(model: Made, table: str, tmp_path: Path) -> None:
    """The host's C is right, the firmware's is not."""
    bad, board = spoilt(model.emitted, table), load_board(BOARD)
    inputs = samples(model.graph, 4)[3:]
    cores = [CortexM(build_image(bad, board, Request(board=BOARD), tmp_path / f"{trace}", trace=trace).elf, board.chip,
                     bad.symbols) for trace in (False, True)]
    assert first_difference_emulated(model.graph, model.schedule, model.plan, cores[1], inputs[0]) == named(
        model, PLANTED[table])
    program = host.build(model.emitted, model.graph, tmp_path / "host")
    verify = check_answers(model.graph, model.schedule, model.plan, bad, program, cores[0], inputs,
                           expected(model.graph, inputs), lambda: cores[1], tmp_path).verify
    assert not verify.bit_exact and verify.differing > 0 and verify.max_abs_diff > 0
    assert verify.first_diff_layer == named(model, PLANTED[table])


def test_right_code_has_no_first_difference(model: Made, tmp_path: Path) -> None:
    sample = samples(model.graph, 4)[3]
    where = first_difference_host(model.graph, model.schedule, model.emitted, sample, tmp_path)
    assert where.startswith("no layer")


def test_a_layer_in_place_is_named_too(tmp_path: Path) -> None:
    """The hash is taken when the layer ends, before the next one writes over its output."""
    x, z = activation("x", (1, 40), 0.05, 3), activation("z", (1, 40), 0.05, -3)
    tensors, nodes = {}, []
    before = x
    for n, name in enumerate("abcy"):
        out = activation(name, (1, 40), 0.04 + 0.01 * n, n)
        one = tflite_graph("ADD", [before, z], out)
        tensors.update(one.tensors)
        nodes.append(replace(one.nodes[0], name=name))
        before = out
    chain = made(check(Graph("net", "tflite", tensors, tuple(nodes), ("x", "z"), ("y",))))
    assert chain.plan.tensors["a"] == chain.plan.tensors["b"] == chain.plan.tensors["c"]
    source = chain.emitted.files["net.c"]
    function = re.findall(r"_k1_binary\(.*?^}", source, re.S | re.M)[0]
    weight = re.findall(r"\* (\d{3,}) \+", function)[0]
    wrong = function.replace(f"* {weight} +", f"* {int(weight) // 2} +")
    files = {**chain.emitted.files, "net.c": source.replace(function, wrong)}
    bad, sample = replace(chain.emitted, files=files), samples(chain.graph, 4)[3]
    assert first_difference_host(chain.graph, chain.schedule, bad, sample, tmp_path) == "b, tensor 'b'"


def test_the_sample_that_differs_is_the_one_that_is_traced(model: Made, tmp_path: Path) -> None:
    """A wrong answer of the second sample only, as if the program had erred there: not the first one is looked at."""
    board = load_board(BOARD)
    inputs = samples(model.graph, 4)[2:]
    wanted = expected(model.graph, inputs)
    spoilt_answer = tuple(np.concatenate([w[:1], w[1:] ^ 1]) for w in wanted)
    assert first_wrong(spoilt_answer, wanted) == 1
    program = host.build(model.emitted, model.graph, tmp_path / "host")
    elf = build_image(model.emitted, board, Request(board=BOARD), tmp_path / "core").elf
    core = CortexM(elf, board.chip, model.emitted.symbols)
    found = check_answers(model.graph, model.schedule, model.plan, model.emitted, program, core, inputs, spoilt_answer,
                          lambda: core, tmp_path, emulate=1).verify
    elements = sum(w[1:].size for w in wanted)
    assert (found.bit_exact, found.differing, found.max_abs_diff) == (False, elements, 1)
