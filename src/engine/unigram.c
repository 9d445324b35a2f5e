/* unigram.c - Viterbi over a trie of the pieces: the best score of all ways to reach each byte, a
 * character that no piece begins with costing more than the worst piece.
 *
 * Kudo, "Subword Regularization" (2018). The penalty, and that of two equal ways the first one
 * found counts, are as in Hugging Face's `tokenizers`. */
#include "engine/unigram.h"

#include "base/utf8.h"

#define UNKNOWN_PENALTY 10.0
enum { TABLE_MIN = 256 };

/* A trie's edges in one hash table: (node, byte) -> node. */
struct edge {
    uint32_t key_node;
    uint32_t node;              /* 0: an empty slot, for no edge leads to the root */
    uint8_t byte;
};

struct unigram {
    struct edge *edges;
    size_t mask;
    int32_t *ids;               /* [node]: the piece that ends there, -1: none */
    uint32_t nodes;
    double *scores;             /* [id] */
    double unknown;
};

static struct edge *edge_slot(const struct unigram *unigram, uint32_t node, uint8_t byte)
{
    uint64_t h = ((uint64_t)node << 8 | byte) * 0x9e3779b97f4a7c15u;
    size_t slot = (h ^ h >> 32) & unigram->mask;

    while (unigram->edges[slot].node &&
           (unigram->edges[slot].key_node != node || unigram->edges[slot].byte != byte))
        slot = (slot + 1) & unigram->mask;
    return &unigram->edges[slot];
}

static void insert(struct unigram *unigram, struct str text, int32_t id)
{
    uint32_t node = 0;

    for (size_t i = 0; i < text.n; i++) {
        struct edge *edge = edge_slot(unigram, node, (uint8_t)text.s[i]);
        if (!edge->node) {
            *edge = (struct edge){node, unigram->nodes, (uint8_t)text.s[i]};
            unigram->ids[unigram->nodes++] = -1;
        }
        node = edge->node;
    }
    unigram->ids[node] = id;
}

struct unigram *unigram_new(struct arena *arena, const struct vocab *vocab, const double *scores,
                            struct err *err)
{
    struct unigram *unigram = arena_alloc(arena, sizeof *unigram);
    const size_t n = vocab_size(vocab);
    size_t bytes = 0, size = TABLE_MIN;

    for (size_t id = 0; id < n; id++)
        bytes += vocab_is_piece(vocab, (int32_t)id) ? vocab_spelling(vocab, (int32_t)id).n : 0;
    if (bytes > UNIGRAM_BYTES_MAX) {
        err_set(err, ERR_FORMAT, "the vocabulary's pieces have %zu bytes together; at most %d are "
                "allowed", bytes, UNIGRAM_BYTES_MAX);
        return NULL;
    }
    while (size < bytes * 2)
        size *= 2;
    unigram->edges = arena_array(arena, size, sizeof *unigram->edges);
    unigram->mask = size - 1;
    unigram->ids = arena_array(arena, bytes + 1, sizeof *unigram->ids);
    unigram->scores = arena_array(arena, n, sizeof *unigram->scores);
    unigram->nodes = 1;
    unigram->ids[0] = -1;
    unigram->unknown = scores[0];
    for (size_t id = 0; id < n; id++) {
        const struct str text = vocab_spelling(vocab, (int32_t)id);
        unigram->scores[id] = scores[id];
        if (scores[id] < unigram->unknown)
            unigram->unknown = scores[id];
        if (vocab_is_piece(vocab, (int32_t)id) && text.n)
            insert(unigram, text, (int32_t)id);
    }
    unigram->unknown -= UNKNOWN_PENALTY;
    return unigram;
}

/* The best way to reach a byte. */
struct reached {
    double score;
    uint32_t length;            /* of the last piece; 0: not reached */
    int32_t id;
};

static void reach(struct reached *to, double score, size_t length, int32_t id)
{
    if (to->length == 0 || score > to->score)
        *to = (struct reached){score, (uint32_t)length, id};
}

static void reach_from(const struct unigram *unigram, struct str text, size_t at,
                       struct reached *all)
{
    const double so_far = all[at].score;
    uint32_t c, node = 0;
    size_t character = utf8_decode((struct str){text.s + at, text.n - at}, &c);
    bool single = false;

    character = character ? character : 1;
    for (size_t n = 1; at + n <= text.n; n++) {
        node = edge_slot(unigram, node, (uint8_t)text.s[at + n - 1])->node;
        if (!node)
            break;
        const int32_t id = unigram->ids[node];
        if (id < 0)
            continue;
        reach(&all[at + n], so_far + unigram->scores[id], n, id);
        single |= n == character;
    }
    if (!single)
        reach(&all[at + character], so_far + unigram->unknown, character, -1);
}

size_t unigram_cut(const struct unigram *unigram, struct arena *arena, struct str text,
                   struct unigram_piece **out)
{
    struct reached *all = arena_array(arena, text.n + 1, sizeof *all);
    size_t n = 0;

    for (size_t at = 0; at < text.n; at++)      /* only ends of characters are ever reached */
        if (at == 0 || all[at].length)
            reach_from(unigram, text, at, all);
    for (size_t at = text.n; at > 0; at -= all[at].length)
        n++;
    *out = arena_array(arena, n, sizeof **out);
    for (size_t at = text.n, i = n; at > 0; at -= all[at].length)
        (*out)[--i] = (struct unigram_piece){at, all[at].id};
    return n;
}
