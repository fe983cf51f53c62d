/* SPDX-License-Identifier: 0BSD */
/* The rounding rules of numerics.py in C; each function names its counterpart there. */
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

static inline int8_t mcuc_clamp(int32_t v, int32_t low, int32_t high)
{
    return (int8_t)(v < low ? low : (v > high ? high : v));
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

#endif
