/* SPDX-License-Identifier: 0BSD */
/* The rounding rules of numerics.py in C; each function names its counterpart there. */
#ifndef MCUC_MATH_H
#define MCUC_MATH_H

#include "mcuc_port.h"

/* numerics.srdhm for b >= 0: rounding doubling high multiply, half away from zero. */
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

#endif
