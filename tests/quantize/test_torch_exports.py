"""What PyTorch's two exporters really write of a module with one of each composite is recognised."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from float_networks import simplified
from test_spellings import MOVES, expected
from torch import nn

from mcuc.quantize.runtime import Runtime

C = 8


class Zoo(nn.Module):
    """One of each over x [1, C, 4, 4], an output apiece."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.group, self.instance = nn.LayerNorm(C), nn.GroupNorm(2, C), nn.InstanceNorm2d(C, affine=True)
        for norm in (self.layer, self.group, self.instance):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)
        self.gain = nn.Parameter(torch.linspace(0.5, 2, C))
        self.down, self.up = nn.Conv2d(C, 4, 1), nn.Conv2d(4, C, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tokens = x.flatten(2).transpose(1, 2)
        functions = [F.gelu(x), F.gelu(x, approximate="tanh"), F.hardswish(x), F.mish(x), F.silu(x)]
        functions.append(F.hardsigmoid(tokens))  # of x it would be computed once with the hard-swish's own
        root = tokens * torch.rsqrt(tokens.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain
        norms = [self.layer(tokens), root, self.group(x), self.instance(x), F.normalize(tokens, dim=-1)]
        gate = F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        heads = tokens.reshape(1, 16, 2, 4).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        return (*functions, *norms, x * gate, mixed)


FUNCTIONS = "2*Gelu HardSwish HardSigmoid Mish Sigmoid Mul "
NORMS = "LayerNormalization SimplifiedLayerNormalization GroupNormalization InstanceNormalization LpNormalization "
GATE = "GlobalAveragePool 2*Conv Relu HardSigmoid Mul "
SAME = {"ReduceMean": "GlobalAveragePool", "RMSNormalization": "SimplifiedLayerNormalization"}
MASKED = "2*Mul 2*MatMul Add Softmax"


def exported(opset: int, dynamo: bool) -> Any:
    module, x = Zoo().eval(), torch.zeros(1, C, 4, 4)
    logging.getLogger("torch.onnx").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, (x,), dynamo=True, opset_version=opset, verbose=False)
            assert program is not None
            return program.model_proto
        held = io.BytesIO()
        torch.onnx.export(module, (x,), held, dynamo=False, opset_version=opset)
        return onnx.load_from_string(held.getvalue())


@pytest.mark.parametrize(("opset", "dynamo"), [(14, False), (17, False), (20, True), (23, True)])
def test_every_composite_of_an_exporter_is_recognised(opset: int, dynamo: bool) -> None:
    columns = np.random.default_rng(0).normal(0, 1, (2, 1, C, 4, 4)).astype(np.float32)
    with Runtime("zoo") as runtime:
        model = simplified(exported(opset, dynamo), columns, runtime)
    found = [SAME.get(n.kind, n.kind) for n in model.nodes if n.kind not in MOVES]
    assert Counter(found) == expected(FUNCTIONS + NORMS + GATE + MASKED), " ".join(found)
