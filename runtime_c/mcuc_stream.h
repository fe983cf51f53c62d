/* SPDX-License-Identifier: 0BSD */
/* Streams: tensors of which only some rows are kept, and of the row in work only some columns. */
#ifndef MCUC_STREAM_H
#define MCUC_STREAM_H

#include "mcuc_port.h"

/* rows: complete ones; x: columns written of the row in work; first: the first of them that is still in the window.
   Lives in the arena, whose declared type is bytes. */
typedef struct __attribute__((may_alias)) {
    int16_t rows, x, first, unused;
} mcuc_line_t;

/* How far a stream has come that is fed by rows from outside. */
typedef struct __attribute__((may_alias)) {
    uint32_t magic;
    int32_t pass, received;
} mcuc_feed_t;

/* Columns of row y that are there. */
static inline int32_t mcuc_columns(const mcuc_line_t *line, int32_t y, int32_t width)
{
    return y < line->rows ? width : line->x;
}

/* Output columns that can be computed from `available` columns of an input row. */
static inline int32_t mcuc_reachable(int32_t available, int32_t width, int32_t pad, int32_t taps, int32_t stride,
                                     int32_t out_width)
{
    const int32_t open = available + pad - taps;
    int32_t x = out_width;
    if (available < width) {
        x = open < 0 ? 0 : open / stride + 1;
    }
    return x < out_width ? x : out_width;
}

/* Input columns that a reader needs no more when it has computed x of its output columns. */
static inline int32_t mcuc_freed(int32_t x, int32_t out_width, int32_t pad, int32_t stride, int32_t width)
{
    const int32_t free = x * stride - pad;
    return x >= out_width || free > width ? width : free < 0 ? 0 : free;
}

static inline int32_t mcuc_least(int32_t a, int32_t b) { return a < b ? a : b; }

/* Row y of a line: in its slot when it is complete, else in the window, whose column 0 may lie before its first byte. */
static inline const int8_t *mcuc_line_row(const mcuc_line_t *line, int32_t y, int32_t height, const int8_t *slots,
                                          int32_t count, int32_t row_bytes, const int8_t *window, int32_t pixel_bytes)
{
    if (y < 0 || y >= height) {
        return NULL;
    }
    if (count > 0 && y < line->rows) {
        return slots + (y % count) * row_bytes;
    }
    return (const int8_t *)((uintptr_t)window - (uintptr_t)(line->first * pixel_bytes));
}

/* The same for a line that keeps a part of every row, `before` bytes behind the row's first. */
static inline const int8_t *mcuc_part_row(const mcuc_line_t *line, int32_t y, int32_t height, const int8_t *slots,
                                          int32_t count, int32_t row_bytes, const int8_t *window, int32_t pixel_bytes,
                                          int32_t before)
{
    const int8_t *const row = mcuc_line_row(line, y, height, slots, count, row_bytes, window, pixel_bytes);
    if (row == NULL || count == 0 || y >= line->rows) {
        return row;
    }
    return (const int8_t *)((uintptr_t)row - (uintptr_t)before);
}

/* Where a row begins of which only a part is kept, `bytes` behind its first. */
static inline int8_t *mcuc_before(int8_t *kept, int32_t bytes)
{
    return (int8_t *)((uintptr_t)kept - (uintptr_t)bytes);
}

/* Columns before `free` leave the window for the row's slot (NULL: they are needed no more). */
static inline void mcuc_retire(mcuc_line_t *line, int32_t free, int8_t *window, int8_t *slot, int32_t pixel_bytes)
{
    const int32_t leaving = free - line->first;
    if (leaving > 0) {
        if (slot != NULL) {
            mcuc_copy(slot + line->first * pixel_bytes, window, leaving * pixel_bytes);
        }
        mcuc_copy(window, window + leaving * pixel_bytes, (line->x - free) * pixel_bytes);
        line->first = (int16_t)free;
    }
}

/* The row in work is complete. */
static inline void mcuc_next_row(mcuc_line_t *line)
{
    line->rows = (int16_t)(line->rows + 1);
    line->x = 0;
    line->first = 0;
}

/* So many rows are complete; the next one begins at column x. */
static inline void mcuc_begin_row(mcuc_line_t *line, int32_t rows, int32_t x)
{
    line->rows = (int16_t)rows;
    line->x = (int16_t)x;
    line->first = (int16_t)x;
}

#endif
