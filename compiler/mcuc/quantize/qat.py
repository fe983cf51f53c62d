"""Quantization-aware training: the float network as a PyTorch module that rounds as the int8 network will.

    net = mcuc.quantize.prepare(module, samples, example=(torch.zeros(1, 3, 96, 96),))
    for x, y in loader:                       # the loop that there is already
        loss = criterion(net(x), y)
        ...
    made = mcuc.quantize.convert(net)         # .graph, .tflite, .onnx

What is trained is the simplified network that post-training quantization works on (batch norms folded), with roundings
where the int8 network has them, so that nothing changes between training and deployment. Gradients pass a rounding
straight through inside its range (Bengio et al. 2013); ranges follow the activations until they are frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mcuc.errors import McucError
from mcuc.ir import Array, Quant
from mcuc.quantize._torch_ops import RUN, rows
from mcuc.quantize.choices import least_for
from mcuc.quantize.layers import layer_noise
from mcuc.quantize.masks import bounded_masks
from mcuc.quantize.model import FloatModel, FloatNode, from_proto, with_constants, with_shapes
from mcuc.quantize.network import Converted, finished, read_float
from mcuc.quantize.params import Scheme, activation_quant, nearest, weight_scale
from mcuc.quantize.patterns import recognised
from mcuc.quantize.quantizer import STANDARD, Options, Quantized, Tried, operand_quants, quantize, score
from mcuc.quantize.ranges import Range
from mcuc.quantize.roles import CLIPS, Roles
from mcuc.quantize.runtime import Runtime

MOMENTUM = 0.01  # of the moving ends of a range


class Trained(torch.nn.Module):
    """The network. Parameters: weights and biases. forward takes and gives batches [n, ...]; in eval mode, and once
    `freeze` was called, the ranges stay."""

    def __init__(self, found: Quantized, original: FloatModel, samples: Sequence[Array], options: Options) -> None:
        super().__init__()
        self.model, self.roles, self.found = found.model, found.roles, found
        self.original, self.samples, self.options = original, [np.asarray(s) for s in samples], options
        self.frozen, self.rows = False, _rows(self.model)
        used = {n for node in self.model.nodes for n in node.inputs}
        self.names = {n: f"c{i}" for i, n in enumerate(sorted(n for n in self.model.constants if n in used))}
        trained = {n for layer in self.roles.weighted.values() for n in (layer.weight, layer.bias) if n}
        for name, label in self.names.items():
            value = torch.from_numpy(np.array(self.model.constants[name]))
            if name in trained:
                self.register_parameter(label, torch.nn.Parameter(value.float()))
            else:
                self.register_buffer(label, value)
        self.keys = sorted(set(self.roles.groups.values()))
        ends = [found.ranges[key] for key in self.keys]
        self.ends: torch.Tensor
        self.register_buffer("ends", torch.tensor([[r.low, r.high] for r in ends], dtype=torch.float32))

    def freeze(self) -> None:
        """The ranges stay as they are: for the last part of the training."""
        self.frozen = True

    def constant(self, name: str) -> torch.Tensor:
        """A constant or parameter by its name in the network."""
        return torch.as_tensor(getattr(self, self.names[name]))

    def forward(self, *columns: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """One batch of each input -> the output, or all of them where there are several."""
        values = self.values(*columns)
        found = tuple(values[n] for n in self.model.outputs)
        return found[0] if len(found) == 1 else found

    def values(self, *columns: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every value by its name, rounded: for a loss on what a final softmax reads (its own steps are coarse)."""
        values: dict[str, torch.Tensor] = {}
        for name, x in zip(self.model.inputs, columns, strict=True):
            values[name] = self._rounded(name, x)
        for node in self.model.nodes:
            layer = self.roles.weighted.get(node.outputs[0])
            arguments: list[torch.Tensor | None] = []
            for i, name in enumerate(node.inputs):
                if not name:
                    arguments.append(None)
                elif name in values:
                    arguments.append(values[name])
                elif layer is not None and i == 1:
                    arguments.append(self._weights(name, layer.axis))
                else:
                    arguments.append(self.constant(name))
            try:
                run = rows if node.name in self.rows else RUN[node.kind]
                outputs = run(node, arguments, [self.model.shapes.get(o, ()) for o in node.outputs])
            except RuntimeError as error:
                if all(len(x) == 1 for x in columns):
                    raise
                raise McucError(
                    "one-sample",
                    f"the network joins the batch with another axis, so that it takes one sample at a time ({error})",
                    where=node.name,
                    try_this="train on batches of one sample and let their gradients add up before each step",
                ) from error
            for name, out in zip(node.outputs, outputs, strict=False):
                values[name] = self._rounded(name, out)
        return values

    def _weights(self, name: str, axis: int) -> torch.Tensor:
        w = self.constant(name)
        scales = w.detach().abs().amax([i for i in range(w.ndim) if i != axis]).clamp(min=1e-12) / 127
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(w, scales, zeros, axis, -127, 127)

    def _rounded(self, name: str, x: torch.Tensor) -> torch.Tensor:
        key = self.roles.groups.get(name)
        if key is None:
            return x
        if self.training and not self.frozen and key not in self.roles.fixed:
            row = self.ends[self.keys.index(key)]
            low, high = x.detach().min().clamp(max=0.0), x.detach().max().clamp(min=0.0)
            row += MOMENTUM * (torch.stack([low, high]) - row)
        quant = self.quant(key)
        return torch.fake_quantize_per_tensor_affine(x, quant.scale[0], quant.zero_point[0], -128, 127)

    def quant(self, key: str) -> Quant:
        """The quantization of a group of values now."""
        low, high = (float(v) for v in self.ends[self.keys.index(key)])
        return activation_quant(Range(min(low, 0.0), max(high, 0.0)), self.roles.fixed.get(key))


def _rows(model: FloatModel) -> frozenset[str]:
    """Reshapes [1, n, ...] -> [n, k] in front of dense layers behind which a reshape to [1, n, ...] follows, perhaps
    with a clamp between: there the rows of several samples may stand one after the other."""
    readers = model.consumers()
    found = set()

    def behind(name: str) -> list[FloatNode]:
        those = [r for r, _ in readers.get(name, [])]
        return [r for t in those for r in (behind(t.outputs[0]) if t.kind in CLIPS else [t])]

    for node in model.nodes:
        if node.kind != "Reshape" or node.inputs[0] not in model.shapes:
            continue
        shape, out = model.shapes[node.inputs[0]], model.shapes[node.outputs[0]]
        layers = [reader for reader, at in readers.get(node.outputs[0], []) if at == 0]
        back = [r for layer in layers for r in behind(layer.outputs[0])]
        if (
            len(out) == 2
            and shape[:2] == (1, out[0])
            and layers
            and len(layers) == len(readers[node.outputs[0]])
            and all(n.kind == "Gemm" and not n.attrs.get("transA") and n.outputs[0] not in model.outputs
                    and n.inputs[1] in model.constants for n in layers)
            and back
            and all(r.kind == "Reshape" and model.shapes[r.outputs[0]][:2] == (1, out[0]) for r in back)
        ):  # fmt: skip
            found.add(node.name)
    return frozenset(found)


def prepare(
    source: Any, samples: Sequence[Array] | Array, example: Sequence[Any] = (), options: Options = STANDARD
) -> Trained:
    """A network to train, from a torch.nn.Module (with an example of its inputs), an ONNX model, a file's path, or a
    network that was quantized after training with these samples.

    samples: [n, ...] of each input as the model takes them; they give the ranges to begin with, by post-training
    quantization, and judge the result. Raises McucError where the network cannot be quantized.
    """
    columns = [samples] if isinstance(samples, np.ndarray) else list(samples)
    columns = [np.ascontiguousarray(c, np.float32)[:, None] for c in columns]
    if isinstance(source, Converted):
        return Trained(source.quantized, source.original, columns, options)
    proto, where = source, "the model"
    if isinstance(source, str | Path):
        proto, where = read_float(Path(source)), str(source)
    elif isinstance(source, torch.nn.Module):
        from mcuc.importers.torch import to_onnx

        proto, where = to_onnx(source, example), type(source).__name__
    with Runtime(where) as runtime:
        model = recognised(from_proto(with_shapes(proto, columns, where), "model", where, runtime))
        runtime.set_samples(columns)
        model = bounded_masks(model, runtime)
        unknown = next((node for node in model.nodes if node.kind not in RUN), None)
        if unknown is not None:
            raise McucError(
                "unsupported-operator",
                f"operator {unknown.kind} cannot be trained here",
                where=unknown.name,
                try_this="quantize after training: mcuc build MODEL --data SAMPLES; what trains: " + ", ".join(RUN),
            )
        found = quantize(model, runtime, options)
    return Trained(found, model, columns, options)


def convert(net: Trained, profile: str | None = None) -> Converted:
    """The int8 network of a trained one; its float network is the trained weights without rounding."""
    constants = {
        n: net.constant(n).detach().numpy().astype(np.float32)
        for layer in net.roles.weighted.values()
        for n in (layer.weight, layer.bias)
        if n
    }
    model = with_constants(net.model, constants)
    scheme = trained_scheme(net, model, net.roles)
    with Runtime("the trained model") as runtime:
        runtime.set_samples(net.samples)
        from mcuc.quantize import qdq
        from mcuc.quantize.model import to_proto
        from mcuc.quantize.quantizer import judged, observe

        reference = runtime.open(to_proto(model, judged(model)))
        snr = score(model, net.roles, scheme, runtime, reference)
        ranges = {key: Range(*(float(v) for v in net.ends[i])) for i, key in enumerate(net.keys)}
        found = Quantized(
            model,
            qdq.write(model, net.roles, scheme),
            scheme,
            net.roles,
            ranges,
            observe(model, net.roles, runtime),
            snr,
            (*net.found.tried, Tried("trained", snr)),
            "trained",
        )
        noise = layer_noise(found, runtime)
    return finished(found, model, noise, "the trained model", profile)


def trained_scheme(net: Trained, model: FloatModel, found: Roles) -> Scheme:
    """Scales and integers as the training used them."""
    activations = {v: net.quant(key) for v, key in found.groups.items()}
    weights, biases = {}, {}
    for layer in found.weighted.values():
        real = model.constants[layer.weight]
        scale = weight_scale(real, layer.axis, least=least_for(model, layer, activations))
        weights[layer.name] = nearest(real, layer.axis, scale)
        if layer.bias:
            biases[layer.name] = model.constants[layer.bias].reshape(-1)
    return Scheme(activations, weights, biases, operand_quants(model, found, activations))
