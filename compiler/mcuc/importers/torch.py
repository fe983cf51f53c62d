"""A PyTorch module, or a torch.export program, as a float ONNX model: the form that quantization works on.

PyTorch's own exporter does it (torch.onnx, dynamo=True; needs the package onnxscript). Nothing is unpickled here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

from mcuc.errors import McucError
from mcuc.quantize.model import OPSET


def to_onnx(module: Any, example: Sequence[Any] = ()) -> Any:
    """The ONNX ModelProto of an nn.Module in eval mode, or of a torch.export.ExportedProgram.

    example: one tensor for each input, batch 1; not needed for an exported program. The module's mode is put back.
    Raises McucError: torch-missing, not-torch, torch-export (control flow that depends on the data, among others).
    """
    try:
        import onnxscript  # noqa: F401
        import torch
    except ModuleNotFoundError as error:
        raise McucError("torch-missing", f"{error.name} is not installed", where="a PyTorch model",
                        try_this="pip install torch onnxscript") from error
    program = isinstance(module, torch.export.ExportedProgram)
    if not program and not isinstance(module, torch.nn.Module):
        raise McucError("not-torch", f"a {type(module).__name__} is no torch.nn.Module", where="argument model",
                        try_this="a module, a torch.export program, or the path of a .onnx or .tflite file")
    if not program and not example:
        raise McucError("bad-argument", "a module needs an example of its inputs", where="argument example",
                        try_this="example=(torch.zeros(1, 3, 224, 224),)")
    training = not program and module.training
    try:
        if not program:
            module.eval()
        return _exported(torch, module, tuple(example))
    except McucError:
        raise
    except Exception as error:  # whatever PyTorch's exporter raises
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise McucError("torch-export", f"torch.onnx cannot export it: {first[:300]}", where=type(module).__name__,
                        try_this="make torch.onnx.export(module, example, dynamo=True) work first") from error
    finally:
        if training:
            module.train()


def _exported(torch: Any, module: Any, example: tuple[Any, ...]) -> Any:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            found = torch.onnx.export(module, example, dynamo=True, opset_version=OPSET, verbose=False)
    finally:
        logger.setLevel(level)
    return found.model_proto
