/* families.c - the patterns that GGUF names in tokenizer.ggml.pre, in PCRE2's words.
 *
 * The hard thing is to be linear: a request may hold a megabyte of one letter. Everything that may
 * be possessive is. Each pattern is the one in the tokenizer.json of the models with that name. */
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

static const char *const qwen35[] = {
    "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]++|\\p{N}|"
    " ?[^" SPACE "\\p{L}\\p{M}\\p{N}]++[\\r\\n]*+|[" SPACE "]*[\\r\\n]+|" SPACES_LAST, NULL};
static const char *const deepseek_coder[] = {
    "[\\r\\n]", "[" SPACE "]?\\p{L}++", "[" SPACE "]?\\p{P}++",
    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]++", "\\p{N}", NULL};

static const struct family families[] = {
    {"gpt-2", gpt2, 0, 0, 0},           {"default", gpt2, 0, 0, 0},
    {"phi-2", gpt2, 0, 0, 0},           {"mpt", gpt2, 0, 0, 0},
    {"olmo", gpt2, 0, 0, 0},            {"trillion", gpt2, 0, 0, 0},
    {"smollm", digits_gpt2, 0, 0, 0},   {"starcoder", digits_gpt2, 0, 0, 0},
    {"refact", digits_gpt2, 0, 0, 0},   {"command-r", digits_gpt2, 0, 0, 0},
    {"codeshell", digits_gpt2, 0, 0, 0},    {"exaone", digits_gpt2, 0, 0, 0},
    {"minerva-7b", digits_gpt2, 0, 0, 0},
    {"llama-bpe", llama3, 1, 1, 0},     {"llama3", llama3, 1, 1, 0},
    {"llama-v3", llama3, 1, 1, 0},      {"falcon3", llama3, 1, 1, 0},
    {"pixtral", llama3, 1, 1, 0},       {"lfm2", llama3, 1, 1, 0},
    {"dbrx", llama3, 0, 0, 0},          {"smaug-bpe", llama3, 0, 0, 0},
    {"glm4", llama3, 0, 0, 0},          {"chatglm-bpe", llama3, 0, 0, 0},
    {"qwen2", qwen2, 0, 0, 1},          {"deepseek-r1-qwen", qwen2, 0, 0, 0},
    {"qwen35", qwen35, 0, 0, 0},        {"megrez", qwen2, 0, 0, 0},
    {"stablelm2", qwen2, 0, 0, 0},      {"hunyuan", qwen2, 0, 0, 0},
    {"gpt-4o", gpt4o, 0, 0, 0},         {"llama4", gpt4o, 0, 0, 0},
    {"tekken", tekken, 1, 1, 0},        {"deepseek-v3", deepseek3, 0, 0, 0},
    {"hunyuan-dense", deepseek3, 0, 0, 0},  {"deepseek-coder", deepseek_coder, 0, 0, 0},
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
