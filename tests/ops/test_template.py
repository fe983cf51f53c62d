"""The skeleton of an operator works: registered for a test, it passes what every operator passes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import harness
import pytest
from harness import RNG, activation, check_c, check_tflite, samples, tflite_graph

from mcuc import kernels, ops, passes
from mcuc.errors import McucError
from mcuc.exporters import onnx as onnx_exporter
from mcuc.importers import onnx as onnx_importer
from mcuc.ir import Graph
from mcuc.kernels._base import Call, Kernel
from mcuc.ops import _template as template
from mcuc.ops import support
from mcuc.ops._base import Imported, Operator

ROOT = Path(__file__).resolve().parents[2]
CACHES = (ops.get, ops._tflite_table, ops._onnx_table)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """The skeleton in the list of operators, behind `unary`, which reads the same names of the formats."""
    monkeypatch.setattr(ops, "NAMES", (*ops.NAMES, "_template"))
    for cached in CACHES:
        cached.cache_clear()
    yield template.OPERATOR
    monkeypatch.undo()
    for cached in CACHES:
        cached.cache_clear()


def absolute(shape: tuple[int, ...], seed: int) -> Graph:
    """Random scales and zero points, every third time equal scales."""
    rng = RNG(seed)
    scales = 2.0 ** rng.uniform(-7, -3, 2)
    if seed % 3 == 0:
        scales[1] = scales[0]
    ends = [activation(n, shape, float(s), int(rng.integers(-128, 128))) for n, s in zip("xy", scales, strict=True)]
    return tflite_graph("ABS", ends[:1], ends[1])


def test_it_is_not_registered() -> None:
    assert "_template" not in ops.NAMES
    assert list(ops.NAMES) == sorted(ops.NAMES)
    assert {ops.find_tflite("ABS", "node").name, ops.find_onnx("Abs", "node").name} == {"unary"}


def test_its_operator_value_is_complete() -> None:
    """Every field is set, so that the skeleton shows all there is; the name is the folder's."""
    operator = template.OPERATOR
    empty = [f.name for f in fields(operator) if getattr(operator, f.name) in (None, (), "")]
    assert not empty
    assert operator.name == Path(template.__file__).parent.name
    assert all((limit.__doc__ or "").strip() for limit in operator.limits)


@pytest.mark.parametrize("name", ops.NAMES)
def test_every_operator_has_what_the_skeleton_shows(name: str) -> None:
    operator = ops.get(name)
    assert operator.name == name and operator.summary
    assert all((limit.__doc__ or "").strip() for limit in operator.limits), "a limit's docstring is its documentation"
    if name != "assign":  # variables span several nodes of a file: the importer itself reads them
        assert bool(operator.tflite) == (operator.from_tflite is not None)
    assert bool(operator.onnx) == (operator.from_onnx is not None)
    assert not (operator.alias and operator.in_place)


def test_it_type_checks() -> None:
    """As `make lint` checks it, and with its cache."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "-p", "mcuc.ops._template"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and "no issues found in 4 source files" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("seed", range(12))
def test_its_reference_is_tflite_micro_s(registered: Operator, seed: int) -> None:
    check_tflite(absolute((1, 4, 8, 32), seed), seed=seed)


def test_its_c_equals_its_reference_through_every_tiling(registered: Operator, tmp_path: Path) -> None:
    shapes = [(1, 1), (1, 7), (1, 3, 5), (1, 3, 4, 6)]
    check_c([absolute(shape, seed) for seed, shape in enumerate(shapes)], tmp_path)


def test_it_goes_to_onnx_and_back(registered: Operator) -> None:
    """ONNX Runtime against the reference of the file read again."""
    graph = absolute((1, 4, 5, 6), 1)
    blob = onnx_exporter.export(graph)
    again = passes.optimize(onnx_importer.parse(blob, "case.onnx", "case"))
    assert [n.op for n in again.nodes] == ["_template"]
    found = onnx_exporter.compare(again, blob, samples(again, 6))
    assert found.elements == 6 * 120 and found.largest <= 1 and found.differing <= 0.005 * found.elements


def test_its_limits_become_documentation(registered: Operator) -> None:
    (row,) = [r for r in support.supported() if r.name == "_template"]
    assert row.limits == ("Activations are int8 (uint8 models are shifted to int8 on import)",
                          "Tensors have at least one element")
    assert "| _template | absolute value | ABS | Abs |" in support.to_markdown([row])
    graph = absolute((1, 0), 1)
    assert passes.verdicts(graph)[0].problems == (
        "tensor 'y' has shape (1, 0) (limit: Tensors have at least one element.)",
    )


def test_what_it_does_not_read_is_refused(registered: Operator) -> None:
    x, y = activation("x", (1, 4)), activation("y", (1, 4))
    with pytest.raises(McucError, match="uint8"):
        template.from_tflite(Imported("ABS", None, (x,), (y,), "node", unsigned=True))


PAGE = (ROOT / "docs" / "adding-an-operator.md").read_text(encoding="utf-8")


def test_the_page_quotes_the_code_as_it_is() -> None:
    """Every block of Python stands, word for word, in the file named before it."""
    quotes = re.findall(r"`([\w/.]+\.py)`:\n\n```python\n(.*?)```", PAGE, re.S)
    assert len(quotes) == PAGE.count("```python") >= 4
    for path, code in quotes:
        assert code in (ROOT / path).read_text(encoding="utf-8"), f"{path} no longer says\n{code}"


def test_the_page_names_what_exists() -> None:
    """Files and folders, fields of Operator and Call, helpers of the harness, kernel families."""
    paths = set(re.findall(r"`((?:compiler|docs|runtime_c|tests)/[\w/.]+)`", PAGE))
    assert len(paths) >= 15
    assert not [p for p in sorted(paths) if not (ROOT / p).exists()]
    table = PAGE.split("## The Operator value")[1].split("\n## ")[0]
    assert {f.name for f in fields(Operator)} <= set(re.findall(r"`(\w+)`", table))
    assert {f.name for f in fields(Call)} - {"family"} <= set(re.findall(r"`(\w+)`", PAGE))
    assert {f.name for f in fields(Kernel)} - {"id", "template"} <= set(re.findall(r"\b(\w+)\b", PAGE))
    assert all(f"`{name}`" in PAGE for name in kernels.NAMES)
    assert all(hasattr(harness, name) for name in ("tflite_graph", "check_tflite", "check_uint8", "check_c"))
