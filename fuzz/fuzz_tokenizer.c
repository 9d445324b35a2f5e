/* fuzz_tokenizer.c - the input is text with plain ranges, through a small vocabulary and each
 * pre-tokeniser: what comes out must spell what went in, and no plain text become a special token.
 * Two bytes a range (gap, length) up to a 0xff, the pre-tokeniser's number, then the text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "engine/tokenizer.h"
#include "../tests/engine/vocab_small.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { RANGES_MAX = 32 };

static const char *const pretokenizers[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
enum { PRETOKENIZERS = sizeof pretokenizers / sizeof *pretokenizers };

static struct vocab *vocab_of(size_t which)
{
    static struct vocab *made[PRETOKENIZERS];

    if (!made[which]) {
        struct small *small = malloc(sizeof *small);
        small_init(small, NULL);
        small->source.pre = str_of(pretokenizers[which]);
        made[which] = vocab_new(&small->source, NULL);
        free(small);
    }
    return made[which];
}

static bool overlaps(const struct plain_range *plain, size_t plain_n, size_t begin, size_t end)
{
    for (size_t i = 0; i < plain_n; i++) {
        if (plain[i].begin < end && begin < plain[i].end)
            return true;
    }
    return false;
}

static void check(const struct vocab *vocab, struct str text, const struct plain_range *plain,
                  size_t plain_n, struct tokens tokens)
{
    size_t at = 0;

    for (size_t i = 0; i < tokens.n; i++) {
        const struct str piece = vocab_bytes(vocab, tokens.ids[i]);
        if (piece.n > text.n - at || memcmp(text.s + at, piece.s, piece.n) != 0)
            abort();
        if (vocab_is_special(vocab, tokens.ids[i]) && overlaps(plain, plain_n, at, at + piece.n))
            abort();
        at += piece.n;
    }
    if (at != text.n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct plain_range plain[RANGES_MAX];
    size_t plain_n = 0, at = 0;

    for (size_t end = 0; at + 1 < n && bytes[at] != 0xff && plain_n < RANGES_MAX; at += 2) {
        const size_t begin = end + bytes[at];
        end = begin + 1 + bytes[at + 1];
        plain[plain_n++] = (struct plain_range){begin, end};
    }
    at += at < n && bytes[at] == 0xff;
    if (at >= n)
        return 0;
    const struct vocab *vocab = vocab_of(bytes[at] % PRETOKENIZERS);
    const struct str text = {(const char *)bytes + at + 1, n - at - 1};
    struct arena *arena = arena_new(4096);
    struct tokens tokens;

    if (!tokenizer_encode(vocab, arena, text, plain, plain_n, false, &tokens, NULL))
        abort();
    check(vocab, text, plain, plain_n, tokens);
    arena_free(arena);
    return 0;
}
