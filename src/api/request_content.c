/* request_content.c - messages, system and their content blocks: the shape of each.
 *
 * One row of `blocks` is all that is known of a kind of block: its fields, who may send it, what
 * becomes of it. To support a kind, take REFUSED from its row and give request_blocks.c its
 * text. */
#include "api/request_parts.h"

enum { DOCUMENT_TITLE_CHARS_MAX = 500 };

static const struct string_rule some_text = {.min = 1};
static const struct string_rule identifier = {.min = 1, .identifier = true};
static const struct int_rule count = {0, INT64_MAX};

/* ---- cache_control ---- */

static const char *const cache_types[] = {"ephemeral", NULL};
static const char *const cache_ttls[] = {"5m", "1h", NULL};

/* A beta of Claude Code: no effect, and unknown without its header. */
static bool take_scope(struct decoder *decoder, const struct path *at, yyjson_val *value,
                       const void *rule, void *out)
{
    if (decoder->options->strict && !request_beta(decoder->options, "prompt-caching-scope"))
        return take_extra(decoder, at, value, rule, out);
    return take_string(decoder, at, value, NULL, NULL);
}

static const struct field cache_fields[] = {
    {"type", take_enum, cache_types, REQUIRED, 0},
    {"ttl", take_enum, cache_ttls, 0, INTO(struct raw_mark, ttl)},
    {"scope", take_scope, NULL, NULLABLE, 0},
};
static const struct shape cache_shape = {TABLE(cache_fields), false, NULL};

bool take_cache_control(struct decoder *decoder, const struct path *at, yyjson_val *value,
                        const void *rule, void *out)
{
    struct raw_mark mark = {.given = true};

    if (!take_object(decoder, at, value, &cache_shape, &mark))
        return false;
    if (decoder->marks_n < REQUEST_MARKS_MAX)
        decoder->marks[decoder->marks_n] = (struct decode_mark){
            .path = path_text(decoder->arena, at, false), .hour = mark.ttl == 1};
    decoder->marks_n++;
    if (out)
        *(struct raw_mark *)out = mark;
    return true;
}

/* ---- citations ---- */

static const struct field char_location[] = {
    {"cited_text", take_string, NULL, REQUIRED, 0},
    {"document_index", take_int, &count, REQUIRED, 0},
    {"document_title", take_string, NULL, REQUIRED | NULLABLE, 0},
    {"start_char_index", take_int, &count, REQUIRED, 0},
    {"end_char_index", take_int, &count, REQUIRED, 0},
    {"file_id", take_string, NULL, NULLABLE, 0},
};
static const struct field page_location[] = {
    {"cited_text", take_string, NULL, REQUIRED, 0},
    {"document_index", take_int, &count, REQUIRED, 0},
    {"document_title", take_string, NULL, REQUIRED | NULLABLE, 0},
    {"start_page_number", take_int, &count, REQUIRED, 0},
    {"end_page_number", take_int, &count, REQUIRED, 0},
    {"file_id", take_string, NULL, NULLABLE, 0},
};
static const struct field block_location[] = {
    {"cited_text", take_string, NULL, REQUIRED, 0},
    {"document_index", take_int, &count, REQUIRED, 0},
    {"document_title", take_string, NULL, REQUIRED | NULLABLE, 0},
    {"start_block_index", take_int, &count, REQUIRED, 0},
    {"end_block_index", take_int, &count, REQUIRED, 0},
    {"file_id", take_string, NULL, NULLABLE, 0},
};
static const struct field search_location[] = {
    {"cited_text", take_string, NULL, REQUIRED, 0},
    {"source", take_string, NULL, REQUIRED, 0},
    {"title", take_string, NULL, REQUIRED | NULLABLE, 0},
    {"search_result_index", take_int, &count, REQUIRED, 0},
    {"start_block_index", take_int, &count, REQUIRED, 0},
    {"end_block_index", take_int, &count, REQUIRED, 0},
};
static const struct variant citations[] = {
    {"char_location", {TABLE(char_location), false, NULL}, 0},
    {"page_location", {TABLE(page_location), false, NULL}, 0},
    {"content_block_location", {TABLE(block_location), false, NULL}, 0},
    {"search_result_location", {TABLE(search_location), false, NULL}, 0},
    {"web_search_result_location", {NULL, 0, true, NULL}, 0},
};
static const struct tagged_union citation = {TABLE(citations), 0};
static const struct list_rule citation_list = {take_union, &citation, 0, 0, 0};

static bool take_citations(struct decoder *decoder, const struct path *at, yyjson_val *value,
                           const void *rule, void *out)
{
    if (out)
        *(bool *)out = yyjson_arr_size(value) > 0;
    return take_list(decoder, at, value, &citation_list, NULL);
}

static const struct field citations_switch_fields[] = {{"enabled", take_bool, NULL, 0, 0}};
static const struct shape citations_switch = {TABLE(citations_switch_fields), false, NULL};

/* ---- text ---- */

static bool check_text(struct decoder *decoder, const struct path *at, void *out)
{
    const struct raw_block *text = out;

    if (text->text.n > 0 || !text->mark.given)
        return true;
    const struct path here = path_key(at, STR("cache_control"));
    return decode_fail(decoder, &here, "cache_control cannot be set for empty text blocks");
}

#define TEXT_FIELDS                                                                              \
    {"text", take_string, NULL, REQUIRED, INTO(struct raw_block, text)},                         \
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},         \
    {"citations", take_citations, NULL, NULLABLE, INTO(struct raw_block, cited)}

static const struct field text_fields[] = {TEXT_FIELDS};

/* Where only text may stand, `type` is a field like others and no tag shows in paths. */
static const char *const text_types[] = {"text", NULL};
static const struct field plain_text_fields[] = {
    {"type", take_enum, text_types, REQUIRED, 0},
    TEXT_FIELDS,
};
static const struct shape plain_text = {TABLE(plain_text_fields), false, check_text};
static const struct list_rule plain_text_list = {take_object, &plain_text,
                                                 sizeof(struct raw_block), 0, REQUEST_BLOCKS_MAX};
static const struct list_rule search_text_list = {take_object, &plain_text,
                                                  sizeof(struct raw_block), 1, REQUEST_BLOCKS_MAX};

/* ---- sources of images and documents ---- */

static const char *const image_types[] = {"image/jpeg", "image/png", "image/gif", "image/webp",
                                          NULL};
static const char *const pdf_types[] = {"application/pdf", NULL};
static const char *const plain_types[] = {"text/plain", NULL};
static bool take_media(struct decoder *decoder, const struct path *at, yyjson_val *value,
                       const void *rule, void *out)
{
    if (out)
        *(struct str *)out = json_str(value);
    return take_enum(decoder, at, value, rule, NULL);
}

static const struct field image_base64[] = {
    {"media_type", take_media, image_types, REQUIRED, INTO(struct raw_source, media)},
    {"data", take_string, NULL, REQUIRED, INTO(struct raw_source, content.text)},
};
static const struct field pdf_base64[] = {
    {"media_type", take_enum, pdf_types, REQUIRED, 0},
    {"data", take_string, NULL, REQUIRED, 0},
};
static const struct field plain_source[] = {
    {"media_type", take_enum, plain_types, REQUIRED, 0},
    {"data", take_string, NULL, REQUIRED, INTO(struct raw_source, content.text)},
};
static const struct field url_source[] = {
    {"url", take_string, NULL, REQUIRED, INTO(struct raw_source, content.text)}};
static const struct field file_source[] = {{"file_id", take_string, NULL, REQUIRED, 0}};

static const struct variant image_sources[] = {
    {"base64", {TABLE(image_base64), false, NULL}, 0},
    {"url", {TABLE(url_source), false, NULL}, 0},
    {"file", {TABLE(file_source), false, NULL}, REFUSED},
};
static const struct tagged_union image_source = {TABLE(image_sources),
                                                 INTO(struct raw_source, kind)};
static const char *const oversized[] = {"downsize", "error", NULL};
static const struct field transformation_fields[] = {
    {"oversized_image", take_enum, oversized, 0, 0}};
static const struct shape transformations = {TABLE(transformation_fields), false, NULL};
static const struct field image_fields[] = {
    {"source", take_union, &image_source, REQUIRED, INTO(struct raw_block, source)},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
    {"transformations", take_object, &transformations, 0, 0},
};

/* A string, or a list by the rule. */
static bool take_string_or_list(struct decoder *decoder, const struct path *at, yyjson_val *value,
                                const void *rule, void *out)
{
    struct raw_content *content = out;

    if (!yyjson_is_str(value))
        return take_list(decoder, at, value, rule, &content->blocks);
    content->text = json_str(value);
    return true;
}

static const struct variant custom_chunks[] = {
    {"text", {TABLE(text_fields), false, check_text}, TEXT},
    {"image", {TABLE(image_fields), false, NULL}, REFUSED | IMAGE},
};
static const struct tagged_union custom_chunk = {TABLE(custom_chunks),
                                                 INTO(struct raw_block, kind)};
static const struct list_rule custom_chunk_list = {take_union, &custom_chunk,
                                                   sizeof(struct raw_block), 0, REQUEST_BLOCKS_MAX};
static const struct field custom_source[] = {
    {"content", take_string_or_list, &custom_chunk_list, REQUIRED,
     INTO(struct raw_source, content)}};
static const struct variant document_sources[] = {
    {"base64", {TABLE(pdf_base64), false, NULL}, REFUSED},
    {"text", {TABLE(plain_source), false, NULL}, 0},
    {"content", {TABLE(custom_source), false, NULL}, 0},
    {"url", {TABLE(url_source), false, NULL}, REFUSED},
    {"file", {TABLE(file_source), false, NULL}, REFUSED},
};
static const struct tagged_union document_source = {TABLE(document_sources),
                                                    INTO(struct raw_source, kind)};
static const struct string_rule document_title = {0, DOCUMENT_TITLE_CHARS_MAX, false};
static const struct field document_fields[] = {
    {"source", take_union, &document_source, REQUIRED, INTO(struct raw_block, source)},
    {"title", take_string, &document_title, NULLABLE, INTO(struct raw_block, name)},
    {"context", take_string, NULL, NULLABLE, INTO(struct raw_block, note)},
    {"citations", take_object, &citations_switch, NULLABLE, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};
static const struct field search_result_fields[] = {
    {"source", take_string, NULL, REQUIRED, INTO(struct raw_block, note)},
    {"title", take_string, NULL, REQUIRED, INTO(struct raw_block, name)},
    {"content", take_list, &search_text_list, REQUIRED,
     INTO(struct raw_block, source.content.blocks)},
    {"citations", take_object, &citations_switch, NULLABLE, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};

/* ---- tool calls and their results ---- */

static const struct field tool_use_fields[] = {
    {"id", take_string, &identifier, REQUIRED, INTO(struct raw_block, id)},
    {"name", take_string, &some_text, REQUIRED, INTO(struct raw_block, name)},
    {"input", take_json, NULL, REQUIRED, INTO(struct raw_block, text)},
    {"caller", take_dictionary, NULL, 0, 0},
    {"toolset_name", take_string, NULL, NULLABLE, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};
static const struct field tool_reference_fields[] = {
    {"tool_name", take_string, &some_text, REQUIRED, INTO(struct raw_block, name)},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};

/* A result may be empty, but a text block in it may not. */
static bool check_result_text(struct decoder *decoder, const struct path *at, void *out)
{
    const struct raw_block *text = out;

    return check_text(decoder, at, out) &&
           (text->text.n > 0 ||
            decode_fail(decoder, NULL, "messages: text content blocks must be non-empty"));
}

static const struct variant result_blocks[] = {
    {"text", {TABLE(text_fields), false, check_result_text}, TEXT},
    {"image", {TABLE(image_fields), false, NULL}, REFUSED | IMAGE},
    {"search_result", {TABLE(search_result_fields), false, NULL}, SOURCE},
    {"document", {TABLE(document_fields), false, NULL}, SOURCE},
    {"tool_reference", {TABLE(tool_reference_fields), false, NULL}, REFERENCE},
    {"browser_state", {NULL, 0, true, NULL}, REFUSED},
};
static const struct tagged_union result_block = {TABLE(result_blocks),
                                                 INTO(struct raw_block, kind)};
static const struct list_rule result_list = {take_union, &result_block, sizeof(struct raw_block), 0,
                                             REQUEST_BLOCKS_MAX};
static const struct field tool_result_fields[] = {
    {"tool_use_id", take_string, &identifier, REQUIRED, INTO(struct raw_block, id)},
    {"content", take_string_or_list, &result_list, 0, INTO(struct raw_block, source.content)},
    {"is_error", take_bool, NULL, 0, INTO(struct raw_block, is_error)},
    {"toolset_name", take_string, NULL, NULLABLE, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};

/* ---- what else a history may hold ---- */

static const struct field thinking_fields[] = {
    {"thinking", take_string, NULL, REQUIRED, INTO(struct raw_block, text)},
    {"signature", take_string, NULL, REQUIRED, INTO(struct raw_block, note)},
    {"cache_control", take_extra, NULL, 0, 0},
};
static const struct field redacted_fields[] = {
    {"data", take_string, NULL, REQUIRED, 0},
    {"cache_control", take_extra, NULL, 0, 0},
};
static const struct field upload_fields[] = {
    {"file_id", take_string, NULL, REQUIRED, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};
static const struct field hosted_fields[] = {
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)}};
static const struct field compaction_fields[] = {
    {"content", take_string, NULL, REQUIRED | NULLABLE, 0},
    {"signature", take_string, NULL, NULLABLE, 0},
    {"cache_control", take_cache_control, NULL, NULLABLE, INTO(struct raw_block, mark)},
};

#define OPEN {NULL, 0, true, NULL}
#define HOSTED_SHAPE {TABLE(hosted_fields), true, NULL}

static const struct variant blocks[] = {
    {"text", {TABLE(text_fields), false, check_text}, BY_ALL | TEXT | CACHEABLE},
    {"image", {TABLE(image_fields), false, NULL}, BY_USER | REFUSED | IMAGE | CACHEABLE},
    {"document",
     {TABLE(document_fields), false, NULL},
     BY_USER | BY_ASSISTANT | SOURCE | CACHEABLE | USER_UNDER_V26},
    {"search_result", {TABLE(search_result_fields), false, NULL}, BY_USER | SOURCE | CACHEABLE},
    {"thinking", {TABLE(thinking_fields), false, NULL}, BY_ASSISTANT | THOUGHT},
    {"redacted_thinking", {TABLE(redacted_fields), false, NULL}, BY_ASSISTANT | DROPPED},
    {"tool_use", {TABLE(tool_use_fields), false, NULL}, BY_ASSISTANT | CALL | CACHEABLE},
    {"tool_result", {TABLE(tool_result_fields), false, NULL}, BY_USER | RESULT | CACHEABLE},
    {"server_tool_use", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"web_search_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"web_fetch_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"code_execution_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"bash_code_execution_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"text_editor_code_execution_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"tool_search_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"container_upload", {TABLE(upload_fields), false, NULL}, BY_USER | REFUSED},
    {"compaction", {TABLE(compaction_fields), false, NULL}, BY_USER | BY_ASSISTANT | REFUSED},
    {"fallback", OPEN, BY_ASSISTANT | DROPPED},
    {"mcp_tool_use", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"mcp_tool_result", HOSTED_SHAPE, BY_ASSISTANT | HOSTED},
    {"tool_addition", OPEN, BY_SYSTEM | REFUSED},
    {"tool_removal", OPEN, BY_SYSTEM | REFUSED},
};
static const struct tagged_union block = {TABLE(blocks), INTO(struct raw_block, kind)};
static const struct list_rule block_list = {take_union, &block, sizeof(struct raw_block), 0,
                                            REQUEST_BLOCKS_MAX};

/* ---- content, messages, system ---- */

/* A string is shorthand for one text block; an empty one for none. */
static bool take_content(struct decoder *decoder, const struct path *at, yyjson_val *value,
                         const void *rule, void *out)
{
    if (!yyjson_is_str(value))
        return take_list(decoder, at, value, rule, out);
    struct list *content = out;
    if (yyjson_get_len(value) == 0)
        return true;
    struct raw_block *text = arena_alloc(decoder->arena, sizeof *text);
    *text = (struct raw_block){.kind = &blocks[0], .text = json_str(value)};
    *content = (struct list){text, 1};
    return true;
}

bool take_system(struct decoder *decoder, const struct path *at, yyjson_val *value,
                 const void *rule, void *out)
{
    return take_content(decoder, at, value, &plain_text_list, out);
}

static const char *const roles[] = {"user", "assistant", "system", NULL};
static const struct field message_fields[] = {
    {"role", take_enum, roles, REQUIRED, INTO(struct raw_message, role)},
    {"content", take_content, &block_list, REQUIRED, INTO(struct raw_message, content)},
    {"clear_at", take_present, NULL, NULLABLE, INTO(struct raw_message, clear_at)},
    {"output_config", take_present, NULL, NULLABLE, INTO(struct raw_message, output_config)},
};
static const struct shape message_shape = {TABLE(message_fields), false, NULL};

bool take_message(struct decoder *decoder, const struct path *at, yyjson_val *value,
                  const void *rule, void *out)
{
    return take_object(decoder, at, value, &message_shape, out);
}
