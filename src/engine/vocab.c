/* vocab.c - checks what a file says of its tokens and keeps it in tables.
 *
 * The hard thing is that not every token is spelled the way its model spells: control and
 * user-defined tokens stand as plain UTF-8, and so does an ordinary token with a character that is
 * not of GPT-2's alphabet. */
#include "engine/vocab.h"

#include <math.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "engine/spelled.h"
#include "engine/spelling.h"
#include "engine/unigram.h"
#include "engine/vocab_merges.h"

enum { FLAG_END = 1, FLAG_SPECIAL = 2, TABLE_MIN = 16, JOINS_BITS = 20 };

struct token {
    const char *spelling, *bytes;       /* the same pointer where they are the same */
    uint16_t spelling_n, bytes_n;
    uint8_t type, flags, how;           /* how: enum token_flags */
};

struct vocab {
    struct arena *arena;                /* everything below lives here */
    struct token *tokens;
    size_t n;
    int32_t *by_spelling, *by_bytes;    /* open addressing over ids, -1: empty; the 2nd: ordinary */
    size_t table_mask;
    struct hash_key key;
    struct merges merges;
    uint64_t *joins;                    /* a set of hashed pairs of characters */
    int32_t byte_ids[256];
    int32_t bos, eos;
    bool adds_bos;
    enum vocab_decode decode;
    struct spelled spelled, spelled_normalized;
    struct vocab_rules rules;
    char kind[64];
};

static size_t table_size(size_t n)
{
    size_t size = TABLE_MIN;

    while (size < n * 2)
        size *= 2;
    return size;
}

static struct str spelling_of(const struct token *token)
{
    return (struct str){token->spelling, token->spelling_n};
}

static struct str bytes_of(const struct token *token)
{
    return (struct str){token->bytes, token->bytes_n};
}

/* The slot of the table that holds `text`, or the empty one where it belongs. */
static int32_t *slot_of(const struct vocab *vocab, int32_t *table, struct str text,
                        struct str (*text_of)(const struct token *))
{
    size_t slot = hash_bytes(vocab->key, text.s, text.n) & vocab->table_mask;

    while (table[slot] >= 0 && !str_equal(text_of(&vocab->tokens[table[slot]]), text))
        slot = (slot + 1) & vocab->table_mask;
    return &table[slot];
}

static uint8_t flags_of(const struct token *token)
{
    const struct str spelling = spelling_of(token);

    if (token->type != TOKEN_CONTROL && token->type != TOKEN_USER_DEFINED &&
        token->type != TOKEN_UNKNOWN)
        return 0;
    if (spelling_ends_turn(spelling))
        return FLAG_END | FLAG_SPECIAL;
    return token->type != TOKEN_USER_DEFINED || spelling_is_markup(spelling) ? FLAG_SPECIAL : 0;
}

/* What a token writes, from how it is spelled. */
static bool bytes_read(struct vocab *vocab, struct token *token, size_t id, struct err *err)
{
    const struct str spelling = spelling_of(token);
    const bool ordinary = token->type == TOKEN_NORMAL || token->type == TOKEN_UNUSED;
    char bytes[VOCAB_TOKEN_BYTES_MAX];
    size_t n = 1;

    if (token->type == TOKEN_BYTE) {
        if (!spelling_of_byte(spelling, bytes))
            return err_set(err, ERR_FORMAT, "byte token %zu is not spelled <0xNN>", id);
    } else if (vocab->rules.model == VOCAB_BPE_BYTES) {
        if (!ordinary || !spelling_of_bytes(spelling, bytes, &n))
            return true;
    } else {
        spelling_of_text(spelling, bytes, &n);
    }
    if (n == spelling.n && memcmp(bytes, spelling.s, n) == 0)
        return true;
    token->bytes = arena_str(vocab->arena, (struct str){bytes, n}).s;
    token->bytes_n = (uint16_t)n;
    return true;
}

static bool token_read(struct vocab *vocab, const struct vocab_source *source, size_t id,
                       struct err *err)
{
    const struct str given = source->tokens[id];
    const int32_t type = source->types ? source->types[id] : TOKEN_NORMAL;
    struct token *token = &vocab->tokens[id];

    if (given.n > VOCAB_TOKEN_BYTES_MAX)
        return err_set(err, ERR_FORMAT, "token %zu is %zu bytes long; at most %d are allowed", id,
                       given.n, VOCAB_TOKEN_BYTES_MAX);
    if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
        return err_set(err, ERR_FORMAT, "token %zu has the unknown type %d", id, (int)type);
    if (!utf8_valid(given))
        return err_set(err, ERR_FORMAT, "token %zu is not valid UTF-8", id);
    const struct str copy = arena_str(vocab->arena, given);
    *token = (struct token){.spelling = copy.s, .bytes = copy.s, .spelling_n = (uint16_t)copy.n,
                            .bytes_n = (uint16_t)copy.n, .type = (uint8_t)type,
                            .how = source->flags ? source->flags[id] : 0};
    token->flags = flags_of(token);
    return bytes_read(vocab, token, id, err);
}

/* Puts a token into the tables by which it is found. */
static bool token_index(struct vocab *vocab, size_t id, struct err *err)
{
    const struct token *token = &vocab->tokens[id];

    if (token->spelling_n == 0 && token->type == TOKEN_UNUSED)
        return true;
    int32_t *slot = slot_of(vocab, vocab->by_spelling, spelling_of(token), spelling_of);
    if (*slot >= 0)
        return err_set(err, ERR_FORMAT, "tokens %d and %zu are spelled the same", (int)*slot, id);
    *slot = (int32_t)id;
    if ((token->type != TOKEN_NORMAL && token->type != TOKEN_BYTE) || token->bytes_n == 0)
        return true;
    slot = slot_of(vocab, vocab->by_bytes, bytes_of(token), bytes_of);
    if (*slot < 0)
        *slot = (int32_t)id;
    int32_t *byte_id = &vocab->byte_ids[(unsigned char)token->bytes[0]];
    if (token->bytes_n == 1 && *byte_id < 0 &&
        (token->type == TOKEN_BYTE || vocab->rules.model == VOCAB_BPE_BYTES))
        *byte_id = (int32_t)id;
    return true;
}

static bool tokens_read(struct vocab *vocab, const struct vocab_source *source, struct err *err)
{
    const size_t size = table_size(source->tokens_n);

    vocab->n = source->tokens_n;
    vocab->tokens = arena_array(vocab->arena, vocab->n, sizeof *vocab->tokens);
    vocab->by_spelling = arena_array(vocab->arena, size, sizeof *vocab->by_spelling);
    vocab->by_bytes = arena_array(vocab->arena, size, sizeof *vocab->by_bytes);
    memset(vocab->by_spelling, 0xff, size * sizeof *vocab->by_spelling);
    memset(vocab->by_bytes, 0xff, size * sizeof *vocab->by_bytes);
    memset(vocab->byte_ids, 0xff, sizeof vocab->byte_ids);
    vocab->table_mask = size - 1;
    for (size_t id = 0; id < vocab->n; id++)
        if (!token_read(vocab, source, id, err) || !token_index(vocab, id, err))
            return false;
    return true;
}

/* Text must never be lost: every byte of ASCII that people type has a token, and U+FFFD can stand
 * for a character that has a byte without one. */
static bool bytes_check(const struct vocab *vocab, struct err *err)
{
    static const unsigned char needed[] = {'\t', '\n', 0xef, 0xbf, 0xbd};

    for (size_t i = 0; i < sizeof needed; i++) {
        if (vocab->byte_ids[needed[i]] < 0)
            return err_set(err, ERR_FORMAT, "no token writes the byte 0x%02X alone", needed[i]);
    }
    for (int byte = ' '; byte <= '~'; byte++) {
        if (vocab->byte_ids[byte] < 0)
            return err_set(err, ERR_FORMAT, "no token writes the byte 0x%02X alone",
                           (unsigned)byte);
    }
    return true;
}

/* The same for vocabularies of characters: bytes, or a token for what is unknown. */
static bool unknown_check(const struct vocab *vocab, struct err *err)
{
    if (vocab->rules.unknown >= 0)
        return true;
    if (vocab->rules.model == VOCAB_UNIGRAM || !vocab->rules.byte_fallback)
        return err_set(err, ERR_FORMAT, "no token stands for what is unknown");
    for (int byte = 0; byte < 256; byte++) {
        if (vocab->byte_ids[byte] < 0)
            return err_set(err, ERR_FORMAT, "no token stands for the byte 0x%02X, and none for "
                           "what is unknown", (unsigned)byte);
    }
    return true;
}

static uint32_t pair_hash(uint32_t left, uint32_t right)
{
    const uint64_t pair = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;

    return (uint32_t)(pair >> (64 - JOINS_BITS));
}

/* Notes which characters stand beside each other in any piece: text may be cut between all others,
 * because no token reaches over the cut. A set that says yes too often only cuts less. */
static void joins_read(struct vocab *vocab)
{
    vocab->joins = arena_array(vocab->arena, (1u << JOINS_BITS) / 64, sizeof *vocab->joins);
    for (size_t id = 0; id < vocab->n; id++) {
        const struct str text = spelling_of(&vocab->tokens[id]);
        uint32_t last = 0, c;
        if (!vocab_is_piece(vocab, (int32_t)id))
            continue;
        for (size_t at = 0; at < text.n; last = c) {
            const size_t n = utf8_decode((struct str){text.s + at, text.n - at}, &c);
            const uint32_t bit = pair_hash(last, c);
            if (at)
                vocab->joins[bit / 64] |= (uint64_t)1 << bit % 64;
            at += n;
        }
    }
}

/* A token that is looked for in normalised text also writes that. */
static bool written_as(struct vocab *vocab, size_t id, struct str *text, struct err *err)
{
    struct token *token = &vocab->tokens[id];
    char bytes[VOCAB_TOKEN_BYTES_MAX];
    size_t n = text->n;

    if (n > sizeof bytes)
        return err_set(err, ERR_FORMAT, "token %zu is %zu bytes long when it is normalised; at "
                       "most %d are allowed", id, n, VOCAB_TOKEN_BYTES_MAX);
    *text = arena_str(vocab->arena, *text);
    memcpy(bytes, text->s, n);
    if (vocab->rules.model != VOCAB_BPE_BYTES)
        spelling_of_text(*text, bytes, &n);
    token->bytes = arena_str(vocab->arena, (struct str){bytes, n}).s;
    token->bytes_n = (uint16_t)n;
    return true;
}

/* Tokens found by their spelling: special ones always in the text as it is given, even where the
 * file wants them looked for in the normalised text, for that would find look-alikes. */
static bool spelled_read(struct vocab *vocab, struct err *err)
{
    struct spelled_token *raw = arena_array(vocab->arena, vocab->n, sizeof *raw);
    struct spelled_token *normalized = arena_array(vocab->arena, vocab->n, sizeof *normalized);
    struct buf buffers[2] = {{0}, {0}};
    size_t raw_n = 0, normalized_n = 0;
    bool ok = true;

    for (size_t id = 0; ok && id < vocab->n; id++) {
        const struct token *token = &vocab->tokens[id];
        const bool special = token->flags & FLAG_SPECIAL;
        struct spelled_token one = {spelling_of(token), (int32_t)id, special, token->how};
        if (one.text.n == 0 || (!special && token->type != TOKEN_USER_DEFINED))
            continue;
        if (special || !(token->how & TOKEN_NORMALIZED) || vocab->rules.normalize.n == 0) {
            raw[raw_n++] = one;
            continue;
        }
        ok = normalizer_run(&vocab->rules.normalize, one.text, PLACE_FIRST, buffers, &one.text, err) &&
             written_as(vocab, id, &one.text, err);
        if (one.text.n)
            normalized[normalized_n++] = one;
    }
    buf_release(&buffers[0]);
    buf_release(&buffers[1]);
    spelled_init(&vocab->spelled, raw, raw_n);
    spelled_init(&vocab->spelled_normalized, normalized, normalized_n);
    return ok;
}

static bool id_check(const char *name, int64_t id, size_t n, struct err *err)
{
    if (id >= -1 && id < (int64_t)n)
        return true;
    return err_set(err, ERR_FORMAT, "the %s token is %lld, but there are %zu tokens", name,
                   (long long)id, n);
}

static bool scores_check(const struct vocab_source *source, struct err *err)
{
    if (!source->scores && source->model == VOCAB_UNIGRAM)
        return err_set(err, ERR_FORMAT, "the vocabulary's pieces have no scores");
    for (size_t id = 0; source->scores && id < source->tokens_n; id++)
        if (!isfinite(source->scores[id]))
            return err_set(err, ERR_FORMAT, "the score of token %zu is not a finite number", id);
    return true;
}

static bool source_check(const struct vocab_source *source, struct err *err)
{
    if (source->tokens_n == 0 || source->tokens_n > VOCAB_TOKENS_MAX)
        return err_set(err, ERR_FORMAT, "the vocabulary has %zu tokens; 1 to %d are allowed",
                       source->tokens_n, VOCAB_TOKENS_MAX);
    if (source->merges_n > VOCAB_MERGES_MAX)
        return err_set(err, ERR_FORMAT, "the vocabulary has %zu merges; at most %d are allowed",
                       source->merges_n, VOCAB_MERGES_MAX);
    if (source->ends_n > VOCAB_ENDS_MAX)
        return err_set(err, ERR_FORMAT, "%zu tokens end a turn; at most %d are allowed",
                       source->ends_n, VOCAB_ENDS_MAX);
    for (size_t i = 0; i < source->ends_n; i++)
        if (!id_check("end", source->ends[i], source->tokens_n, err))
            return false;
    return id_check("bos", source->bos, source->tokens_n, err) &&
           id_check("eos", source->eos, source->tokens_n, err) &&
           id_check("unknown", source->unknown, source->tokens_n, err) &&
           id_check("eot", source->eot, source->tokens_n, err) && scores_check(source, err);
}

static void mark_end(struct vocab *vocab, int64_t id)
{
    if (id >= 0)
        vocab->tokens[id].flags |= FLAG_END;
}

static void copy_steps(struct arena *arena, const struct normalizer_steps *from,
                       struct normalizer_steps *to)
{
    *to = *from;
    for (size_t i = 0; i < to->n; i++) {
        to->list[i].from = arena_str(arena, from->list[i].from);
        to->list[i].to = arena_str(arena, from->list[i].to);
    }
}

static bool rules_read(struct vocab *vocab, const struct vocab_source *source, struct err *err)
{
    struct vocab_rules *rules = &vocab->rules;

    rules->pretokenizer = source->pre.n ? pretokenizer_named(source->pre, err)
                                        : pretokenizer_new(&source->split, err);
    if (!rules->pretokenizer)
        return false;
    rules->whole_words = source->ignore_merges || pretokenizer_whole_words(rules->pretokenizer);
    rules->spelled = &vocab->spelled;
    rules->spelled_normalized = &vocab->spelled_normalized;
    if (rules->model == VOCAB_BPE_BYTES)
        return bytes_check(vocab, err) &&
               merges_read(&vocab->merges, vocab, vocab->arena, source, err);
    joins_read(vocab);
    if (!unknown_check(vocab, err))
        return false;
    if (rules->model == VOCAB_BPE_CHARS)
        return merges_read(&vocab->merges, vocab, vocab->arena, source, err);
    rules->unigram = unigram_new(vocab->arena, vocab, source->scores, err);
    return rules->unigram != NULL;
}

void vocab_source_init(struct vocab_source *source)
{
    *source = (struct vocab_source){.bos = -1, .eos = -1, .unknown = -1, .eot = -1};
}

struct vocab *vocab_new(const struct vocab_source *source, struct err *err)
{
    static const char *const models[] = {
        [VOCAB_BPE_BYTES] = "gpt2", [VOCAB_BPE_CHARS] = "llama", [VOCAB_UNIGRAM] = "unigram"};

    if (!source_check(source, err))
        return NULL;
    struct arena *arena = arena_new(1 << 16);
    struct vocab *vocab = arena_alloc(arena, sizeof *vocab);
    *vocab = (struct vocab){
        .arena = arena,
        .key = hash_process_key(),
        .bos = (int32_t)source->bos,
        .eos = (int32_t)source->eos,
        .adds_bos = source->add_bos && source->bos >= 0,
        .decode = source->decode,
        .rules = {.model = source->model, .unknown = (int32_t)source->unknown,
                  .byte_fallback = source->byte_fallback, .fuse_unknown = source->fuse_unknown},
    };
    copy_steps(arena, &source->normalize, &vocab->rules.normalize);
    copy_steps(arena, &source->prepare, &vocab->rules.prepare);
    if (!tokens_read(vocab, source, err) || !spelled_read(vocab, err) ||
        !rules_read(vocab, source, err)) {
        vocab_free(vocab);
        return NULL;
    }
    mark_end(vocab, source->eos);
    mark_end(vocab, source->eot);
    for (size_t i = 0; i < source->ends_n; i++)
        mark_end(vocab, source->ends[i]);
    snprintf(vocab->kind, sizeof vocab->kind, "%s/%s", models[source->model],
             pretokenizer_name(vocab->rules.pretokenizer));
    return vocab;
}

void vocab_free(struct vocab *vocab)
{
    if (!vocab)
        return;
    pretokenizer_free(vocab->rules.pretokenizer);
    arena_free(vocab->arena);
}

static const struct token *token_of(const struct vocab *vocab, int32_t id)
{
    static const struct token none = {.spelling = "", .bytes = "", .type = TOKEN_UNUSED};

    return id >= 0 && (size_t)id < vocab->n ? &vocab->tokens[id] : &none;
}

size_t vocab_size(const struct vocab *vocab)
{
    return vocab->n;
}

struct str vocab_bytes(const struct vocab *vocab, int32_t id)
{
    return bytes_of(token_of(vocab, id));
}

struct str vocab_spelling(const struct vocab *vocab, int32_t id)
{
    return spelling_of(token_of(vocab, id));
}

enum token_type vocab_type(const struct vocab *vocab, int32_t id)
{
    return token_of(vocab, id)->type;
}

bool vocab_is_end(const struct vocab *vocab, int32_t id)
{
    return token_of(vocab, id)->flags & FLAG_END;
}

bool vocab_is_special(const struct vocab *vocab, int32_t id)
{
    return token_of(vocab, id)->flags & FLAG_SPECIAL;
}

bool vocab_is_piece(const struct vocab *vocab, int32_t id)
{
    const struct token *token = token_of(vocab, id);

    return token->type == TOKEN_NORMAL ||
           (token->type == TOKEN_USER_DEFINED && !(token->flags & FLAG_SPECIAL));
}

int32_t vocab_bos(const struct vocab *vocab)
{
    return vocab->bos;
}

int32_t vocab_eos(const struct vocab *vocab)
{
    return vocab->eos;
}

bool vocab_adds_bos(const struct vocab *vocab)
{
    return vocab->adds_bos;
}

enum vocab_decode vocab_decode(const struct vocab *vocab)
{
    return vocab->decode;
}

const char *vocab_kind(const struct vocab *vocab)
{
    return vocab->kind;
}

int32_t vocab_byte(const struct vocab *vocab, uint8_t byte)
{
    return vocab->byte_ids[byte];
}

int32_t vocab_word(const struct vocab *vocab, struct str bytes)
{
    return *slot_of(vocab, vocab->by_bytes, bytes, bytes_of);
}

int32_t vocab_find(const struct vocab *vocab, struct str spelling)
{
    return *slot_of(vocab, vocab->by_spelling, spelling, spelling_of);
}

bool vocab_merge(const struct vocab *vocab, int32_t left, int32_t right, uint32_t *rank,
                 int32_t *merged)
{
    return merges_find(&vocab->merges, left, right, rank, merged);
}

bool vocab_joins(const struct vocab *vocab, uint32_t left, uint32_t right)
{
    const uint32_t bit = pair_hash(left, right);

    return vocab->joins[bit / 64] >> bit % 64 & 1;
}

const struct vocab_rules *vocab_rules(const struct vocab *vocab)
{
    return &vocab->rules;
}
