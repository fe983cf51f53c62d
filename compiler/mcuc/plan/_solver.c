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
    int count, sections;
    const int32_t *first, *end;
    const int64_t *size, *align;
    const uint8_t *capped;
    int64_t height, capped_height;
    int two_limits;
    int64_t nodes, node_limit;
    double seconds;
    clock_t begin;
    int32_t *near_begin, *near; /* neighbours of i: near[near_begin[i] .. near_begin[i + 1]) */
    uint8_t *placed;
    int64_t *low, *load; /* by section, valid within one node */
    int64_t *result;
} Search;

static int64_t align_up(int64_t value, int64_t align) {
    int64_t over = value % align;
    return over ? value + align - over : value;
}

static int64_t smallest(int64_t a, int64_t b) { return a < b ? a : b; }

/* Do the lowest starts plus the open bytes of each section stay within the limit? */
static int fits_sections(const Search *s, const int32_t *todo, int n, const int64_t *least, int capped_only) {
    int64_t limit = capped_only ? s->capped_height : s->height;
    int32_t from = s->first[todo[0]], to = 0;
    for (int t = 0; t < n; t++) {
        if (s->end[todo[t]] > to) to = s->end[todo[t]];
    }
    for (int32_t k = from; k < to; k++) {
        s->low[k] = s->height + 1;
        s->load[k] = 0;
    }
    for (int t = 0; t < n; t++) {
        int32_t i = todo[t];
        if (capped_only && !s->capped[i]) continue;
        for (int32_t k = s->first[i]; k < s->end[i]; k++) {
            s->load[k] += s->size[i];
            if (least[i] < s->low[k]) s->low[k] = least[i];
        }
    }
    for (int32_t k = from; k < to; k++) {
        if (s->load[k] > 0 && s->low[k] + s->load[k] > limit) return 0;
    }
    return 1;
}

static int solve_groups(Search *s, const int32_t *todo, int n, const int64_t *lowest, int64_t level, int last);

/* Place all of todo (one group, by rising first section), offsets >= level. scratch: 2 * count + 2 * n entries. */
static int descend_with(Search *s, const int32_t *todo, int n, const int64_t *lowest, int64_t level, int last,
                        int64_t *scratch) {
    int64_t *least = scratch, *raised = scratch + s->count;
    int32_t *ready = (int32_t *)(void *)(raised + s->count), *rest = ready + n;
    int64_t ceiling = s->height + 1;
    int ready_count = 0;
    for (int t = 0; t < n; t++) {
        int32_t i = todo[t];
        int64_t start = lowest[i];
        ceiling = smallest(ceiling, start + s->size[i]);
        if (start > level || (start == level && i > last)) {
            ready[ready_count++] = i;
        } else {
            int64_t lift = 0;
            for (int32_t e = s->near_begin[i]; e < s->near_begin[i + 1]; e++) {
                int32_t j = s->near[e];
                if (!s->placed[j] && (lift == 0 || s->size[j] < lift)) lift = s->size[j];
            }
            if (lift == 0) return IMPOSSIBLE;
            start = align_up(level + lift, s->align[i]);
        }
        least[i] = start;
        if (start + s->size[i] > (s->capped[i] ? s->capped_height : s->height)) return IMPOSSIBLE;
    }
    if (!fits_sections(s, todo, n, least, 0)) return IMPOSSIBLE;
    if (s->two_limits && !fits_sections(s, todo, n, least, 1)) return IMPOSSIBLE;

    for (int r = 1; r < ready_count; r++) { /* insertion sort by lowest start, then index */
        int32_t i = ready[r];
        int at = r;
        while (at > 0 && (lowest[ready[at - 1]] > lowest[i] ||
                          (lowest[ready[at - 1]] == lowest[i] && ready[at - 1] > i))) {
            ready[at] = ready[at - 1];
            at--;
        }
        ready[at] = i;
    }
    for (int r = 0; r < ready_count && lowest[ready[r]] < ceiling; r++) {
        int32_t i = ready[r];
        int64_t top = lowest[i] + s->size[i];
        int left = 0;
        s->result[i] = lowest[i];
        for (int t = 0; t < n; t++) {
            if (todo[t] != i) rest[left++] = todo[t];
        }
        if (left == 0) {
            s->placed[i] = 1;
            return FITS;
        }
        for (int t = 0; t < left; t++) raised[rest[t]] = lowest[rest[t]];
        for (int32_t e = s->near_begin[i]; e < s->near_begin[i + 1]; e++) {
            int32_t j = s->near[e];
            int64_t lifted = align_up(top, s->align[j]);
            if (!s->placed[j] && lifted > raised[j]) raised[j] = lifted;
        }
        s->placed[i] = 1;
        int verdict = solve_groups(s, rest, left, raised, lowest[i], i);
        if (verdict != IMPOSSIBLE) return verdict;
        for (int t = 0; t < n; t++) s->placed[todo[t]] = 0;
    }
    return IMPOSSIBLE;
}

static int descend(Search *s, const int32_t *todo, int n, const int64_t *lowest, int64_t level, int last) {
    s->nodes++;
    if (s->nodes > s->node_limit) return UNDECIDED;
    if (s->nodes % WALL_CHECK_NODES == 0 && (double)(clock() - s->begin) / CLOCKS_PER_SEC > s->seconds) {
        return UNDECIDED;
    }
    int64_t *scratch = malloc(((size_t)s->count * 2 + (size_t)n * 2) * sizeof *scratch);
    if (!scratch) return NO_MEMORY;
    int verdict = descend_with(s, todo, n, lowest, level, last, scratch);
    free(scratch);
    return verdict;
}

/* Solve the groups of todo that share no section, earliest first. */
static int solve_groups(Search *s, const int32_t *todo, int n, const int64_t *lowest, int64_t level, int last) {
    int at = 0;
    while (at < n) {
        int stop = at;
        int32_t reach = s->end[todo[at]];
        while (stop < n && s->first[todo[stop]] < reach) {
            if (s->end[todo[stop]] > reach) reach = s->end[todo[stop]];
            stop++;
        }
        int verdict = descend(s, todo + at, stop - at, lowest, level, last);
        if (verdict != FITS) return verdict;
        at = stop;
    }
    return FITS;
}

static int prepare(Search *s, int32_t *todo) {
    int total = 0;
    for (int i = 0; i < s->count; i++) {
        for (int j = 0; j < s->count; j++) {
            total += j != i && s->first[j] < s->end[i] && s->first[i] < s->end[j];
        }
    }
    s->near = malloc(((size_t)total + 1) * sizeof *s->near);
    if (!s->near) return 0;
    total = 0;
    for (int i = 0; i < s->count; i++) {
        s->near_begin[i] = total;
        for (int j = 0; j < s->count; j++) {
            if (j != i && s->first[j] < s->end[i] && s->first[i] < s->end[j]) s->near[total++] = j;
        }
    }
    s->near_begin[s->count] = total;
    int filled = 0; /* todo: by rising first section, then index */
    for (int32_t k = 0; k < s->sections; k++) {
        for (int i = 0; i < s->count; i++) {
            if (s->first[i] == k) todo[filled++] = i;
        }
    }
    return 1;
}

/* Returns a verdict (enum above); offsets by index in result when it fits; the nodes used in *nodes. */
EXPORT int mcuc_decide(int32_t count, int32_t sections, const int32_t *first, const int32_t *end, const int64_t *size,
                       const int64_t *align, const uint8_t *capped, int64_t height, int64_t capped_height,
                       int64_t node_limit, double seconds, int64_t *result, int64_t *nodes) {
    Search s;
    int any_capped = 0, verdict = NO_MEMORY;
    memset(&s, 0, sizeof s);
    for (int i = 0; i < count; i++) any_capped |= capped[i];
    s.count = count;
    s.sections = sections;
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
    s.result = result;
    size_t n = (size_t)count;
    int32_t *todo = malloc((n + 1) * sizeof *todo);
    int64_t *lowest = calloc(n + 1, sizeof *lowest);
    s.near_begin = malloc((n + 1) * sizeof *s.near_begin);
    s.placed = calloc(n + 1, 1);
    s.low = malloc(((size_t)sections + 1) * sizeof *s.low);
    s.load = malloc(((size_t)sections + 1) * sizeof *s.load);
    if (todo && lowest && s.near_begin && s.placed && s.low && s.load && prepare(&s, todo)) {
        verdict = solve_groups(&s, todo, count, lowest, 0, -1);
    }
    *nodes = s.nodes;
    free(todo);
    free(lowest);
    free(s.near_begin);
    free(s.near);
    free(s.placed);
    free(s.low);
    free(s.load);
    return verdict;
}
