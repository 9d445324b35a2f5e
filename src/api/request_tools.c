/* request_tools.c - the shape of `tools` and `tool_choice`.
 *
 * A tool's `type` is optional (a custom tool's), so tools are told apart here and not by
 * take_union; what a hosted service alone can run is known by its name, and its options are that
 * service's to check. */
#include "api/request_parts.h"

#include "base/utf8.h"

enum { TOOL_NAME_CHARS_MAX = 128, TOOL_TYPE_SHOWN_BYTES = 64 };

static const struct string_rule tool_name = {1, TOOL_NAME_CHARS_MAX, true};
static const struct int_rule pixels = {1, INT32_MAX};
static const struct int_rule count = {0, INT64_MAX};
static const struct list_rule strings = {take_string, NULL, 0, 0, 0};
static const struct list_rule dictionaries = {take_dictionary, NULL, 0, 0, 0};

/* Code in a hosted sandbox may call a tool too; here the model alone does. */
static bool take_callers(struct decoder *decoder, const struct path *at, yyjson_val *value,
                         const void *rule, void *out)
{
    return take_list(decoder, at, value, &strings, NULL) &&
           (json_names(value, "direct") ||
            decode_refuse(decoder, at, "only 'direct' callers are available on this server"));
}

#define SWITCHES                                                                                 \
    {"strict", take_bool, NULL, 0, INTO(struct raw_tool, strict)},                               \
        {"input_examples", take_list, &dictionaries, 0, 0},                                      \
        {"eager_input_streaming", take_bool, NULL, NULLABLE, 0},                                 \
        {"defer_loading", take_bool, NULL, 0, INTO(struct raw_tool, deferred)},                  \
        {"allowed_callers", take_callers, NULL, 0, 0},                                           \
    {                                                                                            \
        "cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_tool, mark)         \
    }

static bool check_deferred(struct decoder *decoder, const struct path *at, void *out)
{
    const struct raw_tool *tool = out;

    return !tool->deferred || !tool->mark.given ||
           decode_fail(decoder, at, "defer_loading and cache_control cannot be set together");
}

static const char *const object_type[] = {"object", NULL};
static const struct field schema_fields[] = {
    {"type", take_enum, object_type, REQUIRED, 0},
    {"properties", take_dictionary, NULL, NULLABLE, 0},
    {"required", take_list, &strings, NULLABLE, 0},
};
static const struct shape schema = {TABLE(schema_fields), true, NULL};

static bool take_schema(struct decoder *decoder, const struct path *at, yyjson_val *value,
                        const void *rule, void *out)
{
    return take_object(decoder, at, value, &schema, NULL) &&
           take_json(decoder, at, value, NULL, out);
}

#define CUSTOM                                                                                   \
    {"name", take_string, &tool_name, REQUIRED, INTO(struct raw_tool, name)},                    \
        {"input_schema", take_schema, NULL, REQUIRED, INTO(struct raw_tool, schema)},            \
        {"description", take_string, NULL, 0, INTO(struct raw_tool, description)}, SWITCHES

static const struct field custom_fields[] = {CUSTOM};

/* The tools that clients run themselves, whose name, text and schema the server supplies. */
static const char *const bash[] = {"bash", NULL};
static const char *const editor_old[] = {"str_replace_editor", NULL};
static const char *const editor[] = {"str_replace_based_edit_tool", NULL};
static const char *const memory[] = {"memory", NULL};
static const char *const computer[] = {"computer", NULL};
static const char *const search_regex[] = {"tool_search_tool_regex", NULL};
static const char *const search_bm25[] = {"tool_search_tool_bm25", NULL};

static bool take_fixed_name(struct decoder *decoder, const struct path *at, yyjson_val *value,
                            const void *rule, void *out)
{
    const char *const *names = rule;

    if (!take_enum(decoder, at, value, rule, NULL))
        return false;
    *(struct str *)out = str_of(names[0]);
    return true;
}

#define FIXED_NAME(names) \
    {"name", take_fixed_name, names, REQUIRED, INTO(struct raw_tool, name)}

static const struct field bash_fields[] = {FIXED_NAME(bash), SWITCHES};
static const struct field editor_old_fields[] = {FIXED_NAME(editor_old), SWITCHES};
static const struct field editor_fields[] = {FIXED_NAME(editor), SWITCHES};
static const struct field editor_long_fields[] = {
    FIXED_NAME(editor),
    {"max_characters", take_int, &pixels, NULLABLE, 0},
    SWITCHES,
};
static const struct field memory_fields[] = {FIXED_NAME(memory), SWITCHES};
static const struct field computer_fields[] = {
    FIXED_NAME(computer),
    {"display_width_px", take_int, &pixels, REQUIRED, 0},
    {"display_height_px", take_int, &pixels, REQUIRED, 0},
    {"display_number", take_int, &count, NULLABLE, 0},
    {"enable_zoom", take_bool, NULL, 0, 0},
    SWITCHES,
};
static const struct field search_regex_fields[] = {FIXED_NAME(search_regex), SWITCHES};
static const struct field search_bm25_fields[] = {FIXED_NAME(search_bm25), SWITCHES};
static const struct field toolset_fields[] = {
    {"configs", take_any, NULL, NULLABLE, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_tool, mark)},
};

#define CLOSED(fields) {TABLE(fields), false, check_deferred}

static const struct variant tools[] = {
    {"custom", CLOSED(custom_fields), 0},
    {"bash_20250124", CLOSED(bash_fields), TYPED},
    {"bash_20241022", CLOSED(bash_fields), TYPED},
    {"text_editor_20250124", CLOSED(editor_old_fields), TYPED},
    {"text_editor_20241022", CLOSED(editor_old_fields), TYPED},
    {"text_editor_20250429", CLOSED(editor_fields), TYPED},
    {"text_editor_20250728", CLOSED(editor_long_fields), TYPED},
    {"memory_20250818", CLOSED(memory_fields), TYPED},
    {"computer_20241022", CLOSED(computer_fields), SEES},
    {"computer_20250124", CLOSED(computer_fields), SEES},
    {"computer_20251124", CLOSED(computer_fields), SEES},
    {"computer_toolset_20260801", CLOSED(toolset_fields), SEES},
    {"browser_toolset_20260801", CLOSED(toolset_fields), SEES},
    {"tool_search_tool_regex_20251119", CLOSED(search_regex_fields), SEARCHES},
    {"tool_search_tool_regex", CLOSED(search_regex_fields), SEARCHES},
    {"tool_search_tool_bm25_20251119", CLOSED(search_bm25_fields), SEARCHES},
    {"tool_search_tool_bm25", CLOSED(search_bm25_fields), SEARCHES},
};
static const struct tagged_union tool = {TABLE(tools), INTO(struct raw_tool, kind)};

static const char *const hosted[] = {"web_search_", "web_fetch_", "code_execution_", "advisor_",
                                     "mcp_toolset"};

static const struct field hosted_fields[] = {
    {"name", take_string, NULL, 0, INTO(struct raw_tool, name)},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_tool, mark)},
};
static const struct shape hosted_shape = {TABLE(hosted_fields), true, NULL};

static bool is_hosted(struct str type)
{
    for (size_t i = 0; i < sizeof hosted / sizeof *hosted; i++)
        if (str_starts(type, str_of(hosted[i])))
            return true;
    return false;
}

static bool take_hosted(struct decoder *decoder, const struct path *at, yyjson_val *value,
                        struct str type, void *out)
{
    const struct str shown = utf8_cut(type, TOOL_TYPE_SHOWN_BYTES);
    const struct path here = {.parent = at, .name = shown, .step = STEP_TAG};

    return take_object(decoder, &here, value, &hosted_shape, out) &&
           decode_refuse(decoder, at, "tool type '%.*s' is not available on this server",
                         STR_ARG(shown));
}

/* A custom tool may write "type": null or "type": "custom". */
static const struct field untyped_fields[] = {
    {"type", take_any, NULL, NULLABLE, 0},
    CUSTOM,
};
static const struct shape untyped = CLOSED(untyped_fields);

bool take_tool(struct decoder *decoder, const struct path *at, yyjson_val *value, const void *rule,
               void *out)
{
    yyjson_val *type = yyjson_obj_get(value, "type");

    if (yyjson_is_obj(value) && (!type || yyjson_is_null(type))) {
        const struct path here = path_tag(at, "custom");
        return take_object(decoder, &here, value, &untyped, out);
    }
    if (yyjson_is_str(type) && is_hosted(json_str(type)))
        return take_hosted(decoder, at, value, json_str(type), out);
    return take_union(decoder, at, value, &tool, out);
}

static const struct field parallel_fields[] = {
    {"disable_parallel_tool_use", take_bool, NULL, 0, INTO(struct raw_choice, one)}};
static const struct field named_fields[] = {
    {"name", take_string, NULL, REQUIRED, INTO(struct raw_choice, name)},
    {"disable_parallel_tool_use", take_bool, NULL, 0, INTO(struct raw_choice, one)},
};
static const struct variant choices[] = {
    {"auto", {TABLE(parallel_fields), false, NULL}, CHOICE_AUTO},
    {"any", {TABLE(parallel_fields), false, NULL}, CHOICE_ANY},
    {"tool", {TABLE(named_fields), false, NULL}, CHOICE_TOOL},
    {"none", {NULL, 0, false, NULL}, CHOICE_NONE},
};
static const struct tagged_union choice = {TABLE(choices), INTO(struct raw_choice, kind)};

bool take_tool_choice(struct decoder *decoder, const struct path *at, yyjson_val *value,
                      const void *rule, void *out)
{
    return take_union(decoder, at, value, &choice, out);
}
