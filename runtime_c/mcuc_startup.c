/* SPDX-License-Identifier: 0BSD */
/* From reset to main() for every core from Cortex-M0+ up. Only instructions that the compiler picks for the core, and
   the few in assembly below exist on all of them. Built with -fno-builtin: no loop here may become a library call
   before memory is set up. Every fault and unexpected interrupt ends the program with exit code 99. */
#include "mcuc_startup.h"

#include "mcuc_semihost.h"

#include <stddef.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define EXIT_FAULT 99
#define WAIT_READS 200000u /* tens of milliseconds on every chip; oscillators, PLLs and regulators need one or two */

/* System control space, Armv7-M Architecture Reference Manual B3.2 and, for caches, B3.2 and Cortex-M7 TRM. */
#define SCB_VTOR 0xE000ED08u
#define SCB_CCR 0xE000ED14u
#define SCB_CCSIDR 0xE000ED80u
#define SCB_CSSELR 0xE000ED84u
#define SCB_CPACR 0xE000ED88u
#define SCB_ICIALLU 0xE000EF50u
#define SCB_DCISW 0xE000EF60u
#define CCR_DC 0x00010000u
#define CCR_IC 0x00020000u

/* From the linker script. */
extern uint32_t __stack_top[];
extern const uint32_t __data_load[], __code_load[];
extern uint32_t __data_start[], __data_end[], __bss_start[], __bss_end[], __code_start[], __code_end[];

extern int main(void);
void mcuc_reset(void);
void mcuc_fault(void);
void mcuc_clock_init(void);
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} mcuc_vector_t;

extern const mcuc_vector_t __vectors[16];
__attribute__((section(".vectors"), used)) const mcuc_vector_t __vectors[16] = {
    {.stack = __stack_top},    {.handler = mcuc_reset}, {.handler = mcuc_fault}, {.handler = mcuc_fault},
    {.handler = mcuc_fault},   {.handler = mcuc_fault}, {.handler = mcuc_fault}, {.handler = mcuc_fault},
    {.handler = mcuc_fault},   {.handler = mcuc_fault}, {.handler = mcuc_fault}, {.handler = mcuc_fault},
    {.handler = mcuc_fault},   {.handler = mcuc_fault}, {.handler = mcuc_fault}, {.handler = mcuc_fault},
};

static inline void barrier(void)
{
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

void mcuc_fault(void)
{
    mcuc_semihost_exit(EXIT_FAULT);
}

/* Weak, so that an application can bring its own. */
__attribute__((weak)) void mcuc_clock_init(void)
{
    const mcuc_clock_step_t *step;
    for (step = mcuc_clock_steps; step->operation != MCUC_CLOCK_END; step++) {
        uint32_t n = 0;
        switch (step->operation) {
        case MCUC_CLOCK_WRITE:
            REGISTER(step->address) = step->value;
            break;
        case MCUC_CLOCK_MODIFY:
            REGISTER(step->address) = (REGISTER(step->address) & ~step->mask) | step->value;
            /* Read back: a peripheral may be used only some clocks after its clock was enabled. */
            (void)REGISTER(step->address);
            break;
        case MCUC_CLOCK_WAIT:
            while ((REGISTER(step->address) & step->mask) != step->value) {
                if (++n > WAIT_READS) {
                    mcuc_fault();
                }
            }
            break;
        default:
            for (n = 0; n < step->value; n++) {
                __asm__ volatile("nop");
            }
            break;
        }
    }
}

#if defined(MCUC_LEVEL1_CACHES)
/* Invalidate, then switch on (Armv7-M Architecture Reference Manual B2.2.7; the order is that of the Cortex-M7 TRM). */
static void enable_caches(void)
{
    uint32_t shape, sets, ways, set, way, line_shift, way_shift = 32;
    barrier();
    REGISTER(SCB_ICIALLU) = 0;
    barrier();
    REGISTER(SCB_CCR) |= CCR_IC;
    barrier();
    REGISTER(SCB_CSSELR) = 0; /* level 1, data */
    barrier();
    shape = REGISTER(SCB_CCSIDR);
    sets = (shape >> 13) & 0x7FFFu; /* number of sets - 1 */
    ways = (shape >> 3) & 0x3FFu;   /* number of ways - 1 */
    line_shift = (shape & 7u) + 4u;
    for (way = ways; way != 0; way >>= 1) {
        way_shift--; /* the way number is left-aligned in DCISW */
    }
    for (set = 0; set <= sets; set++) {
        for (way = 0; way <= ways; way++) {
            REGISTER(SCB_DCISW) = (set << line_shift) | (ways != 0 ? way << way_shift : 0u);
        }
    }
    barrier();
    REGISTER(SCB_CCR) |= CCR_DC;
    barrier();
}
#endif

void mcuc_reset(void)
{
    uint32_t *to = __data_start;
    const uint32_t *from = __data_load;
    REGISTER(SCB_VTOR) = (uint32_t)(uintptr_t)__vectors;
#if defined(__ARM_FP)
    REGISTER(SCB_CPACR) |= 0x00F00000u; /* full access to coprocessors 10 and 11, the FPU */
#endif
    barrier();
    while (to < __data_end) {
        *to++ = *from++;
    }
    from = __code_load;
    for (to = __code_start; to < __code_end; to++) { /* code that runs from RAM */
        *to = *from++;
    }
    for (to = __bss_start; to < __bss_end; to++) {
        *to = 0;
    }
    barrier(); /* what was written is fetched */
    mcuc_clock_init();
#if defined(MCUC_LEVEL1_CACHES)
    enable_caches();
#endif
    mcuc_semihost_exit(main());
}

/* Compilers call these for large copies whatever the flags; weak, so that a C library's win. Word loops where both
   ends are aligned: no unaligned access, which Cortex-M0+ lacks. In sections of their own: they count as the model's
   code where it needs them, unlike the rest of this file. */
__attribute__((weak, section(".mcuc_builtins.memcpy"))) void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *d = (uint8_t *)to;
    const uint8_t *s = (const uint8_t *)from;
    if ((((uintptr_t)d | (uintptr_t)s) & 3u) == 0u) {
        for (; n >= 4u; n -= 4u, d += 4, s += 4) {
            *(uint32_t *)(void *)d = *(const uint32_t *)(const void *)s;
        }
    }
    while (n-- != 0u) {
        *d++ = *s++;
    }
    return to;
}

__attribute__((weak, section(".mcuc_builtins.memmove"))) void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *d = (uint8_t *)to;
    const uint8_t *s = (const uint8_t *)from;
    if ((uintptr_t)d <= (uintptr_t)s) {
        while (n-- != 0u) {
            *d++ = *s++;
        }
    } else {
        while (n-- != 0u) {
            d[n] = s[n];
        }
    }
    return to;
}

__attribute__((weak, section(".mcuc_builtins.memset"))) void *memset(void *to, int value, size_t n)
{
    uint8_t *d = (uint8_t *)to;
    const uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
    if (((uintptr_t)d & 3u) == 0u) {
        for (; n >= 4u; n -= 4u, d += 4) {
            *(uint32_t *)(void *)d = word;
        }
    }
    while (n-- != 0u) {
        *d++ = (uint8_t)word;
    }
    return to;
}
