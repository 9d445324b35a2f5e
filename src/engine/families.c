/* families.c - the patterns that GGUF names in tokenizer.ggml.pre, in PCRE2's words.
 *
 * The hard thing is to be linear: a request may hold a megabyte of one letter. Everything that may
 * be possessive is. Each pattern is the one in the tokenizer.json of the models that use the name. */
#include "engine/families.h"

#include <stdio.h>

#include "engine/pattern.h"

#define SPACE PATTERN_SPACE
#define SPACES_LAST "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"
#define CONTRACTIONS "'(?:[sdmt]|ll|ve|re)"

/* GPT-2: contractions, words, numbers and signs with the space before them, then white space, of
 * which the last one is left for the word that follows. */
#define GPT2 CONTRACTIONS "| ?\\p{L}++| ?\\p{N}++| ?[^" SPACE "\\p{L}\\p{N}]++|" SPACES_LAST
/* First every digit by itself, then GPT-2's rule on what lies between; as one pattern, a digit ends
 * white space as the end of the text does. */
#define DIGITS_GPT2 "\\p{N}|" CONTRACTIONS "| ?\\p{L}++| ?[^" SPACE "\\p{L}\\p{N}]++|" \
                    "[" SPACE "]+(?![^" SPACE "\\p{N}])|[" SPACE "]+"
/* The pattern of cl100k with its numbers in groups of at most so many digits. */
#define CL100K(digits) "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|" digits "|" \
                       " ?[^" SPACE "\\p{L}\\p{N}]++[\\r\\n]*+|[" SPACE "]*[\\r\\n]+|" SPACES_LAST
/* o200k: words change where small letters turn to capitals. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending) "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "++" ending "|" \
                      "[^\\r\\n\\p{L}\\p{N}]?" UPPER "++" LOWER "*+" ending
#define O200K(digits, ending) CASED(ending) "|" digits "| ?[^" SPACE "\\p{L}\\p{N}]++[\\r\\n/]*+|" \
                              "[" SPACE "]*[\\r\\n]+|" SPACES_LAST

static const char *const gpt2[] = {GPT2, NULL};
static const char *const digits_gpt2[] = {DIGITS_GPT2, NULL};
static const char *const llama3[] = {CL100K("\\p{N}{1,3}+"), NULL};
static const char *const qwen2[] = {CL100K("\\p{N}"), NULL};
static const char *const gpt4o[] = {O200K("\\p{N}{1,3}+", "(?i:" CONTRACTIONS ")?+"), NULL};
static const char *const tekken[] = {O200K("\\p{N}", ""), NULL};
static const char *const deepseek3[] = {
    "\\p{N}{1,3}+", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]++",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]++|"
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]++| ?[\\p{P}\\p{S}]++[\\r\\n]*+|"
    "[" SPACE "]*[\\r\\n]+|" SPACES_LAST, NULL};

static const struct family families[] = {
    {"gpt-2", gpt2, false},             {"default", gpt2, false},
    {"phi-2", gpt2, false},             {"mpt", gpt2, false},
    {"olmo", gpt2, false},              {"jina-en", gpt2, false},
    {"smollm", digits_gpt2, false},     {"starcoder", digits_gpt2, false},
    {"refact", digits_gpt2, false},     {"command-r", digits_gpt2, false},
    {"codeshell", digits_gpt2, false},  {"exaone", digits_gpt2, false},
    {"minerva-7b", digits_gpt2, false},
    {"llama-bpe", llama3, true},        {"llama3", llama3, true},
    {"llama-v3", llama3, true},         {"dbrx", llama3, false},
    {"smaug-bpe", llama3, false},       {"glm4", llama3, false},
    {"chatglm-bpe", llama3, false},     {"falcon3", llama3, true},
    {"qwen2", qwen2, false},            {"deepseek-r1-qwen", qwen2, false},
    {"stablelm2", qwen2, false},        {"hunyuan", qwen2, false},
    {"gpt-4o", gpt4o, false},           {"llama4", gpt4o, false},
    {"tekken", tekken, true},           {"deepseek-v3", deepseek3, false},
};

const struct family *family_of(struct str name, struct err *err)
{
    char known[200] = "";
    size_t n = 0;

    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (str_is(name, families[i].name))
            return &families[i];
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? " " : "",
                                  families[i].name);
    }
    err_set(err, ERR_FORMAT, "pre-tokeniser \"%.*s\" is not supported; these are: %s",
            (int)(name.n < 40 ? name.n : 40), name.s, known);
    return NULL;
}
