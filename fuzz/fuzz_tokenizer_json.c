/* fuzz_tokenizer_json.c - the input is a tokenizer.json, and behind a zero byte a tokenizer_config.json.
 * What is taken must encode any text into tokens that there are, and spell no special token out of
 * plain text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "engine/detokenizer.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char *const texts[] = {
    "", " ", "hello world", "  a\n\n b<s>c [X] d", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1234 x1y22z333",
    "e\xcc\x81\xcc\xa3\xe1\x84\x80\xe1\x85\xa1", "\xe4\xbd\xa0\xf0\x9f\x99\x82\xff\xc3", "don't\t!?\x01",
};

static void check_text(const struct vocab *vocab, struct arena *arena, struct str text)
{
    const struct plain_range all = {0, text.n};
    struct detokenizer detokenizer = {.decode = vocab_decode(vocab)};
    struct buf decoded = {0};
    struct tokens tokens;

    if (!tokenizer_encode(vocab, arena, text, &all, 1, false, &tokens, NULL))
        return;                                 /* a pattern that gives up */
    for (size_t i = 0; i < tokens.n; i++) {
        if (tokens.ids[i] < 0 || (size_t)tokens.ids[i] >= vocab_size(vocab))
            abort();
        if (vocab_is_special(vocab, tokens.ids[i]) &&
            tokens.ids[i] != vocab_rules(vocab)->unknown)
            abort();
        detokenizer_push(&detokenizer, vocab_bytes(vocab, tokens.ids[i]), &decoded);
    }
    detokenizer_finish(&detokenizer, &decoded);
    if (!utf8_valid(buf_view(&decoded)))
        abort();
    buf_release(&decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const struct str input = {(const char *)bytes, n};
    const char *zero = n ? memchr(input.s, '\0', n) : NULL;
    const size_t file = zero ? (size_t)(zero - input.s) : n;
    struct arena *arena = arena_new(1 << 16);
    struct vocab_source source;
    struct err err = {0};
    struct vocab *vocab = NULL;

    if (vocab_source_json(arena, (struct str){input.s, file},
                          zero ? (struct str){zero + 1, n - file - 1} : (struct str){0}, &source,
                          &err))
        vocab = vocab_new(&source, &err);
    if (!vocab && (err.code != ERR_FORMAT || !utf8_valid(str_of(err.text))))
        abort();
    for (size_t i = 0; vocab && i < sizeof texts / sizeof *texts; i++)
        check_text(vocab, arena, str_of(texts[i]));
    vocab_free(vocab);
    arena_free(arena);
    return 0;
}
