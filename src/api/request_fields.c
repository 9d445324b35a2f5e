/* request_fields.c - the top level of the body: one row a field, in the order of the prompt. */
#include "api/request_parts.h"

/* The result of an object of which only its presence counts. */
static bool note_given(struct decoder *decoder, const struct path *at, void *out)
{
    *(bool *)out = true;
    return true;
}

/* ---- thinking ---- */

enum { THINKING_BUDGET_MIN = 1024, TASK_BUDGET_MIN = 1 };

static const struct int_rule thinking_budget = {THINKING_BUDGET_MIN, INT64_MAX};
static const char *const displays[] = {
    [SUMMARIZED] = "summarized", [OMITTED] = "omitted", [UPDATES] = "updates", NULL};
static const char *const mismatches[] = {"error", "drop_block", NULL};
static const struct field binding_fields[] = {
    {"prefix_mismatch_behavior", take_enum, mismatches, 0, 0}};
static const struct shape binding = {TABLE(binding_fields), false, NULL};
static const struct field enabled_fields[] = {
    {"budget_tokens", take_int, &thinking_budget, REQUIRED, INTO(struct raw_thinking, budget)},
    {"display", take_enum, displays, NULLABLE, INTO(struct raw_thinking, display)},
    {"block_binding", take_object, &binding, NULLABLE, 0},
};
static const struct field adaptive_fields[] = {
    {"display", take_enum, displays, NULLABLE, INTO(struct raw_thinking, display)},
    {"block_binding", take_object, &binding, NULLABLE, 0},
};
static const struct field off_fields[] = {{"display", take_extra, NULL, 0, 0}};
static const struct variant thinkings[] = {
    {"enabled", {TABLE(enabled_fields), false, NULL}, THINKING_ENABLED},
    {"adaptive", {TABLE(adaptive_fields), false, NULL}, THINKING_ADAPTIVE},
    {"disabled", {TABLE(off_fields), false, NULL}, THINKING_OFF},
    {"between_tools", {TABLE(off_fields), false, NULL}, THINKING_OFF},
};
static const struct tagged_union thinking = {TABLE(thinkings), INTO(struct raw_thinking, kind)};

/* ---- output_config ---- */

static const char *const schema_type[] = {"json_schema", NULL};
static const char *const tokens_type[] = {"tokens", NULL};
static const char *const efforts[] = {"low", "medium", "high", "xhigh", "max", NULL};

static bool take_effort(struct decoder *decoder, const struct path *at, yyjson_val *value,
                        const void *rule, void *out)
{
    int place;

    if (!take_enum(decoder, at, value, efforts, &place))
        return false;
    if (out)
        *(int *)out = EFFORT_LOW + place;
    return true;
}

static const struct int_rule some = {TASK_BUDGET_MIN, INT64_MAX};
static const struct int_rule count = {0, INT64_MAX};

static const struct field format_fields[] = {
    {"type", take_enum, schema_type, REQUIRED, 0},
    {"schema", take_json, NULL, REQUIRED, INTO(struct raw_format, schema)},
};
static const struct shape format = {TABLE(format_fields), false, NULL};

static const struct field task_budget_fields[] = {
    {"type", take_enum, tokens_type, REQUIRED, 0},
    {"total", take_int, &some, REQUIRED, 0},
    {"remaining", take_int, &count, NULLABLE, 0},
};
static const struct shape task_budget = {TABLE(task_budget_fields), false, NULL};
static const struct field output_fields[] = {
    {"effort", take_effort, NULL, NULLABLE, INTO(struct raw_output, effort)},
    {"format", take_object, &format, NULLABLE, INTO(struct raw_output, format)},
    {"task_budget", take_object, &task_budget, NULLABLE, 0},
};
static const struct shape output_config = {TABLE(output_fields), false, NULL};

/* ---- context_management ---- */

/* "all", {"type": "all"} or {"type": "thinking_turns", "value": n}. */
static bool take_keep(struct decoder *decoder, const struct path *at, yyjson_val *value,
                      const void *rule, void *out)
{
    static const char *const all[] = {"all", NULL};

    return yyjson_is_obj(value) || take_enum(decoder, at, value, all, NULL);
}

static const struct list_rule strings = {take_string, NULL, 0, 0, 0};

static bool take_bool_or_strings(struct decoder *decoder, const struct path *at, yyjson_val *value,
                                 const void *rule, void *out)
{
    return yyjson_is_bool(value) || take_list(decoder, at, value, &strings, NULL);
}

static const struct field clear_thinking[] = {{"keep", take_keep, NULL, NULLABLE, 0}};
static const struct field clear_tools[] = {
    {"trigger", take_dictionary, NULL, NULLABLE, 0},
    {"keep", take_dictionary, NULL, NULLABLE, 0},
    {"clear_at_least", take_dictionary, NULL, NULLABLE, 0},
    {"exclude_tools", take_list, &strings, NULLABLE, 0},
    {"clear_tool_inputs", take_bool_or_strings, NULL, NULLABLE, 0},
};
static const struct variant edits[] = {
    {"clear_tool_uses_20250919", {TABLE(clear_tools), false, NULL}, false},
    {"clear_thinking_20251015", {TABLE(clear_thinking), false, NULL}, true},
};
static const struct tagged_union edit = {TABLE(edits), 1};

static bool take_edit(struct decoder *decoder, const struct path *at, yyjson_val *value,
                      const void *rule, void *out)
{
    const struct variant *kind = NULL;

    if (!take_union(decoder, at, value, &edit, &kind))
        return false;
    return !kind->facts || at->index == 0 ||
           decode_fail(decoder, at, "%s must be the first edit", kind->tag);
}

static const struct list_rule edit_list = {take_edit, NULL, 0, 0, 0};
static const struct field management_fields[] = {{"edits", take_list, &edit_list, 0, 0}};
static const struct shape management = {TABLE(management_fields), false, note_given};

/* ---- metadata, diagnostics ---- */

static const struct string_rule user_id = {0, REQUEST_USER_ID_CHARS_MAX, false};
static const struct field metadata_fields[] = {
    {"user_id", take_string, &user_id, NULLABLE, INTO(struct raw_metadata, user_id)}};
static const struct shape metadata = {TABLE(metadata_fields), false, NULL};
static const struct field diagnostics_fields[] = {
    {"previous_message_id", take_string, NULL, REQUIRED | NULLABLE, 0}};
static const struct shape diagnostics = {TABLE(diagnostics_fields), false, note_given};

/* ---- the table ---- */

static const struct string_rule model_name = {1, REQUEST_MODEL_CHARS_MAX, false};
static const struct int_rule max_tokens = {0, REQUEST_MAX_TOKENS_MAX};
static const struct int_rule top_k = {0, INT64_MAX};
static const struct number_rule unit = {0, 1};
static const struct list_rule stop_sequence_list = {take_string, NULL, sizeof(struct str), 0,
                                                    REQUEST_STOP_SEQUENCES_MAX};
static const struct list_rule tool_list = {take_tool, NULL, sizeof(struct raw_tool), 0,
                                           REQUEST_TOOLS_MAX};
static const struct list_rule message_list = {take_message, NULL, sizeof(struct raw_message), 0,
                                              REQUEST_MESSAGES_MAX};
static const char *const tiers[] = {"auto", "standard_only", NULL};
static const char *const speeds[] = {"standard", "fast", NULL};

/* The automatic breakpoint is counted by request_check_cache, where it finds its block. */
static bool take_automatic(struct decoder *decoder, const struct path *at, yyjson_val *value,
                           const void *rule, void *out)
{
    if (!take_cache_control(decoder, at, value, rule, out))
        return false;
    decoder->marks_n--;
    return true;
}

/* An empty list is nothing. */
static bool take_items(struct decoder *decoder, const struct path *at, yyjson_val *value,
                       const void *rule, void *out)
{
    static const struct list_rule anything = {take_any, NULL, 0, 0, 0};

    *(bool *)out = yyjson_arr_size(value) > 0;
    return take_list(decoder, at, value, &anything, NULL);
}

#define R(member) INTO(struct raw_request, member)

static const struct field request_fields[] = {
    {"model", take_string, &model_name, REQUIRED, R(model)},
    {"max_tokens", take_int, &max_tokens, REQUIRED | GENERATE_ONLY, R(max_tokens)},
    {"tools", take_list, &tool_list, 0, R(tools)},
    {"tool_choice", take_tool_choice, NULL, 0, R(tool_choice)},
    {"system", take_system, NULL, 0, R(system)},
    {"messages", take_list, &message_list, REQUIRED, R(messages)},
    {"cache_control", take_automatic, NULL, NULLABLE, R(mark)},
    {"stream", take_bool, NULL, GENERATE_ONLY, R(stream)},
    {"stop_sequences", take_list, &stop_sequence_list, GENERATE_ONLY, R(stop_sequences)},
    {"temperature", take_number, &unit, V23_ONLY | GENERATE_ONLY, R(temperature)},
    {"top_p", take_number, &unit, V23_ONLY | GENERATE_ONLY, R(top_p)},
    {"top_k", take_int, &top_k, V23_ONLY | GENERATE_ONLY, R(top_k)},
    {"thinking", take_union, &thinking, 0, R(thinking)},
    {"output_config", take_object, &output_config, 0, R(output_config)},
    {"output_format", take_object, &format, NULLABLE, R(output_format)},
    {"metadata", take_object, &metadata, GENERATE_ONLY, R(metadata)},
    {"service_tier", take_enum, tiers, GENERATE_ONLY, 0},
    {"speed", take_enum, speeds, NULLABLE, 0},
    {"inference_geo", take_string, NULL, NULLABLE | GENERATE_ONLY, 0},
    {"diagnostics", take_object, &diagnostics, NULLABLE | GENERATE_ONLY, R(diagnostics)},
    {"context_management", take_object, &management, NULLABLE, R(context_management)},
    {"container", take_present, NULL, NULLABLE, R(container)},
    {"mcp_servers", take_items, NULL, 0, R(mcp_servers)},
    {"fallbacks", take_present, NULL, NULLABLE, R(fallbacks)},
    {"fallback_credit_token", take_present, NULL, NULLABLE, R(fallback_credit_token)},
    {"billing_policy", take_present, NULL, NULLABLE, R(billing_policy)},
    {"compaction", take_present, NULL, NULLABLE, R(compaction)},
    {"thread", take_present, NULL, NULLABLE, R(thread)},
};

const struct shape request_shape = {TABLE(request_fields), false, NULL};
