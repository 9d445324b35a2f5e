/* What models write, to blocks: each transcript whole, byte by byte and cut in two at every place,
 * which must make no difference. Control tokens stand between \1 and \2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "chat/blocks.h"
#include "dialects.h"

#define CONTROL(spelling) "\1" spelling "\2"

#define SCHEMA                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}," \
    "\"all\":{\"type\":[\"boolean\",\"string\"]},\"list\":{\"type\":\"array\"}}}"

static struct tool tools[] = {
    {.name = {"write", 5}, .schema = {SCHEMA, sizeof SCHEMA - 1}},
};
static const struct message_request request = {.tools = tools, .tools_n = 1};

/* What came out as text: text(...) thought(...) call(NAME INPUT) broken(NAME INPUT) */
struct written {
    struct buf out;
    size_t last;                        /* where the open block began */
    bool open;
};

static void write_event(void *context, const struct blocks_event *event)
{
    static const char *const names[] = {
        [BLOCK_TEXT] = "text(", [BLOCK_THINKING] = "thought(", [BLOCK_TOOL_USE] = "call("};
    struct written *written = context;

    if (event->kind == BLOCKS_OPEN) {
        assert_false(written->open);
        written->last = written->out.n;
        buf_cstr(&written->out, names[event->type]);
        buf_str(&written->out, event->name);
        buf_cstr(&written->out, event->type == BLOCK_TOOL_USE ? " " : "");
    } else if (event->kind == BLOCKS_DELTA) {
        assert_true(written->open && event->text.n);
        buf_str(&written->out, event->text);
    } else {
        assert_true(written->open);
        if (event->broken)
            memcpy(written->out.data + written->last, "lost", 4);
        buf_char(&written->out, ')');
    }
    written->open = event->kind != BLOCKS_CLOSE;
}

/* Pieces end before `cut`, and after each byte if step is 1; control tokens are one piece
 * always. */
static void feed(struct blocks *blocks, const char *text, size_t cut, size_t step,
                 struct written *written)
{
    const char *at = text;

    while (*at) {
        const bool control = *at == '\1';
        const char *begin = at += control;
        while (*at && *at != (control ? '\2' : '\1') &&
               (control || (at - begin < (ptrdiff_t)step && (at == begin || at != text + cut))))
            at++;
        blocks_feed(blocks, (struct str){begin, (size_t)(at - begin)}, control, write_event, written);
        at += control;
    }
    blocks_end(blocks, write_event, written);
}

static void check(const struct blocks_options *options, const char *text, const char *expected)
{
    const size_t n = strlen(text);

    for (size_t cut = 0; cut <= n + 1; cut++) {
        struct written written = {0};
        struct blocks blocks;
        blocks_init(&blocks, options);
        feed(&blocks, text, cut, cut == n + 1 ? 1 : n, &written);
        blocks_release(&blocks);
        assert_false(written.open);
        if (!str_is(buf_view(&written.out), expected))
            fail_msg("%s, cut at %zu: %s\n  is  %.*s\n  not %s", dialect_name(options->dialect),
                     cut, text, STR_ARG(buf_view(&written.out)), expected);
        buf_release(&written.out);
    }
}

struct transcript {
    const char *family, *text, *expected;
};

#define CALL "{\"name\": \"get_time\", \"arguments\": {\"zone\": \"UTC {}\"}}"
#define INPUT "{\"zone\": \"UTC {}\"}"

static const struct transcript transcripts[] = {
    {"hermes", "Hello\n there.\n", "text(Hello\n there.\n)"},
    {"hermes", "<tool_call>\n" CALL "\n</tool_call>", "call(get_time " INPUT ")"},
    {"hermes", "Let me look.\n\n<tool_call>\n" CALL "\n</tool_call>\n<tool_call>\n" CALL
               "\n</tool_call>\n", "text(Let me look.)call(get_time " INPUT ")call(get_time " INPUT ")"},
    {"hermes", "Now. " CONTROL("<tool_call>") CALL CONTROL("</tool_call>") " Done.",
     "text(Now.)call(get_time " INPUT ")text(Done.)"},
    {"hermes", "<tool_call>{\"arguments\":{\"a\":[1,2]},\"id\":-1.5e3,\"name\":\"f\\u0041\"}</tool_call>",
     "call(fA {\"a\":[1,2]})"},
    {"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}</tool_call>",
     "call(f {\"a\": 1})"},
    {"hermes", "<tool_call>{\"name\":\"f\"}</tool_call>", "call(f {})"},
    {"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":null}</tool_call>", "call(f {})"},
    {"hermes", "<tool_call>\n[" CALL ", " CALL "]\n</tool_call>",
     "call(get_time " INPUT ")call(get_time " INPUT ")"},
    {"hermes", "<tool_call>{\"name\":\"a\",\"parameters\":{}}</tool_call>x", "call(a {})text(x)"},
    /* what begins like a call and is none is text, white space and all */
    {"hermes", "a < b, <tool_cat> and \n<tool_call> is a mark", "text(a < b, <tool_cat> and \n"
               "<tool_call> is a mark)"},
    {"hermes", "<tool_call>{\"name\": 7}", "text(<tool_call>{\"name\": 7})"},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
     "text(<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>)"},
    {"hermes", "<tool_call>{\"name\": \"f", "text(<tool_call>{\"name\": \"f)"},
    {"hermes", "so " CONTROL("<tool_call>") "nothing", "text(so nothing)"},
    {"hermes", "<tool_call>{<tool_call>" CALL "</tool_call>",
     "text(<tool_call>{)call(get_time " INPUT ")"},
    /* ... but what was told to be one is no more than broken */
    {"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":tru!", "lost(f {\"a\":tru)text(!)"},
    {"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"x", "lost(f {\"a\":\"x)"},
    {"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":" CONTROL("</tool_call>") "x",
     "lost(f {\"a\":)text(x)"},
    {"generic", "<tool_call>" CALL "</tool_call>", "call(get_time " INPUT ")"},
    {"thinking", "<think>\nWell </thin.\n</think>\n\nYes.\n", "thought(Well </thin.)text(Yes.\n)"},
    {"thinking", "<think>\n\n</think>\n\nYes <think>", "text(Yes <think>)"},
    {"thinking", "<think>a</think>\n<tool_call>" CALL "</tool_call>", "thought(a)call(get_time " INPUT ")"},
    {"thinking", CONTROL("<think>") "a" CONTROL("</think>") "b", "thought(a)text(b)"},
    {"thinking", "<think>it never end", "thought(it never end)"},
    {"mistral-list", CONTROL("[TOOL_CALLS]") "[" CALL ", " CALL "]",
     "call(get_time " INPUT ")call(get_time " INPUT ")"},
    {"mistral-list", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}, \"id\": \"abcdefghi\"}]", "call(f {})"},
    {"mistral", "I look." CONTROL("[TOOL_CALLS]") "f" CONTROL("[ARGS]") "{\"a\": 1}"
                CONTROL("[TOOL_CALLS]") "g" CONTROL("[ARGS]") "{}",
     "text(I look.)call(f {\"a\": 1})call(g {})"},
    {"mistral", "[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{\"a\": 1}", "call(f {\"a\": 1})"},
    {"mistral", "[TOOL_CALLS]f{\"a\": 1}", "call(f {\"a\": 1})"},
    {"mistral", CONTROL("[TOOL_CALLS]") "f g", "text(f g)"},
    {"mistral", CONTROL("[TOOL_CALLS]") "f" CONTROL("[TOOL_CALLS]") "g" CONTROL("[ARGS]") "{}",
     "text(f)call(g {})"},
    {"phi", CONTROL("<|tool_call|>") "[" CALL "]" CONTROL("<|/tool_call|>"), "call(get_time " INPUT ")"},
    {"phi", "<|tool_call|>[" CALL "]<|/tool_call|>", "call(get_time " INPUT ")"},
    {"granite", CONTROL("<|tool_call|>") "[" CALL "]", "call(get_time " INPUT ")"},
    {"llama", "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}", "call(f {\"a\": \"b\"})"},
    {"llama", CONTROL("<|python_tag|>") "{\"name\": \"f\", \"parameters\": {}}", "call(f {})"},
    {"llama", "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}",
     "call(f {})call(g {})"},
    {"llama", "\n{\"name\": \"Ann\", \"age\": 3}", "text(\n{\"name\": \"Ann\", \"age\": 3})"},
    {"llama", "{1}", "text({1})"},
    {"llama", "See: {\"name\": \"f\", \"parameters\": {}}", "text(See: {\"name\": \"f\", \"parameters\": {}})"},
    {"deepseek", "Now.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}"
                 "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
                 "<｜tool▁calls▁end｜>", "text(Now.)call(f {\"a\": 1})call(g {})"},
    {"deepseek", CONTROL("<｜tool▁calls▁begin｜>") CONTROL("<｜tool▁call▁begin｜>") "f"
                 CONTROL("<｜tool▁sep｜>") "{}" CONTROL("<｜tool▁call▁end｜>")
                 CONTROL("<｜tool▁calls▁end｜>"), "call(f {})"},
    {"harmony", CONTROL("<|channel|>") "analysis" CONTROL("<|message|>") "Hm." CONTROL("<|end|>")
                CONTROL("<|start|>") "assistant" CONTROL("<|channel|>") "final" CONTROL("<|message|>")
                "Yes.", "thought(Hm.)text(Yes.)"},
    {"harmony", CONTROL("<|channel|>") "commentary to=functions.f " CONTROL("<|constrain|>") "json"
                CONTROL("<|message|>") "{\"a\": 1}" CONTROL("<|call|>"), "call(f {\"a\": 1})"},
    {"harmony", " to=functions.f" CONTROL("<|channel|>") "commentary json" CONTROL("<|message|>") "{}",
     "call(f {})"},
    {"harmony", CONTROL("<|channel|>") "commentary" CONTROL("<|message|>") "I look." CONTROL("<|end|>")
                CONTROL("<|start|>") "assistant to=functions.f" CONTROL("<|channel|>") "commentary json"
                CONTROL("<|message|>") "{\"a\":", "text(I look.)lost(f {\"a\":)"},
    {"harmony", "A prefill goes on.", "text(A prefill goes on.)"},
    {"qwen-xml", "<tool_call>\n<function=write>\n<parameter=path>\n/a\n\"b\"\n</parameter>\n"
                 "<parameter=n>\n42\n</parameter>\n<parameter=all>\ntrue\n</parameter>\n"
                 "<parameter=list>\n[1, \"</x>\"]\n</parameter>\n</function>\n</tool_call>",
     "call(write {\"path\": \"/a\\n\\\"b\\\"\", \"n\": 42, \"all\": true, \"list\": [1, \"</x>\"]})"},
    {"qwen-xml", "<function=write>\n<parameter=n>\nmany\n</parameter>\n<parameter=all>\nx</parameter>\n"
                 "<parameter=path>\n\n</parameter>\n</function>\n</tool_call>",
     "call(write {\"n\": \"many\", \"all\": \"x\", \"path\": \"\"})"},
    {"qwen-xml", "<tool_call><function=other><parameter=x>{\"a\": 1}</parameter></function></tool_call>",
     "call(other {\"x\": {\"a\": 1}})"},
    {"qwen-xml", "<tool_call>\n<function=write>\n</function>\n</tool_call>", "call(write {})"},
    {"qwen-xml", "<tool_call>\n<fun", "text(<tool_call>\n<fun)"},
    {"qwen-xml", "<function=write>\n<parameter=path>\nhalf </para", "lost(write {\"path\": \"half )"},
};

static void transcripts_become_blocks(void **state)
{
    for (size_t i = 0; i < sizeof transcripts / sizeof *transcripts; i++)
        check(&(struct blocks_options){.dialect = family(transcripts[i].family),
                                       .request = &request, .tools = true},
              transcripts[i].text, transcripts[i].expected);
    (void)state;
}

static void without_tools_calls_are_text(void **state)
{
    check(&(struct blocks_options){.dialect = family("hermes")},
          "a \n<tool_call>\n" CALL "\n</tool_call>", "text(a \n<tool_call>\n" CALL "\n</tool_call>)");
    check(&(struct blocks_options){.dialect = family("llama")}, "{\"a\": 1}", "text({\"a\": 1})");
    (void)state;
}

static void a_prompt_may_end_in_a_thought(void **state)
{
    check(&(struct blocks_options){.dialect = family("thinking"), .in_thought = true},
          "\nHm.\n</think>\n\nYes.", "thought(Hm.)text(Yes.)");
    check(&(struct blocks_options){.dialect = family("harmony"), .in_thought = true, .tools = true},
          "Hm." CONTROL("<|end|>") CONTROL("<|start|>") "assistant" CONTROL("<|channel|>") "final"
          CONTROL("<|message|>") "Yes.", "thought(Hm.)text(Yes.)");
    (void)state;
}

/* ---- places ---- */

static void ignore(void *context, const struct blocks_event *event)
{
    (void)context;
    (void)event;
}

/* Feeds until a call has opened; returns how much of the text that took. */
static size_t opens_at(struct blocks *blocks, const char *text)
{
    size_t n = 0;

    while (text[n] && blocks_place(blocks) != BLOCKS_IN_CALL)
        blocks_feed(blocks, (struct str){text + n++, 1}, false, ignore, NULL);
    return n;
}

static const struct opening {
    const char *family, *before, *begun, *behind;
} openings[] = {
    {"hermes", "Hm. <tool_call>", "", "\n{\"name\": \"f\", \"arguments\": {\"a\":"},
    {"mistral", "[TOOL_CALLS]", "", "f[ARGS]{"},
    {"harmony", " to=functions.", "", "f<|channel|>commentary"},
    {"llama", "\n{\"name\" :\"f\", \"parameters\":", "{\"name\" :\"f\", \"parameters\":", " {\"a"},
    {"qwen-xml", "Hm.\n<tool_call>", "", "\n<function=f"},
    {"qwen-xml", "Hm.\n<function=", "<function=", "f>\n"},
    {"granite", "<|tool_call|>", "", "[{\"name\""},
};

static void a_call_is_open_from_its_mark_on(void **state)
{
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        const struct opening *opening = &openings[i];
        struct blocks blocks;
        char text[128], begun[128];
        snprintf(text, sizeof text, "%s%s", opening->before, opening->behind);
        blocks_init(&blocks, &(struct blocks_options){
            .dialect = family(opening->family), .tools = true});
        assert_int_equal(opens_at(&blocks, text), strlen(opening->before));
        assert_true(str_is(blocks_begun(&blocks), opening->begun));
        blocks_release(&blocks);

        /* with all that one token may have behind the mark */
        blocks_init(&blocks, &(struct blocks_options){
            .dialect = family(opening->family), .tools = true});
        blocks_feed(&blocks, str_of(text), false, ignore, NULL);
        assert_int_equal(blocks_place(&blocks), BLOCKS_IN_CALL);
        snprintf(begun, sizeof begun, "%s%s", opening->begun, opening->behind);
        if (!str_is(blocks_begun(&blocks), begun))
            fail_msg("%s: %.*s", text, STR_ARG(blocks_begun(&blocks)));
        blocks_release(&blocks);
    }
    (void)state;
}

/* A thought ends where what closes it has been written whole: there the answer's grammar begins. */
static void a_thought_ends_with_its_whole_mark(void **state)
{
    static const struct {
        const char *family, *spelling;
        bool control;
    } pieces[] = {
        {"harmony", "Hm", false}, {"harmony", "<|end|>", true}, {"harmony", "<|start|>", true},
        {"harmony", "assistan", false}, {"harmony", "t", false},
    };
    struct blocks blocks;

    blocks_init(&blocks, &(struct blocks_options){.dialect = family("harmony"), .in_thought = true});
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        assert_int_equal(blocks_place(&blocks), BLOCKS_IN_THOUGHT);
        blocks_feed(&blocks, str_of(pieces[i].spelling), pieces[i].control, ignore, NULL);
    }
    assert_int_equal(blocks_place(&blocks), BLOCKS_IN_TEXT);
    blocks_release(&blocks);
    (void)state;
}

static void a_call_without_a_name_has_a_limit(void **state)
{
    struct written written = {0};
    struct blocks blocks;
    struct buf text = {0};

    buf_cstr(&text, "<tool_call>{\"arguments\": {\"a\": \"");
    while (text.n < BLOCKS_HELD_MAX + 100)
        buf_char(&text, 'x');
    blocks_init(&blocks, &(struct blocks_options){.dialect = family("hermes"), .tools = true});
    blocks_feed(&blocks, buf_view(&text), false, write_event, &written);
    assert_true(written.open);
    blocks_end(&blocks, write_event, &written);
    assert_int_equal(written.out.n, text.n + strlen("text()"));
    blocks_release(&blocks);
    buf_release(&written.out);
    buf_release(&text);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transcripts_become_blocks),
        cmocka_unit_test(without_tools_calls_are_text),
        cmocka_unit_test(a_prompt_may_end_in_a_thought),
        cmocka_unit_test(a_call_is_open_from_its_mark_on),
        cmocka_unit_test(a_thought_ends_with_its_whole_mark),
        cmocka_unit_test(a_call_without_a_name_has_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
