/* vocab.c - checks what a file says of its tokens and keeps it in tables.
 *
 * GPT-2's byte alphabet: files spell a byte-level token with one printable character a byte. The
 * hard thing is that not every token is spelled so: control and user-defined tokens stand as plain
 * UTF-8, and so does an ordinary token with a character that is not of the alphabet.
 * https://github.com/openai/gpt-2/blob/master/src/encoder.py (bytes_to_unicode) */
#include "engine/vocab.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/utf8.h"
#include "engine/pretokenizer.h"

/* Spellings that end a turn in one family of models or another, whatever the file calls its eos. */
static const char *const end_spellings[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>",
    "<|end_of_turn|>", "<end_of_turn>", "<turn|>", "<|return|>", "<|call|>", "<|eot|>", "</s>",
    "<eos>", "<|eos|>", "<EOT>", "<|END_OF_TURN_TOKEN|>", "<\xef\xbd\x9c" "end\xe2\x96\x81of"
    "\xe2\x96\x81sentence\xef\xbd\x9c>", "[EOS]", "<|user|>", "<|endofturn|>",
};

enum { FLAG_END = 1, FLAG_SPECIAL = 2, ALPHABET_END = 0x144, TABLE_MIN = 16 };

struct token {
    const char *spelling, *bytes;       /* the same pointer where they are the same */
    uint16_t spelling_n, bytes_n;
    uint8_t type, flags;
};

struct merge {
    int32_t left, right;                /* left < 0: an empty slot */
    uint32_t rank;
    int32_t merged;
};

struct vocab {
    struct arena *arena;                /* everything below lives here */
    struct token *tokens;
    size_t n;
    int32_t *by_spelling, *by_bytes;    /* open addressing over ids, -1: empty; by_bytes: ordinary */
    size_t table_mask;
    struct merge *merges;
    size_t merges_mask;
    struct hash_key key;
    uint64_t merge_key;
    int32_t byte_ids[256];
    int32_t *spelled;
    size_t spelled_n;
    int32_t bos, eos;
    bool adds_bos;
    struct pretokenizer *pretokenizer;
    char kind[64];
};

static size_t table_size(size_t n)
{
    size_t size = TABLE_MIN;

    while (size < n * 2)
        size *= 2;
    return size;
}

/* The byte that a character of the alphabet stands for, or -1. */
static int alphabet_byte(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff))
        return (int)c;
    if (c < 0x100 || c >= ALPHABET_END)
        return -1;
    c -= 0x100;                                 /* the bytes left out above, in order */
    if (c <= 0x20)
        return (int)c;
    if (c <= 0x20 + 34)
        return (int)(c - 0x21 + 0x7f);
    return 0xad;
}

/* Decodes the byte-level spelling into out (as long as the spelling at most); false if it is none. */
static bool spelling_decode(struct str spelling, char *out, size_t *out_n)
{
    size_t n = 0;

    for (size_t i = 0; i < spelling.n;) {
        uint32_t c;
        const size_t length = utf8_decode((struct str){spelling.s + i, spelling.n - i}, &c);
        const int byte = length ? alphabet_byte(c) : -1;
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
        i += length;
    }
    *out_n = n;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 :
           c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A token of type byte is spelled <0xNN> and nothing else. */
static bool byte_token_decode(struct str spelling, char *out)
{
    if (spelling.n != 6 || memcmp(spelling.s, "<0x", 3) != 0 || spelling.s[5] != '>')
        return false;
    const int high = hex_digit(spelling.s[3]), low = hex_digit(spelling.s[4]);
    if (high < 0 || low < 0)
        return false;
    *out = (char)(high << 4 | low);
    return true;
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

static bool is_markup(struct str s)
{
    return s.n > 2 && ((s.s[0] == '<' && s.s[s.n - 1] == '>') ||
                       (s.s[0] == '[' && s.s[s.n - 1] == ']'));
}

static uint8_t flags_of(const struct token *token)
{
    const struct str spelling = spelling_of(token);
    uint8_t flags = 0;

    if (token->type != TOKEN_CONTROL && token->type != TOKEN_USER_DEFINED &&
        token->type != TOKEN_UNKNOWN)
        return 0;
    for (size_t i = 0; i < sizeof end_spellings / sizeof *end_spellings; i++) {
        if (str_is(spelling, end_spellings[i]))
            flags = FLAG_END | FLAG_SPECIAL;
    }
    if (token->type != TOKEN_USER_DEFINED || is_markup(spelling))
        flags |= FLAG_SPECIAL;
    return flags;
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
                            .bytes_n = (uint16_t)copy.n, .type = (uint8_t)type};
    if (type == TOKEN_NORMAL || type == TOKEN_UNUSED) {
        char bytes[VOCAB_TOKEN_BYTES_MAX];
        size_t n;
        if (spelling_decode(copy, bytes, &n) && (n != copy.n || memcmp(bytes, copy.s, n) != 0)) {
            token->bytes = arena_str(vocab->arena, (struct str){bytes, n}).s;
            token->bytes_n = (uint16_t)n;
        }
    } else if (type == TOKEN_BYTE) {
        char byte;
        if (!byte_token_decode(copy, &byte))
            return err_set(err, ERR_FORMAT, "byte token %zu is not spelled <0xNN>", id);
        token->bytes = arena_str(vocab->arena, (struct str){&byte, 1}).s;
        token->bytes_n = 1;
    }
    token->flags = flags_of(token);
    return true;
}

static int compare_spellings(const void *a, const void *b)
{
    const struct str x = spelling_of(*(const struct token *const *)a);
    const struct str y = spelling_of(*(const struct token *const *)b);
    const int order = memcmp(x.s, y.s, x.n < y.n ? x.n : y.n);

    return order ? order : (x.n > y.n) - (x.n < y.n);
}

static void collect_spelled(struct vocab *vocab)
{
    const struct token **found = arena_array(vocab->arena, vocab->n, sizeof *found);
    size_t n = 0;

    for (size_t id = 0; id < vocab->n; id++) {
        const struct token *token = &vocab->tokens[id];
        if (token->spelling_n > 0 &&
            (token->flags & FLAG_SPECIAL || token->type == TOKEN_USER_DEFINED))
            found[n++] = token;
    }
    qsort(found, n, sizeof *found, compare_spellings);
    vocab->spelled = arena_array(vocab->arena, n, sizeof *vocab->spelled);
    for (size_t i = 0; i < n; i++)
        vocab->spelled[i] = (int32_t)(found[i] - vocab->tokens);
    vocab->spelled_n = n;
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
    for (size_t id = 0; id < vocab->n; id++) {
        if (!token_read(vocab, source, id, err))
            return false;
        const struct token *token = &vocab->tokens[id];
        int32_t *slot = slot_of(vocab, vocab->by_spelling, spelling_of(token), spelling_of);
        if (*slot >= 0)
            return err_set(err, ERR_FORMAT, "tokens %d and %zu are spelled the same", (int)*slot, id);
        *slot = (int32_t)id;
        if ((token->type != TOKEN_NORMAL && token->type != TOKEN_BYTE) || token->bytes_n == 0)
            continue;
        slot = slot_of(vocab, vocab->by_bytes, bytes_of(token), bytes_of);
        if (*slot < 0)
            *slot = (int32_t)id;
        int32_t *byte_id = &vocab->byte_ids[(unsigned char)token->bytes[0]];
        if (token->bytes_n == 1 && *byte_id < 0)
            *byte_id = (int32_t)id;
    }
    collect_spelled(vocab);
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

static struct merge *merge_slot(const struct vocab *vocab, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ vocab->merge_key;

    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    size_t slot = (h ^ h >> 32) & vocab->merges_mask;
    while (vocab->merges[slot].left >= 0 &&
           (vocab->merges[slot].left != left || vocab->merges[slot].right != right))
        slot = (slot + 1) & vocab->merges_mask;
    return &vocab->merges[slot];
}

static bool merge_read(struct vocab *vocab, size_t rank, struct str rule, struct err *err)
{
    char joined[2 * VOCAB_TOKEN_BYTES_MAX];
    const char *space = rule.n > 1 ? memchr(rule.s + 1, ' ', rule.n - 1) : NULL;

    if (!space || rule.n > sizeof joined)
        return err_set(err, ERR_FORMAT, "merge %zu is not two tokens with a space between", rank);
    const struct str left = {rule.s, (size_t)(space - rule.s)};
    const struct str right = {space + 1, rule.n - left.n - 1};
    memcpy(joined, left.s, left.n);
    memcpy(joined + left.n, right.s, right.n);
    const struct str both = {joined, left.n + right.n};
    const int32_t ids[3] = {
        *slot_of(vocab, vocab->by_spelling, left, spelling_of),
        *slot_of(vocab, vocab->by_spelling, right, spelling_of),
        *slot_of(vocab, vocab->by_spelling, both, spelling_of),
    };
    for (size_t i = 0; i < 3; i++) {
        if (ids[i] < 0)
            return err_set(err, ERR_FORMAT, "merge %zu names no token: \"%.*s\"", rank,
                           (int)(rule.n < 80 ? rule.n : 80), rule.s);
        if (vocab->tokens[ids[i]].type != TOKEN_NORMAL)
            return err_set(err, ERR_FORMAT, "merge %zu names a token that is not ordinary", rank);
    }
    struct merge *slot = merge_slot(vocab, ids[0], ids[1]);
    if (slot->left < 0)                         /* of two rules for a pair the first one counts */
        *slot = (struct merge){ids[0], ids[1], (uint32_t)rank, ids[2]};
    return true;
}

static bool merges_read(struct vocab *vocab, const struct vocab_source *source, struct err *err)
{
    const size_t size = table_size(source->merges_n);

    vocab->merges = arena_array(vocab->arena, size, sizeof *vocab->merges);
    vocab->merges_mask = size - 1;
    for (size_t i = 0; i < size; i++)
        vocab->merges[i].left = -1;
    for (size_t rank = 0; rank < source->merges_n; rank++) {
        if (!merge_read(vocab, rank, source->merges[rank], err))
            return false;
    }
    return true;
}

static bool id_check(const char *name, int64_t id, size_t n, struct err *err)
{
    if (id >= -1 && id < (int64_t)n)
        return true;
    return err_set(err, ERR_FORMAT, "the %s token is %lld, but there are %zu tokens", name,
                   (long long)id, n);
}

static bool source_check(const struct vocab_source *source, struct err *err)
{
    if (source->model != VOCAB_BPE_BYTES)
        return err_set(err, ERR_FORMAT, "only byte-level BPE is supported yet");
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
           id_check("eot", source->eot, source->tokens_n, err);
}

void vocab_source_init(struct vocab_source *source)
{
    *source = (struct vocab_source){.bos = -1, .eos = -1, .unknown = -1, .eot = -1};
}

struct vocab *vocab_new(const struct vocab_source *source, struct err *err)
{
    if (!source_check(source, err))
        return NULL;
    struct arena *arena = arena_new(1 << 16);
    struct vocab *vocab = arena_alloc(arena, sizeof *vocab);
    *vocab = (struct vocab){
        .arena = arena,
        .key = hash_process_key(),
        .merge_key = random_u64(),
        .bos = (int32_t)source->bos,
        .eos = (int32_t)source->eos,
        .adds_bos = source->add_bos && source->bos >= 0,
    };
    if (!tokens_read(vocab, source, err) || !bytes_check(vocab, err) ||
        !merges_read(vocab, source, err) ||
        !(vocab->pretokenizer = pretokenizer_new(source->pre, err))) {
        vocab_free(vocab);
        return NULL;
    }
    if (source->eos >= 0)
        vocab->tokens[source->eos].flags |= FLAG_END;
    if (source->eot >= 0)
        vocab->tokens[source->eot].flags |= FLAG_END;
    for (size_t i = 0; i < source->ends_n; i++)
        if (source->ends[i] >= 0)
            vocab->tokens[source->ends[i]].flags |= FLAG_END;
    snprintf(vocab->kind, sizeof vocab->kind, "gpt2/%s", pretokenizer_name(vocab->pretokenizer));
    return vocab;
}

void vocab_free(struct vocab *vocab)
{
    if (!vocab)
        return;
    pretokenizer_free(vocab->pretokenizer);
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

bool vocab_merge(const struct vocab *vocab, int32_t left, int32_t right, uint32_t *rank,
                 int32_t *merged)
{
    const struct merge *merge = merge_slot(vocab, left, right);

    if (merge->left < 0)
        return false;
    *rank = merge->rank;
    *merged = merge->merged;
    return true;
}

const int32_t *vocab_spelled(const struct vocab *vocab, size_t *n)
{
    *n = vocab->spelled_n;
    return vocab->spelled;
}

const struct pretokenizer *vocab_pretokenizer(const struct vocab *vocab)
{
    return vocab->pretokenizer;
}
