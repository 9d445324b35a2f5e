/* spelling.c - how files spell what a token writes.
 *
 * GPT-2's byte alphabet: bytes that print stand for themselves, the others for characters from
 * U+0100 on. https://github.com/openai/gpt-2/blob/master/src/encoder.py (bytes_to_unicode) */
#include "engine/spelling.h"

#include "base/utf8.h"

enum { ALPHABET_END = 0x144 };

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

bool spelling_of_bytes(struct str spelling, char *out, size_t *out_n)
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

bool spelling_of_byte(struct str spelling, char *out)
{
    if (spelling.n != 6 || memcmp(spelling.s, "<0x", 3) != 0 || spelling.s[5] != '>')
        return false;
    const int high = hex_digit(spelling.s[3]), low = hex_digit(spelling.s[4]);
    if (high < 0 || low < 0)
        return false;
    *out = (char)(high << 4 | low);
    return true;
}

bool spelling_of_text(struct str spelling, char *out, size_t *out_n)
{
    const struct str mark = STR(SPACE_MARK);
    size_t n = 0;

    for (size_t i = 0; i < spelling.n;) {
        const bool space = str_starts((struct str){spelling.s + i, spelling.n - i}, mark);
        out[n++] = space ? ' ' : spelling.s[i];
        i += space ? mark.n : 1;
    }
    *out_n = n;
    return true;
}

/* Spellings that end a turn in one family of models or another, whatever the file calls its eos. */
static const char *const end_spellings[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>",
    "<|end_of_turn|>", "<end_of_turn>", "<turn|>", "<|return|>", "<|call|>", "<|eot|>", "</s>",
    "<eos>", "<|eos|>", "<EOT>", "<|END_OF_TURN_TOKEN|>", "<\xef\xbd\x9c" "end\xe2\x96\x81of"
    "\xe2\x96\x81sentence\xef\xbd\x9c>", "[EOS]", "<|user|>", "<|endofturn|>",
};

bool spelling_ends_turn(struct str spelling)
{
    for (size_t i = 0; i < sizeof end_spellings / sizeof *end_spellings; i++)
        if (str_is(spelling, end_spellings[i]))
            return true;
    return false;
}

bool spelling_is_markup(struct str s)
{
    return s.n > 2 && ((s.s[0] == '<' && s.s[s.n - 1] == '>') ||
                       (s.s[0] == '[' && s.s[s.n - 1] == ']'));
}
