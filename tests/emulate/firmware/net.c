/* SPDX-License-Identifier: 0BSD */
/* A small network: three layers, a helper that two of them share, loops, branches, tables, conditional code. */
#include <stdint.h>

#define LAYER __attribute__((noinline))
#define OPEN (*(volatile uint32_t *)0xE0001F00u)
#define CLOSE (*(volatile uint32_t *)0xE0001F04u)

__attribute__((section(".noinit"))) int8_t input[64];
__attribute__((section(".noinit"))) int8_t output[64];
static int32_t accumulators[64];
static const int8_t weights[64 * 8] = {3, -5, 7, 11, -13, 17, 19, -23, 29, 31, -37, 41, 43, -47, 53, 59, 61, -67, 71, 73};
static int32_t scale = 77;

static __attribute__((noinline)) int32_t clamp(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}

LAYER void layer_dense(const int8_t *in, int32_t *out)
{
    for (int o = 0; o < 64; o++) {
        int32_t sum = o;
        for (int i = 0; i < 64; i++)
            sum += in[i] * weights[(o * 8 + i) & 511];
        out[o] = sum;
    }
}

LAYER void layer_requantize(const int32_t *in, int8_t *out)
{
    for (int i = 0; i < 64; i++) {
        int64_t p = (int64_t)in[i] * scale;
        int32_t q = (int32_t)(p >> 16);
        if (in[i] & 1)
            q += i % 7;
        if (q > 40)
            q -= 3;
        out[i] = (int8_t)clamp(q, -128, 127);
    }
}

LAYER int layer_argmax(int8_t *out)
{
    volatile int8_t copy[96];
    int best = 0;
    float total = 0.5f;
    for (int i = 0; i < 64; i++) {
        copy[i] = out[i];
        if (copy[i] > copy[best])
            best = i;
        switch (out[i] & 7) {
        case 0: out[i] ^= 1; break;
        case 1: out[i] |= 2; break;
        case 2: total += (float)out[i]; break;
        case 3: out[i] = (int8_t)clamp(out[i], -5, 5); break;
        case 5: out[i] = (int8_t)(out[i] / 3); break;
        default: break;
        }
    }
    out[0] = (int8_t)total;
    return best;
}

__attribute__((noinline)) int net_run(const int8_t *in, int8_t *out)
{
    layer_dense(in, accumulators);
    layer_requantize(accumulators, out);
    return layer_argmax(out);
}

int main(void)
{
    OPEN = 1;
    int best = net_run(input, output);
    CLOSE = 1;
    return best;
}

/* compiler support for cores without division or floating point */
void __aeabi_memset(uint8_t *p, uint32_t n, int c);
void __aeabi_memset(uint8_t *p, uint32_t n, int c)
{
    for (volatile uint8_t *q = p; n != 0u; n--)
        *q++ = (uint8_t)c;
}
