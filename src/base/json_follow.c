/* json_follow.c - see json_follow.h. One place for each question "what may come next". */
#include "base/json_follow.h"

#include <string.h>

enum place {
    VALUE, VALUE_OR_END, KEY, KEY_OR_END, COLON, COMMA_OR_END, STRING, WORD,
    MINUS, ZERO, WHOLE_PART, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS,
};

static const char *const words[] = {"true", "false", "null"};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool in_object(const struct json_follow *follow)
{
    const unsigned at = follow->depth - 1u;

    return follow->depth && (follow->objects[at / 64] >> (at % 64) & 1);
}

/* A value is whole: at the top that is the end. */
static enum json_step value_ends(struct json_follow *follow)
{
    follow->place = COMMA_OR_END;
    return follow->depth ? JSON_MORE : JSON_WHOLE;
}

static enum json_step open(struct json_follow *follow, bool object)
{
    const unsigned at = follow->depth;

    if (at == JSON_FOLLOW_DEPTH_MAX)
        return JSON_WRONG;
    follow->objects[at / 64] &= ~(UINT64_C(1) << (at % 64));
    follow->objects[at / 64] |= (uint64_t)object << (at % 64);
    follow->depth++;
    follow->place = object ? KEY_OR_END : VALUE_OR_END;
    return JSON_MORE;
}

static enum json_step go(struct json_follow *follow, enum place place)
{
    follow->place = place;
    return JSON_MORE;
}

static enum json_step begin_string(struct json_follow *follow, bool key)
{
    follow->key = key;
    follow->high = 0;
    return go(follow, STRING);
}

static enum json_step begin_value(struct json_follow *follow, char c)
{
    if (c == '{' || c == '[')
        return open(follow, c == '{');
    if (c == '"')
        return begin_string(follow, false);
    if (c == '-' || is_digit(c))
        return go(follow, c == '-' ? MINUS : c == '0' ? ZERO : WHOLE_PART);
    for (uint8_t i = 0; i < sizeof words / sizeof *words; i++)
        if (c == words[i][0]) {
            follow->word = i;
            follow->at = 1;
            return go(follow, WORD);
        }
    return JSON_WRONG;
}

static enum json_step in_word(struct json_follow *follow, char c)
{
    const char *word = words[follow->word];

    if (c != word[follow->at++])
        return JSON_WRONG;
    return word[follow->at] ? JSON_MORE : value_ends(follow);
}

/* ---- strings ---- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) % 16 : -1;
}

static enum json_step unit_ends(struct json_follow *follow)
{
    const bool low = follow->unit >= 0xdc00 && follow->unit <= 0xdfff;

    if (low != (follow->high != 0))
        return JSON_WRONG;
    follow->high = follow->unit >= 0xd800 && follow->unit < 0xdc00 ? follow->unit : 0;
    return JSON_MORE;
}

static enum json_step in_escape(struct json_follow *follow, char c)
{
    const int digit = hex_digit(c);

    if (follow->escape == 1) {
        if (!c || !strchr("\"\\/bfnrtu", c) || (follow->high && c != 'u'))
            return JSON_WRONG;
        follow->escape = c == 'u' ? 2 : 0;
        follow->unit = 0;
        return JSON_MORE;
    }
    if (digit < 0)
        return JSON_WRONG;
    follow->unit = (uint16_t)(follow->unit << 4 | digit);
    follow->escape = follow->escape == 5 ? 0 : follow->escape + 1;
    return follow->escape ? JSON_MORE : unit_ends(follow);
}

static enum json_step in_string(struct json_follow *follow, char c)
{
    if (follow->escape)
        return in_escape(follow, c);
    if ((unsigned char)c < 0x20 || (follow->high && c != '\\'))
        return JSON_WRONG;
    if (c == '\\')
        follow->escape = 1;
    if (c != '"')
        return JSON_MORE;
    return follow->key ? go(follow, COLON) : value_ends(follow);
}

/* ---- numbers ---- */

static enum json_step in_number(struct json_follow *follow, char c)
{
    const enum place place = follow->place;

    if (is_digit(c)) {
        static const uint8_t next[] = {
            [MINUS] = WHOLE_PART, [WHOLE_PART] = WHOLE_PART, [POINT] = FRACTION,
            [FRACTION] = FRACTION, [EXPONENT] = EXPONENT_DIGITS,
            [EXPONENT_SIGN] = EXPONENT_DIGITS, [EXPONENT_DIGITS] = EXPONENT_DIGITS,
        };
        if (place == ZERO)
            return JSON_WRONG;
        return go(follow, place == MINUS && c == '0' ? ZERO : next[place]);
    }
    if (c == '.' && (place == ZERO || place == WHOLE_PART))
        return go(follow, POINT);
    if ((c == 'e' || c == 'E') && (place == ZERO || place == WHOLE_PART || place == FRACTION))
        return go(follow, EXPONENT);
    if ((c == '+' || c == '-') && place == EXPONENT)
        return go(follow, EXPONENT_SIGN);
    if (place == MINUS || place == POINT || place == EXPONENT || place == EXPONENT_SIGN)
        return JSON_WRONG;
    if (value_ends(follow) == JSON_WHOLE)
        return JSON_WHOLE_BEFORE;
    return json_follow(follow, c);
}

/* ---- between ---- */

static enum json_step close(struct json_follow *follow, char c)
{
    if (follow->depth == 0 || (c == '}') != in_object(follow))
        return JSON_WRONG;
    follow->depth--;
    return value_ends(follow);
}

enum json_step json_follow(struct json_follow *follow, char c)
{
    const enum place place = follow->place;

    if (place == STRING)
        return in_string(follow, c);
    if (place == WORD)
        return in_word(follow, c);
    if (place >= MINUS)
        return in_number(follow, c);
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return JSON_MORE;
    if ((c == '}' || c == ']') && (place == COMMA_OR_END || place == KEY_OR_END ||
                                   place == VALUE_OR_END))
        return close(follow, c);
    switch (place) {
    case VALUE:
    case VALUE_OR_END:
        return begin_value(follow, c);
    case KEY:
    case KEY_OR_END:
        return c == '"' ? begin_string(follow, true) : JSON_WRONG;
    case COLON:
        return c == ':' ? go(follow, VALUE) : JSON_WRONG;
    default:
        return c == ',' && follow->depth ? go(follow, in_object(follow) ? KEY : VALUE) : JSON_WRONG;
    }
}
