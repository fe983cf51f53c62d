"""Samples that do not fit the model are refused, not bent to fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import small_models
from mcuc import data, importers, passes
from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.verify.given import given_samples


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("given") / "tiny.tflite"
    path.write_bytes(small_models.tiny())
    return passes.optimize(importers.load(path))


def with_shapes(graph: Graph, input_shape: tuple[int, ...], classes: int) -> Graph:
    """The graph with other ends; only those are looked at."""
    ends = {graph.inputs[0]: input_shape, graph.outputs[0]: (1, classes)}
    tensors = {**graph.tensors, **{n: replace(graph.tensors[n], shape=s) for n, s in ends.items()}}
    return replace(graph, tensors=tensors)


def test_a_data_set_is_resized_only_in_its_aspect_ratio(graph: Graph) -> None:
    for shape in ((1, 28, 28, 1), (1, 14, 14, 1)):
        given = given_samples(with_shapes(graph, shape, 10), data.DEFAULT, 5, 0)
        assert [s[0].shape for s in given.samples] == [shape] * 5
    for shape in ((1, 28, 14, 1), (1, 28, 28, 3), (1, 784), (1, 27, 28, 1), (1, 4, 4, 1)):
        with pytest.raises(McucError, match="images") as caught:
            given_samples(with_shapes(graph, shape, 10), data.DEFAULT, 5, 0)
        assert caught.value.code == "bad-data"


def test_labels_are_indices_of_the_output(graph: Graph) -> None:
    with pytest.raises(McucError, match="has 3 values") as caught:
        given_samples(with_shapes(graph, (1, 28, 28, 1), 3), data.DEFAULT, 50, 0)
    assert caught.value.code == "bad-data"


@pytest.mark.parametrize("shape", [(4, 16), (4, 16, 1), (16, 4, 1), (2, 32), (1, 64, 1)])
def test_arrays_of_another_shape_are_not_reshaped(graph: Graph, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    x = np.arange(3 * 64, dtype=np.uint8).reshape(3, *shape).view(np.int8)
    np.savez(path, x=x)
    if shape == (1, 64, 1):  # 64 values in a row are the input's own order
        with pytest.raises(McucError):
            given_samples(graph, str(path), None, 0)
        np.savez(path, x=x.reshape(3, 64))
        got = given_samples(graph, str(path), None, 0).samples
        assert np.array_equal(np.stack([s[0] for s in got]).reshape(3, 64), x.reshape(3, 64))
        return
    with pytest.raises(McucError) as caught:
        given_samples(graph, str(path), None, 0)
    assert caught.value.code == "bad-data" and str(shape) in caught.value.found
