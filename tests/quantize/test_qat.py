"""Quantization-aware training: what is trained rounds as the int8 network does, and training makes up for rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch")

from float_networks import Net, answers, residual, samples  # noqa: E402

import mcuc.quantize  # noqa: E402
from mcuc.errors import McucError  # noqa: E402
from mcuc.ir import text  # noqa: E402
from mcuc.quantize import qdq  # noqa: E402
from mcuc.quantize.build import integers  # noqa: E402
from mcuc.quantize.quantizer import Options  # noqa: E402
from mcuc.verify import oracle, reference  # noqa: E402

X = samples(32, (3, 12, 12))
PLAIN = Options(methods=("minmax",), equalize=(False,), compensate=False)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def test_the_module_computes_what_onnx_runtime_does_with_the_quantized_file() -> None:
    net = mcuc.quantize.prepare(residual(), X, options=PLAIN).eval()
    with torch.no_grad():
        found = net(tensor(X)).numpy()
    proto = qdq.write(net.model, net.roles, net.found.scheme)
    wanted = np.stack([o[0][0] for o in oracle.onnxruntime(proto, [[x[None]] for x in X])])
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 2.01 / 256  # steps of the softmax


def test_an_untrained_network_converts_to_what_quantization_gave() -> None:
    net = mcuc.quantize.prepare(residual(), X, options=PLAIN)
    made = mcuc.quantize.convert(net)
    assert made.graph.profile == "tflite" and made.quantized.tried[-1].way == "trained"
    assert abs(made.quantized.snr - net.found.snr) < 1.0


def test_training_makes_up_for_rounding_and_is_what_the_int8_network_computes() -> None:
    """Every filter of a 1x1 layer has one enormous weight, so its other weights lose most bits; training on the
    float answers regains them, in the int8 network as in the module."""
    proto = residual(softmax=False)
    for constant in proto.graph.initializer:
        data = numpy_helper.to_array(constant).copy()
        if data.ndim == 4 and data.shape[2] == 1:
            data[:, 0] *= 40 * np.abs(data).max() / np.abs(data[:, 0]).max()
            constant.CopyFrom(numpy_helper.from_array(data, constant.name))
    torch.manual_seed(0)
    net = mcuc.quantize.prepare(proto, X, options=PLAIN)
    wanted = answers(net.original, X[:, None]).reshape(len(X), -1)

    def error(outputs: np.ndarray) -> float:
        return float(((outputs.reshape(wanted.shape) - wanted) ** 2).mean())

    before = error(net.eval()(tensor(X)).detach().numpy())
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    net.train()
    for step in range(60):
        if step == 40:
            net.freeze()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(tensor(X)), tensor(wanted)).backward()
        optimizer.step()
    after = error(net.eval()(tensor(X)).detach().numpy())
    assert after < 0.5 * before
    made = mcuc.quantize.convert(net)
    outs = [reference.run(made.graph, {made.graph.inputs[0]: s})[made.graph.outputs[0]]
            for s in integers(made.ports[0], X[:, None])]
    quant = made.graph.tensors[made.graph.outputs[0]].quant
    assert quant is not None
    real = (np.stack(outs).astype(np.float64) - quant.zero_point[0]) * quant.scale[0]
    assert error(real) < 0.6 * before


def test_ranges_follow_the_activations_until_they_are_frozen() -> None:
    net = mcuc.quantize.prepare(residual(), X, options=PLAIN).train()
    start = net.ends.clone()
    net(tensor(3 * X))
    moved = net.ends.clone()
    net.freeze()
    net(tensor(9 * X))
    assert not torch.equal(start, moved) and torch.equal(moved, net.ends)
    net.eval()
    assert torch.equal(moved, net.ends)


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 6, 3, stride=2, bias=False), torch.nn.BatchNorm2d(6)
        self.head = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))
        return y


def test_a_pytorch_module_is_built_and_exported_as_a_file_is(tmp_path: Path) -> None:
    """The same network as a module and as a torch.export program: the same int8 bytes."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(1)
    module, example = Small(), (torch.zeros(1, 3, 12, 12),)
    np.savez(tmp_path / "x.npz", x=X)
    built = mcuc.build_float(module, tmp_path / "x.npz", example=example, out=tmp_path / "out", board="mps2-an386")
    assert built.compiled.report.verify.bit_exact and module.training
    assert built.compiled.report.options["float_model"] == "Small" and (tmp_path / "out" / "small.tflite").exists()
    made = (tmp_path / "out" / "small.tflite").read_bytes()
    mcuc.export(torch.export.export(module.eval(), example), tmp_path / "again.tflite", data=tmp_path / "x.npz")
    assert (tmp_path / "again.tflite").read_bytes().replace(b"model", b"small") == made
    for wrong, found in (((module,), "example"), ((3,), "int is no torch.nn.Module")):
        with pytest.raises(McucError, match=found):
            mcuc.export(*wrong, tmp_path / "again.tflite", data=tmp_path / "x.npz")
    with pytest.raises(McucError, match="without samples"):
        mcuc.export(module, tmp_path / "again.tflite", example=example)


def test_a_pytorch_module_is_prepared_from_an_example() -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(1)
    module = Small()
    net = mcuc.quantize.prepare(module, X, example=(torch.zeros(1, 3, 12, 12),), options=PLAIN)
    assert module.training and {n.kind for n in net.model.nodes} >= {"Conv", "Relu", "Gemm"}
    assert "BatchNormalization" not in {n.kind for n in net.model.nodes}
    made = mcuc.quantize.convert(net)
    module.eval()
    with torch.no_grad():
        wanted = module(tensor(X)).numpy()
    found = net.eval()(tensor(X)).detach().numpy()
    assert made.tflite is not None and text(made.graph)
    assert ((found - wanted) ** 2).sum() < 0.01 * (wanted**2).sum()


def test_masked_attention_trains_with_dense_layers_on_the_rows_of_all_samples() -> None:
    """A batch gives what its samples give; one whose rows nothing divides again is refused."""
    net_ = Net((1, 6, 8), seed=2)
    flat = net_.node("Gemm", net_.node("Reshape", "x", net_.ints(6, 8)), net_.const(net_.rng.normal(0, 0.4, (8, 8))))
    rows = net_.node("Reshape", flat, net_.ints(1, 6, 8))
    scores = net_.node("MatMul", rows, net_.node("Transpose", rows, perm=[0, 2, 1]))
    mask = net_.const(np.where(np.triu(np.ones((6, 6), bool), 1), -np.inf, 0)[None])
    proto = net_.done(net_.node("MatMul", net_.node("Softmax", net_.node("Add", scores, mask), axis=-1), rows))
    x = samples(12, (6, 8))
    net = mcuc.quantize.prepare(proto, x, options=PLAIN)
    net(tensor(x[:1])).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert mcuc.quantize.convert(net).quantized.snr > 25
    net.eval()  # whose ranges stay
    one_by_one = torch.cat([net(tensor(x[k : k + 1])) for k in range(3)])
    assert torch.allclose(net(tensor(x[:3])), one_by_one, atol=1e-6)
    alone = Net((1, 6, 8), seed=2)
    weights = alone.const(alone.rng.normal(0, 0.4, (8, 8)))
    flat = alone.node("Gemm", alone.node("Reshape", "x", alone.ints(6, 8)), weights)
    net = mcuc.quantize.prepare(alone.done(alone.node("Relu", flat)), x, options=PLAIN)
    with pytest.raises(McucError, match="one sample at a time"):
        net(tensor(x[:3]))


def test_an_operator_that_cannot_be_trained_is_refused_by_name() -> None:
    net = Net((1, 6, 8))
    with pytest.raises(McucError, match="CumSum cannot be trained"):
        mcuc.quantize.prepare(net.done(net.node("CumSum", "x", net.ints(1))), samples(4, (6, 8)), options=PLAIN)
