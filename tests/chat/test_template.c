/* Chat templates: what jinja2 prints, we print (tests/golden/chat/jinja.json, and the conversations
 * of the project's fixtures where they are); what is hostile ends in an error, and soon. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "chat/template.h"
#include "pensieve_glue.h"

enum { PATH_BYTES = 4096 };

static void path_of(char *out, const char *variable, const char *below_tests, const char *name)
{
    const char *folder = variable ? getenv(variable) : NULL, *tests = getenv("PENSIEVE_TESTS");

    if (folder)
        snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    else
        snprintf(out, PATH_BYTES, "%s/%s/%s", tests ? tests : "tests", below_tests, name);
}

static struct str file_of(const char *path, struct arena *arena)
{
    FILE *file = fopen(path, "rb");
    struct buf buf = {0};
    char block[1 << 16];

    if (!file)
        fail_msg("%s can't be read", path);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        buf_append(&buf, block, n);
    fclose(file);
    const struct str text = arena_str(arena, buf_view(&buf));
    buf_release(&buf);
    return text;
}

static yyjson_val *json_of(const char *path, struct arena *arena)
{
    yyjson_val *root = NULL;
    struct err err = {0};

    if (!json_parse(arena, file_of(path, arena), &root, &err))
        fail_msg("%s: %s", path, err.text);
    return root;
}

static struct str json_text(yyjson_val *value, struct arena *arena)
{
    size_t n;
    char *text = yyjson_val_write(value, 0, &n);
    const struct str copy = arena_str(arena, (struct str){text, n});

    free(text);
    return copy;
}

/* The vectors were made at 2025-01-02 03:04:05. */
static size_t fixed_clock(void *context, const char *format, char *out, size_t size)
{
    const struct tm then = {.tm_year = 125, .tm_mon = 0, .tm_mday = 2, .tm_hour = 3, .tm_min = 4,
                            .tm_sec = 5, .tm_wday = 4, .tm_yday = 1};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return strftime(out, size, format, &then);
#pragma GCC diagnostic pop
}

/* Compiles and renders; false: an error, whose text is in out then. */
static bool render(struct str source, struct str bos, struct str eos, struct str context,
                   struct arena *arena, struct str *out)
{
    struct glue_text text = {0};
    struct glue_template *tmpl =
        glue_template_new(source.s, source.n, bos.s, bos.n, eos.s, eos.n, &text);
    enum glue_result result = GLUE_FAILED;

    if (tmpl)
        result = glue_template_render(tmpl, context.s, context.n, 1 << 20, fixed_clock, NULL, &text);
    *out = arena_str(arena, (struct str){text.s, text.n});
    glue_text_free(&text);
    glue_template_free(tmpl);
    return result == GLUE_OK;
}

/* What minijinja does otherwise, none of it used by the templates of models: unary plus, jinja2's
 * rarer globals and filters, % on strings, how Undefined and a namespace print, comparing with
 * undefined. */
static const char *const known_differences[] = {
    "{{ d | dictsort }}", "{{ nest.k | selectattr('v') | list }}", "{{ 'k: %s, n: %d' | format",
    "{{ namespace(a=1) }}", "{{ cycler('a','b')", "{{ lipsum()", "{{ [1, 2, 3] | batch(2)",
    "{{ not not t }} {{ - - 1 }} {{ +1 }}",
};

static bool is_known_difference(struct str source)
{
    for (size_t i = 0; i < sizeof known_differences / sizeof *known_differences; i++) {
        if (str_starts(source, str_of(known_differences[i])))
            return true;
    }
    return false;
}

/* {"t": template, "out": text} or {"t": template, "err": exception} */
static void jinja_golden(void **state)
{
    char path[PATH_BYTES];
    struct arena *arena = arena_new(1 << 16);
    size_t wrong = 0, n = 0;

    path_of(path, NULL, "golden", "chat/jinja.json");
    yyjson_val *root = json_of(path, arena);
    const struct str context = json_text(yyjson_obj_get(root, "context"), arena);
    yyjson_arr_iter each = yyjson_arr_iter_with(yyjson_obj_get(root, "vectors"));
    for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&each)); n++) {
        const struct str source = json_str(yyjson_obj_get(vector, "t"));
        yyjson_val *expected = yyjson_obj_get(vector, "out");
        struct str out;
        const bool ok = render(source, STR("<s>"), STR("</s>"), context, arena, &out);
        const bool same = expected ? ok && str_equal(out, json_str(expected)) : !ok;
        const bool good = same != is_known_difference(source);
        if (!good)
            print_error("%.*s\n  gives %s%.*s\n  wants %.*s\n", STR_ARG(source),
                        ok ? "" : "an error: ", STR_ARG(out),
                        STR_ARG(expected ? json_str(expected) : STR("an error")));
        wrong += !good;
    }
    print_message("%zu templates, %zu wrong\n", n, wrong);
    arena_free(arena);
    assert_int_equal(wrong, 0);
    (void)state;
}

/* The context of a conversation as the fixtures have it: messages, and the rest of its keys. */
static struct str conversation_context(yyjson_val *conversation, struct arena *arena)
{
    struct buf buf = {0};
    size_t i, n;
    yyjson_val *key, *value;

    buf_cstr(&buf, "{\"documents\":null,\"tools\":null,\"messages\":");
    buf_str(&buf, json_text(yyjson_obj_get(conversation, "messages"), arena));
    yyjson_obj_foreach(yyjson_obj_get(conversation, "kwargs"), i, n, key, value) {
        buf_printf(&buf, ",\"%s\":", yyjson_get_str(key));
        buf_str(&buf, json_text(value, arena));
    }
    buf_char(&buf, '}');
    const struct str text = arena_str(arena, buf_view(&buf));
    buf_release(&buf);
    return text;
}

static void conversations_fixture(void **state)
{
    char path[PATH_BYTES], source_path[PATH_BYTES], name[256];
    struct arena *arena = arena_new(1 << 16);
    size_t wrong = 0, n = 0;

    path_of(path, "PENSIEVE_FIXTURES", "../../shared/fixtures", "out/chat/chatvec_free.json");
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not there\n", path);
        arena_free(arena);
        skip();
    }
    yyjson_val *root = json_of(path, arena), *conversations = yyjson_obj_get(root, "conversations");
    yyjson_arr_iter each = yyjson_arr_iter_with(yyjson_obj_get(root, "vectors"));
    for (yyjson_val *vector; (vector = yyjson_arr_iter_next(&each)); n++) {
        const char *tmpl = yyjson_get_str(yyjson_obj_get(vector, "template"));
        const char *conv = yyjson_get_str(yyjson_obj_get(vector, "conv"));
        yyjson_val *about = yyjson_obj_get(yyjson_obj_get(root, "templates"), tmpl);
        yyjson_val *expected = yyjson_obj_get(vector, "out");
        struct str out;
        snprintf(name, sizeof name, "out/chat/templates/%s.jinja", tmpl);
        path_of(source_path, "PENSIEVE_FIXTURES", "../../shared/fixtures", name);
        const bool ok = render(file_of(source_path, arena), json_str(yyjson_obj_get(about, "bos")),
                               json_str(yyjson_obj_get(about, "eos")),
                               conversation_context(yyjson_obj_get(conversations, conv), arena),
                               arena, &out);
        const bool good = expected ? ok && str_equal(out, json_str(expected)) : !ok;
        if (!good)
            print_error("%s, %s\n  gives %s%.*s\n  wants %.*s\n", tmpl, conv,
                        ok ? "" : "an error: ", STR_ARG(out),
                        STR_ARG(json_str(yyjson_obj_get(vector, expected ? "out" : "error"))));
        wrong += !good;
    }
    print_message("%zu conversations, %zu wrong\n", n, wrong);
    arena_free(arena);
    assert_int_equal(wrong, 0);
    (void)state;
}

/* ---- hostile templates: named after what they do; CVE-2024-34359 and its kind ---- */

enum { SECONDS_MAX = 30 };              /* with sanitizers, on a busy machine; the glue gives up at 10 */

static struct str repeated(struct arena *arena, const char *head, const char *unit, size_t n,
                           const char *tail)
{
    struct buf buf = {0};

    buf_cstr(&buf, head);
    for (size_t i = 0; i < n; i++)
        buf_cstr(&buf, unit);
    buf_cstr(&buf, tail);
    const struct str text = arena_str(arena, buf_view(&buf));
    buf_release(&buf);
    return text;
}

static bool ends_soon(struct str source, struct arena *arena, struct err *err)
{
    const uint64_t start = clock_ns();
    struct chat_template *tmpl = template_new(source, STR("<s>"), STR("</s>"), err);
    struct str out;
    const bool ok = tmpl && template_render(tmpl, arena, STR("{\"messages\":[]}"), &out, err);

    template_free(tmpl);
    if (clock_seconds_since(start) > SECONDS_MAX)
        fail_msg("%.60s took %.1f s", source.s, clock_seconds_since(start));
    return ok;
}

static void hostile_templates_end_in_an_error(void **state)
{
    static const char *const sources[] = {
        "{% for i in range(100000000) %}{{ i }}{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}x{% endfor %}"
        "{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{{ f(n + 1) ~ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ g() }}",
        "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ ('x' * 1000000) * 1000000 }}",
        "{{ [0] * 10000000000 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
        "{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
        "{{ ns.s | length }}",
        "{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns | string }}",
        "{% set ns = namespace() %}{% set ns.ns = [ns] %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.ns = namespace() %}{% set a = ns.ns %}{% set a.a = a %}"
        "{{ a | string }}",
        "{% set n = namespace %}{% set a = n() %}{% set a.a = a %}{{ a | string }}",
        "{{ range(1000000000) | list | length }}",
        "{{ range(100000) | join('x' * 100000) }}",
        "{{ 'ab' | replace('', 'x' * 1000000) | replace('', 'x' * 1000000) }}",
        "{{ 'x'.zfill(1000000000000) }}",
        "{{ 'x' | indent(1000000000000) }}",
        "{{ '%1000000000s' | format('x') }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'a' | center(1000000000000) }}",
        "{{ [1] | tojson(indent=1000000000000000000) * 100000000 }}",
        "{{ 2 ** 100000000 }}",
        "{% for i in range(100000) %}{% set x %}{{ 'y' * 1000 }}{% endset %}{{ x }}{% endfor %}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['os'].system('true') }}",
        "{% include '/etc/passwd' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{{ strftime_now('%c' * 100000) }}",
        "{{ raise_exception('x' * 1000000) }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        struct arena *arena = arena_new(1 << 16);
        struct err err = {0};
        if (ends_soon(str_of(sources[i]), arena, &err))
            fail_msg("no error from %s", sources[i]);
        assert_true(err.text[0]);
        arena_free(arena);
    }
    (void)state;
}

/* A parser that recurses, a tree that is as deep as an expression is long, values that nest: each
 * would end in a stack overflow. Some of these are fine templates; no crash is what counts. */
static void deep_templates_end(void **state)
{
    static const struct {
        const char *head, *unit, *tail;
    } shapes[] = {
        {"{{ ", "(", "1"},
        {"{{ ", "[", "1"},
        {"{{ ", "{'a':", "1"},
        {"{{ 1", " + 1", " }}"},
        {"{{ 1", " ~ 1", " }}"},
        {"{{ 1", " and 1", " }}"},
        {"{{ 1", " < 1", " }}"},
        {"{{ 1", " ** 1", " }}"},
        {"{{ ", "not ", "1 }}"},
        {"{{ ", "- ", "1 }}"},
        {"{{ x", ".a", " }}"},
        {"{{ x", "['a']", " }}"},
        {"{{ x", "()", " }}"},
        {"{{ 1", "|string", " }}"},
        {"{{ 1", " is defined", " }}"},
        {"{{ 1", " if 1 else 1", " }}"},
        {"", "{{ '", "' }}"},
        {"", "{% if 1 %}", ""},
        {"", "{% for x in [1] %}", ""},
        {"{% if 0 %}", "{% elif 0 %}", "{% endif %}"},
        {"", "{% set x %}", ""},
        {"", "{% filter upper %}", ""},
        {"", "{% macro f() %}", ""},
        {"", "{% raw %}", ""},
        {"", "{#", ""},
        {"", "{%", ""},
        {"", "{{", ""},
        {"", "{% generation %}", ""},
        {"{% set x = ", "[", "1"},
        {"{% set ns = namespace(x=1) %}", "{% set ns.x = [ns.x] %}", "{{ ns.x }}"},
        {"{% set ns = namespace(x=1) %}", "{% set ns.x = {'a': ns.x} %}", "{{ ns.x | tojson }}"},
        {"{% set ns = namespace(x='a') %}", "{% set ns.x = ns.x ~ 'b' %}", "{{ ns.x | length }}"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (size_t n = 1000; n <= 100000; n *= 100) {
            struct arena *arena = arena_new(1 << 16);
            struct err err = {0};
            ends_soon(repeated(arena, shapes[i].head, shapes[i].unit, n, shapes[i].tail), arena,
                      &err);
            arena_free(arena);
        }
    }
    (void)state;
}

/* As deep as fuel allows: a loop, so that the template stays short. */
static void nested_values_end(void **state)
{
    static const char *const sources[] = {
        "{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% for j in range(99) %}"
        "{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% for i in range(9999) %}"
        "{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=1) %}{% for i in range(9999) %}"
        "{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ ns.x == ns.x }}{{ [ns.x] | sort }}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% for i in range(99999) %}"
        "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | unique | list }}{{ {ns.x: 1} }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
        "{% set ns.x = ns.x | reverse %}{% endfor %}{{ ns.x | list }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
        "{% set ns.x = ns.x | map('string') %}{% endfor %}{{ ns.x | list }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}"
        "{% set ns.x = ns.x + [1] %}{% endfor %}{{ ns.x | length }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        struct arena *arena = arena_new(1 << 16);
        struct err err = {0};
        ends_soon(str_of(sources[i]), arena, &err);
        arena_free(arena);
    }
    (void)state;
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jinja_golden),
        cmocka_unit_test(conversations_fixture),
        cmocka_unit_test(hostile_templates_end_in_an_error),
        cmocka_unit_test(deep_templates_end),
        cmocka_unit_test(nested_values_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
