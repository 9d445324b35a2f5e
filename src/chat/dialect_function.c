/* dialect_function.c - the grammar of a call as Qwen3-Coder writes it, where a value is text or
 * JSON by its type (blocks_xml.c reads it back by the same rule).
 *
 * Parameters come in the schema's order. A string's value is any text, or one of its enum: its
 * other keywords are not enforced. */
#include "chat/grammar_writer.h"

#include <stdlib.h>
#include <yyjson.h>

#include "base/json.h"
#include "base/names.h"
#include "chat/blocks.h"

const char writer_function_rules[] =
    "text[suffix=\"\\n</parameter>\"]: /(.|\\n)*/\n"
    "pairs: ( \"<parameter=\" /[^<>\\n]{1,64}/ \">\\n\" text w )*\n";

static void put(struct writer *writer, const char *text)
{
    buf_cstr(&writer->out, text);
}

static void put_choices(struct writer *writer, yyjson_val *choices)
{
    yyjson_val *choice;
    size_t i, n;

    put(writer, " (");
    yyjson_arr_foreach(choices, i, n, choice) {
        put(writer, i ? " |" : "");
        writer_literal(writer, json_str(choice));
    }
    put(writer, " ) \"\\n</parameter>\"");
}

static bool are_choices(yyjson_val *values)
{
    size_t i, n;
    yyjson_val *one;

    yyjson_arr_foreach(values, i, n, one)
        if (yyjson_get_len(one) == 0 || !yyjson_is_str(one) ||
            strstr(yyjson_get_str(one), "</parameter>"))
            return false;
    return yyjson_arr_size(values) > 0;
}

/* Where `place` is the property's in its schema. A reference needs the whole schema around it. */
static void put_json_value(struct writer *writer, size_t tool, size_t place, yyjson_val *schema)
{
    const struct tool *from = &writer->needs->request->tools[tool];
    size_t n = 0;
    char *text = yyjson_val_write(schema, 0, &n);

    if (text && !strstr(text, "\"$ref\"") && writer->parts_n + 1 < WRITER_PARTS_MAX)
        writer_schema(writer, &(struct grammar_part){
            .language = GRAMMAR_JSON_SCHEMA, .loose = !from->strict,
            .name = arena_printf(writer->arena, "t%zu-%zu", tool, place),
            .text = arena_str(writer->arena, (struct str){text, n})});
    else
        writer_shared(writer, "json", "{}");
    put(writer, " \"\\n</parameter>\"");
    free(text);
}

/* What is read back as a parameter's name; another can't be written. */
static bool is_name(struct str key)
{
    for (size_t i = 0; i < key.n; i++)
        if ((unsigned char)key.s[i] < ' ' || key.s[i] == '<' || key.s[i] == '>')
            return false;
    return key.n > 0 && key.n <= BLOCKS_NAME_MAX;
}

static struct names required_of(struct arena *arena, yyjson_val *root)
{
    yyjson_val *required = yyjson_obj_get(root, "required"), *one;
    struct names names = names_new(arena, yyjson_arr_size(required));
    size_t i, n;

    yyjson_arr_foreach(required, i, n, one)
        names_add(&names, json_str(one));
    names_sort(&names);
    return names;
}

static void put_parameter(struct writer *writer, size_t tool, size_t place, yyjson_val *key,
                          yyjson_val *schema)
{
    yyjson_val *type = yyjson_obj_get(schema, "type"), *choices = yyjson_obj_get(schema, "enum");
    struct buf tag = {0};

    buf_cstr(&tag, "<parameter=");
    buf_str(&tag, json_str(key));
    buf_cstr(&tag, ">\n");
    writer_literal(writer, buf_view(&tag));
    buf_release(&tag);
    if (yyjson_equals_str(type, "string") && are_choices(choices))
        put_choices(writer, choices);
    else if (!type || json_names(type, "string"))
        put(writer, " text");
    else
        put_json_value(writer, tool, place, schema);
    put(writer, " w");
}

void writer_function(struct writer *writer, size_t i, struct str name)
{
    const size_t tool = writer->tools[i];
    const struct str text = writer->needs->request->tools[tool].schema;
    yyjson_doc *doc = writer->any[i] ? NULL : yyjson_read(text.s, text.n, YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(doc), *key, *schema;
    yyjson_val *properties = yyjson_obj_get(root, "properties");
    const struct names required = required_of(writer->arena, root);
    size_t place, n;

    writer_literal(writer, name);
    put(writer, " \">\" w");
    yyjson_obj_foreach(properties, place, n, key, schema) {
        if (!is_name(json_str(key)))
            continue;
        const bool always = names_have(&required, json_str(key));
        put(writer, always ? "" : " (");
        put_parameter(writer, tool, place, key, schema);
        put(writer, always ? "" : " )?");
    }
    if (!properties)
        put(writer, " pairs");
    yyjson_doc_free(doc);
}
