"""In which order the layers of a schedule hand over their outputs' bytes when the generated code is traced."""

from __future__ import annotations

from collections.abc import Mapping

from mcuc.ir import Array, Graph
from mcuc.schedule import Layer, Schedule, Stream
from mcuc.schedule.stream import Member, segment_members


def traced(schedule: Schedule, graph: Graph, values: Mapping[str, Array]) -> list[tuple[Layer, bytes]]:
    """Every layer that has code, in order, with all bytes that it hands to mcuc_trace, one run after the other.

    values: of the tensors that the layers compute. A layer alone and a stream hand over the tensor from its first byte
    to its last; rows that nobody reads are never computed. In strips the columns of a strip come together, in groups
    of channels the channels of a group.
    """
    found: list[tuple[Layer, bytes]] = []
    for unit in schedule.segments:
        if isinstance(unit, Layer):
            if unit.calls:
                found.append((unit, values[unit.node.outputs[0]].tobytes()))
            continue
        assert unit.stream is not None
        members = segment_members(unit, graph)
        found += [(m.layer, _bytes(unit.stream, m, j, values[m.output])) for j, m in enumerate(members)]
    return found


def _bytes(stream: Stream, member: Member, j: int, value: Array) -> bytes:
    if member.layer.reduction is not None:
        return value.tobytes()
    rows = value[0, : sum(p >> j & 1 for p in stream.passes)]
    if stream.strips:
        return b"".join(rows[:, begin:end].tobytes() for begin, end in (strip[j] for strip in stream.strips))
    if stream.group and not member.sink:
        cuts = range(0, value.shape[3], stream.group)
        return b"".join(rows[:, :, c : c + stream.group].tobytes() for c in cuts)
    return rows.tobytes()
