"""One Unicorn machine: memory map, reset, the counted part's markers, faults, semihosting."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import unicorn as unannotated
from unicorn import arm_const as arm

from mcuc.emulate.counter import FPU_OFF, OUTSIDE, make_counter
from mcuc.emulate.image import Image
from mcuc.emulate.instructions import decoder
from mcuc.emulate.peripherals import CPACR, CPACR_FPU, MARK_CLOSE, MARK_OPEN, PAGE, Registers, stuck_wait
from mcuc.emulate.watch import Watch
from mcuc.errors import McucError
from mcuc.targets import Chip

unicorn: Any = unannotated

MODELS = {
    "cortex-m0plus": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
}
FILL = 0xA5  # RAM at reset; not zero, so that memory read before it is written shows
PRIVATE_BUS = (0xE0000000, 0xE0100000)
BKPT_SEMIHOST = b"\xab\xbe"
APPLICATION_EXIT = 0x20026  # ADP_Stopped_ApplicationExit, Arm semihosting specification 2.0
XPSR_T = 1 << 24  # Thumb state
OUTPUT_LIMIT = 1 << 20
FILE_HANDLE = 1  # of the one file that semihosting opens
EXIT_FAULT = 99  # mcuc_startup.c: what the fault handler ends the program with
REPORT = "check the board's memory regions; if they are right, report this as a bug of mcuc, with the model"
EXCEPTIONS = {
    1: "undefined instruction",
    2: "supervisor call",
    3: "instruction access",
    4: "data access",
    18: "ARM state",
}


class Machine:
    """A firmware in memory and a core to run it. layers: layer names, "" first; entries: layer number by address."""

    def __init__(
        self, image: Image, chip: Chip, layers: Sequence[str], entries: Mapping[int, int], audit: bool
    ) -> None:
        self._image, self._chip, self._layers = image, chip, layers
        self._md = decoder(chip.core)
        self.registers = Registers(chip, self._register_written)
        self.counter = make_counter(entries)
        self.watch = Watch(image, chip) if audit else None
        self._machine: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._machine.ctl_set_cpu_model(MODELS[chip.core])
        self._map()
        self._stack_limit, self._stack_top, self._start = self._vectors()
        self.counter.attach(self._machine)
        if self.watch:
            self.watch.attach(self._machine)
        self._machine.hook_add(unicorn.UC_HOOK_INTR, self._interrupted)
        self._machine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._faulted)
        self._context = self._machine.context_save()
        self.exit_code: int | None = None
        self.output = bytearray()
        self.stack_bytes = 0

    # memory

    def _map(self) -> None:
        for r in self._chip.regions:
            rights = unicorn.UC_PROT_READ
            if r.kind == "ram":
                rights |= unicorn.UC_PROT_WRITE
            if r.kind == "ram" or not r.external:  # code outside the chip would be a firmware linked wrongly
                rights |= unicorn.UC_PROT_EXEC
            first, end = r.base & ~(PAGE - 1), (r.base + r.size + PAGE - 1) & ~(PAGE - 1)
            self._machine.mem_map(first, end - first, rights)
        start = PRIVATE_BUS[0]
        for page in [*(p for p in self.registers.pages if PRIVATE_BUS[0] <= p < PRIVATE_BUS[1]), PRIVATE_BUS[1]]:
            if page > start:
                self._machine.mem_map(start, page - start)
            start = page + PAGE
        self.registers.map(self._machine)
        for s in self._image.segments:
            for base, size in ((s.load, len(s.data)), (s.run, s.size)):
                if size and self._region(base, size) is None:
                    raise McucError(
                        "emulated-memory",
                        f"the firmware wants {size} bytes at {base:#010x}, where {self._chip.name} has no memory",
                        str(self._image.path), try_this="check the memory regions of the board file")
            if s.data and self._region(s.load, len(s.data)) == "flash":
                self._machine.mem_write(s.load, s.data)

    def _region(self, base: int, size: int) -> str | None:
        for r in self._chip.regions:
            if r.base <= base and base + size <= r.base + r.size:
                return str(r.kind)
        # neighbouring RAM regions may be linked as one
        ram = sorted((r.base, r.base + r.size) for r in self._chip.regions if r.kind == "ram")
        for start, end in ram:
            if start <= base < end:
                return "ram" if base + size <= end else self._region(end, base + size - end)
        return None

    def _vectors(self) -> tuple[int, int, int]:
        """-> lowest address the stack may use, initial stack pointer, reset handler."""
        where = self._image.vectors
        table = next(
            (s.data[where - s.load :][:8] for s in self._image.segments if 0 <= where - s.load < len(s.data)), b""
        )
        if len(table) < 8:
            raise McucError(
                "emulated-bad-elf",
                "the firmware has no vector table",
                where=str(self._image.path),
                try_this="build the firmware again with mcuc compile",
            )
        top, start = struct.unpack("<II", table)
        if self._region(top - 8, 8) != "ram":
            raise McucError(
                "emulated-bad-elf",
                f"the stack pointer starts at {top:#010x}, which is not RAM",
                where=str(self._image.path),
                try_this="build the firmware again with mcuc compile",
            )
        limit = min(r.base for r in self._chip.regions if r.kind == "ram" and self._joined(r.base, top))
        for s in self._image.sections:
            if s.base < top <= s.base + s.size:
                limit = max(limit, s.base)  # a section of its own for the stack
            elif s.base < top:
                limit = max(limit, s.base + s.size)
        named = self._image.symbols.get("__stack_limit")
        if named and limit <= named.address < top:
            limit = named.address
        return (limit + 3) & ~3, top & ~3, start

    def _joined(self, base: int, top: int) -> bool:
        return base < top and self._region(base, top - base) == "ram"

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._machine.mem_read(address, size))

    # running

    def run(self, pokes: Sequence[tuple[int, bytes]], timeout_s: float, file: bytes = b"") -> None:
        """From reset to exit. pokes: (address, bytes) written before; file: what semihosting reads. McucError when it
        does not get there."""
        m = self._machine
        m.context_restore(self._context)
        for r in self._chip.regions:
            if r.kind == "ram":
                m.mem_write(r.base, bytes([FILL]) * r.size)
        for s in self._image.segments:
            if s.data and self._region(s.load, len(s.data)) == "ram":
                m.mem_write(s.load, s.data)
        for address, data in pokes:
            if self._region(address, len(data)) != "ram":
                raise McucError(
                    "emulated-memory",
                    f"{address:#010x} is not in RAM, cannot write {len(data)} bytes there",
                    where=f"{self._chip.name}, {address:#010x}",
                    try_this="report this as a bug of mcuc, with the model",
                )
            m.mem_write(address, data)
        self.registers.reset()
        self.counter.reset(OUTSIDE | (FPU_OFF if self._chip.fpu != "none" else 0))
        if self.watch:
            self.watch.reset()
        self.exit_code, self.output, self.stack_bytes = None, bytearray(), 0
        self._failure: McucError | None = None
        self._opened_at: int | None = None  # stack pointer at the first counted part's start
        self._closed = True  # no counted part is open
        self._file = io.BytesIO(file)
        m.reg_write(arm.UC_ARM_REG_SP, self._stack_top)
        m.reg_write(arm.UC_ARM_REG_LR, 0xFFFFFFFF)
        begun = time.monotonic()
        try:
            m.emu_start(self._start | 1, 0xFFFFFFFE, timeout=max(1, int(timeout_s * 1e6)))
        except unicorn.UcError as e:
            if self._failure is None:
                what = str(e)
                if e.errno == unicorn.UC_ERR_INSN_INVALID:
                    thumb = m.reg_read(arm.UC_ARM_REG_XPSR) & XPSR_T
                    what = "undefined instruction" if thumb else "jump to an even address: no Cortex-M has ARM state"
                self._failure = self._error("emulated-fault", what, m.reg_read(arm.UC_ARM_REG_PC))
        if self._failure is None and self.exit_code is None:
            pc = m.reg_read(arm.UC_ARM_REG_PC)
            if time.monotonic() - begun >= timeout_s * 0.99:
                self._failure = self._error(
                    "emulated-timeout", f"the firmware did not end within {timeout_s:g} s", pc, "allow it more time"
                )
            else:
                self._failure = self._error("emulated-fault", "the firmware stopped without an exit", pc)
        if self._failure is None and (self._opened_at is None or not self._closed):
            self._failure = self._unclosed()
        if self._failure:
            raise self._failure

    def layer(self) -> str:
        """Where the machine is, in words."""
        place = self.counter.place()
        if place.flags & OUTSIDE:
            return "outside the inference"
        return f"layer {self._layers[place.layer]}" if place.layer else "before the first layer"

    def _unclosed(self) -> McucError:
        """Why a firmware ended before its counted part did."""
        if self._opened_at is not None:
            found = f"the counted part of the firmware never ended (exit code {self.exit_code})"
            return McucError("emulated-marks", found, self.layer(), REPORT)
        if self.exit_code != EXIT_FAULT:
            found = f"the counted part of the firmware never began (exit code {self.exit_code})"
            return McucError("emulated-marks", found, f"startup on {self._chip.name}", REPORT)
        found = f"startup did not reach main: the fault handler ended it with exit code {EXIT_FAULT}"
        stuck = stuck_wait(self._chip)
        if stuck is None:
            advice = "check clock_init and the memory regions of the chip's file"
            return McucError("emulated-startup", found, f"startup on {self._chip.name}", advice)
        number, step = stuck
        return McucError(
            "emulated-startup",
            f"{found}; the clock never got ready",
            f"{self._chip.name}, clock_init step {number}: wait for {step.comment!r} "
            f"(register {step.address:#010x}, mask {step.mask:#010x}, value {step.value:#010x})",
            "check clock_init, and that a [[ready]] row of the chip's file sets these bits",
        )

    def _error(self, code: str, what: str, pc: int, try_this: str = "") -> McucError:
        return McucError(code, what, f"{self.layer()}, function {self._image.name_at(pc)}, pc {pc:#010x}",
                         try_this or REPORT)

    def _stop(self, failure: McucError) -> None:
        if self._failure is None:
            self._failure = failure
        self._machine.emu_stop()

    # the counted part

    def _register_written(self, address: int) -> None:
        if address == CPACR:
            off = self.registers.values[CPACR] & CPACR_FPU != CPACR_FPU
            self.counter.flag(FPU_OFF, off and self._chip.fpu != "none")
        elif address in (MARK_OPEN, MARK_CLOSE):
            try:
                self._mark(address)
            except McucError as e:
                self._stop(e)

    def _mark(self, address: int) -> None:
        pc, size = self._storing(address)
        m = self._machine
        sp = m.reg_read(arm.UC_ARM_REG_SP)
        if address == MARK_OPEN:
            if not self._closed:
                raise self._error("emulated-marks", "a counted part begins inside another", pc)
            if not self._stack_limit < sp <= self._stack_top:
                raise self._error("emulated-stack", f"the stack pointer is {sp:#010x}, outside the stack", pc)
            if self._opened_at is None:
                m.mem_write(self._stack_limit, self._paint(sp).tobytes())
                self._opened_at = sp
            self._closed = False
            self.counter.open(pc + size)
        else:
            if self._opened_at is None or self._closed:
                raise self._error("emulated-marks", "the counted part ends without a beginning", pc)
            self.counter.close(pc)
            self._closed = True
            paint = self._paint(self._opened_at)
            below = np.frombuffer(self.read(self._stack_limit, 4 * paint.size), np.uint32)
            touched = np.flatnonzero(below != paint)
            self.stack_bytes = 4 * int(paint.size - touched[0]) if touched.size else 0
            if touched.size and touched[0] == 0:
                size = self._stack_top - self._stack_limit
                raise self._error("emulated-stack", f"the stack overflowed its {size} bytes", pc)

    def _paint(self, sp: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """What unused stack below sp holds: other words at every address, lest a pushed value look like it."""
        return np.arange(self._stack_limit, sp, 4, dtype=np.uint32) * np.uint32(2654435761)

    def _storing(self, address: int) -> tuple[int, int]:
        """(pc, size) of the store to address in the block that runs.

        A memory-mapped callback sees the registers as they are but not the program counter, so the store is the one
        instruction of the block whose operand gives the address.
        """
        place = self.counter.place()
        found = []
        for ci in self._md.disasm(self.read(place.address, place.size), place.address):
            if not str(ci.mnemonic).startswith("str"):
                continue
            memory = next((o.mem for o in ci.operands if o.type == 3), None)  # ARM_OP_MEM
            if memory is None:
                continue
            where = self._value(ci, memory.base)
            if not ci.post_index:
                where += memory.disp + (self._value(ci, memory.index) << memory.lshift if memory.index else 0)
            if where & 0xFFFFFFFF == address:
                found.append((int(ci.address), int(ci.size)))
        if len(found) != 1:
            raise self._error(
                "emulated-marks",
                f"{len(found)} instructions of one block store to the marker {address:#010x}; exactly one is needed",
                place.address,
            )
        return found[0]

    def _value(self, ci: Any, register: int) -> int:
        name = str(ci.reg_name(register)).upper()
        return int(self._machine.reg_read(getattr(arm, f"UC_ARM_REG_{name}")))

    # faults and semihosting

    def _faulted(self, m: Any, access: int, address: int, size: int, _value: int, _user: Any) -> bool:
        pc = m.reg_read(arm.UC_ARM_REG_PC)
        kind = {
            unicorn.UC_MEM_READ_UNMAPPED: "read of {} bytes where there is no memory",
            unicorn.UC_MEM_WRITE_UNMAPPED: "write of {} bytes where there is no memory",
            unicorn.UC_MEM_FETCH_UNMAPPED: "jump to where there is no memory",
            unicorn.UC_MEM_WRITE_PROT: "write of {} bytes to flash",
            unicorn.UC_MEM_FETCH_PROT: "jump to flash outside the chip",
        }.get(access, f"access {access} of {{}} bytes refused")
        self._stop(self._error("emulated-fault", f"{kind.format(size)}, address {address:#010x}", pc))
        return False

    def _interrupted(self, m: Any, number: int, _user: Any) -> None:
        pc = m.reg_read(arm.UC_ARM_REG_PC)
        try:
            if self.read(pc & ~1, 2) == BKPT_SEMIHOST:
                answer = self._semihost(m.reg_read(arm.UC_ARM_REG_R0), m.reg_read(arm.UC_ARM_REG_R1), pc)
                if self.exit_code is not None:
                    m.emu_stop()
                    return
                m.reg_write(arm.UC_ARM_REG_R0, answer & 0xFFFFFFFF)
                m.reg_write(arm.UC_ARM_REG_PC, (pc & ~1) + 2 | 1)
                return
            what = EXCEPTIONS.get(number, f"exception {number}")
            self._stop(self._error("emulated-fault", f"{what} (exception)", pc))
        except unicorn.UcError as e:
            self._stop(self._error("emulated-fault", f"semihosting: {e}", pc))

    def _semihost(self, operation: int, argument: int, pc: int) -> int:
        if operation == 0x01:  # SYS_OPEN
            return FILE_HANDLE
        if operation == 0x06:  # SYS_READ: handle, buffer, bytes -> bytes that are missing
            handle, buffer, length = struct.unpack("<III", self.read(argument, 12))
            data = self._file.read(min(length, OUTPUT_LIMIT)) if handle == FILE_HANDLE else b""
            if self._region(buffer, max(1, len(data))) != "ram":
                self._stop(self._error("emulated-fault", f"semihosting reads into {buffer:#010x}, which is no RAM", pc))
            else:
                self._machine.mem_write(buffer, data)
            return int(length - len(data))
        if operation == 0x03:  # SYS_WRITEC
            self.output += self.read(argument, 1)
        elif operation == 0x04:  # SYS_WRITE0
            while (c := self.read(argument, 1)) != b"\0" and len(self.output) < OUTPUT_LIMIT:
                self.output += c
                argument += 1
        elif operation == 0x18:  # SYS_EXIT: the reason alone
            self.exit_code = 0 if argument == APPLICATION_EXIT else 1
        elif operation == 0x20:  # SYS_EXIT_EXTENDED: reason, exit code
            reason, code = struct.unpack("<Ii", self.read(argument, 8))
            self.exit_code = code if reason == APPLICATION_EXIT else 1
        else:
            self._stop(self._error("emulated-fault", f"semihosting call {operation:#04x} is not supported", pc))
        return 0
