/* Constrained decoding over a small vocabulary: what a grammar allows, token by token, what of a
 * schema is left out, what is refused, and that every random answer is whole JSON in time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/random.h"
#include "engine/constraint.h"
#include "vocab_small.h"

enum { TOKENS = 266, TEXT_MAX = 4096 };

struct room {
    struct vocab *vocab;
    struct grammars *grammars;
    int32_t end;                        /* <|im_end|> */
};

static int room_open(void **state)
{
    struct room *room = calloc(1, sizeof *room);

    room->vocab = vocab_small(NULL);
    assert_int_equal(vocab_size(room->vocab), TOKENS);
    room->grammars = grammars_new(room->vocab, TOKENS);
    room->end = vocab_find(room->vocab, STR("<|im_end|>"));
    *state = room;
    return 0;
}

static int room_close(void **state)
{
    struct room *room = *state;

    grammars_free(room->grammars);
    vocab_free(room->vocab);
    free(room);
    return 0;
}

static struct grammar *compile(struct room *room, enum grammar_language language, const char *text,
                               struct err *err)
{
    const struct grammar_part part = {.language = language, .name = STR("answer"),
                                      .text = str_of(text)};

    return grammars_take(room->grammars, &(struct grammar_source){.parts = &part, .parts_n = 1},
                         err);
}

static struct constraint *constrain(struct room *room, enum grammar_language language,
                                    const char *text)
{
    struct err err = {0};
    struct grammar *grammar = compile(room, language, text, &err);

    if (!grammar)
        fail_msg("%s: %s", text, err.text);
    struct constraint *constraint = constraint_new(room->grammars, grammar, &err);
    if (!constraint)
        fail_msg("%s: %s", text, err.text);
    return constraint;
}

/* allowed[id] */
static void look(struct constraint *constraint, bool allowed[TOKENS])
{
    float logits[TOKENS] = {0};
    struct err err = {0};

    if (!constraint_mask(constraint, logits, TOKENS, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < TOKENS; i++)
        allowed[i] = logits[i] == 0;
}

/* ---- what is allowed ---- */

enum verdict { WHOLE, BEGUN, WRONG };

/* Byte by byte. WHOLE: the end is allowed after it, or comes by itself. */
static enum verdict follow(struct room *room, struct constraint *constraint, const char *text)
{
    bool allowed[TOKENS];
    struct err err = {0};

    for (const char *s = text; *s; s++) {
        const int32_t id = vocab_byte(room->vocab, (uint8_t)*s);
        look(constraint, allowed);
        if (!allowed[id])
            return WRONG;
        const enum constraint_step step = constraint_take(constraint, id, UINT32_MAX, &err);
        if (step == CONSTRAINT_COMPLETE)
            return s[1] ? WRONG : WHOLE;
        assert_int_equal(step, CONSTRAINT_GOES_ON);
    }
    look(constraint, allowed);
    return allowed[room->end] ? WHOLE : BEGUN;
}

static void texts_against_schemas(void **state)
{
    static const struct {
        enum grammar_language language;
        const char *grammar, *text;
        enum verdict verdict;
    } cases[] = {
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"boolean\"}", "true", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"boolean\"}", "tru", BEGUN},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"boolean\"}", "tree", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"boolean\"}", " true", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"minimum\":10,\"maximum\":19}", "15", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"minimum\":10,\"maximum\":19}", "1", BEGUN},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"minimum\":10,\"maximum\":19}", "20", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"maxLength\":2}", "\"ab\"", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"maxLength\":2}", "\"abc\"", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"maxLength\":2}", "\"\xc3\xa9\xc3\xa9\"", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\"}", "\"\xc3(\"", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\"}", "\"\n\"", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^[0-9]{3}-x+$\"}", "\"123-xxx\"",
         WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-30\"", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"enum\":[\"red\",5,null]}", "\"red\"", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"enum\":[\"red\",5,null]}", "\"Red\"", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"enum\":[\"red\",5,null]}", "5", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"const\":{\"a\":[1,2]}}", "{\"a\": [1, 2]}", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":2}",
         "[null]", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":2}",
         "[\n  null,\n  null\n]", WHOLE},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":[\"string\",\"null\"]}", "null", WHOLE},
        {GRAMMAR_JSON_SCHEMA,
         "{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"integer\"},\"a\":{}},"
         "\"required\":[\"b\"],\"additionalProperties\":false}", "{\"b\":1}", WHOLE},
        {GRAMMAR_JSON_SCHEMA,
         "{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"integer\"},\"a\":{}},"
         "\"required\":[\"b\"],\"additionalProperties\":false}", "{\"a\":", WRONG},
        {GRAMMAR_JSON_SCHEMA,
         "{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"integer\"},\"a\":{}},"
         "\"required\":[\"b\"],\"additionalProperties\":false}", "{\"b\":1,\"a\":[{\"x\":2.5e3}]}",
         WHOLE},
        {GRAMMAR_JSON_SCHEMA,
         "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"n\":"
         "{\"$ref\":\"#/$defs/n\"}},\"additionalProperties\":false}}}", "{\"n\":{\"n\":{}}}", WHOLE},
        /* white space in a bounded measure: nothing can be written for ever */
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"object\"}", "{\n\n", WRONG},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"object\"}", "{  ", WRONG},
        {GRAMMAR_REGEX, "[a-c]+x", "abcax", WHOLE},
        {GRAMMAR_REGEX, "[a-c]+x", "x", WRONG},
        {GRAMMAR_LARK, "start: \"call \" /[a-z]{1,3}/ \"!\"", "call ab!", WHOLE},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct constraint *constraint = constrain(*state, cases[i].language, cases[i].grammar);
        const enum verdict verdict = follow(*state, constraint, cases[i].text);
        if (verdict != cases[i].verdict)
            fail_msg("%s: %s gives %d", cases[i].grammar, cases[i].text, (int)verdict);
        constraint_free(constraint);
    }
}

/* All tokens that are a beginning of what may follow, and no other: not the control tokens, whose
 * spelling begins so, either. */
static void masks_are_exact(void **state)
{
    struct room *room = *state;
    static const char grammar[] = "ab?c?|<.im_end.>|   ";
    static const char *const first[] = {"a", "ab", "abc", "<", " ", "   ", NULL};
    struct constraint *constraint = constrain(room, GRAMMAR_REGEX, grammar);
    bool allowed[TOKENS];

    look(constraint, allowed);
    for (int32_t id = 0; id < TOKENS; id++) {
        const struct str bytes = vocab_type(room->vocab, id) == TOKEN_CONTROL
                                     ? (struct str){0}
                                     : vocab_bytes(room->vocab, id);
        bool expected = false;
        for (size_t i = 0; first[i]; i++)
            expected |= str_is(bytes, first[i]);
        if (allowed[id] != expected)
            fail_msg("token %d (%.*s): %d", id, STR_ARG(bytes), allowed[id]);
    }
    constraint_free(constraint);
}

static void end_is_allowed_exactly_when_complete(void **state)
{
    struct room *room = *state;
    struct constraint *constraint = constrain(room, GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\"}");
    bool allowed[TOKENS];
    struct err err = {0};

    look(constraint, allowed);
    assert_false(allowed[room->end]);
    assert_int_equal(constraint_take(constraint, vocab_byte(room->vocab, '4'), UINT32_MAX, &err),
                     CONSTRAINT_GOES_ON);
    look(constraint, allowed);
    assert_true(allowed[room->end]);
    assert_true(allowed[vocab_byte(room->vocab, '2')]);
    constraint_free(constraint);
}

static void a_forbidden_token_breaks(void **state)
{
    struct room *room = *state;
    struct constraint *constraint = constrain(room, GRAMMAR_JSON_SCHEMA, "{\"type\":\"null\"}");
    struct err err = {0};

    assert_int_equal(constraint_take(constraint, vocab_byte(room->vocab, 'x'), UINT32_MAX, &err),
                     CONSTRAINT_BROKEN);
    assert_int_equal(err.code, ERR_INVALID);
    constraint_free(constraint);
}

/* A set of parts, as a tool call's grammar is one: a control token, a name, then a schema's value. */
static void parts_refer_to_each_other(void **state)
{
    struct room *room = *state;
    const struct grammar_part parts[] = {
        {.language = GRAMMAR_LARK, .name = STR("call"),
         .text = STR("start: <|im_end|>> \"{\\\"name\\\":\\\"cc\\\",\" @cc \"}\"")},
        {.language = GRAMMAR_JSON_SCHEMA, .name = STR("cc"),
         .text = STR("{\"type\":\"array\",\"uniqueItems\":true,\"items\":"
                     "{\"type\":\"integer\",\"not\":{\"const\":3}}}")},
    };
    struct err err = {0};
    bool allowed[TOKENS];

    /* Lark can't name a token with two closing brackets, so this one is not found. */
    assert_null(grammars_take(room->grammars, &(struct grammar_source){.parts = parts, .parts_n = 2},
                              &err));
    assert_int_equal(err.code, ERR_INVALID);

    const struct grammar_part good[] = {
        {.language = GRAMMAR_LARK, .name = STR("call"),
         .text = STR("start: <|im_end|> \"x\" @cc \"}\"")}, parts[1]};
    struct grammar *grammar = grammars_take(
        room->grammars, &(struct grammar_source){.parts = good, .parts_n = 2}, &err);
    if (!grammar)
        fail_msg("%s", err.text);
    const struct str loosened = grammar_loosened(grammar);
    assert_true(str_is(loosened, "cc/items/not\ncc/uniqueItems\n") ||
                str_is(loosened, "cc/uniqueItems\ncc/items/not\n"));
    struct constraint *constraint = constraint_new(room->grammars, grammar, &err);
    look(constraint, allowed);
    assert_true(allowed[room->end]);
    constraint_free(constraint);
}

/* A loose schema that is none becomes any object; the others stay. */
static void loose_parts_give_way(void **state)
{
    struct room *room = *state;
    const struct grammar_part parts[] = {
        {.language = GRAMMAR_LARK, .name = STR("call"), .text = STR("start: \"a\" @none | \"b\" @good")},
        {.language = GRAMMAR_JSON_SCHEMA, .name = STR("none"), .loose = true,
         .text = STR("{\"type\":\"strin\"}")},
        {.language = GRAMMAR_JSON_SCHEMA, .name = STR("good"), .loose = true,
         .text = STR("{\"type\":\"boolean\"}")},
    };
    const struct grammar_source source = {.parts = parts, .parts_n = 3};
    static const struct {
        const char *text;
        enum verdict verdict;
    } cases[] = {{"a{\"x\": 1}", WHOLE}, {"atrue", WRONG}, {"b{", WRONG}, {"btrue", WHOLE}};
    struct err err = {0};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct grammar *grammar = grammars_take(room->grammars, &source, &err);
        if (!grammar)
            fail_msg("%s", err.text);
        assert_true(str_is(grammar_loosened(grammar), "none\n"));
        struct constraint *constraint = constraint_new(room->grammars, grammar, &err);
        assert_int_equal(follow(room, constraint, cases[i].text), cases[i].verdict);
        constraint_free(constraint);
    }
}

/* Where the tokenizer writes a space before the first word, one may come, and no second. */
static void a_first_space_where_the_tokenizer_has_one(void **state)
{
    static const struct {
        const char *text;
        enum verdict verdict;
    } cases[] = {{"true", WHOLE}, {" true", WHOLE}, {"  true", WRONG}};
    struct room *room = *state;
    const struct grammar_part part = {.language = GRAMMAR_JSON_SCHEMA, .name = STR("answer"),
                                      .text = STR("{\"type\":\"boolean\"}")};
    const struct grammar_source source = {.parts = &part, .parts_n = 1, .spaced = true};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        struct grammar *grammar = grammars_take(room->grammars, &source, &err);
        if (!grammar)
            fail_msg("%s", err.text);
        struct constraint *constraint = constraint_new(room->grammars, grammar, &err);
        assert_int_equal(follow(room, constraint, cases[i].text), cases[i].verdict);
        constraint_free(constraint);
    }
}

/* ---- what is left out ---- */

static void keywords_that_cannot_be_enforced(void **state)
{
    static const struct {
        const char *schema, *loosened, *text;
    } cases[] = {
        {"{\"type\":\"integer\",\"description\":\"x\",\"foo\":1}", "", "1"},
        {"{\"type\":\"array\",\"uniqueItems\":true}", "/uniqueItems\n", "[1,1]"},
        {"{\"type\":\"array\",\"uniqueItems\":false}", "", "[1,1]"},
        {"{\"type\":\"object\",\"propertyNames\":{\"type\":\"string\"}}", "", "{\"a\":1}"},
        {"{\"type\":\"object\",\"propertyNames\":{\"maxLength\":1}}", "/propertyNames\n",
         "{\"ab\":1}"},
        {"{\"properties\":{\"a/b\":{\"not\":{}}}}", "/properties/a~1b/not\n", "{}"},
        {"{\"type\":\"string\",\"format\":\"color\",\"maxLength\":2}", "/format\n", "\"no\""},
        /* only compiling tells, and only what is to blame goes: the pattern beside it stays */
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^(?=x)y\"},"
         "\"b\":{\"type\":\"string\",\"pattern\":\"^b$\"}},\"required\":[\"a\",\"b\"]}",
         "/properties/a/pattern\n", "{\"a\":\"z\",\"b\":\"b\"}"},
        {"{\"oneOf\":[{\"type\":\"integer\",\"minimum\":3},{\"type\":\"integer\",\"maximum\":5}]}",
         "/oneOf\n", "4"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}", "", "null"},
        {"{\"$ref\":\"https://example.com/a\"}", "/$ref\n", "[]"},
        {"{\"x-guidance\":{\"lenient\":true},\"type\":\"null\"}", "", "null"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct room *room = *state;
        struct err err = {0};
        struct grammar *grammar = compile(room, GRAMMAR_JSON_SCHEMA, cases[i].schema, &err);
        if (!grammar)
            fail_msg("%s: %s", cases[i].schema, err.text);
        const struct str loosened = grammar_loosened(grammar);
        if (!str_is(loosened, cases[i].loosened))
            fail_msg("%s: leaves out %.*s", cases[i].schema, STR_ARG(loosened));
        struct constraint *constraint = constraint_new(room->grammars, grammar, &err);
        if (follow(room, constraint, cases[i].text) != WHOLE)
            fail_msg("%s: refuses %s", cases[i].schema, cases[i].text);
        constraint_free(constraint);
    }
}

static void what_stays_is_still_enforced(void **state)
{
    struct constraint *constraint =
        constrain(*state, GRAMMAR_JSON_SCHEMA,
                  "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":"
                  "\"^(?=x)y\"},\"b\":{\"type\":\"string\",\"pattern\":\"^b$\"}},\"required\":"
                  "[\"a\",\"b\"]}");

    assert_int_equal(follow(*state, constraint, "{\"a\":\"z\",\"b\":\"c\"}"), WRONG);
    constraint_free(constraint);
}

/* ---- what is refused ---- */

static void hostile_grammars(void **state)
{
    static const struct {
        enum grammar_language language;
        const char *head, *repeated, *tail;     /* the middle n times */
        size_t n;
    } cases[] = {
        {GRAMMAR_JSON_SCHEMA, "[]", "", "", 0},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":", "", "", 0},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"thing\"}", "", "", 0},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"minimum\":3,\"maximum\":1}", "", "", 0},
        {GRAMMAR_JSON_SCHEMA, "{\"required\":3}", "", "", 0},
        {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"description\":\"", "x", "\"}",
         GRAMMAR_BYTES_MAX},
        {GRAMMAR_JSON_SCHEMA, "", "{\"items\":", "{}", 2000},
        {GRAMMAR_REGEX, "(", "", "", 0},
        {GRAMMAR_LARK, "start: @nobody", "", "", 0},
        {GRAMMAR_LARK, "", "", "", 0},
    };
    struct room *room = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf text = {0};
        struct err err = {0};
        buf_cstr(&text, cases[i].head);
        for (size_t j = 0; j < cases[i].n; j++)
            buf_cstr(&text, cases[i].repeated);
        buf_cstr(&text, cases[i].tail);
        buf_char(&text, '\0');
        struct grammar *grammar = compile(room, cases[i].language, text.data, &err);
        if (grammar)
            fail_msg("%.60s is taken", text.data);
        assert_int_equal(err.code, ERR_INVALID);
        assert_true(err.text[0]);
        buf_release(&text);
    }
    const struct grammars_counts counts = grammars_counts(room->grammars);
    assert_int_equal(counts.kept, 0);
}

/* ---- the list of compiled ones ---- */

static void compiled_ones_are_kept_within_bounds(void **state)
{
    struct room *room = *state;
    char schema[64];
    struct err err = {0};

    for (int i = 0; i < GRAMMARS_KEPT_MAX + 20; i++) {
        snprintf(schema, sizeof schema, "{\"const\":%d}", i);
        struct grammar *first = compile(room, GRAMMAR_JSON_SCHEMA, schema, &err);
        struct grammar *second = compile(room, GRAMMAR_JSON_SCHEMA, schema, &err);
        assert_ptr_equal(first, second);
        grammars_give_back(room->grammars, first, false);
        grammars_give_back(room->grammars, second, i % 2 == 0);
        const struct grammars_counts counts = grammars_counts(room->grammars);
        assert_true(counts.kept <= GRAMMARS_KEPT_MAX && counts.kept_bytes <= GRAMMARS_KEPT_BYTES_MAX);
        assert_int_equal(counts.kept, i / 2 + i % 2);
    }
    const struct grammars_counts before = grammars_counts(room->grammars);
    assert_int_equal(before.compiled, GRAMMARS_KEPT_MAX + 20);
    grammars_give_back(room->grammars,
                       compile(room, GRAMMAR_JSON_SCHEMA, "{\"const\":1}", &err), false);
    assert_int_equal(grammars_counts(room->grammars).compiled, before.compiled);
    grammars_give_back(room->grammars,
                       compile(room, GRAMMAR_JSON_SCHEMA, "{\"const\":0}", &err), false);
    assert_int_equal(grammars_counts(room->grammars).compiled, before.compiled + 1);
}

/* ---- answers at random ---- */

/* Any allowed token with the same chance, within budget tokens. Returns how it ended. */
static enum constraint_step say_anything(struct room *room, struct constraint *constraint,
                                         struct rng *rng, uint32_t budget, struct buf *text,
                                         uint32_t *used)
{
    bool allowed[TOKENS];
    struct err err = {0};
    size_t n;

    buf_reset(text);
    for (*used = 0; *used < budget;) {
        int32_t chosen = -1;
        uint32_t seen = 0;
        look(constraint, allowed);
        for (int32_t id = 0; id < TOKENS; id++)
            if (allowed[id] && rng_next(rng) % ++seen == 0)
                chosen = id;
        assert_true(chosen >= 0);
        if (vocab_is_end(room->vocab, chosen))
            return CONSTRAINT_COMPLETE;
        const enum constraint_step step =
            constraint_take(constraint, chosen, budget - *used - 1, &err);
        if (step == CONSTRAINT_CLOSE) {
            const uint32_t *closing = constraint_closing(constraint, &n);
            for (size_t i = 0; i < n; i++)
                buf_str(text, vocab_bytes(room->vocab, (int32_t)closing[i]));
            *used += (uint32_t)n;
            return step;
        }
        assert_int_not_equal(step, CONSTRAINT_BROKEN);
        buf_str(text, vocab_bytes(room->vocab, chosen));
        ++*used;
        if (step == CONSTRAINT_COMPLETE)
            return step;
    }
    return CONSTRAINT_GOES_ON;
}

static void answers_close_in_time(void **state)
{
    static const char *const schemas[] = {
        "{\"type\":\"object\"}",
        "{}",
        "{\"type\":\"string\"}",
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"minLength\":5},\"b\":"
        "{\"type\":\"array\",\"items\":{\"type\":\"number\"}}},\"required\":[\"a\",\"b\"],"
        "\"additionalProperties\":false}",
        "{\"type\":\"array\",\"items\":{\"enum\":[\"abc\",\"aab\",\"cc\"]},\"minItems\":2}",
    };
    struct room *room = *state;
    struct buf text = {0};
    struct rng rng;
    uint32_t used, closed = 0;

    rng_seed(&rng, 7);
    for (int i = 0; i < 120; i++) {
        struct constraint *constraint =
            constrain(room, GRAMMAR_JSON_SCHEMA, schemas[i % 5]);
        const uint32_t budget = 40 + (uint32_t)(rng_next(&rng) % 60);
        const enum constraint_step end =
            say_anything(room, constraint, &rng, budget, &text, &used);
        struct arena *arena = arena_new(4096);
        struct err err = {0};
        yyjson_val *value;
        const bool parsed = json_parse(arena, buf_view(&text), &value, &err) ||
                            strstr(err.text, "infinity");       /* 9E999 is JSON, too */
        if (end == CONSTRAINT_GOES_ON || used > budget || !parsed)
            fail_msg("%s: %d after %u of %u: %.*s", schemas[i % 5], (int)end, used, budget,
                     STR_ARG(buf_view(&text)));
        closed += end == CONSTRAINT_CLOSE;
        arena_free(arena);
        constraint_free(constraint);
    }
    assert_true(closed > 20);
    buf_release(&text);
}

/* Too little room from the start: it ends for want of tokens, as any other sequence. */
static void no_room_to_close(void **state)
{
    struct room *room = *state;
    struct constraint *constraint =
        constrain(room, GRAMMAR_JSON_SCHEMA,
                  "{\"type\":\"object\",\"properties\":{\"abc\":{\"type\":\"string\"}},\"required\":"
                  "[\"abc\"],\"additionalProperties\":false}");
    struct buf text = {0};
    struct rng rng;
    uint32_t used;

    rng_seed(&rng, 1);
    assert_int_equal(say_anything(room, constraint, &rng, 6, &text, &used), CONSTRAINT_GOES_ON);
    assert_int_equal(used, 6);
    constraint_free(constraint);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(texts_against_schemas),
        cmocka_unit_test(masks_are_exact),
        cmocka_unit_test(end_is_allowed_exactly_when_complete),
        cmocka_unit_test(a_forbidden_token_breaks),
        cmocka_unit_test(parts_refer_to_each_other),
        cmocka_unit_test(loose_parts_give_way),
        cmocka_unit_test(a_first_space_where_the_tokenizer_has_one),
        cmocka_unit_test(keywords_that_cannot_be_enforced),
        cmocka_unit_test(what_stays_is_still_enforced),
        cmocka_unit_test(answers_close_in_time),
        cmocka_unit_test(no_room_to_close),
    };
    const struct CMUnitTest own[] = {           /* they count what is kept */
        cmocka_unit_test_setup_teardown(hostile_grammars, room_open, room_close),
        cmocka_unit_test_setup_teardown(compiled_ones_are_kept_within_bounds, room_open, room_close),
    };

    return cmocka_run_group_tests(shared, room_open, room_close) +
           cmocka_run_group_tests(own, NULL, NULL);
}
