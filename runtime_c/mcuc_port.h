/* SPDX-License-Identifier: 0BSD */
/* What generated code needs from compiler and core: attributes, wide loads, DSP instructions, byte moves. */
#ifndef MCUC_PORT_H
#define MCUC_PORT_H

#include <stddef.h>
#include <stdint.h>

#define MCUC_RUNTIME_VERSION 1

#if defined(__FAST_MATH__)
#error "mcuc: -ffast-math changes results; build this file without it"
#endif

#if defined(__clang__)
#define MCUC_NOINLINE __attribute__((noinline))
#elif defined(__GNUC__)
#define MCUC_NOINLINE __attribute__((noinline, noclone))
#else
#define MCUC_NOINLINE
#endif

/* Of a table of weights. MCUC_WEIGHTS_IN_RAM: weights are initialized data, which startup code copies to RAM.
   MCUC_WEIGHTS_SECTION: every table has a section of its own, .mcuc_weights.NAME, so that the linker script says which flash
   it lies in; MCUC_WEIGHTS_ALIGN: 32 for the lines of a data cache. */
#if !defined(MCUC_WEIGHTS_ALIGN)
#define MCUC_WEIGHTS_ALIGN 4
#endif
#if defined(MCUC_WEIGHTS_IN_RAM)
#define MCUC_WEIGHTS(name) __attribute__((section(".data.mcuc_weights"), aligned(4)))
#elif defined(MCUC_WEIGHTS_SECTION)
#define MCUC_WEIGHTS(name) __attribute__((section(".mcuc_weights." #name), aligned(MCUC_WEIGHTS_ALIGN)))
#elif defined(__GNUC__)
#define MCUC_WEIGHTS(name) __attribute__((aligned(4)))
#else
#define MCUC_WEIGHTS(name)
#endif

/* Keeps the compiler from turning a byte loop into a call of memcpy or memset. */
#if defined(__GNUC__)
#define MCUC_KEEP_LOOP(p) __asm__ volatile("" : "+r"(p))
#else
#define MCUC_KEEP_LOOP(p) ((void)(p))
#endif

/* rows: row pointers, NULL where the row is padding; out: where (x0, c0) goes; columns [x0, x1), channels [c0, c1). */
#define MCUC_KERNEL_ARGS                                                                                             \
    const int8_t *const *rows, int8_t *out, int32_t out_stride, int32_t x0, int32_t x1, int32_t c0, int32_t c1,     \
        uint8_t *scratch
#define MCUC_UNUSED(x) ((void)(x))

/* Unaligned 32-bit access without pointer casts: a cast lets compilers emit LDRD, which faults when unaligned. */
static inline uint32_t mcuc_load32(const void *p)
{
    uint32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
}

static inline void mcuc_store32(void *p, uint32_t v)
{
    __builtin_memcpy(p, &v, 4);
}

/* Where a table would begin of which `there` holds only a part, that from `bytes` on. */
static inline const void *mcuc_there_before(const void *there, uint32_t bytes)
{
    return (const void *)((uintptr_t)there - bytes);
}

/* ARMv6-M has no unaligned access: words only where both ends are aligned. */
#if defined(__ARM_ARCH_6M__) || (defined(__ARM_ARCH_8M_BASE__) && !defined(__ARM_FEATURE_UNALIGNED))
#define MCUC_WORDS(a, b) ((((uintptr_t)(a) | (uintptr_t)(b)) & 3u) == 0u)
#else
#define MCUC_WORDS(a, b) 1
#endif

static inline void mcuc_copy(int8_t *to, const int8_t *from, int32_t n)
{
#if !defined(__ARM_ARCH_6M__)
    for (; n >= 4; n -= 4) {
        mcuc_store32(to, mcuc_load32(from));
        to += 4;
        from += 4;
        MCUC_KEEP_LOOP(to);
    }
#endif
    for (; n > 0; n--) {
        *to++ = *from++;
        MCUC_KEEP_LOOP(to);
    }
}

static inline void mcuc_fill(int8_t *to, int8_t value, int32_t n)
{
    for (; n > 0; n--) {
        *to++ = value;
        MCUC_KEEP_LOOP(to);
    }
}

static inline int32_t mcuc_load_i8(const int8_t *p) { return *p; }
static inline int32_t mcuc_load_i16(const int8_t *p)
{
    int16_t v;
    __builtin_memcpy(&v, p, 2);
    return v;
}
static inline void mcuc_store_i16(int8_t *p, int32_t value)
{
    const int16_t v = (int16_t)value;
    __builtin_memcpy(p, &v, 2);
}
static inline int32_t mcuc_load_i32(const int8_t *p)
{
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
}

/* An index that data gives, brought into [0, extent): counted from the end where it is negative and wrap says so. */
static inline int32_t mcuc_index(int32_t index, int32_t extent, int32_t wrap)
{
    if (wrap && index < 0 && index >= -extent) {
        return index + extent;
    }
    return index < 0 ? 0 : index < extent ? index : extent - 1;
}

/* Row pointers first, first + dilation, ... of a tensor of `height` rows; NULL outside (padding). */
static inline void mcuc_rows(const int8_t **rows, const int8_t *base, int32_t first, int32_t dilation, int32_t count,
                             int32_t height, int32_t row_bytes)
{
    for (int32_t k = 0; k < count; k++) {
        const int32_t y = first + k * dilation;
        rows[k] = (y >= 0 && y < height) ? base + y * row_bytes : NULL;
    }
}

/* acc + a * b for products that fit, the sum modulo 2^32: a bias may bring it there. */
static inline int32_t mcuc_mla(int32_t acc, int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)acc + (uint32_t)(a * b));
}

/* DSP extension (M4, M7, M33): two 16-bit lanes. MCUC_EMULATE_DSP runs the same code on a host, for tests. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH) && defined(__thumb__)
#define MCUC_DSP 1
static inline int32_t mcuc_sxtb16(uint32_t x) /* bytes 0 and 2 */
{
    int32_t r;
    __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(x));
    return r;
}
static inline int32_t mcuc_sxtb16_ror8(uint32_t x) /* bytes 1 and 3 */
{
    int32_t r;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(x));
    return r;
}
static inline int32_t mcuc_smlad(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
static inline int64_t mcuc_smlald(int32_t a, int32_t b, int64_t acc)
{
    __asm__("smlald %Q0, %R0, %1, %2" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}
static inline int32_t mcuc_smlabb(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
static inline int32_t mcuc_smlatb(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
static inline int32_t mcuc_smlatt(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
/* Of four bytes: x where a >= b as signed numbers, else y. */
static inline uint32_t mcuc_at_least_sel(uint32_t a, uint32_t b, uint32_t x, uint32_t y)
{
    uint32_t r;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %3, %4" : "=&r"(r) : "r"(a), "r"(b), "r"(x), "r"(y));
    return r;
}
/* Of four bytes: x where a is not 0, else y. */
static inline uint32_t mcuc_select4(uint32_t a, uint32_t x, uint32_t y)
{
    uint32_t r;
    __asm__("usub8 %0, %1, %2\n\tsel %0, %3, %4" : "=&r"(r) : "r"(a), "r"(0x01010101u), "r"(x), "r"(y));
    return r;
}
#elif defined(MCUC_EMULATE_DSP)
#define MCUC_DSP 1
static inline int32_t mcuc_lanes(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16));
}
static inline int32_t mcuc_low(int32_t x) { return (int16_t)(uint16_t)((uint32_t)x & 0xFFFFu); }
static inline int32_t mcuc_high(int32_t x) { return (int16_t)(uint16_t)((uint32_t)x >> 16); }
static inline int32_t mcuc_byte(uint32_t x, uint32_t at) { return (int8_t)(uint8_t)((x >> at) & 0xFFu); }
static inline int32_t mcuc_sxtb16(uint32_t x) { return mcuc_lanes(mcuc_byte(x, 0), mcuc_byte(x, 16)); }
static inline int32_t mcuc_sxtb16_ror8(uint32_t x) { return mcuc_lanes(mcuc_byte(x, 8), mcuc_byte(x, 24)); }
static inline int32_t mcuc_smlabb(int32_t a, int32_t b, int32_t acc) { return mcuc_mla(acc, mcuc_low(a), mcuc_low(b)); }
static inline int32_t mcuc_smlatb(int32_t a, int32_t b, int32_t acc) { return mcuc_mla(acc, mcuc_high(a), mcuc_low(b)); }
static inline int32_t mcuc_smlatt(int32_t a, int32_t b, int32_t acc) { return mcuc_mla(acc, mcuc_high(a), mcuc_high(b)); }
static inline int32_t mcuc_smlad(int32_t a, int32_t b, int32_t acc)
{
    return mcuc_smlatt(a, b, mcuc_smlabb(a, b, acc));
}
static inline int64_t mcuc_smlald(int32_t a, int32_t b, int64_t acc)
{
    return acc + (int64_t)mcuc_low(a) * mcuc_low(b) + (int64_t)mcuc_high(a) * mcuc_high(b);
}
static inline uint32_t mcuc_at_least_sel(uint32_t a, uint32_t b, uint32_t x, uint32_t y)
{
    uint32_t r = 0;
    for (uint32_t at = 0; at < 32u; at += 8u) {
        r |= (mcuc_byte(a, at) >= mcuc_byte(b, at) ? x : y) & ((uint32_t)0xFF << at);
    }
    return r;
}
static inline uint32_t mcuc_select4(uint32_t a, uint32_t x, uint32_t y)
{
    uint32_t r = 0;
    for (uint32_t at = 0; at < 32u; at += 8u) {
        r |= (mcuc_byte(a, at) != 0 ? x : y) & ((uint32_t)0xFF << at);
    }
    return r;
}
#else
#define MCUC_DSP 0
#endif

#if MCUC_DSP
/* Four signed bytes at once: the larger, the smaller; 1 or 0 by comparison. */
static inline uint32_t mcuc_max4(uint32_t a, uint32_t b) { return mcuc_at_least_sel(a, b, a, b); }
static inline uint32_t mcuc_min4(uint32_t a, uint32_t b) { return mcuc_at_least_sel(a, b, b, a); }
static inline uint32_t mcuc_at_least4(uint32_t a, uint32_t b) { return mcuc_at_least_sel(a, b, 0x01010101u, 0u); }
static inline uint32_t mcuc_at_most4(uint32_t a, uint32_t b) { return mcuc_at_least_sel(b, a, 0x01010101u, 0u); }
static inline uint32_t mcuc_differ4(uint32_t a, uint32_t b) { return mcuc_select4(a ^ b, 0x01010101u, 0u); }
#endif

#endif
