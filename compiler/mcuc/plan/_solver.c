/* SPDX-License-Identifier: 0BSD */
/* The search of _exact.py, node for node; see there for what is searched and why the pruning is sound. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

enum { IMPOSSIBLE = 0, FITS = 1, UNDECIDED = 2, NO_MEMORY = 3 };
enum { WALL_CHECK_NODES = 256 };

typedef struct {
    int64_t *where, value;
} Change;

typedef struct {
    int64_t spare;
    int32_t i;
} Candidate;

typedef struct {
    int32_t count, sections, width;
    const int32_t *first, *end;
    const int64_t *size, *align;
    const uint8_t *capped;
    int64_t height, capped_height;
    int two_limits, no_memory;
    int64_t nodes, node_limit;
    double seconds;
    clock_t begin;
    int32_t *near_begin, *near; /* neighbours of i: near[near_begin[i] .. near_begin[i + 1]) */
    int64_t *is_open, *base, *least, *rise;
    int64_t *floor, *raised, *load, *capped_load; /* by section */
    int32_t *cover_begin, *cover;                 /* buffers of section k: cover[cover_begin[k] .. cover_begin[k + 1]) */
    int64_t *marked;                              /* by section: the last narrowing that it was marked in */
    int32_t *stale;                               /* the sections marked in this one */
    int stale_count;
    Candidate *candidates;
    Change *trail;
    int64_t trail_length, trail_room;
} Search;

static int64_t align_up(int64_t value, int64_t align) {
    int64_t over = value % align;
    return over ? value + align - over : value;
}

static int64_t limit_of(const Search *s, int32_t i) { return s->capped[i] ? s->capped_height : s->height; }

static void set(Search *s, int64_t *where, int64_t value) {
    if (s->trail_length == s->trail_room) {
        int64_t room = s->trail_room ? 2 * s->trail_room : 4096;
        Change *more = realloc(s->trail, (size_t)room * sizeof *more);
        if (!more) {
            s->no_memory = 1;
            return;
        }
        s->trail = more;
        s->trail_room = room;
    }
    s->trail[s->trail_length].where = where;
    s->trail[s->trail_length++].value = *where;
    *where = value;
}

static void undo(Search *s, int64_t length) {
    while (s->trail_length > length) {
        const Change *c = &s->trail[--s->trail_length];
        *c->where = c->value;
    }
}

/* The section has changed: its lowest open buffer, its floor, and whether its open bytes still fit. */
static int narrow_section(Search *s, int32_t k) {
    int64_t lowest = s->height + 1, lowest_capped = s->height + 1;
    if (!s->load[k]) return 1;
    for (int32_t e = s->cover_begin[k]; e < s->cover_begin[k + 1]; e++) {
        int32_t i = s->cover[e];
        if (!s->is_open[i]) continue;
        if (s->least[i] < lowest) lowest = s->least[i];
        if (s->capped[i] && s->least[i] < lowest_capped) lowest_capped = s->least[i];
    }
    if (lowest > s->floor[k]) {
        s->raised[k] = lowest - s->floor[k];
        set(s, &s->floor[k], lowest);
    }
    if (s->floor[k] + s->load[k] > s->height) return 0;
    return !s->two_limits || !s->capped_load[k] || lowest_capped + s->capped_load[k] <= s->capped_height;
}

/* The sections of buffer i within the group's may have changed. */
static void mark(Search *s, int32_t i, int32_t start, int32_t stop) {
    for (int32_t k = s->first[i]; k < s->end[i]; k++) {
        if (k < start || k >= stop || s->marked[k] == s->nodes) continue;
        s->marked[k] = s->nodes;
        s->raised[k] = 0;
        s->stale[s->stale_count++] = k;
    }
}

/* A lifted buffer lies on one that is still open, or it would drop to its base. 0 when there is none such. */
static int supports(Search *s, const int32_t *todo, int n, int32_t start, int32_t stop) {
    int lifted = 0;
    for (int t = 0; t < n; t++) {
        int32_t i = todo[t];
        if (s->least[i] <= s->base[i]) continue;
        int64_t lowest_start = INT64_MAX, lowest_end = INT64_MAX;
        for (int32_t e = s->near_begin[i]; e < s->near_begin[i + 1]; e++) {
            int32_t j = s->near[e];
            if (!s->is_open[j]) continue;
            if (s->least[j] < lowest_start) lowest_start = s->least[j];
            if (s->least[j] + s->size[j] < lowest_end) lowest_end = s->least[j] + s->size[j];
        }
        if (lowest_start == INT64_MAX || lowest_start >= s->base[i] + s->size[i]) return 0;
        s->rise[i] = align_up(lowest_end, s->align[i]);
        lifted = 1;
    }
    for (int t = 0; lifted && t < n; t++) {
        int32_t i = todo[t];
        if (s->least[i] <= s->base[i] || s->rise[i] <= s->least[i]) continue;
        set(s, &s->least[i], s->rise[i]);
        mark(s, i, start, stop);
    }
    return 1;
}

/* After buffer i was put down or lifted, or -1: all of the group at the beginning. Only the sections that this concerns
 * are looked at; _exact.py looks at all of the group, to the same effect. */
static int narrow(Search *s, int32_t i, const int32_t *todo, int n) {
    s->nodes++;
    if (s->nodes > s->node_limit) return UNDECIDED;
    if (s->nodes % WALL_CHECK_NODES == 0 && (double)(clock() - s->begin) / CLOCKS_PER_SEC > s->seconds) {
        return UNDECIDED;
    }
    int32_t start = s->first[todo[0]], stop = start; /* todo is by rising first section */
    for (int t = 0; t < n; t++) {
        if (s->end[todo[t]] > stop) stop = s->end[todo[t]];
    }
    s->stale_count = 0;
    if (!supports(s, todo, n, start, stop)) return IMPOSSIBLE;
    if (i >= 0) mark(s, i, start, stop);
    for (int t = 0; t < n; t++) {
        int32_t j = todo[t];
        int on_it = i >= 0 && !s->is_open[i] && s->least[j] == align_up(s->least[i] + s->size[i], s->align[j]);
        if (i < 0 || on_it) mark(s, j, start, stop);
        if (s->least[j] + s->size[j] > limit_of(s, j)) return IMPOSSIBLE;
    }
    for (int c = 0; c < s->stale_count; c++) {
        if (!narrow_section(s, s->stale[c])) return IMPOSSIBLE;
    }
    return s->no_memory ? NO_MEMORY : FITS;
}

static void put(Search *s, int32_t i) {
    int64_t top = s->least[i] + s->size[i];
    set(s, &s->is_open[i], 0);
    for (int32_t k = s->first[i]; k < s->end[i]; k++) {
        set(s, &s->floor[k], top);
        set(s, &s->load[k], s->load[k] - s->size[i]);
        if (s->capped[i]) set(s, &s->capped_load[k], s->capped_load[k] - s->size[i]);
    }
    for (int32_t e = s->near_begin[i]; e < s->near_begin[i + 1]; e++) {
        int32_t j = s->near[e];
        if (!s->is_open[j] || s->base[j] >= top) continue;
        set(s, &s->base[j], align_up(top, s->align[j]));
        if (s->least[j] < s->base[j]) set(s, &s->least[j], s->base[j]);
    }
}

static int lift(Search *s, int32_t i) {
    int64_t at = INT64_MAX;
    for (int32_t e = s->near_begin[i]; e < s->near_begin[i + 1]; e++) {
        int32_t j = s->near[e];
        if (s->is_open[j] && s->least[j] + s->size[j] < at) at = s->least[j] + s->size[j];
    }
    if (at == INT64_MAX) return 0;
    set(s, &s->least[i], align_up(at, s->align[i]));
    return s->least[i] + s->size[i] <= limit_of(s, i);
}

/* By the last narrowing, which has marked all the sections that it concerned. */
static int64_t unusable(const Search *s) {
    int64_t total = 0;
    for (int c = 0; c < s->stale_count; c++) {
        int32_t k = s->stale[c];
        if (!s->load[k] || !s->raised[k]) continue;
        int64_t spare = s->height - s->floor[k] + s->raised[k] - s->load[k];
        int64_t ratio = s->raised[k] * 1024 / (spare + s->height / 1024 + 1);
        if (ratio > 1 << 20) ratio = 1 << 20;
        total += ratio * ratio;
    }
    return total;
}

static int by_spare(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    if (x->spare != y->spare) return x->spare < y->spare ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

static int list_candidates(Search *s, const int32_t *todo, int n) {
    int found = 0;
    int64_t level = INT64_MAX;
    for (int t = 0; t < n; t++) {
        if (s->least[todo[t]] < level) level = s->least[todo[t]];
    }
    for (int t = 0; t < n; t++) {
        int32_t i = todo[t];
        if (s->least[i] != level) continue;
        int64_t spare = INT64_MAX;
        for (int32_t k = s->first[i]; k < s->end[i]; k++) {
            int64_t here = s->height - s->floor[k] - s->load[k];
            if (here < spare) spare = here;
        }
        s->candidates[found].spare = spare;
        s->candidates[found++].i = i;
    }
    qsort(s->candidates, (size_t)found, sizeof *s->candidates, by_spare);
    return found < s->width ? found : s->width;
}

static int without(const int32_t *todo, int n, int32_t i, int32_t *rest) {
    int left = 0;
    for (int t = 0; t < n; t++) {
        if (todo[t] != i) rest[left++] = todo[t];
    }
    return left;
}

/* *chosen: the buffer to decide about. 1 in *lifted: one of them, which is the chosen, cannot lie at its least offset. */
static int choose(Search *s, const int32_t *todo, int n, int32_t *rest, int32_t *chosen, int *lifted) {
    int tried = list_candidates(s, todo, n);
    int64_t fewest = 0;
    *lifted = 0;
    *chosen = tried == 1 ? s->candidates[0].i : -1;
    for (int c = 0; tried > 1 && c < tried; c++) {
        int32_t i = s->candidates[c].i;
        int64_t length = s->trail_length;
        int left = without(todo, n, i, rest);
        put(s, i);
        int verdict = narrow(s, i, rest, left);
        int64_t lost = verdict == FITS ? unusable(s) : 0;
        undo(s, length);
        if (verdict == IMPOSSIBLE) {
            if (!lift(s, i)) set(s, &s->least[i], s->height + 1); /* nowhere */
            *chosen = i;
            *lifted = 1;
            return FITS;
        }
        if (verdict != FITS) return verdict;
        if (*chosen < 0 || lost < fewest) {
            *chosen = i;
            fewest = lost;
        }
    }
    return FITS;
}

static int solve_groups(Search *s, int32_t changed, const int32_t *todo, int n);

/* Put all of one group down, by rising first section. What was changed is left to the caller to undo. */
static int solve(Search *s, int32_t changed, const int32_t *todo, int n) {
    int32_t *rest = malloc((size_t)n * sizeof *rest);
    int verdict = rest ? FITS : NO_MEMORY;
    while (verdict == FITS && (verdict = narrow(s, changed, todo, n)) == FITS) {
        int lifted;
        verdict = choose(s, todo, n, rest, &changed, &lifted);
        if (verdict != FITS) break;
        if (lifted) continue;
        int64_t length = s->trail_length;
        put(s, changed);
        verdict = solve_groups(s, changed, rest, without(todo, n, changed, rest));
        if (verdict != IMPOSSIBLE) break;
        undo(s, length);
        verdict = lift(s, changed) ? FITS : IMPOSSIBLE;
    }
    free(rest);
    return verdict;
}

/* Solve the groups of todo that share no section, earliest first, after one buffer has changed. */
static int solve_groups(Search *s, int32_t changed, const int32_t *todo, int n) {
    int at = 0;
    while (at < n) {
        int stop = at;
        int32_t reach = s->end[todo[at]];
        while (stop < n && s->first[todo[stop]] < reach) {
            if (s->end[todo[stop]] > reach) reach = s->end[todo[stop]];
            stop++;
        }
        int verdict = solve(s, changed, todo + at, stop - at);
        if (verdict != FITS) return verdict;
        at = stop;
    }
    return FITS;
}

static int list_neighbours(Search *s) {
    int total = 0, covered = 0;
    for (int i = 0; i < s->count; i++) {
        for (int j = 0; j < s->count; j++) {
            total += j != i && s->first[j] < s->end[i] && s->first[i] < s->end[j];
        }
        covered += s->end[i] - s->first[i];
    }
    s->near = malloc(((size_t)total + 1) * sizeof *s->near);
    s->cover = malloc(((size_t)covered + 1) * sizeof *s->cover);
    if (!s->near || !s->cover) return 0;
    total = covered = 0;
    for (int i = 0; i < s->count; i++) {
        s->near_begin[i] = total;
        for (int j = 0; j < s->count; j++) {
            if (j != i && s->first[j] < s->end[i] && s->first[i] < s->end[j]) s->near[total++] = j;
        }
    }
    s->near_begin[s->count] = total;
    for (int32_t k = 0; k < s->sections; k++) {
        s->cover_begin[k] = covered;
        for (int32_t i = 0; i < s->count; i++) {
            if (s->first[i] <= k && k < s->end[i]) s->cover[covered++] = i;
        }
    }
    s->cover_begin[s->sections] = covered;
    return 1;
}

static void begin_state(Search *s, int32_t *todo) {
    int filled = 0; /* todo: by rising first section, then index */
    for (int32_t k = 0; k < s->sections; k++) {
        for (int32_t i = 0; i < s->count; i++) {
            if (s->first[i] == k) todo[filled++] = i;
        }
    }
    for (int32_t i = 0; i < s->count; i++) {
        s->is_open[i] = 1;
        for (int32_t k = s->first[i]; k < s->end[i]; k++) {
            s->load[k] += s->size[i];
            if (s->capped[i]) s->capped_load[k] += s->size[i];
        }
    }
}

/* Returns a verdict (enum above); offsets by index in result when it fits; the nodes used in *nodes. */
EXPORT int mcuc_decide(int32_t count, int32_t sections, const int32_t *first, const int32_t *end, const int64_t *size,
                       const int64_t *align, const uint8_t *capped, int64_t height, int64_t capped_height,
                       int32_t width, int64_t node_limit, double seconds, int64_t *result, int64_t *nodes) {
    Search s;
    int any_capped = 0, verdict = NO_MEMORY;
    size_t n = (size_t)count + 1, m = (size_t)sections + 1;
    memset(&s, 0, sizeof s);
    for (int i = 0; i < count; i++) any_capped |= capped[i];
    s.count = count;
    s.sections = sections;
    s.width = width;
    s.first = first;
    s.end = end;
    s.size = size;
    s.align = align;
    s.capped = capped;
    s.height = height;
    s.capped_height = capped_height;
    s.two_limits = capped_height < height && any_capped;
    s.node_limit = node_limit;
    s.seconds = seconds;
    s.begin = clock();
    int32_t *todo = malloc((2 * n + 2 * m) * sizeof *todo);
    int64_t *memory = calloc(4 * n + 5 * m, sizeof *memory);
    s.candidates = malloc(n * sizeof *s.candidates);
    if (todo && memory && s.candidates) {
        s.near_begin = todo + n;
        s.cover_begin = s.near_begin + n;
        s.stale = s.cover_begin + m;
        s.is_open = memory;
        s.base = memory + n;
        s.least = s.base + n;
        s.rise = s.least + n;
        s.floor = s.rise + n;
        s.raised = s.floor + m;
        s.load = s.raised + m;
        s.capped_load = s.load + m;
        s.marked = s.capped_load + m;
        if (list_neighbours(&s)) {
            begin_state(&s, todo);
            verdict = solve_groups(&s, -1, todo, count);
        }
        if (verdict == FITS) memcpy(result, s.least, (size_t)count * sizeof *result);
    }
    *nodes = verdict == UNDECIDED ? node_limit : s.nodes;
    free(todo);
    free(memory);
    free(s.near);
    free(s.cover);
    free(s.candidates);
    free(s.trail);
    return verdict;
}
