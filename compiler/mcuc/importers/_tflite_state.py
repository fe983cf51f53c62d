"""Variables of TFLite files: resources (VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE) and variable tensors.

A run is unrolled into values: a read gives what was assigned last, or the state's value when the run began; what is
assigned last in the file is what the next run begins with. So the graph stays a graph, and one assign node a variable
stands at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mcuc.errors import McucError
from mcuc.importers._flatbuffer import MAX_NAME, OperatorEntry, TensorEntry, corrupt
from mcuc.ir import Array, Node, State, Tensor
from mcuc.ops.assign import AssignAttrs
from mcuc.ops.reshape import ReshapeAttrs

KINDS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})
RESOURCE = 13  # TensorType of the schema
MOST = 1000  # variables of one file


@dataclass
class Variable:
    """A resource while the operators are read in file order. value: what holds it, from `current` on; unsigned: the
    file says uint8; initial: bytes as the graph's type has them, None until known; zero: the byte that TFLite Micro
    fills it with where no initialisation writes it; assigned: within a run."""

    name: str
    initial: Array | None = None
    zero: int | None = None
    current: Tensor | None = None
    value: Tensor | None = None
    unsigned: bool = False
    assigned: bool = False


@dataclass
class States:
    """What grows. variables: by container and shared name; handles: tensor index -> variable; once: subgraphs that
    CALL_ONCE has run; tensors: variable tensors by name, each with the node that updates it."""

    variables: dict[str, Variable] = field(default_factory=dict)
    handles: dict[int, Variable] = field(default_factory=dict)
    once: set[int] = field(default_factory=set)
    tensors: dict[str, State | None] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)


def handle(states: States, entry: OperatorEntry, tensors: tuple[TensorEntry, ...], place: str) -> None:
    """VAR_HANDLE: its output names a variable."""
    if entry.inputs or len(entry.outputs) != 1 or not 0 <= entry.outputs[0] < len(tensors):
        raise corrupt(place, "VAR_HANDLE has other than one output")
    if tensors[entry.outputs[0]].type != RESOURCE:
        raise corrupt(place, "the output of VAR_HANDLE is no resource")
    names = [_name(getattr(entry.options, key, None)) for key in ("container", "sharedName")]
    key = "/".join(names)
    if key not in states.variables:
        if len(states.variables) >= MOST:
            raise corrupt(place, f"the file has more than {MOST} variables")
        states.variables[key] = Variable(f"{names[1] or 'variable'}/{len(states.variables)}")
    states.handles[entry.outputs[0]] = states.variables[key]


def _name(value: object) -> str:
    text = value[:MAX_NAME].decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")[:MAX_NAME]
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def variable_of(states: States, entry: OperatorEntry, inputs: int, place: str) -> Variable:
    """The variable that the operator's first input names."""
    if len(entry.inputs) != inputs or entry.inputs[0] not in states.handles:
        raise corrupt(place, f"{entry.kind} names no variable that VAR_HANDLE made before it")
    return states.handles[entry.inputs[0]]


def read(states: States, variable: Variable, out: Tensor, unsigned: bool, position: int, place: str) -> Node:
    """READ_VARIABLE: the variable's value under the output's name."""
    if variable.value is None:
        variable.current = Tensor(f"{variable.name}/state", out.shape, out.dtype, out.quant)
        variable.value, variable.unsigned = variable.current, unsigned
        states.made[variable.current.name] = variable.current
    _agree(variable, out, unsigned, place)
    source = variable.value
    return Node(f"{position}:READ_VARIABLE", "reshape", (source.name,), (out.name,), ReshapeAttrs(out.shape))


def assign(variable: Variable, value: Tensor, unsigned: bool, place: str) -> None:
    """ASSIGN_VARIABLE within a run."""
    if variable.value is None:
        variable.unsigned = unsigned
    else:
        _agree(variable, value, unsigned, place)
    if variable.zero is None and value.quant is not None:  # micro_resource_variable.cc: the first that is prepared
        variable.zero = value.quant.zero_point[0] % 256 - 256 * (value.quant.zero_point[0] % 256 > 127)
    variable.value, variable.assigned = value, True


def initialise(variable: Variable, value: Tensor, unsigned: bool, place: str) -> None:
    """ASSIGN_VARIABLE of a subgraph that CALL_ONCE runs."""
    if value.data is None:
        raise McucError("unsupported-state", f"variable {variable.name!r} is initialised with a computed value",
                        where=place, try_this="initialise variables with constants")
    if variable.value is not None:
        raise McucError("unsupported-state", f"variable {variable.name!r} is initialised after it is used",
                        where=place, try_this="initialise variables before the first read")
    variable.initial, variable.unsigned = value.data, unsigned


def _agree(variable: Variable, tensor: Tensor, unsigned: bool, place: str) -> None:
    held = variable.value
    assert held is not None
    if (held.shape, held.dtype, variable.unsigned) != (tensor.shape, tensor.dtype, unsigned):
        raise McucError("broken-model", f"variable {variable.name!r} holds {held.dtype.value}{held.shape}, and "
                        f"{tensor.name!r} is {'uint8' if unsigned else tensor.dtype.value}{tensor.shape}", where=place,
                        try_this="check that the model file is complete")


def update(states: States, tensor: Tensor, place: str) -> Tensor:
    """The tensor in which a node leaves a variable tensor for the next run. One node may do so."""
    if tensor.name not in states.tensors:
        raise corrupt(place, f"tensor {tensor.name!r} must be a variable")
    if states.tensors[tensor.name] is not None:
        raise McucError("unsupported-state", f"two operators write the variable {tensor.name!r}", where=place,
                        try_this="give every recurrent layer a state of its own")
    after = Tensor(f"{tensor.name}/next", tensor.shape, tensor.dtype, tensor.quant)
    zero = tensor.quant.zero_point[0] if tensor.quant is not None and tensor.dtype.value == "int8" else 0
    states.tensors[tensor.name] = State(tensor.name, after.name, np.full(tensor.shape, zero, tensor.dtype.value))
    states.made[after.name] = after
    return after


def finish(states: States, nodes: list[Node], where: str) -> tuple[list[Node], tuple[State, ...]]:
    """The assign nodes, in an order in which none writes what another one still reads, and all states.

    Variables that no run assigns become constants in `states.made`; those that nobody reads are left out.
    """
    for name, state in states.tensors.items():
        if state is None:
            raise McucError("unsupported-state", f"tensor {name!r} is a variable that no operator updates",
                            where=where, try_this="export the model without it; recurrent layers and READ_VARIABLE "
                            "with ASSIGN_VARIABLE are supported")
    kept: list[State] = []
    writers: dict[str, Node] = {}  # of each state, by the tensor that holds it
    for variable in states.variables.values():
        current, value = variable.current, variable.value
        if current is None or value is None:
            continue
        initial = _initial(variable, current, where)
        if not variable.assigned:
            states.made[current.name] = Tensor(current.name, current.shape, current.dtype, current.quant, initial)
            continue
        after = Tensor(f"{variable.name}/next", current.shape, current.dtype, current.quant)
        states.made[after.name] = after
        writers[current.name] = Node(f"{variable.name}/assign", "assign", (value.name,), (after.name,), AssignAttrs())
        kept.append(State(current.name, after.name, initial))
    ordered = _ordered(writers, nodes, where)
    return ordered, (*kept, *(s for s in states.tensors.values() if s is not None))


def _initial(variable: Variable, current: Tensor, where: str) -> Array:
    if variable.initial is not None:
        if (variable.initial.shape, str(variable.initial.dtype)) != (current.shape, current.dtype.value):
            raise McucError("broken-model", f"variable {variable.name!r} is initialised with "
                            f"{variable.initial.dtype}{variable.initial.shape} and read as "
                            f"{current.dtype.value}{current.shape}", where=where,
                            try_this="check that the model file is complete")
        return variable.initial
    if not variable.assigned:
        raise McucError("broken-model", f"variable {variable.name!r} is read and never assigned", where=where,
                        try_this="check that the model file is complete")
    return np.full(current.bytes, variable.zero or 0, np.int8).view(current.dtype.value).reshape(current.shape)


def _ordered(writers: Mapping[str, Node], nodes: list[Node], where: str) -> list[Node]:
    """Before a state is written, what another state takes over from it has been read."""
    base = {name: name for name in writers}
    for node in nodes:
        if node.op == "reshape" and node.inputs[0] in base:
            base[node.outputs[0]] = base[node.inputs[0]]
    waiting = dict(writers)
    found: list[Node] = []
    while waiting:
        read = {base[n.inputs[0]] for s, n in waiting.items() if n.inputs[0] in base and base[n.inputs[0]] != s}
        free = [name for name in waiting if name not in read]
        if not free:
            raise McucError("unsupported-state", f"variables exchange their values: {', '.join(sorted(waiting)[:4])}",
                            where=where, try_this="assign one of them through a computed value")
        found += [waiting.pop(name) for name in free]
    return found
