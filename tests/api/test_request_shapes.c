/* test_request_shapes.c - takes every object of request_shapes.txt apart: each key missing, each
 * key null, one key too many; so that no row of the field tables is without a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/request.h"
#include "base/json.h"
#include "cases.h"

enum { LINE_MAX_BYTES = 4096 };

static const char *shapes_path;

struct shape_case {
    int wrapper;
    char steps[128], path[128], answer[256], required[256], nullable[256], json[LINE_MAX_BYTES];
    bool open;
};

/* What the object at the case's steps is turned into before the whole is sent. */
enum change { AS_IT_IS, WITHOUT, WITH_NULL, WITH_UNKNOWN };

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);

    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static yyjson_mut_val *step_into(yyjson_mut_val *value, const char *steps)
{
    char copy[128], *state;

    snprintf(copy, sizeof copy, "%s", steps);
    for (char *s = strtok_r(copy, " ", &state); s; s = strtok_r(NULL, " ", &state))
        value = yyjson_mut_is_arr(value) ? yyjson_mut_arr_get(value, strtoul(s, NULL, 10))
                                         : yyjson_mut_obj_get(value, s);
    assert_true(yyjson_mut_is_obj(value));
    return value;
}

/* The steps count from the wrapper's place; they are found in the case's own JSON, which is then
 * wrapped. `body` has its place holders filled first. */
static struct str changed(struct arena *arena, const struct shape_case *c, enum change change,
                          const char *key)
{
    struct buf body = {0};
    yyjson_val *root = NULL;
    struct err err;

    cases_body(&body, cases_wrapper("body"), str_of(c->json));
    assert_true(json_parse(arena, buf_view(&body), &root, &err));
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *copy = yyjson_val_mut_copy(doc, root);
    yyjson_mut_doc_set_root(doc, copy);
    yyjson_mut_val *object = step_into(copy, c->steps);
    if (change == WITHOUT)
        assert_non_null(yyjson_mut_obj_remove_key(object, key));
    if (change == WITH_NULL)
        assert_true(yyjson_mut_obj_replace(object, yyjson_mut_str(doc, key), yyjson_mut_null(doc)));
    if (change == WITH_UNKNOWN)
        assert_true(yyjson_mut_obj_add_int(doc, object, "zz", 1));
    size_t n;
    char *text = yyjson_mut_write(doc, 0, &n);
    assert_non_null(text);
    cases_body(&body, c->wrapper, (struct str){text, n});
    const struct str whole = arena_str(arena, buf_view(&body));
    free(text);
    yyjson_mut_doc_free(doc);
    buf_release(&body);
    return whole;
}

/* expected: the whole answer; or, with `begins`, how it begins. Returns 1 if it is another. */
static int answered(const struct shape_case *c, bool strict, enum change change, const char *key,
                    const char *expected, bool begins)
{
    struct arena *arena = arena_new(4096);
    const struct request_options options = {.strict = strict};
    struct err err = {0};
    const struct str body = changed(arena, c, change, key);
    const struct message_request *request = request_decode(arena, body, &options, &err);
    const char *answer = !request ? err.text : request->refused ? request->refused->text : "ok";
    const bool right = begins ? strncmp(answer, expected, strlen(expected)) == 0
                              : strcmp(answer, expected) == 0;

    if (!right)
        print_error("%s: %.*s\n    expected %s\n    but got  %s\n", c->path, STR_ARG(body),
                    expected, answer);
    arena_free(arena);
    return !right;
}

static int check_key(const struct shape_case *c, const char *key)
{
    const char *dot = c->path[0] ? "." : "";
    char text[512];

    snprintf(text, sizeof text, "%s%s%s: Field required", c->path, dot, key);
    int wrong = answered(c, true, WITHOUT, key,
                         has_word(c->required, key) ? text : c->answer, false);
    snprintf(text, sizeof text, "%s%s%s: ", c->path, dot, key);
    const bool nullable = has_word(c->nullable, key);
    wrong += answered(c, true, WITH_NULL, key, nullable ? c->answer : text, !nullable);
    return wrong;
}

static int check_shape(const struct shape_case *c)
{
    struct arena *arena = arena_new(4096);
    char extra[256];
    yyjson_val *root;
    struct err err;
    struct buf body = {0};

    snprintf(extra, sizeof extra, "%s%szz: Extra inputs are not permitted", c->path,
             c->path[0] ? "." : "");
    int wrong = answered(c, false, AS_IT_IS, NULL, c->answer, false) +
                answered(c, true, AS_IT_IS, NULL, c->answer, false) +
                answered(c, false, WITH_UNKNOWN, NULL, c->answer, false) +
                answered(c, true, WITH_UNKNOWN, NULL, c->open ? c->answer : extra, false);

    cases_body(&body, cases_wrapper("body"), str_of(c->json));
    assert_true(json_parse(arena, buf_view(&body), &root, &err));
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *object = step_into(yyjson_val_mut_copy(doc, root), c->steps);
    yyjson_mut_obj_iter iterator = yyjson_mut_obj_iter_with(object);
    for (yyjson_mut_val *k; (k = yyjson_mut_obj_iter_next(&iterator));)
        if (!yyjson_mut_equals_str(k, "type"))
            wrong += check_key(c, yyjson_mut_get_str(k));
    yyjson_mut_doc_free(doc);
    buf_release(&body);
    arena_free(arena);
    return wrong;
}

/* "@ WRAPPER STEPS => PATH [open]" */
static void read_head(struct shape_case *c, const char *line)
{
    char wrapper[32] = "";
    int n = 0;
    const char *arrow = strstr(line, "=>");

    *c = (struct shape_case){0};
    assert_int_equal(sscanf(line, "@ %31s %n", wrapper, &n), 1);
    assert_true(arrow && arrow >= line + n);
    c->wrapper = cases_wrapper(wrapper);
    assert_true(c->wrapper != CASES_NO_WRAPPER);
    snprintf(c->steps, sizeof c->steps, "%.*s", (int)(arrow - line - n), line + n);
    char open[8] = "";
    sscanf(arrow + 2, " %127s %7s", c->path, open);
    c->open = strcmp(open, "open") == 0;
}

static void keep(char *out, size_t size, const char *text)
{
    assert_true(strlen(text) < size);
    strcpy(out, text);
}

static void test_shapes(void **state)
{
    FILE *file = fopen(shapes_path, "r");
    struct shape_case c;
    char line[LINE_MAX_BYTES];
    int shapes = 0, wrong = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '@')
            read_head(&c, line);
        else if (line[0] == '{' || line[0] == '[')
            keep(c.json, sizeof c.json, line);
        else if (strncmp(line, "answer: ", 8) == 0)
            keep(c.answer, sizeof c.answer, line + 8);
        else if (strncmp(line, "required:", 9) == 0)
            keep(c.required, sizeof c.required, line + 9);
        else if (strncmp(line, "nullable:", 9) == 0) {
            keep(c.nullable, sizeof c.nullable, line + 9);
            wrong += check_shape(&c);
            shapes++;
        }
    }
    fclose(file);
    assert_int_equal(wrong, 0);
    assert_true(shapes > 50);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes)};

    shapes_path = argc > 1 ? argv[1] : "tests/api/request_shapes.txt";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
