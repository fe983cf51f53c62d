/* SPDX-License-Identifier: 0BSD */
/* A real program in miniature: initialised and zeroed variables, weights in flash, an arena, arithmetic that every
   core has to do right. Returns 0 where the startup prepared all of it. */
#include "mcuc_semihost.h"

#include <stdint.h>

#define OPEN (*(volatile uint32_t *)0xE0001F00u)
#define CLOSE (*(volatile uint32_t *)0xE0001F04u)

__attribute__((section(".mcuc_weights.table"))) const int8_t program_weights[128] = {1, -2, 3, -4};
__attribute__((section(".mcuc_arena"))) int8_t program_arena[256];

static volatile int32_t initialised = -7;
static volatile int32_t zeroed[9];
static volatile float half = 0.5f;

int main(void)
{
    int32_t i, sum = 0;
    volatile int32_t divisor = 3;
    OPEN = 1u;
    for (i = 0; i < 128; i++) {
        program_arena[i] = (int8_t)(program_weights[i] * 2);
        sum += program_arena[i];
    }
    CLOSE = 0u;
    mcuc_semihost_write0("ready\n");
    if (initialised != -7 || zeroed[0] != 0 || zeroed[8] != 0) {
        return 1;
    }
    if (sum != -4 || initialised / divisor != -2) {
        return 2;
    }
    return half * 4.0f == 2.0f ? 0 : 3;
}
