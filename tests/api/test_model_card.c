/* test_model_card.c - GET /v1/models byte for byte, and capabilities that are true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/model_card.h"
#include "api/request.h"
#include "base/json.h"

#define NO "{\"supported\":false}"
#define YES "{\"supported\":true}"

/* The contract's sample, with what this server can do today. */
static const char card_json[] =
    "{\"type\":\"model\",\"id\":\"local-7b\",\"display_name\":\"Local 7B\","
    "\"created_at\":\"2026-05-01T00:00:00Z\",\"max_input_tokens\":131072,\"max_tokens\":32768,"
    "\"lifecycle\":\"active\",\"deprecated_at\":null,\"retires_at\":null,\"line\":null,"
    "\"capabilities\":{\"batch\":" NO ",\"citations\":" NO ",\"code_execution\":" NO ","
    "\"context_management\":{\"supported\":false,\"clear_thinking_20251015\":" NO ","
    "\"clear_tool_uses_20250919\":" NO ",\"compact_20260112\":" NO "},"
    "\"effort\":{\"supported\":false,\"low\":" NO ",\"medium\":" NO ",\"high\":" NO ","
    "\"xhigh\":" NO ",\"max\":" NO "},\"image_input\":" NO ",\"pdf_input\":" NO ","
    "\"server_tools\":{\"supported\":false,\"web_search\":" NO ",\"code_execution\":" NO "},"
    "\"structured_outputs\":" YES ",\"thinking\":{\"supported\":true,\"types\":{"
    "\"adaptive\":" YES ",\"between_tools\":" YES ",\"disabled\":" YES ",\"enabled\":" YES "}}}}";

static struct model_card card(const char *id)
{
    return (struct model_card){.id = str_of(id), .display_name = STR("Local 7B"),
                               .created_at = 1777593600, .max_input_tokens = 131072,
                               .max_tokens = 32768, .structured = true,
                               .thinks = true};
}

static void test_card(void **state)
{
    struct buf out = {0};
    const struct model_card local = card("local-7b");

    model_card_json(&out, &local);
    assert_int_equal(out.n, strlen(card_json));
    assert_memory_equal(out.data, card_json, out.n);
    buf_release(&out);
}

static void test_page(void **state)
{
    struct buf out = {0};
    const struct model_card cards[] = {card("local-7b"), card("org/\"x\":q4")};
    yyjson_val *root;
    struct arena *arena = arena_new(4096);
    struct err err = {0};

    model_page_json(&out, cards, 2, true);
    assert_true(json_parse(arena, buf_view(&out), &root, &err));
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "data")), 2);
    assert_true(yyjson_get_bool(yyjson_obj_get(root, "has_more")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "first_id")), "local-7b");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "last_id")), "org/\"x\":q4");

    buf_reset(&out);
    model_page_json(&out, NULL, 0, false);
    const char *const empty = "{\"data\":[],\"has_more\":false,\"first_id\":null,\"last_id\":null}";
    assert_int_equal(out.n, strlen(empty));
    assert_memory_equal(out.data, empty, out.n);
    buf_release(&out);
    arena_free(arena);
}

static void test_what_it_cannot_is_not_promised(void **state)
{
    struct buf out = {0};
    struct model_card other = card("m");

    other.structured = other.thinks = false;
    other.effort = true;
    model_card_json(&out, &other);
    buf_char(&out, '\0');
    assert_non_null(strstr(out.data, "\"structured_outputs\":" NO));
    assert_non_null(strstr(out.data, "\"thinking\":{\"supported\":false,"));
    assert_non_null(strstr(out.data, "\"effort\":{\"supported\":true,\"low\":" YES ",\"medium\":" YES
                                     ",\"high\":" YES ",\"xhigh\":" YES ",\"max\":" YES "},"));
    buf_release(&out);
}

/* A thinking type is shown as supported exactly when a request with it is not refused. */
static void test_thinking_types_are_true(void **state)
{
    static const char *const types[] = {"adaptive", "between_tools", "disabled", "enabled"};
    struct arena *arena = arena_new(4096);
    struct buf out = {0};
    yyjson_val *root;
    struct err err = {0};
    const struct model_card local = card("m");

    model_card_json(&out, &local);
    assert_true(json_parse(arena, buf_view(&out), &root, &err));
    yyjson_val *shown = yyjson_obj_get(
        yyjson_obj_get(yyjson_obj_get(root, "capabilities"), "thinking"), "types");
    assert_non_null(shown);
    for (size_t i = 0; i < 4; i++) {
        char body[256];
        snprintf(body, sizeof body,
                 "{\"model\":\"m\",\"max_tokens\":2000,\"messages\":[{\"role\":\"user\","
                 "\"content\":\"hi\"}],\"thinking\":{\"type\":\"%s\"%s}}",
                 types[i], i == 3 ? ",\"budget_tokens\":1024" : "");
        const struct request_options options = {0};
        const struct message_request *request =
            request_decode(arena, str_of(body), &options, &err);
        const bool taken = request && !request->refused;
        yyjson_val *type = yyjson_obj_get(yyjson_obj_get(shown, types[i]), "supported");
        assert_int_equal(taken, yyjson_get_bool(type));
    }
    buf_release(&out);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_card),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_what_it_cannot_is_not_promised),
        cmocka_unit_test(test_thinking_types_are_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
