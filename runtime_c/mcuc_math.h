/* SPDX-License-Identifier: 0BSD */
/* The rounding rules of numerics.py and numerics16.py in C; each function names its counterpart there. */
#ifndef MCUC_MATH_H
#define MCUC_MATH_H

#include "mcuc_port.h"

/* numerics.srdhm, but for the saturated case of two times INT32_MIN: rounding doubling high multiply, half away from zero. */
static inline int32_t mcuc_srdhm(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* numerics.rounding_shift_right: x / 2^exponent, half away from zero; exponent 0..31. */
static inline int32_t mcuc_round_shift(int32_t x, int32_t exponent)
{
    const uint32_t mask = ((uint32_t)1 << exponent) - 1u;
    const uint32_t rest = (uint32_t)x & mask;
    const uint32_t threshold = (mask >> 1) + (x < 0 ? 1u : 0u);
    return (x >> exponent) + (rest > threshold ? 1 : 0);
}

/* numerics.multiply_by_quantized_multiplier; shift > 0 shifts left before the multiply, < 0 right after it. */
static inline int32_t mcuc_requant(int32_t acc, int32_t multiplier, int32_t shift)
{
    if (shift > 0) {
        return mcuc_srdhm((int32_t)((uint32_t)acc << shift), multiplier);
    }
    return mcuc_round_shift(mcuc_srdhm(acc, multiplier), -shift);
}

/* numerics.multiply_rounding_once. */
static inline int32_t mcuc_requant_single(int32_t acc, int32_t multiplier, int32_t shift)
{
    return (int32_t)(((int64_t)acc * multiplier + ((int64_t)1 << (30 - shift))) >> (31 - shift));
}

/* acc + a * b; compilers that know a to be short make four instructions of SMLAL's one. */
static inline int64_t mcuc_smlal(int64_t acc, int32_t a, int32_t b)
{
#if defined(__thumb2__)
    __asm__("smlal %Q0, %R0, %1, %2" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
#else
    return acc + (int64_t)a * b;
#endif
}

/* The upper half of a * b in multiplications of 32 bits, for cores that have no longer ones. */
static inline int32_t mcuc_high_by_halves(int32_t a, int32_t b)
{
    const int32_t ah = a >> 16, bh = b >> 16, al = a & 0xFFFF, bl = b & 0xFFFF;
    const int32_t middle = ah * bl + (int32_t)(((uint32_t)al * (uint32_t)bl) >> 16);
    return ah * bh + (middle >> 16) + ((al * bh + (middle & 0xFFFF)) >> 16);
}

/* acc + the upper half of a * b, rounded down; compilers that lose sight of a factor's sign make five instructions. */
static inline int32_t mcuc_high_mla(int32_t acc, int32_t a, int32_t b)
{
#if MCUC_DSP && !defined(MCUC_EMULATE_DSP)
    int32_t r;
    __asm__("smmla %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
#elif defined(__thumb__) && !defined(__thumb2__)
    return acc + mcuc_high_by_halves(a, b);
#else
    return acc + (int32_t)(((int64_t)a * b) >> 32);
#endif
}

static inline int8_t mcuc_clamp(int32_t v, int32_t low, int32_t high)
{
    return (int8_t)(v < low ? low : (v > high ? high : v));
}

/* numerics.step_of: how many of 255 ascending thresholds v reaches, less 128. */
static inline int8_t mcuc_step_of(int32_t v, const int32_t *steps)
{
    int32_t reached = 0;
    for (int32_t half = 128; half > 0; half >>= 1) {
        reached += v >= steps[reached + half - 1] ? half : 0;
    }
    return (int8_t)(reached - 128);
}

/* numerics.one_over_one_plus_x: 1 / (1 + a) for a in [0, 1), both with 31 fractional bits (Newton-Raphson). */
static inline int32_t mcuc_one_over_one_plus(int32_t a)
{
    const int32_t half = (int32_t)(((int64_t)a + ((int64_t)1 << 31)) >> 1);
    int32_t x = 1515870810 + mcuc_srdhm(half, -1010580540); /* 48/17 - 32/17 half, 29 fractional bits */
    for (int32_t step = 0; step < 3; step++) {
        x += mcuc_srdhm(x, (1 << 29) - mcuc_srdhm(half, x)) * 4;
    }
    return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

/* The last part of numerics.softmax: what a sum of exponentials (12 integer bits, at least 1) makes of each. */
typedef struct {
    int32_t scale, shift;
} mcuc_share_t;

static inline mcuc_share_t mcuc_share(int32_t total)
{
    mcuc_share_t share;
    uint32_t t = (uint32_t)total;
    share.shift = 35; /* 12 integer bits, 31 - 8 to the output's scale */
    while (t < 0x80000000u) {
        t <<= 1;
        share.shift--;
    }
    share.scale = mcuc_one_over_one_plus((int32_t)(t & 0x7FFFFFFFu));
    return share;
}

static inline int8_t mcuc_share_of(mcuc_share_t share, int32_t exponential)
{
    /* beyond 31 bits every share rounds to nothing */
    const int32_t v = share.shift > 31 ? 0 : mcuc_round_shift(mcuc_srdhm(share.scale, exponential), share.shift);
    return mcuc_clamp(v - 128, -128, 127);
}

/* Of a value: the product with multiplier and 2^(shift - 31) is over its square root. */
typedef struct {
    int32_t multiplier, shift;
} mcuc_root_t;

static inline int32_t mcuc_saturating_shift(int32_t v, int32_t bits)
{
    const int32_t most = INT32_MAX >> bits;
    return v > most ? INT32_MAX : (v < -most - 1 ? INT32_MIN : (int32_t)((uint32_t)v << bits));
}

/* The heart of fixed_point.inverse_sqrt: value in [2^27, 2^29) -> 2^42 / sqrt(value), off by less than 2^-19 of it. */
static inline int32_t mcuc_newton_root(int32_t value)
{
    const int32_t q3 = value >> 1, half = (q3 + 1) >> 1;
    int32_t x = 1 << 28;
    for (int32_t step = 0; step < 5; step++) {
        const int32_t cube = mcuc_saturating_shift(mcuc_srdhm(mcuc_srdhm(x, x), x), 6);
        x = mcuc_saturating_shift(mcuc_srdhm(x, (1 << 28) + (1 << 27)) - mcuc_srdhm(half, cube), 3);
    }
    return mcuc_srdhm(x, 1518500250); /* sqrt(1/2) with 31 fractional bits */
}

/* fixed_point.normalize: the inverse root of a value below 2^62, 0 counting as 1: multiplier and half the even number of
   bits by which the value goes up to [2^27, 2^29). */
static inline mcuc_root_t mcuc_inverse_root(uint64_t value)
{
    mcuc_root_t root;
    root.shift = 0;
    value = value == 0u ? 1u : value;
    for (; value >= (uint64_t)1 << 29; value >>= 2) {
        root.shift--;
    }
    for (; value < (uint64_t)1 << 27; value <<= 2) {
        root.shift++;
    }
    root.multiplier = mcuc_newton_root((int32_t)value);
    return root;
}

/* fixed_point.inverse_sqrt: 1 / sqrt(value) for value >= 0, 0 counting as 1; shift <= 0 goes to the left. */
static inline mcuc_root_t mcuc_inverse_sqrt(int32_t value)
{
    mcuc_root_t root = {INT32_MAX, 0};
    if (value > 1) {
        root = mcuc_inverse_root((uint64_t)value);
        root.shift -= 11;
        if (root.shift > 0) {
            root.multiplier = (int32_t)((uint32_t)root.multiplier << root.shift);
            root.shift = 0;
        }
    }
    return root;
}

/* Zeros above the highest bit of v > 0. */
static inline int32_t mcuc_free_bits(int32_t v)
{
    int32_t bits = 0;
    for (uint32_t u = (uint32_t)v; u < 0x80000000u; u <<= 1) {
        bits++;
    }
    return bits;
}

/* fixed_point.log_from_one: the logarithm of a >= 1 with 12 integer bits, in 5 of them. */
static inline int32_t mcuc_log_from_one(int32_t a)
{
    const int32_t root_of_half = 1518500250, fourth_root = 1805811301, quarter = 1 << 23;
    const int32_t free_a = mcuc_free_bits(a), free_b = mcuc_free_bits(mcuc_srdhm(a, root_of_half)) - 1;
    const int32_t r_a = mcuc_saturating_shift(mcuc_srdhm(a * (1 << (free_a - 1)), root_of_half), 1);
    const int32_t r_b = mcuc_saturating_shift(a, free_b);
    const int32_t power_a = (12 - free_a) * (1 << 25) + quarter, power_b = (12 - free_b) * (1 << 25) - quarter;
    const int32_t r = r_a < r_b ? r_a : r_b;
    const int32_t p = (int32_t)(((int64_t)r + fourth_root + 1) >> 1), q = 2 * (r - fourth_root);
    const int32_t square = mcuc_srdhm(q, q);
    const int32_t top = mcuc_srdhm(q, r) + mcuc_srdhm(mcuc_srdhm(q, square), 117049297);
    const int32_t inner = 1057819769 + q + mcuc_srdhm(square, 127690142);
    const int32_t bottom = mcuc_srdhm(p, inner) + mcuc_srdhm(q, 638450708);
    const int32_t fraction = mcuc_srdhm(mcuc_round_shift(top, 6), mcuc_one_over_one_plus(bottom));
    return mcuc_saturating_shift(mcuc_srdhm(power_a > power_b ? power_a : power_b, 1488522236) + fraction, 1);
}

/* numerics.round24: v rounded to the 24 significant bits that float32 keeps, half to even. */
static inline int64_t mcuc_round24(int64_t v)
{
    const uint64_t m = v < 0 ? 0u - (uint64_t)v : (uint64_t)v;
    uint32_t top = m >> 32 != 0u ? (uint32_t)(m >> 32) : (uint32_t)m;
    int32_t drop = m >> 32 != 0u ? 8 : -24; /* bit length less 24, counted up below */
    uint64_t r;
    for (int32_t step = 16; step > 0; step >>= 1) {
        if (top >> step != 0u) {
            top >>= step;
            drop += step;
        }
    }
    drop += top != 0u ? 1 : 0;
    if (drop <= 0) {
        return v;
    }
    r = ((m + ((uint64_t)1 << (drop - 1)) - 1u + (m >> drop & 1u)) >> drop) << drop;
    return v < 0 ? -(int64_t)r : (int64_t)r;
}

/* numerics.round_even: v / 2^shift for shift 0..62, half to even. */
static inline int64_t mcuc_round_even(int64_t v, int32_t shift)
{
    const uint64_t m = v < 0 ? 0u - (uint64_t)v : (uint64_t)v;
    const uint64_t low = ((uint64_t)1 << shift) - 1u;
    const uint64_t r = shift == 0 ? m : (m + (low >> 1) + (m >> shift & 1u)) >> shift;
    return v < 0 ? -(int64_t)r : (int64_t)r;
}

/* A 64-bit step count where adding a zero point cannot overflow. */
static inline int32_t mcuc_saturate(int64_t v)
{
    const int32_t most = (int32_t)1 << 30;
    return v > most ? most : (v < -most ? -most : (int32_t)v);
}

/* Whether the compiler may use an FPU. */
#if defined(__arm__) && defined(__ARM_FP) && !defined(__SOFTFP__)
#define MCUC_FPU 1
#else
#define MCUC_FPU 0
#endif

/* Keeps a compiler from fusing a product with the addition behind it. */
#if defined(__arm__) && defined(__ARM_FP)
#define MCUC_ROUNDED(f) __asm__("" : "+t"(f))
#elif defined(__SSE2__)
#define MCUC_ROUNDED(f) __asm__("" : "+x"(f))
#else
#define MCUC_ROUNDED(f) __asm__("" : "+m"(f))
#endif

/* f rounded half to even, |f| below 2^22. */
static inline int32_t mcuc_near_int(float f)
{
    int32_t bits;
    f += 12582912.0f; /* 1.5 * 2^23: the last bit of the sum counts ones */
    MCUC_ROUNDED(f);
    __builtin_memcpy(&bits, &f, 4);
    return bits - 0x4B400000;
}

/* f rounded half to even; exact for |f| below 2^22, and never nearer to zero than 2^21 beyond that. */
static inline int32_t mcuc_float_to_int(float f)
{
    return mcuc_near_int(f > 2097152.0f ? 2097152.0f : (f < -2097152.0f ? -2097152.0f : f));
}

static inline float mcuc_float_of(int32_t bits)
{
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
}

/* float32(steps) * scale, the scale as its bits. */
static inline float mcuc_dequantize(int32_t steps, int32_t scale)
{
    float product = (float)steps * mcuc_float_of(scale);
    MCUC_ROUNDED(product);
    return product;
}

/* numerics.f32_rne: float32(acc) * float32(scale), half to even; scale as its bits. In integers without an FPU. */
static inline int32_t mcuc_requant_f32(int32_t acc, int32_t scale)
{
#if MCUC_FPU
    float product = (float)acc * mcuc_float_of(scale);
    MCUC_ROUNDED(product);
    return mcuc_float_to_int(product);
#else
    const int64_t mantissa = (scale & 0x7FFFFF) | 0x800000;
    const int32_t shift = 150 - (scale >> 23);
    const int64_t product = mcuc_round24(mcuc_round24(acc) * mantissa);
    if (shift < 0) {
        return product > 0 ? (int32_t)1 << 30 : (product < 0 ? -((int32_t)1 << 30) : 0);
    }
    return shift > 62 ? 0 : mcuc_saturate(mcuc_round_even(product, shift));
#endif
}

/* numerics.fma_steps: round24(base + step * v), all three in units of one power of two. */
static inline int64_t mcuc_fma_step(int64_t base, int32_t step, int64_t v)
{
    return mcuc_round24(base + step * v);
}

/* numerics16._interpolated: sigmoid - 1/2 of a magnitude, from numerics16.sigmoid16_table. */
static inline int32_t mcuc_interpolated(uint32_t magnitude, int32_t bits, int32_t most, const int16_t *table)
{
    const uint32_t at = magnitude >> bits;
    const int32_t rest = (int32_t)(magnitude & (((uint32_t)1 << bits) - 1u));
    return at >= 255u ? most * (1 << bits) : table[at] * (1 << bits) + rest * (table[at + 1u] - table[at]);
}

/* numerics16.sigmoid16 and numerics16.tanh16: x in units of 2^-12 / 3, the result of 2^-15. */
static inline int32_t mcuc_sigmoid16(int32_t x, const int16_t *table)
{
    const int32_t high = mcuc_interpolated(x < 0 ? 0u - (uint32_t)x : (uint32_t)x, 9, 32766, table);
    return (x >= 0 ? (1 << 24) + high + 512 : (1 << 24) - high + 511) >> 10;
}

static inline int32_t mcuc_tanh16(int32_t x, const int16_t *table)
{
    const int32_t high = mcuc_interpolated(x < 0 ? 0u - (uint32_t)x : (uint32_t)x, 8, 32767, table);
    return (x >= 0 ? high + 128 : 127 - high) >> 8;
}

static inline int32_t mcuc_clamp16(int32_t v)
{
    return v < -32768 ? -32768 : (v > 32767 ? 32767 : v);
}

/* numerics16.lookup16: x within int16, 513 entries. */
static inline int32_t mcuc_lookup16(int32_t x, const int16_t *table)
{
    const int16_t *const at = table + 256 + (x >> 7);
    return at[0] + (((at[1] - at[0]) * (x & 0x7F) + 64) >> 7);
}

/* numerics16.multiply_reduced of a 64-bit sum, the multiplier reduced to 16 bits. */
static inline int32_t mcuc_requant_wide(int64_t acc, int32_t reduced, int32_t shift)
{
    return mcuc_saturate((acc * reduced + ((int64_t)1 << (14 - shift))) >> (15 - shift));
}

/* The same of a 32-bit sum, the multiplier times 2^(17 + shift): the upper half of the product, rounded half up. */
static inline int32_t mcuc_upper_half(int32_t acc, int32_t multiplier)
{
#if MCUC_DSP && !defined(MCUC_EMULATE_DSP)
    int32_t r;
    __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(acc), "r"(multiplier));
    return r;
#else
    return (int32_t)(((int64_t)acc * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
}

static inline int32_t mcuc_requant64(int64_t acc, int32_t multiplier, int32_t shift)
{
    return mcuc_requant_wide(acc, multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF, shift);
}

static inline int32_t mcuc_within(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : (v > high ? high : v);
}

/* numerics16.multiply_q15: a * b / 2^15, half up. */
static inline int32_t mcuc_q15(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + 16384) >> 15);
}

/* numerics16.gate16 of 64-bit sums. */
static inline int32_t mcuc_gate64(int64_t a, const int32_t *by_a, int64_t b, const int32_t *by_b)
{
    return mcuc_clamp16(mcuc_clamp16(mcuc_requant64(a, by_a[0], by_a[1]))
                        + mcuc_clamp16(mcuc_requant64(b, by_b[0], by_b[1])));
}

/* numerics16.gate16: two values, each requantized to int16 by a multiplier and a shift, added with saturation. */
static inline int32_t mcuc_gate16(int32_t a, const int32_t *by_a, int32_t b, const int32_t *by_b)
{
    return mcuc_clamp16(mcuc_clamp16(mcuc_requant(a, by_a[0], by_a[1])) + mcuc_clamp16(mcuc_requant(b, by_b[0], by_b[1])));
}

#endif
