/* spelled.c - finds spelled tokens by narrowing a sorted table byte by byte.
 *
 * The hard thing is what may not be found: a special token's look-alike in plain text, a token of
 * one word inside another. The rules of white space and words are those of Hugging Face's
 * `tokenizers` (added_vocabulary.rs): the search goes on after a match as it is spelled. */
#include "engine/spelled.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "engine/vocab.h"

static int compare_texts(const void *a, const void *b)
{
    return str_compare(((const struct spelled_token *)a)->text,
                       ((const struct spelled_token *)b)->text);
}

void spelled_init(struct spelled *spelled, struct spelled_token *list, size_t n)
{
    if (n)
        qsort(list, n, sizeof *list, compare_texts);
    spelled->list = list;
    spelled->n = n;
    for (size_t byte = 0, i = 0; byte < 257; byte++) {
        while (i < n && (uint8_t)list[i].text.s[0] < byte)
            i++;
        spelled->first[byte] = i;
    }
}

/* The first of [low, high) whose byte at `at` is not below `byte`. */
static size_t bound(const struct spelled *spelled, size_t low, size_t high, size_t at,
                    unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct str text = spelled->list[middle].text;
        if (at >= text.n || (uint8_t)text.s[at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token at the start of text; a special one has to end within the first `reach` bytes.
 * Those that agree with the text so far are the run [low, high) of the table. */
static const struct spelled_token *find(const struct spelled *spelled, struct str text,
                                        size_t reach)
{
    const uint8_t byte = (uint8_t)text.s[0];
    size_t low = spelled->first[byte], high = spelled->first[byte + 1];
    const struct spelled_token *found = NULL;

    for (size_t n = 1; low < high; n++) {
        const struct spelled_token *shortest = &spelled->list[low];
        if (shortest->text.n == n) {            /* a prefix of others sorts before them */
            if (n <= reach || !shortest->special)
                found = shortest;
            low++;
        }
        if (n == text.n)
            break;
        const unsigned next = (uint8_t)text.s[n];
        low = bound(spelled, low, high, n, next);
        high = bound(spelled, low, high, n, next + 1);
    }
    return found;
}

/* The character that ends at `end`, 0 if there is none. */
static uint32_t char_before(struct str text, size_t end)
{
    uint32_t c = 0;

    for (size_t n = 1; n <= 4 && n <= end; n++) {
        if (((uint8_t)text.s[end - n] & 0xc0) == 0x80)
            continue;
        return utf8_decode((struct str){text.s + end - n, n}, &c) == n ? c : 0;
    }
    return 0;
}

static uint32_t char_after(struct str text, size_t begin)
{
    uint32_t c = 0;

    if (begin < text.n && !utf8_decode((struct str){text.s + begin, text.n - begin}, &c))
        return 0;
    return c;
}

/* What \w means to Rust's regex, which that file uses. */
static bool is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME: case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
               (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
               (c >= 0x1f170 && c <= 0x1f189);
    }
}

/* White space around [begin, end) that the token takes with it. */
static void swallow(struct str text, uint8_t flags, size_t done, size_t *begin, size_t *end)
{
    char bytes[4];
    uint32_t c;

    while (flags & TOKEN_LSTRIP && *begin > done && utf8_is_white(c = char_before(text, *begin)))
        *begin -= utf8_encode(bytes, c);
    while (flags & TOKEN_RSTRIP && *end < text.n && utf8_is_white(c = char_after(text, *end)))
        *end += utf8_encode(bytes, c);
}

bool spelled_next(struct spelled_walk *walk, struct spelled_match *out)
{
    const struct spelled *spelled = walk->spelled;
    const struct str text = walk->text;

    while (walk->at < text.n) {
        const size_t at = walk->at;
        const uint8_t byte = (uint8_t)text.s[at];
        if (spelled->first[byte] == spelled->first[byte + 1]) {
            walk->at++;
            continue;
        }
        while (walk->plain_n && walk->plain->end <= at) {
            walk->plain++;
            walk->plain_n--;
        }
        const size_t border = walk->plain_n ? walk->plain->begin : text.n;
        const struct spelled_token *token = find(
            spelled, (struct str){text.s + at, text.n - at}, border > at ? border - at : 0);
        if (!token) {
            walk->at++;
            continue;
        }
        walk->at += token->text.n;
        if (token->flags & TOKEN_SINGLE_WORD &&
            (is_word(char_before(text, at)) || is_word(char_after(text, walk->at))))
            continue;
        *out = (struct spelled_match){at, walk->at, token->id};
        swallow(text, token->flags, walk->done, &out->begin, &out->end);
        walk->done = out->end;
        return true;
    }
    return false;
}
