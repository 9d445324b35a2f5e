/* pretokenizer.c - PCRE2 patterns, compiled once and run with its JIT, each on the pieces that the
 * one before it makes.
 *
 * The hard thing is that the patterns may be a stranger's and the text a client's: both together must
 * not burn the machine. Steps of matching, memory and time have limits. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/pretokenizer.h"

#include <pcre2.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/families.h"
#include "engine/pattern.h"

/* A match may go over the text a few times, as where a run of capitals has no small letter at its
 * end; a pattern that does so for every word in it is caught by the clock. */
enum { MATCH_STEPS_MIN = 1000 * 1000, MATCH_STEPS_A_BYTE = 16, MATCH_HEAP_KIB_MAX = 64 * 1024,
       JIT_STACK_MIN = 32 << 10, JIT_STACK_MAX = 1 << 20,
       SPLIT_SECONDS_MIN = 10, SPLIT_BYTES_A_SECOND = 1 << 18, CLOCK_EVERY = 64 };

struct step {
    pcre2_code *code;
    bool invert;
    enum split_behavior behavior;
};

struct pretokenizer {
    const char *name;
    bool whole_words;
    struct step steps[PRETOKENIZER_STEPS_MAX];
    size_t n;
};

bool pretokenizer_add(struct pretokenizer_steps *steps, struct pretokenizer_step step,
                      struct err *err)
{
    if (steps->n == PRETOKENIZER_STEPS_MAX)
        return err_set(err, ERR_FORMAT, "there are more than %d steps", PRETOKENIZER_STEPS_MAX);
    if (step.pattern.n == 0 || step.pattern.n > PRETOKENIZER_PATTERN_MAX)
        return err_set(err, ERR_FORMAT, "the pattern is %zu bytes long; 1 to %d are allowed",
                       step.pattern.n, PRETOKENIZER_PATTERN_MAX);
    steps->list[steps->n++] = step;
    return true;
}

/* ^ and $ are the ends of lines, as they are to Oniguruma. */
static bool step_compile(struct pretokenizer *pretokenizer, struct str pattern, bool invert,
                         enum split_behavior behavior, struct err *err)
{
    struct step *step = &pretokenizer->steps[pretokenizer->n];
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    int code_error;
    uint32_t empty = 0;
    PCRE2_SIZE where;

    if (!context)
        return err_set(err, ERR_INTERNAL, "out of memory");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    *step = (struct step){
        .invert = invert, .behavior = behavior,
        .code = pcre2_compile((PCRE2_SPTR)pattern.s, pattern.n,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                              &code_error, &where, context),
    };
    pcre2_compile_context_free(context);
    if (!step->code) {
        PCRE2_UCHAR reason[120];
        pcre2_get_error_message(code_error, reason, sizeof reason);
        return err_set(err, ERR_FORMAT, "the pattern is not an expression: %s", (char *)reason);
    }
    pretokenizer->n++;
    pcre2_pattern_info(step->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty)
        return err_set(err, ERR_FORMAT, "the pattern matches nothing at all");
    /* Without JIT (not built in, or no executable memory allowed) the interpreter does it. */
    (void)pcre2_jit_compile(step->code, PCRE2_JIT_COMPLETE);
    return true;
}

static struct pretokenizer *pretokenizer_alloc(const char *name, struct err *err)
{
    struct pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);

    if (!pretokenizer)
        err_set(err, ERR_INTERNAL, "out of memory");
    else
        pretokenizer->name = name;
    return pretokenizer;
}

struct pretokenizer *pretokenizer_named(struct str name, struct err *err)
{
    const struct family *family = family_of(name, err);
    struct pretokenizer *pretokenizer = family ? pretokenizer_alloc(family->name, err) : NULL;

    if (!pretokenizer)
        return NULL;
    pretokenizer->whole_words = family->whole_words;
    for (size_t i = 0; family->patterns[i]; i++) {
        if (!step_compile(pretokenizer, str_of(family->patterns[i]), false, SPLIT_ISOLATED, err)) {
            pretokenizer_free(pretokenizer);
            return NULL;
        }
    }
    return pretokenizer;
}

struct pretokenizer *pretokenizer_new(const struct pretokenizer_steps *steps, struct err *err)
{
    struct pretokenizer *pretokenizer = pretokenizer_alloc(steps->n ? "own" : "whole", err);
    struct buf translated = {0};
    bool ok = pretokenizer != NULL;

    for (size_t i = 0; ok && i < steps->n; i++) {
        const struct pretokenizer_step *step = &steps->list[i];
        buf_reset(&translated);
        if (step->literal)
            pattern_quote(step->pattern, &translated);
        else
            ok = pattern_translate(step->pattern, &translated, err);
        ok = ok && step_compile(pretokenizer, buf_view(&translated), step->invert, step->behavior,
                                err);
    }
    buf_release(&translated);
    if (ok)
        return pretokenizer;
    pretokenizer_free(pretokenizer);
    return NULL;
}

void pretokenizer_free(struct pretokenizer *pretokenizer)
{
    if (!pretokenizer)
        return;
    for (size_t i = 0; i < pretokenizer->n; i++)
        pcre2_code_free(pretokenizer->steps[i].code);
    free(pretokenizer);
}

const char *pretokenizer_name(const struct pretokenizer *pretokenizer)
{
    return pretokenizer->name;
}

bool pretokenizer_whole_words(const struct pretokenizer *pretokenizer)
{
    return pretokenizer->whole_words;
}

/* ---- a walk ---- */

struct span {
    size_t begin, end;
    bool match;
};

/* One step's walk over one piece of the step before. */
struct level {
    struct str piece;
    size_t at;                  /* up to here spans were made */
    struct span ahead[2];       /* made, but not taken yet: a gap and the match after it */
    size_t ahead_n;
};

struct splitter {
    const struct pretokenizer *pretokenizer;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;                     /* NULL without JIT */
    struct str text;
    bool taken;                                 /* the text itself, as the only piece of no step */
    uint64_t started_ns, matches;
    struct level levels[PRETOKENIZER_STEPS_MAX];
};

struct splitter *splitter_new(const struct pretokenizer *pretokenizer, struct err *err)
{
    struct splitter *splitter = calloc(1, sizeof *splitter);

    if (splitter) {
        *splitter = (struct splitter){
            .pretokenizer = pretokenizer,
            .data = pcre2_match_data_create(1, NULL),
            .context = pcre2_match_context_create(NULL),
            .stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL),
            .started_ns = clock_ns(),
        };
    }
    if (!splitter || !splitter->data || !splitter->context) {
        splitter_free(splitter);
        err_set(err, ERR_INTERNAL, "out of memory");
        return NULL;
    }
    pcre2_set_heap_limit(splitter->context, MATCH_HEAP_KIB_MAX);
    if (splitter->stack)
        pcre2_jit_stack_assign(splitter->context, NULL, splitter->stack);
    return splitter;
}

void splitter_free(struct splitter *splitter)
{
    if (!splitter)
        return;
    pcre2_jit_stack_free(splitter->stack);
    pcre2_match_context_free(splitter->context);
    pcre2_match_data_free(splitter->data);
    free(splitter);
}

void splitter_start(struct splitter *splitter, struct str text)
{
    splitter->text = text;
    splitter->taken = false;
    const uint64_t steps = MATCH_STEPS_MIN + MATCH_STEPS_A_BYTE * (uint64_t)text.n;
    pcre2_set_match_limit(splitter->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    for (size_t i = 0; i < splitter->pretokenizer->n; i++)
        splitter->levels[i] = (struct level){0};
}

/* Makes the next spans of a level, if there is any text left. */
static bool level_match(struct splitter *splitter, size_t k, struct err *err)
{
    const struct step *step = &splitter->pretokenizer->steps[k];
    struct level *level = &splitter->levels[k];
    const struct str piece = level->piece;

    if (level->at == piece.n)
        return true;
    const int found = pcre2_match(step->code, (PCRE2_SPTR)piece.s, piece.n, level->at,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, splitter->data,
                                  splitter->context);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return err_set(err, ERR_INVALID, "the text can't be split into words (PCRE2 error %d)",
                       found);
    if (++splitter->matches % CLOCK_EVERY == 0 &&
        clock_seconds_since(splitter->started_ns) >
            SPLIT_SECONDS_MIN + (double)(splitter->matches + splitter->text.n) /
                                    SPLIT_BYTES_A_SECOND)
        return err_set(err, ERR_INVALID, "splitting the text into words takes too long");
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(splitter->data);
    const size_t begin = found < 0 ? piece.n : span[0], end = found < 0 ? piece.n : span[1];
    if (begin > level->at)
        level->ahead[level->ahead_n++] = (struct span){level->at, begin, step->invert};
    if (end > begin)
        level->ahead[level->ahead_n++] = (struct span){begin, end, !step->invert};
    level->at = end;
    return true;
}

static struct span level_take(struct level *level)
{
    const struct span span = level->ahead[0];

    level->ahead[0] = level->ahead[1];
    level->ahead_n--;
    return span;
}

/* Whether a span and the one after it are one piece. */
static bool joins(enum split_behavior behavior, bool match, bool next_match)
{
    switch (behavior) {
    case SPLIT_MERGED_WITH_PREVIOUS:
        return !match && next_match;
    case SPLIT_MERGED_WITH_NEXT:
        return match && !next_match;
    case SPLIT_CONTIGUOUS:
        return match == next_match;
    case SPLIT_ISOLATED:
    case SPLIT_REMOVED:
        break;
    }
    return false;
}

static bool level_next(struct splitter *splitter, size_t levels, struct str *out, struct err *err);

/* The next piece of this level's text; out->n == 0: it is at its end. */
static bool level_piece(struct splitter *splitter, size_t k, struct str *out, struct err *err)
{
    const enum split_behavior behavior = splitter->pretokenizer->steps[k].behavior;
    struct level *level = &splitter->levels[k];
    struct span span;

    *out = (struct str){0};
    do {
        if (level->ahead_n == 0 && !level_match(splitter, k, err))
            return false;
        if (level->ahead_n == 0)
            return true;
        span = level_take(level);
    } while (behavior == SPLIT_REMOVED && span.match);
    if (behavior != SPLIT_ISOLATED && behavior != SPLIT_REMOVED) {
        for (bool join = true; join;) {
            if (level->ahead_n == 0 && !level_match(splitter, k, err))
                return false;
            join = level->ahead_n && joins(behavior, span.match, level->ahead[0].match);
            if (join)
                span.end = level_take(level).end;
            join &= behavior == SPLIT_CONTIGUOUS;
        }
    }
    *out = (struct str){level->piece.s + span.begin, span.end - span.begin};
    return true;
}

/* The next piece that the first `levels` steps make. */
static bool level_next(struct splitter *splitter, size_t levels, struct str *out, struct err *err)
{
    if (levels == 0) {
        *out = splitter->taken ? (struct str){0} : splitter->text;
        splitter->taken = true;
        return true;
    }
    for (;;) {
        struct level *level = &splitter->levels[levels - 1];
        if (!level_piece(splitter, levels - 1, out, err))
            return false;
        if (out->n)
            return true;
        struct str piece;
        if (!level_next(splitter, levels - 1, &piece, err))
            return false;
        if (piece.n == 0)
            return true;
        *level = (struct level){.piece = piece};
    }
}

bool splitter_next(struct splitter *splitter, struct str *word, struct err *err)
{
    return level_next(splitter, splitter->pretokenizer->n, word, err);
}
