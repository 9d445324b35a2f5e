/* pretokenizer.c - one PCRE2 pattern a family of tokenizers, compiled once and run with its JIT.
 *
 * The hard thing is to be linear: a request may hold a megabyte of one letter. Everything that may
 * be possessive is, the subject is not checked again at each word, and match limits catch the rest.
 *
 * White space is spelled out, because PCRE2's \s also holds U+180E, which is none since Unicode 6.3. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/pretokenizer.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

enum { MATCH_STEPS_MAX = 50 * 1000 * 1000, MATCH_HEAP_KIB_MAX = 64 * 1024,
       JIT_STACK_MIN = 32 << 10, JIT_STACK_MAX = 1 << 20 };

#define SPACE "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
              "\\x{205f}\\x{3000}"

/* GPT-2: contractions, words, numbers and signs with the space before them, then white space, of
 * which the last one is left for the word that follows. */
#define GPT2 "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^" SPACE "\\p{L}\\p{N}]++|" \
             "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"
/* First every digit by itself, then GPT-2's rule on what lies between; as one pattern, a digit ends
 * white space as the end of the text does. */
#define DIGITS_GPT2 "\\p{N}|'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?[^" SPACE "\\p{L}\\p{N}]++|" \
                    "[" SPACE "]+(?![^" SPACE "\\p{N}])|[" SPACE "]+"
/* The pattern of cl100k with its numbers in groups of at most so many digits. */
#define CL100K(digits) "(?i:'(?:[sdmt]|ll|ve|re))|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|" digits "|" \
                       " ?[^" SPACE "\\p{L}\\p{N}]++[\\r\\n]*+|[" SPACE "]*[\\r\\n]+|" \
                       "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"

static const struct pretokenizer_row {
    const char *name, *pattern;
    bool whole_words;
} pretokenizers[] = {
    {"gpt-2", GPT2, false},
    {"default", GPT2, false},
    {"phi-2", GPT2, false},
    {"mpt", GPT2, false},
    {"olmo", GPT2, false},
    {"smollm", DIGITS_GPT2, false},
    {"starcoder", DIGITS_GPT2, false},
    {"refact", DIGITS_GPT2, false},
    {"command-r", DIGITS_GPT2, false},
    {"codeshell", DIGITS_GPT2, false},
    {"llama-bpe", CL100K("\\p{N}{1,3}"), true},
    {"llama3", CL100K("\\p{N}{1,3}"), true},
    {"qwen2", CL100K("\\p{N}"), false},
    {"deepseek-r1-qwen", CL100K("\\p{N}"), false},
};

struct pretokenizer {
    const struct pretokenizer_row *row;
    pcre2_code *code;
};

static const struct pretokenizer_row *row_of(struct str name, struct err *err)
{
    char known[200] = "";
    size_t n = 0;

    if (name.n == 0)
        return &pretokenizers[0];
    for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++) {
        if (str_is(name, pretokenizers[i].name))
            return &pretokenizers[i];
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? " " : "",
                                  pretokenizers[i].name);
    }
    err_set(err, ERR_FORMAT, "pre-tokeniser \"%.*s\" is not supported; these are: %s",
            (int)(name.n < 40 ? name.n : 40), name.s, known);
    return NULL;
}

struct pretokenizer *pretokenizer_new(struct str name, struct err *err)
{
    const struct pretokenizer_row *row = row_of(name, err);
    int code_error;
    PCRE2_SIZE where;

    if (!row)
        return NULL;
    struct pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
    if (!pretokenizer) {
        err_set(err, ERR_INTERNAL, "out of memory");
        return NULL;
    }
    pretokenizer->row = row;
    pretokenizer->code = pcre2_compile((PCRE2_SPTR)row->pattern, PCRE2_ZERO_TERMINATED,
                                       PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                       &code_error, &where, NULL);
    if (!pretokenizer->code) {
        err_set(err, ERR_INTERNAL, "PCRE2 does not take the pattern of %s: error %d at %zu",
                row->name, code_error, where);
        free(pretokenizer);
        return NULL;
    }
    /* Without JIT (not built in, or no executable memory allowed) the interpreter does it. */
    (void)pcre2_jit_compile(pretokenizer->code, PCRE2_JIT_COMPLETE);
    return pretokenizer;
}

void pretokenizer_free(struct pretokenizer *pretokenizer)
{
    if (!pretokenizer)
        return;
    pcre2_code_free(pretokenizer->code);
    free(pretokenizer);
}

const char *pretokenizer_name(const struct pretokenizer *pretokenizer)
{
    return pretokenizer->row->name;
}

bool pretokenizer_whole_words(const struct pretokenizer *pretokenizer)
{
    return pretokenizer->row->whole_words;
}

struct splitter {
    const pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;                     /* NULL without JIT */
};

struct splitter *splitter_new(const struct pretokenizer *pretokenizer, struct err *err)
{
    struct splitter *splitter = calloc(1, sizeof *splitter);

    if (splitter) {
        *splitter = (struct splitter){
            .code = pretokenizer->code,
            .data = pcre2_match_data_create(1, NULL),
            .context = pcre2_match_context_create(NULL),
            .stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL),
        };
    }
    if (!splitter || !splitter->data || !splitter->context) {
        splitter_free(splitter);
        err_set(err, ERR_INTERNAL, "out of memory");
        return NULL;
    }
    pcre2_set_match_limit(splitter->context, MATCH_STEPS_MAX);
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

bool splitter_next(struct splitter *splitter, struct str text, size_t at, struct str *word,
                   struct err *err)
{
    const int found = pcre2_match(splitter->code, (PCRE2_SPTR)text.s, text.n, at,
                                  PCRE2_NO_UTF_CHECK, splitter->data, splitter->context);
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(splitter->data);

    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return err_set(err, ERR_INVALID, "the text can't be split into words (PCRE2 error %d)",
                       found);
    size_t end = text.n;
    if (found >= 0)                             /* what no alternative takes is a word too */
        end = span[0] > at ? span[0] : span[1];
    *word = (struct str){text.s + at, end - at};
    return true;
}
