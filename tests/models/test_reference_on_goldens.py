"""The NumPy reference on published models equals TFLite Micro (t) or, for uint8 models, TFLite's reference (y)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcuc import passes
from mcuc.errors import McucError
from mcuc.importers import tflite
from mcuc.ir import Array, Graph
from mcuc.numerics import tflite_quantize_float
from mcuc.verify import reference

INT8 = (
    "ad_autoenc_int8",
    "hello_world_int8",
    "ic_resnet8_int8",
    "kws_dscnn_int8",
    "lstm_mnist_int8",
    "micro_speech_int8",
    "te_persondet",
    "te_vww80",
    "tm_mbv1_025_128_int8",
    "vww96_int8",
)
UINT8 = ("mbv1_025_128_u8", "mbv2_100_224_u8")
SAMPLES = 4  # te_persondet: the third has an input exactly between two steps


def stepped(x: Array, graph: Graph) -> Array:
    """A sample as the graph's input has it; float samples are quantized as TFLite's QUANTIZE does it."""
    tensor = graph.tensors[graph.inputs[0]]
    if x.dtype != np.float32:
        assert x.dtype == tensor.dtype.value
        return x
    assert tensor.quant is not None
    return tflite_quantize_float(x, tensor.quant.scale[0], tensor.quant.zero_point[0]).astype(np.int8)


def real(values: Array, name: str, graph: Graph) -> Array:
    """int8 results as the float32 that the model's DEQUANTIZE made of them."""
    quant = graph.tensors[name].quant
    assert quant is not None
    result: Array = (quant.scale[0] * (values.astype(np.float64) - quant.zero_point[0])).astype(np.float32)
    return result


@pytest.mark.shared
@pytest.mark.parametrize("name", [*INT8, *UINT8])
def test_reference_equals_the_golden_answers(shared_data: Path, name: str) -> None:
    imported = tflite.load(shared_data / "models" / f"{name}.tflite")
    graph = passes.check_supported(passes.optimize(imported))
    golden: Any = np.load(shared_data / "models" / f"golden_{name}.npz")
    kind = "y" if name in UINT8 else "t"
    samples = golden["x"][: 1 if name == "mbv2_100_224_u8" else SAMPLES]
    for n, x in enumerate(samples):
        values = reference.run(graph, {graph.inputs[0]: stepped(x, graph)})
        for i, output in enumerate(graph.outputs):
            expected = golden[f"{kind}{i}"][n]
            found = real(values[output], output, graph) if expected.dtype == np.float32 else values[output]
            assert expected.dtype == found.dtype
            wrong = np.flatnonzero(expected.reshape(-1) != found.reshape(-1))
            assert not wrong.size, f"sample {n} output {i}: {wrong.size} of {expected.size} differ, first at {wrong[0]}"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["te_vww80", "tm_mbv1_025_128_int8", "kws_dscnn_int8", "mbv1_025_128_u8"])
def test_passes_change_no_number(shared_data: Path, name: str) -> None:
    """Every tensor that is left has the same value before and after the passes."""
    imported = passes.normalize_boundary(tflite.load(shared_data / "models" / f"{name}.tflite"))
    graph = passes.optimize(imported)
    x = stepped(np.load(shared_data / "models" / f"golden_{name}.npz")["x"][0], graph)
    before, after = (reference.run(g, {g.inputs[0]: x}) for g in (imported, graph))
    shared = [n for n in after if n in before and before[n].shape == after[n].shape]
    changed = [n for n in shared if not np.array_equal(before[n], after[n])]
    clamped = {n.inputs[0] for n in imported.nodes if n.op == "clip"}
    assert len(shared) > 5 and not set(changed) - clamped
    assert set(graph.outputs) <= set(shared)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["ad_autoenc_fp32", "ic_resnet8_fp32", "vww96_fp32", "tm_mbv1_025_128_fp32", "kws_dscnn_hybrid"]
)
def test_float_and_dynamic_range_models_are_refused_with_the_remedy(shared_data: Path, name: str) -> None:
    with pytest.raises(McucError) as caught:
        tflite.load(shared_data / "models" / f"{name}.tflite")
    error = caught.value
    assert error.code == "not-quantized" and "float32" in error.found and "#0" in error.where
    assert "representative" in error.try_this


@pytest.mark.shared
def test_every_model_of_the_folder_is_covered(shared_data: Path) -> None:
    found = {p.stem for p in (shared_data / "models").glob("*.tflite")}
    refused = {
        "ad_autoenc_fp32",
        "ic_resnet8_fp32",
        "vww96_fp32",
        "tm_mbv1_025_128_fp32",
        "kws_dscnn_hybrid",
    }
    streaming = {"mww_okay_nabu"}  # no golden outputs: tests/state/test_models.py asks TFLite Micro
    assert found == {*INT8, *UINT8, *refused, *streaming}
