/* SPDX-License-Identifier: 0BSD */
/* What the generated table of clock steps and the startup share. */
#ifndef MCUC_STARTUP_H
#define MCUC_STARTUP_H

#include <stdint.h>

#define MCUC_CLOCK_END 0u    /* last row */
#define MCUC_CLOCK_WRITE 1u  /* register = value */
#define MCUC_CLOCK_MODIFY 2u /* register = (register & ~mask) | value */
#define MCUC_CLOCK_WAIT 3u   /* until (register & mask) == value, a bounded number of reads */
#define MCUC_CLOCK_DELAY 4u  /* value rounds of an empty loop */

typedef struct {
    uint32_t operation;
    uint32_t address;
    uint32_t mask;
    uint32_t value;
} mcuc_clock_step_t;

extern const mcuc_clock_step_t mcuc_clock_steps[]; /* ends in a row MCUC_CLOCK_END */

#endif
