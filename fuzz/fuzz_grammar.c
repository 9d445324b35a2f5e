/* fuzz_grammar.c - the input is a JSON Schema: what can't be enforced is taken out of it, the rest is
 * compiled, and one answer goes through it, of what it allows first, until it ends or is long. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/utf8.h"
#include "engine/constraint.h"

enum { BYTES = 256, END = BYTES, TOKENS = BYTES + 1, ANSWER_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* The single bytes, and an end. */
static struct grammars *grammars_of_bytes(void)
{
    static char spelling[BYTES][4];
    static struct str tokens[TOKENS];
    static int32_t types[TOKENS];
    struct vocab_source source;
    uint32_t next = 0x100;

    vocab_source_init(&source);
    source.model = VOCAB_BPE_BYTES;
    for (uint32_t b = 0; b < BYTES; b++) {
        const int printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        tokens[b] = (struct str){spelling[b], utf8_encode(spelling[b], printable ? b : next++)};
        types[b] = TOKEN_NORMAL;
    }
    tokens[END] = STR("<|im_end|>");
    types[END] = TOKEN_CONTROL;
    source.pre = STR("gpt-2");
    source.tokens = tokens;
    source.types = types;
    source.tokens_n = TOKENS;
    return grammars_new(vocab_new(&source, NULL), TOKENS);
}

static void answer(struct constraint *constraint, size_t seed)
{
    struct err err;

    for (size_t i = 0; i < ANSWER_MAX; i++) {
        float logits[TOKENS] = {0};
        int32_t id = (int32_t)((seed + i * 31) % TOKENS);
        if (!constraint_mask(constraint, logits, TOKENS, &err))
            return;
        while (isinf(logits[id]))
            id = (id + 1) % TOKENS;
        if (id == END || constraint_take(constraint, id, (uint32_t)(ANSWER_MAX - i), &err) !=
                             CONSTRAINT_GOES_ON)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct grammars *grammars;
    const struct grammar_part part = {.language = GRAMMAR_JSON_SCHEMA, .name = STR("answer"),
                                      .text = {(const char *)bytes, n}};
    const struct grammar_source source = {.parts = &part, .parts_n = 1};

    if (!grammars) {
        log_set_level(LOG_OFF);
        grammars = grammars_of_bytes();
    }
    struct grammar *grammar = grammars_take(grammars, &source, NULL);
    struct constraint *constraint = grammar ? constraint_new(grammars, grammar, NULL) : NULL;
    if (constraint)
        answer(constraint, n);
    constraint_free(constraint);
    return 0;
}
