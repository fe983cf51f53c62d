/* SPDX-License-Identifier: 0BSD */
/* Dot products of int8 vectors: one vector of activations against one or two rows of weights. Sums are modulo 2^32. */
#ifndef MCUC_DOT_H
#define MCUC_DOT_H

#include "mcuc_port.h"

static inline int32_t mcuc_dot1(const int8_t *x, const int8_t *w, int32_t n, int32_t acc)
{
#if MCUC_DSP
    for (; n >= 4; n -= 4) {
        const uint32_t xv = mcuc_load32(x), wv = mcuc_load32(w);
        acc = mcuc_smlad(mcuc_sxtb16(xv), mcuc_sxtb16(wv), acc);
        acc = mcuc_smlad(mcuc_sxtb16_ror8(xv), mcuc_sxtb16_ror8(wv), acc);
        x += 4;
        w += 4;
    }
#endif
    for (; n > 0; n--) {
        acc = mcuc_mla(acc, *x++, *w++);
    }
    return acc;
}

/* a: int16 values, at any byte. */
static inline int32_t mcuc_dot16(const int8_t *a, const int16_t *w, int32_t n, int32_t acc)
{
#if MCUC_DSP && !defined(MCUC_EMULATE_DSP)
    for (; n >= 2; n -= 2) {
        acc = mcuc_smlad((int32_t)mcuc_load32(a), (int32_t)mcuc_load32(w), acc);
        a += 4;
        w += 2;
    }
#endif
    for (; n > 0; n--) {
        acc = mcuc_mla(acc, mcuc_load_i16(a), *w++);
        a += 2;
    }
    return acc;
}

/* a: int16 values, at any byte. */
static inline int32_t mcuc_dot16x8(const int8_t *a, const int8_t *w, int32_t n, int32_t acc)
{
#if MCUC_DSP
    for (; n >= 4; n -= 4) {
        const uint32_t low = mcuc_load32(a), high = mcuc_load32(a + 4), wv = mcuc_load32(w);
        acc = mcuc_smlad((int32_t)((low & 0xFFFFu) | high << 16), mcuc_sxtb16(wv), acc);
        acc = mcuc_smlad((int32_t)(low >> 16 | (high & 0xFFFF0000u)), mcuc_sxtb16_ror8(wv), acc);
        a += 8;
        w += 4;
    }
#endif
    for (; n > 0; n--) {
        acc = mcuc_mla(acc, mcuc_load_i16(a), *w++);
        a += 2;
    }
    return acc;
}

/* The same with a sum of 64 bits: 508 products of 16 and 8 bits fit 32 (512 of -32768 by -128 do not). */
static inline int64_t mcuc_dot16x8_wide(const int8_t *a, const int8_t *w, int32_t n, int64_t acc)
{
    for (; n > 0; n -= 508) {
        acc += mcuc_dot16x8(a, w, n < 508 ? n : 508, 0);
        a += 1016;
        w += 508;
    }
    return acc;
}

/* Two rows of weights at once; a: int16 values, at any byte. */
static inline void mcuc_dot16x8_two(const int8_t *a, const int8_t *w0, const int8_t *w1, int32_t n, int32_t *acc0,
                                    int32_t *acc1)
{
    int32_t a0 = *acc0, a1 = *acc1;
#if MCUC_DSP
    for (; n >= 4; n -= 4) {
        const uint32_t low = mcuc_load32(a), high = mcuc_load32(a + 4), v0 = mcuc_load32(w0), v1 = mcuc_load32(w1);
        const int32_t even = (int32_t)((low & 0xFFFFu) | high << 16), odd = (int32_t)(low >> 16 | (high & 0xFFFF0000u));
        a0 = mcuc_smlad(even, mcuc_sxtb16(v0), a0);
        a1 = mcuc_smlad(even, mcuc_sxtb16(v1), a1);
        a0 = mcuc_smlad(odd, mcuc_sxtb16_ror8(v0), a0);
        a1 = mcuc_smlad(odd, mcuc_sxtb16_ror8(v1), a1);
        a += 8;
        w0 += 4;
        w1 += 4;
    }
#endif
    for (; n > 0; n--) {
        const int32_t v = mcuc_load_i16(a);
        a0 = mcuc_mla(a0, v, *w0++);
        a1 = mcuc_mla(a1, v, *w1++);
        a += 2;
    }
    *acc0 = a0;
    *acc1 = a1;
}

/* The same with sums of 64 bits. */
static inline void mcuc_dot16x8_wide_two(const int8_t *a, const int8_t *w0, const int8_t *w1, int32_t n, int64_t *acc0,
                                         int64_t *acc1)
{
    for (; n > 0; n -= 508) {
        int32_t s0 = 0, s1 = 0;
        mcuc_dot16x8_two(a, w0, w1, n < 508 ? n : 508, &s0, &s1);
        *acc0 += s0;
        *acc1 += s1;
        a += 1016;
        w0 += 508;
        w1 += 508;
    }
}

/* Two channels' weights in one word for two taps, 256 * second + first in each half: *both and *first are the sums of
   activations times those and times their low bytes. a: n pairs of int16 values, at any byte. */
static inline void mcuc_dot16_words(const int8_t *a, const int32_t *w, int32_t n, int64_t *both, int64_t *first)
{
    int64_t s = *both, f = *first;
#if MCUC_DSP
    for (; n >= 4; n -= 4) {
        const int32_t x0 = (int32_t)mcuc_load32(a), x1 = (int32_t)mcuc_load32(a + 4);
        const int32_t x2 = (int32_t)mcuc_load32(a + 8), x3 = (int32_t)mcuc_load32(a + 12);
        const int32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
        s = mcuc_smlald(x0, w0, s);
        f = mcuc_smlald(x0, mcuc_sxtb16((uint32_t)w0), f);
        s = mcuc_smlald(x1, w1, s);
        f = mcuc_smlald(x1, mcuc_sxtb16((uint32_t)w1), f);
        s = mcuc_smlald(x2, w2, s);
        f = mcuc_smlald(x2, mcuc_sxtb16((uint32_t)w2), f);
        s = mcuc_smlald(x3, w3, s);
        f = mcuc_smlald(x3, mcuc_sxtb16((uint32_t)w3), f);
        a += 16;
        w += 4;
    }
    for (; n > 0; n--) {
        const int32_t x = (int32_t)mcuc_load32(a), v = *w++;
        s = mcuc_smlald(x, v, s);
        f = mcuc_smlald(x, mcuc_sxtb16((uint32_t)v), f);
        a += 4;
    }
#else
    for (; n > 0; n--) {
        const int32_t x0 = mcuc_load_i16(a), x1 = mcuc_load_i16(a + 2);
        const uint32_t v = (uint32_t)*w++;
        s += (int64_t)x0 * (int16_t)(uint16_t)(v & 0xFFFFu) + (int64_t)x1 * (int16_t)(uint16_t)(v >> 16);
        f += (int64_t)x0 * (int8_t)(uint8_t)(v & 0xFFu) + (int64_t)x1 * (int8_t)(uint8_t)(v >> 16 & 0xFFu);
        a += 4;
    }
#endif
    *both = s;
    *first = f;
}

static inline void mcuc_dot2(const int8_t *x, const int8_t *w0, const int8_t *w1, int32_t n, int32_t *acc0, int32_t *acc1)
{
    int32_t a0 = *acc0, a1 = *acc1;
#if MCUC_DSP
    for (; n >= 4; n -= 4) {
        const uint32_t xv = mcuc_load32(x), v0 = mcuc_load32(w0), v1 = mcuc_load32(w1);
        const int32_t even = mcuc_sxtb16(xv), odd = mcuc_sxtb16_ror8(xv);
        a0 = mcuc_smlad(even, mcuc_sxtb16(v0), a0);
        a1 = mcuc_smlad(even, mcuc_sxtb16(v1), a1);
        a0 = mcuc_smlad(odd, mcuc_sxtb16_ror8(v0), a0);
        a1 = mcuc_smlad(odd, mcuc_sxtb16_ror8(v1), a1);
        x += 4;
        w0 += 4;
        w1 += 4;
    }
#endif
    for (; n > 0; n--) {
        const int32_t v = *x++;
        a0 = mcuc_mla(a0, v, *w0++);
        a1 = mcuc_mla(a1, v, *w1++);
    }
    *acc0 = a0;
    *acc1 = a1;
}

static inline int32_t mcuc_sum(const int8_t *x, int32_t n)
{
    int32_t sum = 0;
    for (; n > 0; n--) {
        sum += *x++;
    }
    return sum;
}

#endif
