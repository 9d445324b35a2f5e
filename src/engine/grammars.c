/* grammars.c - compiled grammars by their content: a short list, the last used first.
 *
 * The hard thing is that compiling may take long and must not be waited for under the lock: two
 * threads that ask for the same new grammar at the same moment both compile it, and the one that ends
 * first is found no more and goes with its age. */
#include "engine/grammars.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

struct grammar {
    struct grammar *next;               /* used before this one */
    uint64_t hash;
    struct str key;                     /* all of its source */
    struct glue_grammar *compiled;
    struct str loosened;
    size_t bytes;
    uint32_t users;
    bool listed;                        /* others can find it */
};

struct grammars {
    const struct vocab *vocab;
    uint32_t tokens;
    pthread_mutex_t lock;               /* of all below */
    struct glue_vocab *trie;            /* NULL until it is needed; then it stays */
    struct grammar *newest;
    struct grammars_counts counts;
};

struct grammars *grammars_new(const struct vocab *vocab, uint32_t tokens)
{
    struct grammars *grammars = calloc(1, sizeof *grammars);

    if (!grammars)
        return NULL;
    grammars->vocab = vocab;
    grammars->tokens = tokens;
    pthread_mutex_init(&grammars->lock, NULL);
    return grammars;
}

static void grammar_free(struct grammar *grammar)
{
    glue_grammar_free(grammar->compiled);
    free((char *)grammar->key.s);
    free((char *)grammar->loosened.s);
    free(grammar);
}

void grammars_free(struct grammars *grammars)
{
    if (!grammars)
        return;
    while (grammars->newest) {
        struct grammar *grammar = grammars->newest;
        grammars->newest = grammar->next;
        grammar_free(grammar);
    }
    glue_vocab_free(grammars->trie);
    pthread_mutex_destroy(&grammars->lock);
    free(grammars);
}

/* ---- the vocabulary ---- */

/* Ends and control tokens are no text, whatever they are spelled like. */
static struct glue_token token_of(const struct vocab *vocab, int32_t id)
{
    const enum token_type type = vocab_type(vocab, id);
    const bool end = vocab_is_end(vocab, id);
    const bool control = end || type == TOKEN_CONTROL || vocab_is_special(vocab, id);
    const struct str bytes = type == TOKEN_UNUSED || type == TOKEN_UNKNOWN ? (struct str){0}
                             : control ? vocab_spelling(vocab, id)
                                       : vocab_bytes(vocab, id);

    return (struct glue_token){
        .s = bytes.s, .n = bytes.n,
        .kind = end ? GLUE_TOKEN_END : control ? GLUE_TOKEN_CONTROL : GLUE_TOKEN_TEXT,
    };
}

static struct glue_vocab *trie_new(const struct grammars *grammars, struct err *err)
{
    const uint64_t begin = clock_ns();
    struct glue_token *tokens = calloc(grammars->tokens, sizeof *tokens);
    struct glue_text error = {0};

    if (!tokens) {
        err_set(err, ERR_OVERLOADED, "no memory for the vocabulary's trie");
        return NULL;
    }
    for (uint32_t i = 0; i < grammars->tokens; i++)
        tokens[i] = token_of(grammars->vocab, (int32_t)i);
    struct glue_vocab *trie = glue_vocab_new(tokens, grammars->tokens, &error);
    free(tokens);
    if (!trie)
        err_set(err, ERR_INVALID, "this model's vocabulary can't be constrained: %.*s",
                (int)error.n, error.s);
    else
        log_event(LOG_INFO, "grammar_vocabulary", "tokens=%u ms=%.0f", grammars->tokens,
                  clock_seconds_since(begin) * 1e3);
    glue_text_free(&error);
    return trie;
}

/* ---- compiling ---- */

static bool check_source(const struct grammar_source *source, struct err *err)
{
    size_t bytes = 0;

    if (source->parts_n == 0 || source->parts_n > GRAMMAR_PARTS_MAX)
        return err_set(err, ERR_INVALID, "%zu grammars at once: 1 to %d are possible",
                       source->parts_n, GRAMMAR_PARTS_MAX);
    for (size_t i = 0; i < source->parts_n; i++)
        bytes += source->parts[i].text.n;
    return bytes <= GRAMMAR_BYTES_MAX ||
           err_set(err, ERR_INVALID, "Schema is too complex for compilation: %zu bytes are more "
                   "than the limit of %d", bytes, GRAMMAR_BYTES_MAX);
}

static bool write_key(struct buf *out, const struct grammar_source *source)
{
    buf_printf(out, "%d\n", source->spaced);
    for (size_t i = 0; i < source->parts_n; i++) {
        const struct grammar_part *part = &source->parts[i];
        buf_printf(out, "%d %d %zu %zu\n", part->language, part->loose, part->name.n,
                   part->text.n);
        buf_str(out, part->name);
        if (!buf_str(out, part->text))
            return false;
    }
    return true;
}

/* "0 /properties/a/not\n" -> "a_name/properties/a/not\n", and without names where all is one part. */
static struct str name_loosened(const struct grammar_source *source, struct str lines)
{
    struct buf out = {0};

    while (lines.n) {
        char *end;
        const size_t part = strtoul(lines.s, &end, 10);
        const char *newline = memchr(lines.s, '\n', lines.n);
        const size_t n = (size_t)(newline + 1 - lines.s), skipped = (size_t)(end + 1 - lines.s);
        if (source->parts_n > 1)
            buf_str(&out, source->parts[part].name);
        buf_append(&out, lines.s + skipped, n - skipped);
        lines = (struct str){lines.s + n, lines.n - n};
    }
    return buf_view(&out);
}

static struct grammar *grammar_new(const struct glue_vocab *trie,
                                   const struct grammar_source *source, struct err *err)
{
    const uint64_t begin = clock_ns();
    struct glue_part parts[GRAMMAR_PARTS_MAX];
    struct glue_text loosened = {0}, error = {0};
    size_t refused = 0;

    for (size_t i = 0; i < source->parts_n; i++) {
        const struct grammar_part *part = &source->parts[i];
        parts[i] = (struct glue_part){part->language, part->name.s, part->name.n, part->text.s,
                                      part->text.n, part->loose};
    }
    struct glue_grammar *compiled = glue_grammar_new(trie, parts, source->parts_n, source->spaced,
                                                     &loosened, &refused, &error);
    if (!compiled) {
        const struct str name = source->parts_n > 1 ? source->parts[refused].name
                                                    : (struct str){0};
        err_set(err, ERR_INVALID, "%.*s%s%.*s", STR_ARG(name), name.n ? ": " : "", (int)error.n,
                error.s);
        glue_text_free(&error);
        return NULL;
    }
    struct grammar *grammar = calloc(1, sizeof *grammar);
    if (grammar) {
        grammar->compiled = compiled;
        grammar->loosened = name_loosened(source, (struct str){loosened.s, loosened.n});
        grammar->bytes = glue_grammar_bytes(compiled);
        grammar->users = 1;
        log_event(LOG_DEBUG, "grammar_compiled", "ms=%.1f bytes=%zu",
                  clock_seconds_since(begin) * 1e3, grammar->bytes);
    } else {
        glue_grammar_free(compiled);
        err_set(err, ERR_OVERLOADED, "no memory for one more grammar");
    }
    glue_text_free(&loosened);
    return grammar;
}

/* ---- the list; its lock is held ---- */

static void unlist(struct grammars *grammars, struct grammar *grammar)
{
    struct grammar **at = &grammars->newest;

    while (*at != grammar)
        at = &(*at)->next;
    *at = grammar->next;
    grammar->listed = false;
    grammars->counts.kept--;
    grammars->counts.kept_bytes -= grammar->bytes;
}

static void list(struct grammars *grammars, struct grammar *grammar)
{
    grammar->next = grammars->newest;
    grammars->newest = grammar;
    grammar->listed = true;
    grammars->counts.kept++;
    grammars->counts.kept_bytes += grammar->bytes;
}

static struct grammar *find(struct grammars *grammars, uint64_t hash, struct str key)
{
    for (struct grammar *grammar = grammars->newest; grammar; grammar = grammar->next)
        if (grammar->hash == hash && str_equal(grammar->key, key)) {
            unlist(grammars, grammar);
            list(grammars, grammar);
            grammar->users++;
            grammars->counts.found++;
            return grammar;
        }
    return NULL;
}

/* Returns those that have to go, for freeing without the lock. */
static struct grammar *shrink(struct grammars *grammars)
{
    struct grammar *gone = NULL;

    while (grammars->counts.kept > GRAMMARS_KEPT_MAX ||
           grammars->counts.kept_bytes > GRAMMARS_KEPT_BYTES_MAX) {
        struct grammar *oldest = NULL;
        for (struct grammar *grammar = grammars->newest; grammar; grammar = grammar->next)
            if (grammar->users == 0)
                oldest = grammar;
        if (!oldest)
            break;
        unlist(grammars, oldest);
        oldest->next = gone;
        gone = oldest;
    }
    return gone;
}

static void free_all(struct grammar *gone)
{
    while (gone) {
        struct grammar *next = gone->next;
        grammar_free(gone);
        gone = next;
    }
}

/* ---- from any thread ---- */

/* The trie, if this key is not found; made by whoever comes first, while others wait. */
static bool look_up(struct grammars *grammars, uint64_t hash, struct str key,
                    struct grammar **found, struct err *err)
{
    pthread_mutex_lock(&grammars->lock);
    *found = find(grammars, hash, key);
    if (!*found && !grammars->trie)
        grammars->trie = trie_new(grammars, err);
    const bool ok = *found || grammars->trie;
    pthread_mutex_unlock(&grammars->lock);
    return ok;
}

struct grammar *grammars_take(struct grammars *grammars, const struct grammar_source *source,
                              struct err *err)
{
    struct buf key = {0};
    struct grammar *grammar = NULL, *gone = NULL;

    if (!check_source(source, err))
        return NULL;
    if (!write_key(&key, source)) {
        err_set(err, ERR_OVERLOADED, "no memory for one more grammar");
        return NULL;
    }
    const uint64_t hash = hash_bytes(hash_process_key(), key.data, key.n);
    if (!look_up(grammars, hash, buf_view(&key), &grammar, err) || grammar) {
        buf_release(&key);
        return grammar;
    }
    grammar = grammar_new(grammars->trie, source, err);
    if (!grammar) {
        buf_release(&key);
        return NULL;
    }
    grammar->hash = hash;
    grammar->key = buf_view(&key);
    grammar->bytes += key.n;
    pthread_mutex_lock(&grammars->lock);
    grammars->counts.compiled++;
    list(grammars, grammar);
    gone = shrink(grammars);
    pthread_mutex_unlock(&grammars->lock);
    free_all(gone);
    return grammar;
}

void grammars_give_back(struct grammars *grammars, struct grammar *grammar, bool broken)
{
    struct grammar *gone;

    pthread_mutex_lock(&grammars->lock);
    grammar->users--;
    if (broken && grammar->listed)
        unlist(grammars, grammar);
    gone = shrink(grammars);
    if (!grammar->listed && grammar->users == 0) {
        grammar->next = gone;
        gone = grammar;
    }
    pthread_mutex_unlock(&grammars->lock);
    free_all(gone);
}

const struct glue_grammar *grammar_compiled(const struct grammar *grammar)
{
    return grammar->compiled;
}

struct str grammar_loosened(const struct grammar *grammar)
{
    return grammar->loosened;
}

struct grammars_counts grammars_counts(struct grammars *grammars)
{
    pthread_mutex_lock(&grammars->lock);
    const struct grammars_counts counts = grammars->counts;
    pthread_mutex_unlock(&grammars->lock);
    return counts;
}
