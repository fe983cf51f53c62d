"""A static bound on the stack: what prologues take, along the deepest path of the call graph.

From the disassembly, not from the compiler: -fstack-usage files are lost in a build cache, and library code has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mcuc.emulate.image import Image, Symbol, load_image
from mcuc.emulate.instructions import Instruction, Listing
from mcuc.errors import McucError
from mcuc.targets import Chip


@dataclass(frozen=True)
class StackBound:
    """bytes: the most that a call of the function can use, or None where there is no bound; path: the functions of the
    deepest path; unbounded: why there is no bound, a place each."""

    bytes: int | None
    path: tuple[str, ...]
    unbounded: tuple[str, ...]


@dataclass(frozen=True)
class _Frame:
    """What one function does to the stack. calls: (bytes in use at the call, callee)."""

    deepest: int
    calls: tuple[tuple[int, int], ...]
    problems: tuple[str, ...]


def stack_bound(elf: Path, chip: Chip, function: str) -> StackBound:
    """The bound for a call of function. McucError("emulated-no-symbol") when the firmware has no such function."""
    return bound_of(load_image(elf), chip, function)


def bound_of(image: Image, chip: Chip, function: str) -> StackBound:
    """The same for a firmware that is already read."""
    start = image.symbols.get(function)
    if start is None or not start.function:
        raise McucError(
            "emulated-no-symbol",
            f"the firmware has no function {function}",
            where=str(image.path),
            try_this="build the firmware again with mcuc compile",
        )
    listing = Listing(image, chip.core)
    frames: dict[int, _Frame] = {}
    done: dict[int, tuple[int, tuple[str, ...]]] = {}
    problems: dict[str, None] = {}

    def depth(address: int, active: tuple[int, ...]) -> tuple[int, tuple[str, ...]]:
        name = image.name_at(address)
        if address in active:
            problems[f"{name} calls itself"] = None
            return 0, ()
        if address not in done:
            if address not in frames:
                frames[address] = _frame(image, listing, address)
            frame = frames[address]
            problems.update(dict.fromkeys(frame.problems))
            best: int = frame.deepest
            path: tuple[str, ...] = (name,)
            for used, callee in frame.calls:
                below, tail = depth(callee, (*active, address))
                if used + below > best:
                    best, path = used + below, (name, *tail)
            done[address] = best, path
        return done[address]

    total, path = depth(start.address, ())
    return StackBound(None if problems else total, path, tuple(problems))


def _frame(image: Image, listing: Listing, address: int) -> _Frame:
    """Walk a function along its branches, with the bytes in use before each instruction."""
    function = image.function_at(address) or Symbol(f"{address:#x}", address, 0, True)
    end = _end(image, function)
    used_at, todo, seen = {address: 0}, [address], set[int]()
    registers = _Registers(image)
    deepest = 0
    calls: list[tuple[int, int]] = []
    problems: list[str] = []

    def problem(i: Instruction, what: str) -> None:
        problems.append(f"{function.name} at {i.address:#010x}: {what} ({i.text})")

    jumped: int | None = None  # bytes in use at a computed jump of Thumb-1, which stays inside the function
    while True:
        if not todo:
            rest = _unseen(image, listing, seen, address, end) if jumped is not None else None
            if jumped is None or rest is None:
                break
            used_at.setdefault(rest, jumped)
            todo.append(rest)
        here, before = todo.pop(), None
        while here not in seen and address <= here < end:
            seen.add(here)
            used, i = used_at[here], listing.at(here)
            if i is None:
                if before is None or before.cls != "call":  # what follows a call that never returns may be data
                    problems.append(f"{function.name} runs into {here:#010x}, which is not code")
                break
            after = registers.after(i, used)
            if after is None:
                problem(i, "the stack pointer is computed")
                after = used
            if after < 0 and not i.to_pc:
                problem(i, "more is popped than was pushed")
            deepest = max(deepest, used, after)
            indirect, falls = _successors(i)
            if i.name in ("add", "mov") and i.to_pc:
                jumped = after
            elif indirect:
                problem(i, "indirect call")
            for target in _targets(image, i):
                # Armv6-M has no far branch: inside a large function compilers jump by BL, which nobody returns from.
                far_jump = i.cls == "call" and address < target < end
                falls = falls and not far_jump
                if (i.cls != "call" or far_jump) and address <= target < end:
                    if used_at.setdefault(target, after) != after and jumped is None:
                        problem(i, "the stack differs between paths")
                    todo.append(target)
                else:
                    calls.append((after, target))
            if not falls:
                break
            used_at.setdefault(i.end, used if i.conditional and i.to_pc else after)  # "popne {r4, pc}" has not popped
            here, before = i.end, i
    return _Frame(deepest, tuple(dict.fromkeys(calls)), tuple(problems))


def _unseen(image: Image, listing: Listing, seen: set[int], start: int, end: int) -> int | None:
    """The first instruction in [start, end) that no path has reached yet."""
    here = start
    while here < end:
        i = listing.at(here)
        if i is None:
            stretch = image.stretch_at(here)
            here = stretch.end if stretch is not None and stretch.kind != "t" else here + 2
            continue
        if here not in seen and i.name != "nop":
            return here
        here = i.end
    return None


def _end(image: Image, function: Symbol) -> int:
    if function.size:
        return function.address + function.size
    later = [f.address for f in image.functions if f.address > function.address]
    stretch = image.stretch_at(function.address)
    return min([*later, stretch.end if stretch else function.address])


def _number(text: str) -> int | None:
    found = re.search(r"#(-?(?:0x)?[0-9a-fA-F]+)", text)
    return int(found.group(1), 0) if found else None


class _Registers:
    """What is known of the registers of a function on the way: constants, and copies of the stack pointer (as the bytes
    in use that they stand for)."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._constants: dict[str, int] = {}
        self._copies: dict[str, int] = {}

    def after(self, i: Instruction, used: int) -> int | None:
        """Bytes in use after the instruction; None when that cannot be told."""
        operands = [o.strip() for o in i.text.partition(" ")[2].split(",")]
        first, amount = operands[0], _number(i.text)
        moves_sp = i.name in ("push", "pop", "vpush", "vpop") or first == "sp!"
        if moves_sp and i.cls in ("store_multi", "fp_store"):
            return used + 4 * i.words
        if moves_sp and i.cls in ("load_multi", "fp_load"):
            return used - 4 * i.words
        if i.base and "[sp" in i.text and amount is not None and (i.text.endswith("]!") or "[sp], #" in i.text):
            return used - amount
        if i.cls != "alu":
            self._forget(first)
            if i.cls == "load" and i.literal and amount is not None:
                self._literal(first, (i.address + 4 & ~3) + amount)
            return used
        if first == "sp":
            return self._set(i, operands, amount, used)
        self._compute(i, operands, amount, used)
        return used

    def _set(self, i: Instruction, operands: list[str], amount: int | None, used: int) -> int | None:
        if i.name in ("cmp", "cmn", "tst"):
            return used
        source = operands[1] if len(operands) == 3 else "sp"
        change = amount if amount is not None else self._constants.get(operands[-1])
        if i.name in ("sub", "subw", "add", "addw") and change is not None:
            start = used if source == "sp" else self._copies.get(source)
            if start is None:
                return None
            return start + (change if i.name.startswith("sub") else -change)
        return self._copies.get(operands[1]) if i.name == "mov" else None

    def _compute(self, i: Instruction, operands: list[str], amount: int | None, used: int) -> None:
        target, name = operands[0], i.name if i.name in ("movs", "lsls", "adds", "subs") else i.name + "s"
        source = operands[1] if name == "movs" or (len(operands) > 2 and name != "bfcs") else target
        copy = used if source == "sp" else self._copies.get(source)
        constant = self._constants.get(source)
        self._forget(target)
        if name in ("movs", "movws") and amount is not None:
            self._constants[target] = amount
        elif name == "movs" and copy is not None:
            self._copies[target] = copy
        elif name in ("adds", "addws", "subs", "subws") and amount is not None and copy is not None:
            self._copies[target] = copy + (amount if name.startswith("sub") else -amount)
        elif name == "bfcs" and copy is not None and operands[1] == "#0":  # aligned down to 2 ** width
            self._copies[target] = copy + max(0, (1 << int(operands[2][1:], 0)) - 4)
        elif name == "lsls" and amount is not None and constant is not None:
            self._constants[target] = constant << amount

    def _literal(self, register: str, address: int) -> None:
        stretch = self._image.stretch_at(address)
        if stretch is not None:
            word = stretch.data[address - stretch.base :][:4]
            self._constants[register] = int.from_bytes(word, "little", signed=True)

    def _forget(self, register: str) -> None:
        self._constants.pop(register, None)
        self._copies.pop(register, None)


def _successors(i: Instruction) -> tuple[bool, bool]:
    """-> (whether it goes where only a register knows, whether the next instruction may follow)."""
    if i.name in ("blx", "blxns"):
        return True, True
    if i.cls == "return":
        return "lr" not in i.text, i.conditional
    if i.cls in ("call", "branch_cond"):
        return False, True
    if i.cls == "branch":
        return False, i.conditional
    if i.to_pc:
        pops = i.cls == "load_multi" or (i.cls == "load" and "[sp" in i.text)
        return not pops, i.conditional
    return False, i.name not in ("udf", ".inst")


def _targets(image: Image, i: Instruction) -> list[int]:
    if i.name in ("tbb", "tbh"):
        return _table(image, i)
    amount = _number(i.text)
    if i.cls in ("branch", "branch_cond") or i.name == "bl":
        return [] if amount is None else [amount & ~1]
    return []


def _table(image: Image, i: Instruction) -> list[int]:
    """Targets of a table branch: the table follows it and ends where the first target begins."""
    stretch = image.stretch_at(i.end)
    width = 1 if i.name == "tbb" else 2
    targets: list[int] = []
    where = i.end
    while stretch is not None and where + width <= min([stretch.end, *targets]):
        target = i.end + 2 * int.from_bytes(stretch.data[where - stretch.base :][:width], "little")
        where += width
        if target >= where:  # not the byte that pads an odd table
            targets.append(target)
    return targets
