"""Names from model files and users, as C identifiers and comments."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from harness import STRICT, activation, assert_equal, run_reference, samples, tflite_graph
from hypothesis import given
from hypothesis import strategies as st

from mcuc.emit.model import emit
from mcuc.emit.names import checked_identifier, comment, identifier
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.schedule import Tiling
from mcuc.schedule.explore import layer_by_layer

HOSTILE = (
    "*/ int x = ",
    "*\\",
    "*\\\\",
    "/\\*",
    "*??/",
    "???/\n*/",
    "/*/*/",
    "**//",
    "line\nbreak */\r\n#error broken",
    "\\\n",
    "ends in a backslash \\",
    '"quoted" \'and\' %s %d %n',
    "{{ name }} {% raw %}",
    "größe → *\u2028/",
    "\x00\x1b[31m*/",
    "",
)


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("kws", "kws"),
        ("KWS DS-CNN (int8)", "kws_ds_cnn_int8"),
        ("__a__b__", "a_b"),
        ("1st", "net_1st"),
        ("", "net"),
        ("../../etc/passwd", "etc_passwd"),
        ("größe", "gr_e"),
        ("模型", "net"),
        ("while", "net_while"),
        ("Class", "net_class"),
        ("mcuc", "net_mcuc"),
        ("mcuc_math", "net_mcuc_math"),
        ("stdint", "net_stdint"),
        ("String", "net_string"),
        ("a" * 100, "a" * 48),
        ("a" * 47 + "-b", "a" * 47),
    ],
)
def test_identifier(name: str, wanted: str) -> None:
    assert identifier(name) == wanted


@given(st.text())
def test_every_name_becomes_an_identifier_that_may_be_given(name: str) -> None:
    found = identifier(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", found)
    assert identifier(found) == found or len(found) > 48
    assert checked_identifier(found[:48]) == found[:48]


@pytest.mark.parametrize(
    "name",
    ["", "1st", "a b", "a-b", "a\n", "größe", "while", "class", "mcuc", "mcuc_x", "MCUC_X", "stdint", "math", "String",
     "_a", "a" * 49, "a;", "a/../b"],
)
def test_checked_identifier_refuses(name: str) -> None:
    with pytest.raises(McucError) as caught:
        checked_identifier(name)
    assert caught.value.code == "bad-name" and repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["kws", "KWS", "a", "net_1", "mcu", "mcucx", "strings1"])
def test_checked_identifier_keeps(name: str) -> None:
    assert checked_identifier(name) == name


def is_safe(text: str) -> bool:
    """One printable line in which no comment begins or ends, no line continues and no trigraph stands."""
    return all(" " <= c <= "~" for c in text) and not any(s in text for s in ("*/", "/*", "//*", "\\", "??"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_safe_in_a_comment(text: str) -> None:
    assert is_safe(comment(text))


@given(st.text(alphabet="*/\\?\n\"a ", max_size=12))
def test_any_text_is_safe_in_a_comment(text: str) -> None:
    assert is_safe(comment(text))
    assert len(comment(text)) <= 2 * len(text)


def test_plain_text_is_kept() -> None:
    name = "model/conv2d_1/Relu;model/batch_norm:0 [1, 3] (x * y)"
    assert comment(name) == name


def hostile() -> Graph:
    """A network whose tensors, nodes and own name are hostile."""
    names = list(HOSTILE[:-1])
    tensors, nodes = {}, []
    for n, (x, y) in enumerate(pairwise(names)):
        made = tflite_graph("QUANTIZE", [activation(x, (1, 5, 3), 0.05 + 0.001 * n, n)],
                            activation(y, (1, 5, 3), 0.051 + 0.001 * n, n + 1))
        tensors.update(made.tensors)
        nodes.append(replace(made.nodes[0], name=f"{x}{y}"))
    return Graph("*/\\\n#error name", "tflite", tensors, tuple(nodes), (names[0],), (names[-1],))


@pytest.mark.parametrize("flags", [(), ("-trigraphs", "-Wtrigraphs"), ("-Wcomment", "-pedantic")], ids=str)
def test_a_hostile_model_compiles_and_computes(flags: tuple[str, ...], tmp_path: Path) -> None:
    graph = hostile()
    name = identifier(graph.name)
    schedule = layer_by_layer(graph, None, Tiling())
    emitted = emit(graph, schedule, plan(graph, schedule), name, "*\\\n/*/ #error source ??/", 16, 512)
    for text in emitted.files.values():
        assert text.isascii() and "#error name" not in re.sub(r"/\*.*?\*/", "", text)
        assert "??" not in text and "\r" not in text
    model = host.build(emitted, graph, tmp_path, sanitize=True, extra_flags=(*STRICT, *flags))
    inputs = samples(graph, 3)
    found = host.run(model, inputs).outputs
    assert_equal(run_reference(graph, inputs), [[out[n] for out in found] for n in range(3)], "C")
    assert len(np.unique(found[0])) > 1


@pytest.mark.parametrize("name", ["stdint", "string", "math"])
def test_a_model_named_like_a_system_header_compiles(name: str, tmp_path: Path) -> None:
    """Its own header would hide the system's, which it includes."""
    graph = tflite_graph("RELU", [activation("x", (1, 4))], activation("y", (1, 4)))
    schedule = layer_by_layer(graph, None, Tiling())
    emitted = emit(graph, schedule, plan(graph, schedule), identifier(name), f"{name}.tflite", 16, 512)
    assert f"{name}.h" not in emitted.files
    host.build(emitted, graph, tmp_path)
