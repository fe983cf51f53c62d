"""ONNX's own node cases through mcuc: quantized where they are float, compiled, run, compared with outside answers.

    python benchmarks/onnx_conformance.py [--only TEXT] [--c] [--docs] [--log FILE]

The cases are those of the Python package onnx. A float case is quantized with its own input as calibration: its QDQ
file in ONNX Runtime is the oracle (at most one step on at most 0.5 % of the elements, one element where there are few),
and the float model's answer to the rounded input, ONNX Runtime's too, must be met within 4 steps or with 10 dB. A case
that is int8 or uint8 already, or of bool and integer tensors, is compared with its expected output. Inputs that are
parameters (weights, axes, shapes) become constants where mcuc needs them so; where further outputs (a mask, a mean,
indices) are refused, the first one alone is compared, and first_output_alone names the case. --c: the C on the host
as well as the NumPy reference. --log: every outcome is a line of FILE; a run that was cut off goes on behind its last
line.
Writes benchmarks/results/onnx_conformance.json; --docs: the table of docs/onnx-conformance.md too.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
from mcuc import passes
from mcuc.errors import McucError
from mcuc.importers import onnx as importer
from mcuc.ir import Array, Graph
from mcuc.quantize.network import convert_with
from mcuc.quantize.quantizer import Options
from mcuc.quantize.runtime import Runtime
from mcuc.verify import oracle, reference
from models import commit

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "onnx_conformance.json"
PAGE = ROOT / "docs" / "onnx-conformance.md"
FAST = Options(methods=("minmax",), equalize=(False,), compensate=False)
SECONDS = 60
FEWEST_DB = 10.0  # of the answer against the case's float output: what a wrong operator does not reach
FEW_STEPS = 4.0
FIRST = "the first output alone"
MOST_DIFFERING = 0.005


@dataclass(frozen=True)
class Outcome:
    """passed, refused (with the reason) or failed."""

    verdict: str
    reason: str = ""


class Failed(Exception):
    """The answers differ."""


def cases() -> list[Any]:
    """All node cases of the package, by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return sorted(found, key=lambda c: c.name)


def operator_of(case: Any) -> str:
    """The operator that a case is about: that of its node, or the one whose expansion into others it is."""
    kinds = [n.op_type for n in case.model.graph.node]
    if len(kinds) == 1:
        return str(kinds[0])
    return str(case.name.removeprefix("test_").split("_expanded")[0].split("_")[0]) + " (expanded)"


def types_of(case: Any) -> set[str]:
    """Element types of its inputs and outputs, or the name of what is no tensor."""
    found = set()
    for value in (*case.model.graph.input, *case.model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            found.add(str(kind))
        else:
            found.add(TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower())
    return found


def frozen(model: Any, inputs: Sequence[Any], keep: Sequence[int]) -> Any:
    """The model with all inputs but those of `keep` as constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    entries = list(made.graph.input)
    del made.graph.input[:]
    for i, entry in enumerate(entries):
        if i in keep:
            made.graph.input.append(entry)
        elif inputs[i] is not None:
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(inputs[i]), entry.name))
    return made


def first_output(model: Any) -> Any:
    """The model without its other outputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[1:]
    wanted = {n for node in made.graph.node for n in node.input} | {made.graph.output[0].name}
    for node in made.graph.node:
        while len(node.output) > 1 and node.output[-1] not in wanted:
            del node.output[-1]
    return made


def run_case(case: Any, runtime: Runtime, compiled: bool) -> Outcome:
    """One case."""
    types = types_of(case)
    odd = types - {"float", "int8", "uint8", "int32", "int64", "bool"}
    if odd:
        return Outcome("refused", f"type {sorted(odd)[0]}")
    if len(case.model.opset_import) > 1 or any(o.domain not in ("", "ai.onnx") for o in case.model.opset_import):
        return Outcome("refused", "a domain of its own")
    inputs, outputs = case.data_sets[0]
    floats = [i for i, e in enumerate(case.model.graph.input) if e.type.tensor_type.elem_type == TensorProto.FLOAT]
    if not inputs:
        return Outcome("refused", "no input")
    qlinear = any(n.op_type.startswith("QLinear") for n in case.model.graph.node)
    if qlinear:  # its float inputs are scales; the second operand comes fourth
        floats, ways = [], [[0, 3], [0]]
    else:
        ways = [floats, floats[:1]] if floats else [list(range(len(inputs))), [0]]
    last = Outcome("refused", "no way")
    tries = [(case, keep) for keep in (ways if ways[0] != ways[1] else ways[:1])]
    shorter = replace(case, model=first_output(case.model))
    if len(case.model.graph.output) > 1:
        tries += [(shorter, keep) for _, keep in tries]
    whole = case
    for case, keep in tries:
        try:
            quantizes = {"QuantizeLinear", "DequantizeLinear"} & {n.op_type for n in case.model.graph.node}
            if floats and not qlinear and not quantizes:
                quantized_case(case, inputs, outputs, keep, runtime, compiled)
            else:
                integer_case(case, inputs, outputs, keep, compiled)
            return Outcome("passed", "" if case is whole else FIRST)
        except McucError as error:
            reason = re.sub(r"'[^']*'|\d+", "…", error.found)[:90]
            last = Outcome("refused", f"{error.code}: {reason}") if case is whole else last
        except Failed as error:
            return Outcome("failed", str(error))
    return last


def quantized_case(
    case: Any, inputs: Sequence[Any], outputs: Sequence[Any], keep: Sequence[int], runtime: Runtime, compiled: bool
) -> None:
    """A float case: quantized with its input, compared with ONNX Runtime's answer and with the expected one."""
    given = [np.asarray(inputs[i], np.float32) for i in keep]
    if any(not np.isfinite(g).all() or not g.size for g in given):
        raise McucError("bad-samples", "an input is empty or not finite", case.name, "")
    model = frozen(case.model, inputs, keep)
    made = convert_with(runtime, model, "case", case.name, [g[None] for g in given], FAST, profile="onnx")
    graph, ends = importer.parse_with_interface(made.onnx, case.name, "case")
    graph = passes.check_supported(passes.optimize(graph))
    sample = [importer.from_file(port, g) for port, g in zip(ends.inputs, _in_order(model, ends, given), strict=True)]
    wanted = oracle.onnxruntime(made.onnx, [given])[0]
    (found,) = answers(graph, [sample], compiled)
    rounded = [np.asarray(importer.to_file(port, s), np.float32) for port, s in zip(ends.inputs, sample, strict=True)]
    expected_here = oracle.onnxruntime(model.SerializeToString(), [_every(model, ends, given, rounded)])[0]
    for port, out, theirs, expected, shape in zip(ends.outputs, found, wanted, expected_here, outputs, strict=False):
        if np.shape(expected) != np.shape(shape):
            raise Failed(f"shape {np.shape(expected)}, expected {np.shape(shape)}")
        compare_steps(out, importer.from_file(port, np.asarray(theirs)))
        meets(importer.to_file(port, out), np.asarray(expected), port.params.scale[0] if port.params else 1.0)


def _every(model: Any, ends: Any, given: Sequence[Array], rounded: Sequence[Array]) -> list[Array]:
    """All inputs of the float model, those that the network reads as the network sees them."""
    seen = {p.file_name: r for p, r in zip(ends.inputs, rounded, strict=True)}
    return [seen.get(e.name, g) for e, g in zip(model.graph.input, given, strict=True)]


def _in_order(model: Any, ends: Any, given: Sequence[Array]) -> list[Array]:
    """The samples of the graph's inputs; inputs that nothing reads are left out of the graph."""
    by_name = {e.name: g for e, g in zip(model.graph.input, given, strict=True)}
    return [by_name[p.file_name] for p in ends.inputs]


def integer_case(case: Any, inputs: Sequence[Any], outputs: Sequence[Any], keep: Sequence[int], compiled: bool) -> None:
    """A case that is quantized, or of integers and booleans: compared with the expected output."""
    model = frozen(case.model, inputs, keep)
    graph, ends = importer.parse_with_interface(model.SerializeToString(), case.name, "case")
    graph = passes.check_supported(passes.optimize(graph))
    given = _in_order(model, ends, [np.asarray(inputs[i]) for i in keep])
    sample = [importer.from_file(port, g) for port, g in zip(ends.inputs, given, strict=True)]
    (found,) = answers(graph, [sample], compiled)
    for port, out, expected in zip(ends.outputs, found, outputs, strict=False):
        real = importer.to_file(port, out)
        if np.asarray(expected).dtype.kind == "f":
            meets(real, np.asarray(expected), port.params.scale[0] if port.params else 1.0)
        else:
            compare_steps(real.astype(np.int64), np.asarray(expected).astype(np.int64))


def answers(graph: Graph, samples: Sequence[Sequence[Array]], compiled: bool) -> list[list[Array]]:
    """The reference's outputs, [sample][output], the samples as one sequence where the graph has states; compiled: the
    C's as well, which must be the same bytes."""
    found = [[values[n] for n in graph.outputs] for values in reference.sequence(graph, samples)]
    if compiled:
        from mcuc.emit.model import emit
        from mcuc.emulate import host
        from mcuc.plan import plan
        from mcuc.schedule import Tiling
        from mcuc.schedule.explore import layer_by_layer

        schedule = layer_by_layer(graph, None, Tiling())
        placed = plan(graph, schedule)
        with tempfile.TemporaryDirectory() as folder:
            emitted = emit(graph, schedule, placed, "case", "case", 16, 1024)
            outs = host.run(host.build(emitted, graph, Path(folder)), samples).outputs
        for i, sample in enumerate(found):
            for a, b in zip(sample, outs, strict=True):
                if not np.array_equal(a.reshape(-1), b[i].reshape(-1)):
                    raise Failed("the C differs from the reference")
    return found


def compare_steps(found: Array, wanted: Array) -> None:
    """At most one step on at most 0.5 % of the elements (one element where there are fewer than 200)."""
    if found.reshape(-1).shape != wanted.reshape(-1).shape:
        raise Failed(f"shape {found.shape}, expected {wanted.shape}")
    apart = np.abs(found.astype(np.int64).reshape(-1) - wanted.astype(np.int64).reshape(-1))
    if apart.size and (apart.max() > 1 or (apart > 0).sum() > max(1, MOST_DIFFERING * apart.size)):
        raise Failed(
            f"{int((apart > 0).sum())} of {apart.size} elements differ from ONNX Runtime, by up to {apart.max()}"
        )


def meets(found: Array, expected: Array, scale: float) -> None:
    """The float answer within what 8 bits can say."""
    if found.shape != expected.shape:
        raise Failed(f"shape {found.shape}, expected {expected.shape}")
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    noise, signal = float((error**2).sum()), float((expected.astype(np.float64) ** 2).sum())
    if error.size and error.max() > FEW_STEPS * scale and signal < noise * 10 ** (FEWEST_DB / 10):
        raise Failed(f"{10 * np.log10(max(signal, 1e-30) / noise):.1f} dB from the expected output")


def guarded(case: Any, runtime: Runtime, compiled: bool) -> Outcome:
    """run_case with a time limit; anything but a McucError is a failure."""

    def late(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return run_case(case, runtime, compiled)
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {str(error)[:100]}")
    finally:
        signal.alarm(0)


class Log:
    """Outcomes by case, a line each; the first line says what they are outcomes of, and must be the same to go on."""

    def __init__(self, path: Path | None, of: dict[str, Any]) -> None:
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        if path is None:
            return
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if not lines:
            path.write_text(json.dumps(of) + "\n", encoding="utf-8")
        elif json.loads(lines[0]) != of:
            raise SystemExit(f"{path} holds outcomes of {lines[0]}, not of {json.dumps(of)}: name another file")
        self.outcomes = {name: Outcome(verdict, reason) for name, verdict, reason in map(json.loads, lines[1:])}

    def add(self, name: str, outcome: Outcome) -> None:
        self.outcomes[name] = outcome
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, outcome.verdict, outcome.reason]) + "\n")


def page(table: dict[str, Any]) -> str:
    """docs/onnx-conformance.md."""
    lines = [
        "# ONNX's node cases",
        "",
        f"Written by `benchmarks/onnx_conformance.py --docs` with {table['package']}: "
        f"{table['passed']} passed, {table['failed']} failed, {table['refused']} refused of {table['cases']} cases.",
        f"Float cases are quantized to int8 with their own input; see the script for what is compared. Of "
        f"{len(table['first_output_alone'])} cases with several outputs the first one alone is compared.",
        "",
        "| operator | passed | failed | refused | why refused |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name, row in sorted(table["operators"].items()):
        why = "; ".join(row["reasons"][:2]).replace("|", "\\|")
        lines.append(f"| {name} | {row['passed']} | {row['failed']} | {row['refused']} | {why} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this; nothing is written")
    parser.add_argument("--c", action="store_true", dest="compiled", help="the C on the host as well")
    parser.add_argument("--docs", action="store_true", help="write docs/onnx-conformance.md too")
    parser.add_argument("--log", type=Path, help="a file that keeps the outcomes, so that a run can be continued")
    args = parser.parse_args()
    package = f"onnx {metadata.version('onnx')}, {oracle.version('onnxruntime')}"
    log = Log(args.log, {"commit": commit(), "package": package, "c_on_the_host": args.compiled})
    counts: Counter[str] = Counter()
    operators: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"passed": 0, "failed": 0, "refused": 0, "why": Counter()}
    )
    failures: dict[str, str] = {}
    alone: list[str] = []
    reasons: Counter[str] = Counter()
    runtime = Runtime("conformance")
    chosen = [c for c in cases() if args.only in c.name]
    for i, case in enumerate(chosen):
        done = log.outcomes.get(case.name)
        outcome = done or guarded(case, runtime, args.compiled)
        if done is None:
            log.add(case.name, outcome)
        if done is None and (
            outcome.verdict == "failed" or outcome.reason.startswith(("runtime-crashed", "runtime-timeout"))
        ):
            runtime.__exit__(None, None, None)
            runtime = Runtime("conformance")
        counts[outcome.verdict] += 1
        row = operators[operator_of(case)]
        row[outcome.verdict] += 1
        if outcome.verdict == "refused":
            row["why"][outcome.reason] += 1
            reasons[outcome.reason] += 1
        if outcome.reason == FIRST:
            alone.append(case.name)
        if outcome.verdict == "failed":
            failures[case.name] = outcome.reason
        if args.only or outcome.verdict == "failed":
            print(case.name, outcome.verdict, outcome.reason, flush=True)
        if i % 200 == 199:
            print(f"{i + 1} of {len(chosen)}: {dict(counts)}", flush=True)
    table = {
        "about": "outside oracle: ONNX Runtime on the QDQ file and on the float model with rounded inputs",
        "package": package,
        "commit": commit(),
        "c_on_the_host": args.compiled,
        "cases": len(chosen),
        **{k: counts[k] for k in ("passed", "failed", "refused")},
        "operators_passed": sum(1 for n, r in operators.items() if r["passed"] and "expanded" not in n),
        "failures": failures,
        "first_output_alone": alone,
        "operators": {
            n: {
                **{k: r[k] for k in ("passed", "failed", "refused")},
                "reasons": [w for w, _ in r["why"].most_common(3)],
            }
            for n, r in operators.items()
        },
    }
    print(dict(counts), "operators with a passing case:", table["operators_passed"])
    for reason, count in reasons.most_common(40):
        print(f"{count:5} {reason}")
    if not args.only:
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if args.docs:
            PAGE.write_text(page(table), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
