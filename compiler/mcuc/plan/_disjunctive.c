/* SPDX-License-Identifier: 0BSD */
/* The search of _disjunctive.py, choice for choice; see there for what is searched and why it is complete. */
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
    int64_t i, j, first, end; /* the entries of the pair, at block i */
    int64_t at_least, at_most; /* of offset i - offset j */
} Pair;

typedef struct {
    int64_t *where, value;
} Change;

typedef struct {
    int64_t pair, low, high, above, trail_length;
    int second;
} Choice;

typedef struct {
    int64_t count, pair_count, revisions;
    const int64_t *align, *low, *high;
    Pair *pairs;
    int64_t *pairs_begin, *pairs_of;
    int64_t *least, *most;
    int64_t *queue, head, waiting;
    uint8_t *queued;
    Change *trail;
    int64_t trail_length, trail_room;
    Choice *choices;
    int64_t choice_count, choice_room;
    int no_memory;
} Search;

static int64_t align_down(int64_t value, int64_t align) {
    int64_t over = value % align;
    return value - (over < 0 ? over + align : over);
}

static int64_t align_up(int64_t value, int64_t align) { return align_down(value + align - 1, align); }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void *grown(void *memory, int64_t *room, size_t element) {
    *room = *room ? *room * 2 : 1024;
    return realloc(memory, (size_t)*room * element);
}

static void set(Search *s, int64_t *where, int64_t value) {
    if (s->trail_length == s->trail_room) {
        Change *more = grown(s->trail, &s->trail_room, sizeof *more);
        if (!more) {
            s->no_memory = 1;
            s->trail_room = s->trail_length;
            return;
        }
        s->trail = more;
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

static void enqueue(Search *s, int64_t i) {
    if (s->queued[i]) return;
    s->queued[i] = 1;
    s->queue[(s->head + s->waiting++) % s->count] = i;
}

static void raise_least(Search *s, int64_t i, int64_t offset) {
    offset = align_up(offset, s->align[i]);
    if (offset > s->least[i]) {
        set(s, &s->least[i], offset);
        enqueue(s, i);
    }
}

static void lower_most(Search *s, int64_t i, int64_t offset) {
    offset = align_down(offset, s->align[i]);
    if (offset < s->most[i]) {
        set(s, &s->most[i], offset);
        enqueue(s, i);
    }
}

static int revise(Search *s, Pair *p) {
    int64_t i = p->i, j = p->j;
    int64_t least = larger(p->at_least, s->least[i] - s->most[j]);
    int64_t most = smaller(p->at_most, s->most[i] - s->least[j]);
    for (int64_t e = p->first; e < p->end; e++) {
        if (s->low[e] < least && least < s->high[e]) least = s->high[e];
    }
    for (int64_t e = p->end; e-- > p->first;) {
        if (s->low[e] < most && most < s->high[e]) most = s->low[e];
    }
    if (least > most) return 0;
    if (least > p->at_least) set(s, &p->at_least, least);
    if (most < p->at_most) set(s, &p->at_most, most);
    raise_least(s, i, s->least[j] + least);
    lower_most(s, j, s->most[i] - least);
    lower_most(s, i, s->most[j] + most);
    raise_least(s, j, s->least[i] - most);
    return s->least[i] <= s->most[i] && s->least[j] <= s->most[j];
}

/* Until nothing changes. FITS: something is left of everything. */
static int narrow(Search *s) {
    int verdict = FITS;
    while (s->waiting && verdict == FITS) {
        int64_t i = s->queue[s->head];
        s->head = (s->head + 1) % s->count;
        s->waiting--;
        s->queued[i] = 0;
        for (int64_t e = s->pairs_begin[i]; e < s->pairs_begin[i + 1] && verdict == FITS; e++) {
            if (--s->revisions < 0) verdict = UNDECIDED;
            else if (!revise(s, &s->pairs[s->pairs_of[e]])) verdict = IMPOSSIBLE;
            if (s->no_memory) verdict = NO_MEMORY;
        }
    }
    while (s->waiting) {
        s->queued[s->queue[s->head]] = 0;
        s->head = (s->head + 1) % s->count;
        s->waiting--;
    }
    return verdict;
}

/* Of the pairs that collide at their least offsets, the one with the least room; 0 when none collides. */
static int collision(const Search *s, Choice *c) {
    int found = 0;
    int64_t tightest = 0;
    for (int64_t k = 0; k < s->pair_count; k++) {
        const Pair *p = &s->pairs[k];
        int64_t difference = s->least[p->i] - s->least[p->j];
        for (int64_t e = p->first; e < p->end; e++) {
            if (s->low[e] >= difference || difference >= s->high[e]) continue;
            int64_t above = s->most[p->i] - s->least[p->j] - s->high[e];
            int64_t beneath = s->low[e] - (s->least[p->i] - s->most[p->j]);
            if (found && above + beneath >= tightest) continue;
            found = 1;
            tightest = above + beneath;
            c->pair = k;
            c->low = s->low[e];
            c->high = s->high[e];
            c->above = above > beneath;
        }
    }
    return found;
}

static int choose(Search *s, const Choice *c, int64_t above) {
    Pair *p = &s->pairs[c->pair];
    if (above) set(s, &p->at_least, larger(c->high, p->at_least));
    else set(s, &p->at_most, smaller(c->low, p->at_most));
    enqueue(s, p->i);
    return narrow(s);
}

static int search(Search *s, double seconds) {
    clock_t begin = clock();
    for (int64_t i = 0; i < s->count; i++) enqueue(s, i);
    int verdict = narrow(s);
    for (int64_t nodes = 1;; nodes++) {
        if (verdict == UNDECIDED || verdict == NO_MEMORY) return verdict;
        if (nodes % WALL_CHECK_NODES == 0 && (double)(clock() - begin) / CLOCKS_PER_SEC > seconds) return UNDECIDED;
        Choice *c;
        if (verdict == FITS) {
            if (s->choice_count == s->choice_room) {
                Choice *more = grown(s->choices, &s->choice_room, sizeof *more);
                if (!more) return NO_MEMORY;
                s->choices = more;
            }
            c = &s->choices[s->choice_count];
            if (!collision(s, c)) return FITS;
            s->choice_count++;
            c->second = 0;
            c->trail_length = s->trail_length;
            verdict = choose(s, c, c->above);
        } else {
            while (s->choice_count && s->choices[s->choice_count - 1].second) s->choice_count--;
            if (!s->choice_count) return IMPOSSIBLE;
            c = &s->choices[s->choice_count - 1];
            c->second = 1;
            undo(s, c->trail_length);
            verdict = choose(s, c, !c->above);
        }
    }
}

/* The pairs of blocks that have clearances, once each. */
static int collect(Search *s, const int64_t *begin, const int64_t *other, int64_t height) {
    s->pairs = malloc((size_t)(begin[s->count] + 1) * sizeof *s->pairs);
    s->pairs_of = malloc((size_t)(begin[s->count] + 1) * sizeof *s->pairs_of);
    if (!s->pairs || !s->pairs_of) return 0;
    int64_t *fill = s->queue; /* free until the search begins */
    memset(s->pairs_begin, 0, (size_t)(s->count + 1) * sizeof *s->pairs_begin);
    for (int64_t i = 0; i < s->count; i++) {
        for (int64_t e = begin[i]; e < begin[i + 1]; e++) {
            if (other[e] < i) continue;
            if (e == begin[i] || other[e - 1] != other[e]) {
                Pair p = {i, other[e], e, e + 1, -height, height};
                s->pairs_begin[i + 1]++;
                s->pairs_begin[other[e] + 1]++;
                s->pairs[s->pair_count++] = p;
            }
            s->pairs[s->pair_count - 1].end = e + 1;
        }
    }
    for (int64_t i = 0; i < s->count; i++) {
        s->pairs_begin[i + 1] += s->pairs_begin[i];
        fill[i] = s->pairs_begin[i];
    }
    for (int64_t k = 0; k < s->pair_count; k++) {
        s->pairs_of[fill[s->pairs[k].i]++] = k;
        s->pairs_of[fill[s->pairs[k].j]++] = k;
    }
    return 1;
}

/* Returns a verdict (enum above); offsets by index in result when it fits; the revisions made in *used. */
EXPORT int64_t mcuc_disjunctive(int64_t count, const int64_t *size, const int64_t *align, const int64_t *capped,
                                const int64_t *begin, const int64_t *other, const int64_t *low, const int64_t *high,
                                int64_t height, int64_t capped_height, int64_t revisions, double seconds,
                                int64_t *result, int64_t *used) {
    Search s;
    int verdict = NO_MEMORY;
    size_t n = (size_t)count;
    memset(&s, 0, sizeof s);
    s.count = count;
    s.revisions = revisions;
    s.align = align;
    s.low = low;
    s.high = high;
    s.least = result;
    s.most = malloc((n + 1) * sizeof *s.most);
    s.queue = malloc((n + 1) * sizeof *s.queue);
    s.queued = calloc(n + 1, 1);
    s.pairs_begin = malloc((n + 1) * sizeof *s.pairs_begin);
    if (s.most && s.queue && s.queued && s.pairs_begin && collect(&s, begin, other, height)) {
        int inside = 1;
        for (int64_t i = 0; i < count; i++) {
            s.least[i] = 0;
            s.most[i] = align_down((capped[i] ? capped_height : height) - size[i], align[i]);
            inside &= s.most[i] >= 0;
        }
        verdict = inside ? search(&s, seconds) : IMPOSSIBLE;
    }
    *used = verdict == UNDECIDED ? revisions : revisions - s.revisions;
    free(s.most);
    free(s.queue);
    free(s.queued);
    free(s.pairs_begin);
    free(s.pairs);
    free(s.pairs_of);
    free(s.trail);
    free(s.choices);
    return verdict;
}
