/* model_card.c - GET /v1/models: what a model can do here, said truly.
 *
 * Agents read the capabilities to decide what to send: a thinking type is supported exactly when a
 * request with it is not refused, thinking itself when the model has thoughts of its own. */
#include "api/model_card.h"

#include "base/clock.h"
#include "base/json.h"

#define NO "{\"supported\":false}"
#define YES "{\"supported\":true}"

#define SUPPORTED(yes) ((yes) ? YES : NO)

static const char first_capabilities[] =
    "{\"batch\":" NO ",\"citations\":" NO ",\"code_execution\":" NO
    ",\"context_management\":{\"supported\":false,\"clear_thinking_20251015\":" NO
    ",\"clear_tool_uses_20250919\":" NO ",\"compact_20260112\":" NO "}"
    ",\"effort\":";
static const char efforts[] =
    "{\"supported\":true,\"low\":" YES ",\"medium\":" YES ",\"high\":" YES ",\"xhigh\":" YES
    ",\"max\":" YES "}";
static const char no_efforts[] =
    "{\"supported\":false,\"low\":" NO ",\"medium\":" NO ",\"high\":" NO ",\"xhigh\":" NO
    ",\"max\":" NO "}";
static const char input_capabilities[] =
    ",\"image_input\":" NO ",\"pdf_input\":" NO
    ",\"server_tools\":{\"supported\":false,\"web_search\":" NO ",\"code_execution\":" NO "}"
    ",\"structured_outputs\":";
static const char thinking_capabilities[] =
    ",\"thinking\":{\"supported\":%s,\"types\":{\"adaptive\":" YES ",\"between_tools\":" YES
    ",\"disabled\":" YES ",\"enabled\":" YES "}}}";

void model_card_json(struct buf *out, const struct model_card *card)
{
    char created[32];

    clock_rfc3339(created, card->created_at);
    buf_cstr(out, "{\"type\":\"model\",\"id\":");
    json_quote(out, card->id);
    buf_cstr(out, ",\"display_name\":");
    json_quote(out, card->display_name);
    buf_printf(out, ",\"created_at\":\"%s\",\"max_input_tokens\":%u,\"max_tokens\":%u", created,
               card->max_input_tokens, card->max_tokens);
    buf_cstr(out, ",\"lifecycle\":\"active\",\"deprecated_at\":null,\"retires_at\":null,"
                  "\"line\":null,\"capabilities\":");
    buf_cstr(out, first_capabilities);
    buf_cstr(out, card->effort ? efforts : no_efforts);
    buf_cstr(out, input_capabilities);
    buf_cstr(out, SUPPORTED(card->structured));
    buf_printf(out, thinking_capabilities, card->thinks ? "true" : "false");
    buf_char(out, '}');
}

static void id_or_null(struct buf *out, const char *key, const struct model_card *card)
{
    buf_printf(out, ",\"%s\":", key);
    if (card)
        json_quote(out, card->id);
    else
        buf_cstr(out, "null");
}

void model_page_json(struct buf *out, const struct model_card *cards, size_t n, bool has_more)
{
    buf_cstr(out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(out, ',');
        model_card_json(out, &cards[i]);
    }
    buf_printf(out, "],\"has_more\":%s", has_more ? "true" : "false");
    id_or_null(out, "first_id", n ? &cards[0] : NULL);
    id_or_null(out, "last_id", n ? &cards[n - 1] : NULL);
    buf_char(out, '}');
}
