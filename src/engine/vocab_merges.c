/* vocab_merges.c - merge rules as a file lists them, or as SentencePiece has them: any two pieces
 * whose joined text is a piece too, the best score first.
 *
 * A rule that makes or takes a special token is left out: the tokenizer finds special tokens by
 * their spelling before it merges anything, and plain text must never become one. */
#include "engine/vocab_merges.h"

#include <stdlib.h>

#include "base/random.h"
#include "base/utf8.h"

/* Bytes to look at for all ways to split all pieces; a vocabulary of 256 k takes 1/20 of it. */
#define SPLIT_WORK_MAX ((uint64_t)1 << 30)
enum { TABLE_MIN = 16 };

struct merge {
    int32_t left, right;        /* left < 0: an empty slot */
    uint32_t rank;
    int32_t merged;
};

static struct merge *slot_of(const struct merges *merges, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ merges->key;

    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    size_t slot = (h ^ h >> 32) & merges->mask;
    while (merges->table[slot].left >= 0 &&
           (merges->table[slot].left != left || merges->table[slot].right != right))
        slot = (slot + 1) & merges->mask;
    return &merges->table[slot];
}

static void table_init(struct merges *merges, struct arena *arena, size_t n)
{
    size_t size = TABLE_MIN;

    while (size < n * 2)
        size *= 2;
    merges->table = arena_array(arena, size, sizeof *merges->table);
    merges->mask = size - 1;
    merges->key = random_u64();
    for (size_t i = 0; i < size; i++)
        merges->table[i].left = -1;
}

/* Of two rules for a pair the first one counts. */
static void put(struct merges *merges, struct merge merge)
{
    struct merge *slot = slot_of(merges, merge.left, merge.right);

    if (slot->left < 0)
        *slot = merge;
}

static bool read_rule(struct merges *merges, const struct vocab *vocab,
                      const struct vocab_source *source, size_t rank, struct err *err)
{
    char joined[2 * VOCAB_TOKEN_BYTES_MAX];
    const struct str rule = source->merges[rank];
    const char *space = rule.n > 1 ? memchr(rule.s + 1, ' ', rule.n - 1) : NULL;
    size_t cut = space ? (size_t)(space - rule.s) : 0;

    if (source->merge_lefts)
        cut = source->merge_lefts[rank];
    if (cut == 0 || cut >= rule.n || rule.n > sizeof joined)
        return err_set(err, ERR_FORMAT, "merge %zu is not two tokens with a space between", rank);
    const struct str left = {rule.s, cut}, right = {rule.s + cut + 1, rule.n - cut - 1};
    memcpy(joined, left.s, left.n);
    memcpy(joined + left.n, right.s, right.n);
    const struct merge merge = {
        .left = vocab_find(vocab, left), .right = vocab_find(vocab, right), .rank = (uint32_t)rank,
        .merged = vocab_find(vocab, (struct str){joined, left.n + right.n}),
    };
    if (merge.left < 0 || merge.right < 0 || merge.merged < 0)
        return err_set(err, ERR_FORMAT, "merge %zu names no token: \"%.*s\"", rank,
                       STR_ARG(utf8_cut(rule, 80)));
    if (vocab_is_piece(vocab, merge.left) && vocab_is_piece(vocab, merge.right) &&
        vocab_is_piece(vocab, merge.merged))
        put(merges, merge);
    return true;
}

/* All ways to make a piece of two. */
static bool split_piece(const struct vocab *vocab, int32_t id, uint32_t rank, struct buf *found,
                        struct err *err)
{
    const struct str text = vocab_spelling(vocab, id);

    for (size_t cut = 1; cut < text.n; cut++) {
        if (((uint8_t)text.s[cut] & 0xc0) == 0x80)
            continue;
        const struct merge merge = {
            .left = vocab_find(vocab, (struct str){text.s, cut}),
            .right = vocab_find(vocab, (struct str){text.s + cut, text.n - cut}),
            .rank = rank, .merged = id,
        };
        if (merge.left < 0 || merge.right < 0 || !vocab_is_piece(vocab, merge.left) ||
            !vocab_is_piece(vocab, merge.right))
            continue;
        if (found->n / sizeof merge == VOCAB_MERGES_MAX)
            return err_set(err, ERR_FORMAT, "the vocabulary's pieces have more than %d ways to "
                           "merge", VOCAB_MERGES_MAX);
        if (!buf_append(found, &merge, sizeof merge))
            return err_set(err, ERR_INTERNAL, "out of memory");
    }
    return true;
}

struct scored {
    double score;
    int32_t id;
};

static int compare_scores(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : (x->id > y->id) - (x->id < y->id);
}

/* Pieces with one score have one rank: then the leftmost place goes first. */
static bool read_scores(struct merges *merges, const struct vocab *vocab, struct arena *arena,
                        const struct vocab_source *source, struct err *err)
{
    struct scored *order = malloc((source->tokens_n + 1) * sizeof *order);
    struct buf found = {0};
    uint32_t rank = 0;
    uint64_t work = 0;
    size_t n = 0;
    bool ok = order || err_set(err, ERR_INTERNAL, "out of memory");

    for (size_t id = 0; ok && id < source->tokens_n; id++)
        if (vocab_is_piece(vocab, (int32_t)id))
            order[n++] = (struct scored){source->scores[id], (int32_t)id};
    if (ok && n)
        qsort(order, n, sizeof *order, compare_scores);
    for (size_t i = 0; ok && i < n; i++) {
        const uint64_t bytes = vocab_spelling(vocab, order[i].id).n;
        rank += i && order[i].score < order[i - 1].score;
        work += bytes * bytes;
        ok = work <= SPLIT_WORK_MAX
                 ? split_piece(vocab, order[i].id, rank, &found, err)
                 : err_set(err, ERR_FORMAT, "the vocabulary's pieces are too long to find how they "
                           "merge");
    }
    const struct merge *list = (const struct merge *)(const void *)found.data;
    table_init(merges, arena, found.n / sizeof *list);
    for (size_t i = 0; ok && i < found.n / sizeof *list; i++)
        put(merges, list[i]);
    buf_release(&found);
    free(order);
    return ok;
}

bool merges_read(struct merges *merges, const struct vocab *vocab, struct arena *arena,
                 const struct vocab_source *source, struct err *err)
{
    if (source->scores && source->merges_n == 0)
        return read_scores(merges, vocab, arena, source, err);
    table_init(merges, arena, source->merges_n);
    for (size_t rank = 0; rank < source->merges_n; rank++)
        if (!read_rule(merges, vocab, source, rank, err))
            return false;
    return true;
}

bool merges_find(const struct merges *merges, int32_t left, int32_t right, uint32_t *rank,
                 int32_t *merged)
{
    const struct merge *merge = slot_of(merges, left, right);

    if (merge->left < 0)
        return false;
    *rank = merge->rank;
    *merged = merge->merged;
    return true;
}
