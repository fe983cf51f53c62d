"""Counts the file-format operators that an outside runtime proves: each has a case that passes, aliases count once.

    python benchmarks/operators.py [--only NAME]

For every ONNX operator the node cases of the package onnx are run as benchmarks/onnx_conformance.py runs them, until
one passes: ONNX Runtime and the case's own expected output are the oracle. For every TFLite operator the file of
benchmarks/tflite_cases.py is run by TFLite Micro, or by LiteRT's reference kernels where TFLite Micro lacks the
operator: every output element must be equal. In both, the C compiled on the host must equal the NumPy reference.
ALIASES says which names mean one operation. Writes benchmarks/results/operators.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "ops"))
sys.path.insert(0, str(Path(__file__).parent))

from harness import samples

import onnx_conformance as conformance
from mcuc import passes
from mcuc.importers import onnx as onnx_importer
from mcuc.importers import tflite as importer
from mcuc.importers._flatbuffer import read
from mcuc.importers._onnx_fold import can_fold
from mcuc.ir import Array, Graph
from mcuc.ops import support
from mcuc.quantize.runtime import Runtime
from mcuc.verify import oracle
from models import commit
from tflite_cases import CASES, Case

RESULTS = Path(__file__).parent / "results" / "operators.json"
FEWEST = 110  # what the project promises

# Names beside the ONNX operator that they mean. Where one format splits what the other has in one operator (Pad,
# Resize, Conv by groups, Clip), the parts count as one; a name that is not here is an operation of its own.
ALIASES: dict[str, tuple[str, ...]] = {
    "Abs": ("ABS",),
    "Add": ("ADD",),
    "And": ("LOGICAL_AND",),
    "ArgMax": ("ARG_MAX",),
    "ArgMin": ("ARG_MIN",),
    "AveragePool": ("AVERAGE_POOL_2D",),
    "Cast": ("CAST",),
    "Clip": ("RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"),
    "Concat": ("CONCATENATION",),
    "ConstantOfShape": ("FILL",),
    "Conv": ("CONV_2D", "DEPTHWISE_CONV_2D"),
    "ConvTranspose": ("TRANSPOSE_CONV",),
    "CumSum": ("CUMSUM",),
    "DepthToSpace": ("DEPTH_TO_SPACE",),
    "DequantizeLinear": ("DEQUANTIZE",),
    "Div": ("DIV",),
    "Elu": ("ELU",),
    "Equal": ("EQUAL",),
    "Exp": ("EXP",),
    "Expand": ("BROADCAST_TO",),
    "Gather": ("GATHER", "EMBEDDING_LOOKUP"),
    "GatherND": ("GATHER_ND",),
    "Gelu": ("GELU",),
    "Gemm": ("FULLY_CONNECTED",),
    "Greater": ("GREATER",),
    "GreaterOrEqual": ("GREATER_EQUAL",),
    "HardSwish": ("HARD_SWISH",),
    "LSTM": ("UNIDIRECTIONAL_SEQUENCE_LSTM",),
    "LeakyRelu": ("LEAKY_RELU",),
    "Less": ("LESS",),
    "LessOrEqual": ("LESS_EQUAL",),
    "Log": ("LOG",),
    "LogSoftmax": ("LOG_SOFTMAX",),
    "LpNormalization": ("L2_NORMALIZATION",),
    "MatMul": ("BATCH_MATMUL",),
    "Max": ("MAXIMUM",),
    "MaxPool": ("MAX_POOL_2D",),
    "Min": ("MINIMUM",),
    "Mod": ("FLOOR_MOD",),
    "Mul": ("MUL",),
    "Neg": ("NEG",),
    "Not": ("LOGICAL_NOT",),
    "OneHot": ("ONE_HOT",),
    "Or": ("LOGICAL_OR",),
    "PRelu": ("PRELU",),
    "Pad": ("PAD", "PADV2", "MIRROR_PAD"),
    "QuantizeLinear": ("QUANTIZE",),
    "RMSNormalization": ("SimplifiedLayerNormalization",),
    "ReduceMax": ("REDUCE_MAX",),
    "ReduceMean": ("MEAN",),
    "ReduceMin": ("REDUCE_MIN",),
    "ReduceProd": ("REDUCE_PROD",),
    "ReduceSum": ("SUM",),
    "Relu": ("RELU",),
    "Reshape": ("RESHAPE",),
    "Resize": ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "Upsample"),
    "ScatterElements": ("Scatter",),
    "ScatterND": ("SCATTER_ND",),
    "Shape": ("SHAPE",),
    "Sigmoid": ("LOGISTIC",),
    "Slice": ("SLICE", "STRIDED_SLICE"),
    "Softmax": ("SOFTMAX",),
    "SpaceToDepth": ("SPACE_TO_DEPTH",),
    "Split": ("SPLIT", "SPLIT_V"),
    "Sqrt": ("SQRT",),
    "Squeeze": ("SQUEEZE",),
    "Sub": ("SUB",),
    "Sum": ("ADD_N",),
    "Tanh": ("TANH",),
    "Tile": ("TILE",),
    "Transpose": ("TRANSPOSE",),
    "Unsqueeze": ("EXPAND_DIMS",),
    "Where": ("SELECT", "SELECT_V2"),
}


@dataclass(frozen=True)
class Run:
    """What came of an operator's cases. verdict: "passed", or why not; case: the one that passed."""

    name: str
    verdict: str
    case: str = ""
    oracle: str = ""


def distinct(runs: Iterable[Run], aliases: Mapping[str, tuple[str, ...]] = ALIASES) -> dict[str, list[str]]:
    """The operations that a passing case proves, each with its names that passed."""
    meant = {name: operation for operation, names in aliases.items() for name in names}
    found: dict[str, list[str]] = {}
    for run in runs:
        if run.verdict == "passed":
            found.setdefault(meant.get(run.name, run.name), []).append(run.name)
    return found


def imported() -> tuple[list[str], list[str]]:
    """The names of ONNX and of TFLite operators that the importers read."""
    tflite = {name for row in support.supported() for name in row.tflite}
    return sorted(onnx_importer.HANDLERS), sorted(tflite)


def run_onnx(name: str, cases: list[Any], runtime: Runtime) -> Run:
    """The operator's node cases until one passes."""
    last, where = "the package onnx has no case of it", ""
    for case in cases:
        outcome = conformance.guarded(case, runtime, compiled=True)
        if outcome.verdict == "passed":
            return Run(name, "passed", case.name, "ONNX Runtime")
        if outcome.verdict == "failed":
            return Run(name, f"failed: {outcome.reason}", case.name)
        last, where = outcome.reason, case.name
    return Run(name, f"refused: {last}", where)


def run_tflite(name: str) -> Run:
    """The operator's file, or why it is not proven."""
    if name not in CASES:
        return Run(name, "no case")
    try:
        case = CASES[name]()
        compare(name, case)
    except Exception as error:  # whatever it is, the operator is not proven
        return Run(name, f"failed: {type(error).__name__}: {error}"[:200], f"tflite_cases {name}")
    return Run(name, "passed", f"tflite_cases {name}", case.oracle)


def compare(name: str, case: Case) -> None:
    """Reference and C give the runtime's bytes; raises where they do not."""
    kinds = [o.kind for o in read(case.blob, name).operators]
    if name not in kinds:
        raise conformance.Failed(f"the file has {kinds}")
    graph = importer.parse(case.blob, f"{name}.tflite", "case")
    fed = [list(s) for s in case.fed] or samples(graph)
    more = {"keep_state": True} if graph.states else {}
    wanted = getattr(oracle, case.oracle)(case.blob, fed, **more)
    graph = passes.check_supported(passes.optimize(graph))
    for theirs, found in zip(wanted, conformance.answers(graph, fed, compiled=True), strict=True):
        for output, a, b in zip(graph.outputs, theirs, found, strict=True):
            if not np.array_equal(a.reshape(-1), as_file(graph, output, b, a.dtype).reshape(-1)):
                raise conformance.Failed(f"output {output} differs from {case.oracle}")


def as_file(graph: Graph, name: str, found: Array, dtype: Any) -> Array:
    """The output as the file has it: real numbers where it is float."""
    quant = graph.tensors[name].quant
    if dtype != np.float32 or quant is None:
        return found
    return np.float32(quant.scale[0]) * (found.astype(np.int32) - quant.zero_point[0]).astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="this operator alone; nothing is written")
    args = parser.parse_args()
    onnx_names, tflite_names = imported()
    by_operator: dict[str, list[Any]] = {name: [] for name in onnx_names}
    for case in conformance.cases():
        name = conformance.operator_of(case)
        if not name.endswith("(expanded)"):
            by_operator.setdefault(name, []).append(case)
    runs = []
    with Runtime("operators") as runtime:
        for name, cases in sorted(by_operator.items()):
            if args.only in (None, name):
                runs.append(run_onnx(name, cases, runtime))
                print(runs[-1], flush=True)
    for name in tflite_names:
        if args.only in (None, name):
            runs.append(run_tflite(name))
            print(runs[-1], flush=True)
    known = {*onnx_names, *tflite_names}
    runs = [r for r in runs if r.verdict == "passed" or r.name in known or can_fold(r.name)]
    proven = distinct(runs)
    print(f"{len(proven)} operators; without a passing case: {[r.name for r in runs if r.verdict != 'passed']}")
    if not args.only:
        table = {
            "about": "operators of ONNX and TFLite, aliases once, of which a case passes against an outside runtime",
            "evidence": "measured on the host: reference and C against the outside runtime",
            "packages": [f"onnx {metadata.version('onnx')}", *map(oracle.version, oracle._PACKAGES)],
            "commit": commit(),
            "distinct": len(proven),
            "operations": proven,
            "passed": {r.name: f"{r.case}, {r.oracle}" for r in runs if r.verdict == "passed"},
            "not proven": {r.name: r.verdict for r in runs if r.verdict != "passed"},
        }
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wrong = [r for r in runs if r.verdict.startswith("failed")]
    return 1 if wrong or not (args.only or len(proven) >= FEWEST) else 0


if __name__ == "__main__":
    sys.exit(main())
