/* SPDX-License-Identifier: 0BSD */
/* Block and memory hooks of the emulator, called by Unicorn for every translated block that runs.

   A block is counted under the key (address, size, region). The region is the layer that runs; it changes when a block
   starts at a layer's entry. Two bits of the region say that the code runs outside the counted part, or with the FPU
   off. */
#include <stdint.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define OUTSIDE 0x40000000u
#define FILTER 1024u

typedef struct {
    uint32_t address, size, region; /* size 0 marks a free slot */
    uint32_t next;                  /* slot of the last successor: most blocks have one or two */
    uint64_t count;
    uint64_t fell; /* how often the next block was the one that follows in memory */
} block_t;

typedef struct {
    block_t *table;
    uint32_t bits, used, last;  /* last: slot of the block that runs, or NONE */
    uint32_t address, size;     /* of the block that runs */
    uint32_t layer, flags;      /* current region = layer | flags */
    uint32_t failed;            /* out of memory: counts are incomplete */
    uint32_t layers;
    uint32_t *entry, *entry_layer; /* entry addresses, ascending, and their layers */
    uint8_t filter[FILTER];        /* nonzero where an entry address may be */
} counter_t;

void mcuc_counter_free(counter_t *c)
{
    if (c != NULL) {
        free(c->table);
        free(c->entry);
        free(c->entry_layer);
        free(c);
    }
}

counter_t *mcuc_counter_new(const uint32_t *entry, const uint32_t *entry_layer, uint32_t layers)
{
    counter_t *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->bits = 12;
    c->layers = layers;
    c->table = calloc((size_t)1 << c->bits, sizeof *c->table);
    c->entry = calloc((size_t)layers + 1u, sizeof *c->entry);
    c->entry_layer = calloc((size_t)layers + 1u, sizeof *c->entry_layer);
    if (c->table == NULL || c->entry == NULL || c->entry_layer == NULL) {
        mcuc_counter_free(c);
        return NULL;
    }
    for (uint32_t i = 0; i < layers; i++) {
        c->entry[i] = entry[i];
        c->entry_layer[i] = entry_layer[i];
        c->filter[(entry[i] >> 1) % FILTER] = 1;
    }
    return c;
}

void mcuc_counter_reset(counter_t *c, uint32_t flags)
{
    for (uint32_t i = 0; i < (1u << c->bits); i++)
        c->table[i].size = 0;
    c->used = c->address = c->size = c->layer = c->failed = 0;
    c->last = NONE;
    c->flags = flags;
}

static uint32_t find(const counter_t *c, uint32_t address, uint32_t size, uint32_t region)
{
    uint32_t mask = (1u << c->bits) - 1u;
    uint32_t k = ((address ^ (size << 20) ^ (region * 0x85EBCA6Bu)) * 0x9E3779B1u) >> (32u - c->bits);
    while (c->table[k].size != 0u &&
           (c->table[k].address != address || c->table[k].size != size || c->table[k].region != region))
        k = (k + 1u) & mask;
    return k;
}

static int grow(counter_t *c)
{
    block_t *old = c->table, *fresh = calloc((size_t)2 << c->bits, sizeof *fresh);
    uint32_t slots = 1u << c->bits, last = c->last;
    if (fresh == NULL)
        return 0;
    c->table = fresh;
    c->bits++;
    for (uint32_t i = 0; i < slots; i++)
        if (old[i].size != 0u) {
            uint32_t k = find(c, old[i].address, old[i].size, old[i].region);
            fresh[k] = old[i];
            fresh[k].next = k;
            if (i == last)
                c->last = k;
        }
    free(old);
    return 1;
}

/* The slot of a block, made when it is new; NONE when memory ran out. */
static uint32_t slot(counter_t *c, uint32_t address, uint32_t size, uint32_t region)
{
    uint32_t k = find(c, address, size, region);
    if (c->table[k].size != 0u)
        return k;
    if (c->used >= (1u << c->bits) / 4u * 3u) {
        if (!grow(c)) {
            c->failed = 1;
            return NONE;
        }
        k = find(c, address, size, region);
    }
    c->table[k].address = address;
    c->table[k].size = size;
    c->table[k].region = region;
    c->table[k].next = k;
    c->table[k].count = c->table[k].fell = 0;
    c->used++;
    return k;
}

static void enter(counter_t *c, uint32_t address)
{
    uint32_t low = 0, high = c->layers;
    while (low < high) {
        uint32_t middle = (low + high) / 2u;
        if (c->entry[middle] < address)
            low = middle + 1u;
        else
            high = middle;
    }
    if (low < c->layers && c->entry[low] == address)
        c->layer = c->entry_layer[low];
}

void mcuc_block(void *uc, uint64_t where, uint32_t size, void *user)
{
    counter_t *c = user;
    uint32_t address = (uint32_t)where, region, k = 0;
    (void)uc;
    c->address = address;
    c->size = size;
    if (c->filter[(address >> 1) % FILTER] != 0u && (c->flags & OUTSIDE) == 0u)
        enter(c, address);
    region = c->layer | c->flags;
    if (c->last != NONE) {
        block_t *last = &c->table[c->last];
        if (last->address + last->size == address)
            last->fell++;
        k = last->next;
    }
    if (c->table[k].address != address || c->table[k].size != size || c->table[k].region != region) {
        k = slot(c, address, size, region);
        if (k == NONE)
            return;
        if (c->last != NONE)
            c->table[c->last].next = k;
    }
    c->table[k].count++;
    c->last = k;
}

/* Count a part of a block once, in the current region; it becomes the block that runs. */
static void part(counter_t *c, uint32_t begin, uint32_t end)
{
    c->last = NONE;
    if (end > begin && (c->last = slot(c, begin, end - begin, c->layer | c->flags)) != NONE)
        c->table[c->last].count++;
}

/* The block that runs was counted whole, from `begin` (see part): count just what lies before pc. */
static void cut(counter_t *c, uint32_t pc)
{
    uint32_t begin;
    if (c->last == NONE)
        return;
    begin = c->table[c->last].address;
    c->table[c->last].count--;
    part(c, begin, pc);
    if (c->last != NONE)
        c->table[c->last].fell++;
}

/* Start counting behind the instruction that ends at `after` in the block that runs. */
void mcuc_counter_open(counter_t *c, uint32_t after)
{
    cut(c, after);
    c->flags &= ~OUTSIDE;
    c->layer = 0;
    part(c, after, c->address + c->size);
}

/* Stop counting before the instruction at pc in the block that runs. */
void mcuc_counter_close(counter_t *c, uint32_t pc)
{
    cut(c, pc);
    c->flags |= OUTSIDE;
    part(c, pc, c->address + c->size);
}

void mcuc_counter_flag(counter_t *c, uint32_t bit, uint32_t on)
{
    c->flags = on != 0u ? c->flags | bit : c->flags & ~bit;
}

/* out: address, size, layer, flags, used slots, failed */
void mcuc_counter_state(const counter_t *c, uint32_t out[6])
{
    out[0] = c->address;
    out[1] = c->size;
    out[2] = c->layer;
    out[3] = c->flags;
    out[4] = c->used;
    out[5] = c->failed;
}

/* Copies the used slots to out; returns how many. */
uint32_t mcuc_counter_read(const counter_t *c, block_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < (1u << c->bits); i++)
        if (c->table[i].size != 0u)
            out[n++] = c->table[i];
    return n;
}

/* Alignment, judged by code hooks. A memory hook will not do: Unicorn 2.1.4 writes the guest state back before it, which
   costs microseconds, and inside an IT block leaves the IT bits set in it, so that a later block may start as
   conditional. */
typedef struct {
    int (*read)(void *, int, void *); /* uc_reg_read */
    int base, index;                  /* Unicorn's numbers of the registers whose sum is the address; index 0: none */
    uint32_t mask;                    /* bits of the address that must be clear */
    uint32_t first;                   /* the first address that was not, but for the instruction's offset */
    uint64_t seen, count;             /* executions, and those with an unaligned address */
} site_t;

/* At one instruction. */
void mcuc_site(void *uc, uint64_t address, uint32_t size, void *user)
{
    site_t *s = user;
    uint32_t value = 0, more = 0;
    (void)address;
    (void)size;
    s->seen++;
    s->read(uc, s->base, &value);
    if (s->index != 0)
        s->read(uc, s->index, &more);
    value += more;
    if ((value & s->mask) != 0u && s->count++ == 0u)
        s->first = value;
}

typedef struct {
    uint64_t start;
    site_t *const *site; /* by halfword from start; NULL where nothing is to be judged */
} code_t;

/* At every instruction of a stretch of code. */
void mcuc_sites(void *uc, uint64_t address, uint32_t size, void *user)
{
    const code_t *c = user;
    site_t *s = c->site[(address - c->start) / 2u];
    if (s != NULL)
        mcuc_site(uc, address, size, s);
}
