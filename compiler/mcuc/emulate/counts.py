"""From executed blocks to instructions by class, layer and function, and cycles."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mcuc.emulate.counter import LAYER_MASK, OUTSIDE, Block
from mcuc.emulate.instructions import CLASSES, Instruction


@dataclass(frozen=True, slots=True)
class Summary:
    """What one execution of a block adds. cycles when the last branch is not taken, taken_cycles more when it is."""

    instructions: int
    classes: tuple[tuple[str, int], ...]
    loaded_words: int
    stored_words: int
    conditional: bool
    function: str
    cycles: float
    taken_cycles: float


@dataclass
class Count:
    """Sums over blocks. taken, not_taken: conditional branches; loaded_words, stored_words: of multiple transfers."""

    instructions: int = 0
    classes: Tally[str] = field(default_factory=Tally)
    taken: int = 0
    not_taken: int = 0
    loaded_words: int = 0
    stored_words: int = 0
    cycles: float = 0.0

    def add(self, s: Summary, block: Block) -> None:
        n, taken = block.count, block.count - block.fell
        self.instructions += n * s.instructions
        for name, k in s.classes:
            self.classes[name] += n * k
        self.loaded_words += n * s.loaded_words
        self.stored_words += n * s.stored_words
        self.cycles += n * s.cycles + taken * s.taken_cycles
        if s.conditional:
            self.taken += taken
            self.not_taken += block.fell

    def mix(self) -> dict[str, int]:
        """Instructions by class, in the order of CLASSES, then branches by outcome and words of multiple transfers."""
        out = {c: self.classes[c] for c in CLASSES if self.classes[c]}
        return out | {
            "branch_cond_taken": self.taken,
            "branch_cond_not_taken": self.not_taken,
            "load_multi_regs": self.loaded_words,
            "store_multi_regs": self.stored_words,
        }


@dataclass(frozen=True)
class Counts:
    """All counts of a run: in total, by layer number, by function."""

    total: Count
    layers: Mapping[int, Count]
    functions: Mapping[str, int]


def summarize(
    instructions: tuple[Instruction, ...], function: str, cost: Callable[[tuple[Instruction, ...]], tuple[float, float]]
) -> Summary:
    """What one execution of these instructions adds; cost gives (cycles, more cycles when the last branch is taken)."""
    classes = Tally(i.cls for i in instructions)
    cycles, taken = cost(instructions)
    return Summary(
        len(instructions),
        tuple(sorted(classes.items())),
        sum(i.words for i in instructions if i.cls == "load_multi"),
        sum(i.words for i in instructions if i.cls == "store_multi"),
        bool(instructions) and instructions[-1].cls == "branch_cond",
        function,
        cycles,
        taken,
    )


def count(blocks: Iterable[Block], summary: Callable[[Block], Summary]) -> Counts:
    """Sum the blocks of the counted part."""
    total, layers, functions = Count(), dict[int, Count](), Tally[str]()
    for block in blocks:
        if block.region & OUTSIDE:
            continue
        s = summary(block)
        total.add(s, block)
        layers.setdefault(block.region & LAYER_MASK, Count()).add(s, block)
        functions[s.function] += block.count * s.instructions
    return Counts(total, layers, dict(sorted(functions.items(), key=lambda f: (-f[1], f[0]))))
