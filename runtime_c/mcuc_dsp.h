/* SPDX-License-Identifier: 0BSD */
/* Inner loops for the DSP extension, and the same in C. Compilers spill eight sums with their operands. */
#ifndef MCUC_DSP_H
#define MCUC_DSP_H

#include "mcuc_math.h"
#include "mcuc_port.h"

/* kernels/_linear.py: 256 times an accumulator to int8. constants: kink where there is one, multiplier, offset, shift
   where `common`, that of all channels, is 0. */
static inline int8_t mcuc_stage(int32_t v, const int32_t *constants, int32_t kinked, int32_t common)
{
    if (kinked) {
        v -= v < 0 ? constants[0] : 0;
        constants++;
    }
    v = (int32_t)((uint32_t)constants[1] + (uint32_t)(((int64_t)v * constants[0]) >> 32));
    v >>= common != 0 ? common : constants[2];
    return (int8_t)(v < -128 ? -128 : (v > 127 ? 127 : v));
}

/* Dot products with two output channels in one word of weights: each 16-bit half holds 256 * high + low.
   Where a run of groups of four channels goes: pixels lie `stride` bytes apart, out moves to out_end. skip: bytes of the
   unrolled loop's code that its first round leaves out; end: where the activations end. */
typedef struct {
    int8_t *out;
    int32_t stride;
    int32_t skip;
    const int32_t *end;
    const int8_t *out_end;
} mcuc_pairs_t;

/* The same with another tensor added to each result (mcuc_joined): residual points at what is added to the first channel
   of the first pixel, pixels lie `apart` bytes apart there. */
typedef struct {
    mcuc_pairs_t pairs;
    const int8_t *residual;
    int32_t first;
    int32_t second;
    int32_t offset;
    int32_t apart;
} mcuc_joined_t;

/* A product of matrices, two rows of the left one, whose sums of columns of the right one begin with `starts` (`raised`:
   where bytes of the right one are 128 too large); end: of the activations that the loop reads; scale: as its bits. */
typedef struct {
    int8_t *out;
    int32_t stride;
    const int32_t *end;
    const int8_t *out_end;
    int32_t starts[2];
    int32_t scale;
    int32_t zero_point;
    int32_t raised[2];
} mcuc_product_t;

/* Depthwise 3x3 inside an image: groups of four channels with weights up to weights_end, of so many pixels. step: bytes
   between columns; in_next, out_next: from a pixel's last group to the next pixel's first. */
typedef struct {
    const int32_t *weights;
    int32_t step;
    int8_t *out;
    const int32_t *weights_end;
    int32_t in_next;
    int32_t out_next;
    int32_t pixels;
} mcuc_depthwise_t;

#if defined(__GNUC__)
#define MCUC_IN_REGISTER __attribute__((unused)) /* assembly finds it there */
#else
#define MCUC_IN_REGISTER
#endif
#define MCUC_PAIRS_ARGS \
    const int32_t *acts MCUC_IN_REGISTER, const int32_t *weights MCUC_IN_REGISTER, mcuc_pairs_t *job MCUC_IN_REGISTER

#define MCUC_JOINED_ARGS \
    const int32_t *acts MCUC_IN_REGISTER, const int32_t *weights MCUC_IN_REGISTER, mcuc_joined_t *job MCUC_IN_REGISTER

/* kernels/binary/_weighted.py: a result and what is added to it, as a weighted sum. */
static inline int8_t mcuc_joined(int32_t v, int32_t residual, int32_t first, int32_t second, int32_t offset, int32_t shift)
{
    v = (v * first + residual * second + offset) >> shift;
    return (int8_t)(v < -128 ? -128 : (v > 127 ? 127 : v));
}

/* Four bytes to two words of taps 0, 2 and 1, 3; the same for two pixels, word by word. n > 0 bytes, padded with 0. */
static inline uint32_t mcuc_bytes(const int8_t *x, int32_t n)
{
    uint32_t v = 0;
    for (int32_t k = 0; k < n; k++) {
        v |= (uint32_t)(uint8_t)x[k] << (8 * k);
    }
    return v;
}

#if MCUC_DSP
#define MCUC_EVEN(v) mcuc_sxtb16(v)
#define MCUC_ODD(v) mcuc_sxtb16_ror8(v)
#else
static inline int32_t mcuc_halves(uint32_t v)
{
    const uint32_t low = (uint32_t)(int32_t)(int8_t)(v & 0xFFu), high = (uint32_t)(int32_t)(int8_t)(v >> 16 & 0xFFu);
    return (int32_t)((low & 0xFFFFu) | high << 16);
}
#define MCUC_EVEN(v) mcuc_halves(v)
#define MCUC_ODD(v) mcuc_halves((v) >> 8)
#endif

/* Two products of 16-bit halves added to a sum, and the word of two halves. */
static inline int32_t mcuc_mac2(int32_t a, int32_t b, int32_t acc)
{
#if defined(__ARM_FEATURE_DSP) && defined(__thumb__)
    __asm__("smlad %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b)); /* in the same register: no move around it */
    return acc;
#elif MCUC_DSP
    return mcuc_smlad(a, b, acc);
#else
    acc = mcuc_mla(acc, (int16_t)((uint32_t)a & 0xFFFFu), (int16_t)((uint32_t)b & 0xFFFFu));
    return mcuc_mla(acc, a >> 16, b >> 16);
#endif
}

static inline int32_t mcuc_pair(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16));
}

/* Two bytes of one row and the two under them in the next one, as even and odd halves: column by column. */
static inline uint32_t mcuc_two_rows(const int8_t *upper, const int8_t *lower)
{
    uint16_t u, v;
    __builtin_memcpy(&u, upper, 2);
    __builtin_memcpy(&v, lower, 2);
    return (uint32_t)u | ((uint32_t)v << 16);
}

/* The highest of n bytes, -128 of none. */
static inline int32_t mcuc_highest(const int8_t *x, int32_t n)
{
    int32_t highest = -128;
#if MCUC_DSP
    uint32_t most = 0x80808080u;
    for (; n >= 4; n -= 4) {
        most = mcuc_max4(most, mcuc_load32(x));
        x += 4;
    }
    most = mcuc_max4(most, most >> 16); /* of the upper bytes nobody asks */
    highest = (int8_t)(mcuc_max4(most, most >> 8) & 0xFFu);
#endif
    for (; n > 0; n--) {
        highest = *x > highest ? *x : highest;
        x++;
    }
    return highest;
}

/* Sum and sum of squares of up to 2^17 bytes. */
typedef struct {
    int32_t sum, squares;
} mcuc_moments_t;

static inline mcuc_moments_t mcuc_moments(const int8_t *x, int32_t n)
{
    mcuc_moments_t row = {0, 0};
#if MCUC_DSP
    for (; n >= 4; n -= 4) {
        const uint32_t v = mcuc_load32(x);
        const int32_t even = mcuc_sxtb16(v), odd = mcuc_sxtb16_ror8(v);
        row.squares = mcuc_smlad(odd, odd, mcuc_smlad(even, even, row.squares));
        row.sum = mcuc_smlad(odd, 0x00010001, mcuc_smlad(even, 0x00010001, row.sum));
        x += 4;
    }
#endif
    for (; n > 0; n--) {
        row.sum += *x;
        row.squares += *x * *x;
        x++;
    }
    return row;
}

static inline int32_t *mcuc_widen1(int32_t *to, const int8_t *a, int32_t n)
{
    for (; n > 0; n -= 4) {
        const uint32_t v = n >= 4 ? mcuc_load32(a) : mcuc_bytes(a, n);
        to[0] = MCUC_EVEN(v);
        to[1] = MCUC_ODD(v);
        to += 2;
        a += 4;
    }
    return to;
}

static inline int32_t *mcuc_widen2(int32_t *to, const int8_t *a, const int8_t *b, int32_t n)
{
    for (; n > 0; n -= 4) {
        const uint32_t v = n >= 4 ? mcuc_load32(a) : mcuc_bytes(a, n), w = n >= 4 ? mcuc_load32(b) : mcuc_bytes(b, n);
        to[0] = MCUC_EVEN(v);
        to[1] = MCUC_EVEN(w);
        to[2] = MCUC_ODD(v);
        to[3] = MCUC_ODD(w);
        to += 4;
        a += 4;
        b += 4;
    }
    return to;
}

/* Behind `units` units of activations their sums, 64 units each, in both halves of a word; 0 where there is one sum less
   than words. */
static inline void mcuc_sums(int32_t *acts, int32_t units, int32_t pixels)
{
    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        const int32_t *from = acts + pixel;
        int32_t *to = acts + 2 * units * pixels + pixel, odd = 0;
        for (int32_t left = units; left > 0; left -= 64) {
            int32_t sum = 0;
            for (int32_t k = 2 * (left < 64 ? left : 64); k > 0; k--) {
#if MCUC_DSP
                sum = mcuc_smlad(*from, 0x00010001, sum);
#else
                sum += (int16_t)((uint32_t)*from & 0xFFFFu) + (*from >> 16);
#endif
                from += pixels;
            }
            *to = (int32_t)(((uint32_t)sum & 0xFFFFu) | (uint32_t)sum << 16);
            to += pixels;
            odd ^= 1;
        }
        if (odd) {
            *to = 0;
        }
    }
}

/* Cores without the DSP extension: a tap of four channels in the instructions of ARMv6-M. r0 and r2 where the activations
   end and how far it is to there, r1 weights; r8 and r10 the sums of 256 * high + low, r9 and r11 those of low. */
#if defined(__thumb__) && !MCUC_DSP
#define MCUC_THUMB1_ASM 1
#define MCUC_HALVES_TAP_BYTES 30
#define MCUC_HALVES_TAP     \
    "ldrsb r3, [r0, r2]\n"  \
    "ldm r1!, {r4}\n"       \
    "sxth r5, r4\n"         \
    "sxtb r6, r4\n"         \
    "asrs r4, r4, #16\n"    \
    "sxtb r7, r4\n"         \
    "muls r5, r3, r5\n"     \
    "muls r6, r3, r6\n"     \
    "muls r4, r3, r4\n"     \
    "muls r7, r3, r7\n"     \
    "add r8, r8, r5\n"      \
    "add r9, r9, r6\n"      \
    "add r10, r10, r4\n"    \
    "add r11, r11, r7\n"    \
    "adds r2, r2, #1\n"
#else
#define MCUC_THUMB1_ASM 0
#define MCUC_HALVES_TAP_BYTES 0
#endif

#if MCUC_DSP && !defined(MCUC_EMULATE_DSP)
#define MCUC_DSP_ASM 1
/* Bytes of code that a unit of four taps takes, all instructions being 32 bits wide. */
#define MCUC_PAIRS_ONE_BYTES 60
#define MCUC_PAIRS_TWO_BYTES 96
#define MCUC_PAIRS_DUAL_TWO_BYTES 112

/* A unit of four taps of one pixel: r0 activations, r1 weights; r6, r7 and r8, r9 the sums of two pairs. */
#define MCUC_PAIRS_ONE          \
    "ldrd r4, r5, [r0], #8\n"   \
    "ldrd r2, r3, [r1], #8\n"   \
    "ldrd r10, r11, [r1], #8\n" \
    "smlad r6, r2, r4, r6\n"    \
    "smlad r8, r3, r4, r8\n"    \
    "sxtb16 r2, r2\n"           \
    "sxtb16 r3, r3\n"           \
    "smlad r7, r2, r4, r7\n"    \
    "smlad r9, r3, r4, r9\n"    \
    "smlad r6, r10, r5, r6\n"   \
    "smlad r8, r11, r5, r8\n"   \
    "sxtb16 r10, r10\n"         \
    "sxtb16 r11, r11\n"         \
    "smlad r7, r10, r5, r7\n"   \
    "smlad r9, r11, r5, r9\n"

/* Two taps of two pixels; r6 and r8, r10 and r12 the pairs' sums, r7 and r9, r11 and lr those of the low channels. */
#define MCUC_PAIRS_HALF          \
    "ldrd r2, r3, [r1], #8\n"    \
    "ldrd r4, r5, [r0], #8\n"    \
    "smlad r6, r2, r4, r6\n"     \
    "smlad r8, r2, r5, r8\n"     \
    "smlad r10, r3, r4, r10\n"   \
    "smlad r12, r3, r5, r12\n"   \
    "sxtb16 r2, r2\n"            \
    "sxtb16 r3, r3\n"            \
    "smlad r7, r2, r4, r7\n"     \
    "smlad r9, r2, r5, r9\n"     \
    "smlad r11, r3, r4, r11\n"   \
    "smlad lr, r3, r5, lr\n"
#define MCUC_PAIRS_TWO MCUC_PAIRS_HALF MCUC_PAIRS_HALF

/* The same for a core that issues two instructions a cycle, where LDRD goes alone: r2, r4 and r3 are loaded already, each
   multiplication but one is beside a load or an extension, and those three are loaded for the next half. */
#define MCUC_PAIRS_DUAL_HALF   \
    "ldr r5, [r0], #4\n"       \
    "smlad r6, r2, r4, r6\n"   \
    "smlad r10, r3, r4, r10\n" \
    "smlad r8, r2, r5, r8\n"   \
    "sxtb16 r2, r2\n"          \
    "smlad r12, r3, r5, r12\n" \
    "sxtb16 r3, r3\n"          \
    "smlad r7, r2, r4, r7\n"   \
    "smlad r9, r2, r5, r9\n"   \
    "ldr r2, [r1], #4\n"       \
    "smlad r11, r3, r4, r11\n" \
    "ldr r4, [r0], #4\n"       \
    "smlad lr, r3, r5, lr\n"   \
    "ldr r3, [r1], #4\n"
#define MCUC_PAIRS_DUAL_TWO MCUC_PAIRS_DUAL_HALF MCUC_PAIRS_DUAL_HALF

/* Depthwise: four channels of a pixel in r8 times their weights in r10 and r11, to sums r4 to r7. */
#define MCUC_FOUR_CHANNELS     \
    "sxtb16 r9, r8, ror #8\n"  \
    "sxtb16 r8, r8\n"          \
    "smlabb r4, r8, r10, r4\n" \
    "smlabb r5, r9, r11, r5\n" \
    "smlatt r6, r8, r10, r6\n" \
    "smlatt r7, r9, r11, r7\n"
#else
#define MCUC_DSP_ASM 0
#define MCUC_PAIRS_ONE_BYTES 0
#define MCUC_PAIRS_TWO_BYTES 0
#define MCUC_PAIRS_DUAL_TWO_BYTES 0
#endif

/* What the assembly computes, of one or two pixels: groups of four channels from job->out to job->out_end. joined: what is
   added, NULL for nothing, and its shift. clamp: of a stage by float32 products, NULL for one of one multiply. */
static inline void mcuc_groups(const int32_t *acts, const int32_t *weights, mcuc_pairs_t *job, const mcuc_joined_t *joined,
                               int32_t pixels, int32_t kinked, int32_t shift, int32_t common, const int32_t *clamp)
{
    const int8_t *const start = job->out;
    const int32_t units = (int32_t)((job->end - acts) / (2 * pixels));
    const int32_t words = (kinked ? 3 : 2) + (common != 0 ? 0 : 1); /* of a channel's constants */
    for (; job->out != job->out_end; job->out += 4) {
        const int32_t *const output = weights + 4 + 4 * units;
        for (int32_t pair = 0; pair < 2; pair++) {
            for (int32_t pixel = 0; pixel < pixels; pixel++) {
                uint32_t sums[2];
                sums[1] = (uint32_t)weights[2 * pair]; /* 256 * high + low */
                sums[0] = (uint32_t)weights[2 * pair + 1];
                for (int32_t k = 0; k < 2 * units; k++) {
                    const uint32_t w = (uint32_t)weights[4 + 2 * k + pair];
                    const uint32_t a = (uint32_t)acts[k * pixels + pixel];
                    for (int32_t half = 0; half < 32; half += 16) {
                        const int32_t at = (int16_t)(a >> half & 0xFFFFu);
                        sums[1] += (uint32_t)(at * (int16_t)(w >> half & 0xFFFFu));
                        sums[0] += (uint32_t)(at * (int8_t)(w >> half & 0xFFu));
                    }
                }
                sums[1] -= sums[0];
                sums[0] *= 256u;
                for (int32_t c = 0; c < 2; c++) {
                    const int32_t at = 2 * pair + c, sum = (int32_t)sums[c];
                    int8_t v = clamp != NULL ? mcuc_clamp(mcuc_requant_f32(sum, output[at]) + output[4], clamp[0], clamp[1])
                                             : mcuc_stage(sum, output + at * words, kinked, common);
                    if (joined != NULL) {
                        const int8_t *const residual = joined->residual + (job->out - start) + pixel * joined->apart;
                        v = mcuc_joined(v, residual[at], joined->first, joined->second, joined->offset, shift);
                    }
                    job->out[pixel * job->stride + at] = v;
                }
            }
        }
        weights = output + (clamp != NULL ? 5 : 4 * words);
    }
}

static inline void mcuc_pairs(const int32_t *acts, const int32_t *weights, mcuc_pairs_t *job, int32_t pixels,
                              int32_t kinked, int32_t common)
{
    mcuc_groups(acts, weights, job, NULL, pixels, kinked, 0, common, NULL);
}

static inline void mcuc_pairs_joined(const int32_t *acts, const int32_t *weights, mcuc_joined_t *job, int32_t pixels,
                                     int32_t kinked, int32_t shift, int32_t common)
{
    mcuc_groups(acts, weights, &job->pairs, job, pixels, kinked, shift, common, NULL);
}

/* The output by float32 products: kernels/_output.py, Product. */
static inline void mcuc_products(const int32_t *acts, const int32_t *weights, mcuc_pairs_t *job, const mcuc_joined_t *joined,
                                 int32_t pixels, int32_t shift, int32_t low, int32_t high)
{
    const int32_t clamp[2] = {low, high};
    mcuc_groups(acts, weights, job, joined, pixels, 0, shift, 0, clamp);
}

#endif
