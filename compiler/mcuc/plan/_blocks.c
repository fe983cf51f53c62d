/* SPDX-License-Identifier: 0BSD */
/* _blocks.py and _local.py as machine code, step for step; see there for what is computed and why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

enum { NO_MEMORY = -1, WALL_CHECK_ROUNDS = 64, HISTORY = 50, PATIENCE = 400 };
#define NOT_PLACED INT64_MIN
#define NEVER INT64_MAX

static int64_t align_down(int64_t value, int64_t align) {
    int64_t over = value % align;
    return value - (over < 0 ? over + align : over);
}

static int64_t align_up(int64_t value, int64_t align) { return align_down(value + align - 1, align); }

/* ---- clearances ---- */

typedef struct {
    int64_t low, high;
} Range;

static int by_low(const void *a, const void *b) {
    const Range *x = a, *y = b;
    if (x->low != y->low) return x->low < y->low ? -1 : 1;
    return x->high < y->high ? -1 : x->high > y->high;
}

/* Sorts open ranges and joins those that overlap; returns how many are left. */
static int64_t join(Range *ranges, int64_t n) {
    int64_t kept = 0;
    qsort(ranges, (size_t)n, sizeof *ranges, by_low);
    for (int64_t r = 0; r < n; r++) {
        if (kept && ranges[r].low < ranges[kept - 1].high) {
            if (ranges[r].high > ranges[kept - 1].high) ranges[kept - 1].high = ranges[r].high;
        } else {
            ranges[kept++] = ranges[r];
        }
    }
    return kept;
}

/* Do the blocks share a step, as far as their first and last ones tell? reach: the last one's end. */
static int meet(const int64_t *span_begin, const int64_t *spans, const int64_t *reach, int64_t i, int64_t j) {
    if (span_begin[i] == span_begin[i + 1] || span_begin[j] == span_begin[j + 1]) return 0;
    return spans[4 * span_begin[i]] < reach[j] && spans[4 * span_begin[j]] < reach[i];
}

/* spans: 4 numbers each (lower, upper, start, end); those of block i are span_begin[i] .. span_begin[i + 1), by rising
 * lower. pairs: 4 numbers each (i, j, low, high) with i < j, by i, j, low. Returns how many there are, which may be more
 * than the room for them. */
EXPORT int64_t mcuc_clearances(int64_t count, const int64_t *span_begin, const int64_t *spans, int64_t unit,
                               int64_t *pairs, int64_t room) {
    int64_t most = 1, found = 0;
    for (int64_t i = 0; i < count; i++) {
        if (span_begin[i + 1] - span_begin[i] > most) most = span_begin[i + 1] - span_begin[i];
    }
    Range *ranges = malloc((size_t)(most * most) * sizeof *ranges);
    int64_t *reach = malloc((size_t)(count + 1) * sizeof *reach);
    if (!ranges || !reach) {
        free(ranges);
        free(reach);
        return NO_MEMORY;
    }
    for (int64_t i = 0; i < count; i++) {
        reach[i] = INT64_MIN;
        for (int64_t a = span_begin[i]; a < span_begin[i + 1]; a++) {
            if (spans[4 * a + 1] > reach[i]) reach[i] = spans[4 * a + 1];
        }
    }
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = i + 1; j < count; j++) {
            int64_t n = 0;
            if (!meet(span_begin, spans, reach, i, j)) continue;
            for (int64_t a = span_begin[i]; a < span_begin[i + 1]; a++) {
                const int64_t *mine = spans + 4 * a;
                for (int64_t b = span_begin[j]; b < span_begin[j + 1]; b++) {
                    const int64_t *theirs = spans + 4 * b;
                    if (theirs[0] >= mine[1]) break;
                    if (mine[0] >= theirs[1]) continue;
                    Range r = {align_down(theirs[2] - mine[3], unit), align_up(theirs[3] - mine[2], unit)};
                    if (n && r.low < ranges[0].high && ranges[0].low < r.high) { /* most of a staircase is one */
                        if (r.low < ranges[0].low) ranges[0].low = r.low;
                        if (r.high > ranges[0].high) ranges[0].high = r.high;
                    } else {
                        ranges[n++] = r;
                    }
                }
            }
            n = join(ranges, n);
            for (int64_t r = 0; r < n; r++, found++) {
                if (found >= room) continue;
                pairs[4 * found] = i;
                pairs[4 * found + 1] = j;
                pairs[4 * found + 2] = ranges[r].low;
                pairs[4 * found + 3] = ranges[r].high;
            }
        }
    }
    free(ranges);
    free(reach);
    return found;
}

/* ---- local search ---- */

typedef struct {
    int64_t count;
    const int64_t *size, *align, *capped, *begin, *other, *low, *high;
    int64_t height; /* of all blocks when the capped ones are lowered, else NEVER */
} Blocks;

typedef struct {
    int64_t *order, *upward, *offset;
    int64_t excess;
} State;

static int64_t limit_of(const Blocks *b, int64_t i, int64_t target) {
    return b->height == NEVER || b->capped[i] ? target : b->height;
}

static int64_t lowest(const Blocks *b, int64_t i, const int64_t *offset) {
    int64_t at = 0;
    for (int moved = 1; moved;) {
        moved = 0;
        for (int64_t e = b->begin[i]; e < b->begin[i + 1]; e++) {
            int64_t base = offset[b->other[e]];
            if (base != NOT_PLACED && base + b->low[e] < at && at < base + b->high[e]) {
                at = align_up(base + b->high[e], b->align[i]);
                moved = 1;
            }
        }
    }
    return at;
}

/* The highest free offset at which the block ends within the limit, or NOT_PLACED. */
static int64_t highest(const Blocks *b, int64_t i, const int64_t *offset, int64_t limit) {
    int64_t at = align_down(limit - b->size[i], b->align[i]);
    for (int moved = 1; moved && at >= 0;) {
        moved = 0;
        for (int64_t e = b->begin[i]; e < b->begin[i + 1]; e++) {
            int64_t base = offset[b->other[e]];
            if (base != NOT_PLACED && base + b->low[e] < at && at < base + b->high[e]) {
                at = align_down(base + b->low[e], b->align[i]);
                moved = 1;
            }
        }
    }
    return at < 0 ? NOT_PLACED : at;
}

/* Places the blocks of the order from position `from` on; the earlier ones lie already. Stops once the excess is above
 * `enough_excess`: the state is then of no use. */
static void put(const Blocks *b, State *s, int64_t from, int64_t target, int64_t enough_excess) {
    s->excess = 0;
    for (int64_t p = 0; p < from; p++) {
        int64_t i = s->order[p], over = s->offset[i] + b->size[i] - limit_of(b, i, target);
        if (over > 0) s->excess += over;
    }
    for (int64_t p = from; p < b->count; p++) s->offset[s->order[p]] = NOT_PLACED;
    for (int64_t p = from; p < b->count && s->excess <= enough_excess; p++) {
        int64_t i = s->order[p], limit = limit_of(b, i, target);
        int64_t at = s->upward[i] ? highest(b, i, s->offset, limit) : NOT_PLACED;
        if (at == NOT_PLACED) at = lowest(b, i, s->offset);
        s->offset[i] = at;
        if (at + b->size[i] > limit) s->excess += at + b->size[i] - limit;
    }
}

/* What is to be lowered: the end of all blocks, or of the capped ones while all stay within the height. */
static int64_t measure(const Blocks *b, const int64_t *offset) {
    int64_t top = 0;
    for (int64_t i = 0; i < b->count; i++) {
        int64_t end = offset[i] + b->size[i];
        if (b->height != NEVER && end > b->height) return NEVER;
        if ((b->height == NEVER || b->capped[i]) && end > top) top = end;
    }
    return top;
}

static uint64_t next_random(uint64_t *state) { /* xorshift64, Marsaglia 2003 */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int64_t below(uint64_t *state, int64_t n) { return (int64_t)((next_random(state) >> 33) % (uint64_t)n); }

static void copy_state(State *to, const State *from, int64_t count) {
    size_t bytes = (size_t)count * sizeof(int64_t);
    memcpy(to->order, from->order, bytes);
    memcpy(to->upward, from->upward, bytes);
    memcpy(to->offset, from->offset, bytes);
    to->excess = from->excess;
}

static int64_t position_of(const State *s, int64_t i) {
    int64_t p = 0;
    while (s->order[p] != i) p++;
    return p;
}

static void move_to(State *s, int64_t from, int64_t to) {
    int64_t i = s->order[from];
    for (; from > to; from--) s->order[from] = s->order[from - 1];
    for (; from < to; from++) s->order[from] = s->order[from + 1];
    s->order[to] = i;
}

static int64_t next_target(int64_t best, int64_t step, int64_t enough) {
    return best == NEVER || best - step < enough ? enough : best - step;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* One random change, near a block that ends above its limit; returns the first position that it concerns. */
static int64_t change(const Blocks *b, State *s, int64_t target, uint64_t *random) {
    int64_t chosen = 0, seen = 0;
    for (int64_t i = 0; i < b->count; i++) {
        if (s->offset[i] + b->size[i] > limit_of(b, i, target)) {
            seen++;
            if (below(random, seen) == 0) chosen = i;
        }
    }
    int64_t p = position_of(s, chosen), entries = b->begin[chosen + 1] - b->begin[chosen];
    int64_t near = entries ? b->other[b->begin[chosen] + below(random, entries)] : chosen;
    int64_t q = position_of(s, near);
    switch (below(random, 6)) {
    case 0: { /* the block earlier */
        int64_t to = below(random, p + 1);
        move_to(s, p, to);
        return to;
    }
    case 1: /* in the neighbour's turn, and the neighbour in the block's */
        s->order[p] = near;
        s->order[q] = chosen;
        return smaller(p, q);
    case 2: /* the neighbour right after or before the block */
        move_to(s, q, p);
        return smaller(p, q);
    case 3:
        s->upward[chosen] = !s->upward[chosen];
        return p;
    case 4:
        s->upward[near] = !s->upward[near];
        return q;
    default: { /* any block to any turn */
        int64_t from = below(random, b->count), to = below(random, b->count);
        move_to(s, from, to);
        return smaller(from, to);
    }
    }
}

static int64_t *states(State *s, int64_t n, int64_t count) {
    int64_t *memory = malloc((size_t)(n * 3 * count + 1) * sizeof *memory);
    for (int64_t k = 0; memory && k < n; k++) {
        s[k].order = memory + 3 * count * k;
        s[k].upward = s[k].order + count;
        s[k].offset = s[k].upward + count;
        s[k].excess = NEVER;
    }
    return memory;
}

/* starts: for each the order, then the directions by block. best_offset: the best placement known, replaced by a better
 * one; *best: its measure, NEVER where there is none. Returns the rounds made, or NO_MEMORY. */
EXPORT int64_t mcuc_improve(int64_t count, const int64_t *size, const int64_t *align, const int64_t *capped,
                            const int64_t *begin, const int64_t *other, const int64_t *low, const int64_t *high,
                            int64_t height, int64_t enough, int64_t step, int64_t start_count, const int64_t *starts,
                            int64_t rounds, double seconds, int64_t *best_offset, int64_t *best) {
    const Blocks b = {count, size, align, capped, begin, other, low, high, height};
    clock_t started = clock();
    int64_t done = 0, history[HISTORY];
    uint64_t random = 88172645463325252u;
    State s[3];
    int64_t *memory = states(s, 3, count);
    int64_t *quality = malloc((size_t)(2 * start_count + 1) * sizeof *quality);
    if (!memory || !quality) {
        free(memory);
        free(quality);
        return NO_MEMORY;
    }
    int64_t *ranking = quality + start_count;
    State *current = s, *trial = s + 1;
    for (int64_t k = 0; k < start_count && *best > enough; k++) {
        memcpy(current->order, starts + 2 * count * k, (size_t)count * sizeof *starts);
        memcpy(current->upward, starts + 2 * count * k + count, (size_t)count * sizeof *starts);
        put(&b, current, 0, next_target(*best, step, enough), NEVER);
        quality[k] = current->excess;
        int64_t reached = measure(&b, current->offset);
        if (reached < *best) {
            *best = reached;
            memcpy(best_offset, current->offset, (size_t)count * sizeof *best_offset);
        }
        int64_t r = k; /* by quality, then index */
        for (; r > 0 && quality[ranking[r - 1]] > quality[k]; r--) ranking[r] = ranking[r - 1];
        ranking[r] = k;
    }
    for (int64_t restart = 0; done < rounds && *best > enough; restart++) {
        int64_t k = ranking[restart % start_count];
        int64_t target = next_target(*best, step, enough);
        memcpy(current->order, starts + 2 * count * k, (size_t)count * sizeof *starts);
        memcpy(current->upward, starts + 2 * count * k + count, (size_t)count * sizeof *starts);
        put(&b, current, 0, target, NEVER);
        int64_t lowest_excess = current->excess, idle = 0;
        for (int h = 0; h < HISTORY; h++) history[h] = current->excess;
        while (done < rounds && idle < PATIENCE) {
            if (current->excess == 0) {
                *best = measure(&b, current->offset);
                memcpy(best_offset, current->offset, (size_t)count * sizeof *best_offset);
                if (*best <= enough) break;
                target = next_target(*best, step, enough);
                put(&b, current, 0, target, NEVER);
                lowest_excess = current->excess;
                idle = 0;
                for (int h = 0; h < HISTORY; h++) history[h] = current->excess;
                continue;
            }
            if (++done % WALL_CHECK_ROUNDS == 0 && (double)(clock() - started) / CLOCKS_PER_SEC > seconds) {
                rounds = done;
            }
            int64_t *late = history + done % HISTORY; /* late acceptance: Burke and Bykov 2017 */
            int64_t allowed = *late > current->excess ? *late : current->excess;
            copy_state(trial, current, count);
            put(&b, trial, change(&b, trial, target, &random), target, allowed);
            if (trial->excess <= allowed) {
                State *kept = current;
                current = trial;
                trial = kept;
            }
            *late = current->excess;
            idle++;
            if (current->excess < lowest_excess) {
                lowest_excess = current->excess;
                idle = 0;
            }
        }
    }
    free(memory);
    free(quality);
    return done;
}
