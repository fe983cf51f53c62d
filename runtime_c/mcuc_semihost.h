/* SPDX-License-Identifier: 0BSD */
/* Semihosting for Cortex-M: the debugger or emulator answers BKPT 0xAB (Arm "Semihosting for AArch32 and AArch64").
   Without one attached the breakpoint ends in the fault handler. */
#ifndef MCUC_SEMIHOST_H
#define MCUC_SEMIHOST_H

#include <stdint.h>

#define MCUC_SYS_OPEN 0x01u
#define MCUC_SYS_WRITE0 0x04u
#define MCUC_SYS_READ 0x06u
#define MCUC_SYS_EXIT_EXTENDED 0x20u
#define MCUC_APPLICATION_EXIT 0x20026u /* ADP_Stopped_ApplicationExit */

/* argument: what r1 holds, an address for every call below. Returns r0. */
static inline uint32_t mcuc_semihost_call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "cc");
    return r0;
}

/* Writes text, which ends in a zero byte, to the host's console. */
static inline void mcuc_semihost_write0(const char *text)
{
    (void)mcuc_semihost_call(MCUC_SYS_WRITE0, text);
}

/* Opens a file of the host for reading bytes; length: of path without its zero byte. Returns a handle, negative where
   there is no such file. */
static inline int32_t mcuc_semihost_open(const char *path, uint32_t length)
{
    const uint32_t block[3] = {(uint32_t)(uintptr_t)path, 1u /* "rb" */, length};
    return (int32_t)mcuc_semihost_call(MCUC_SYS_OPEN, block);
}

/* Reads bytes from where the last read ended. Returns how many are missing at the file's end. */
static inline uint32_t mcuc_semihost_read(int32_t handle, void *buffer, uint32_t bytes)
{
    const uint32_t block[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)buffer, bytes};
    return mcuc_semihost_call(MCUC_SYS_READ, block);
}

/* Ends the program with that exit code; does not return. */
static inline void mcuc_semihost_exit(int code)
{
    const uint32_t block[2] = {MCUC_APPLICATION_EXIT, (uint32_t)code};
    for (;;) {
        (void)mcuc_semihost_call(MCUC_SYS_EXIT_EXTENDED, block);
    }
}

#endif
