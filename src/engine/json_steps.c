/* json_steps.c - the steps of a tokenizer.json: normalizer, pre_tokenizer, decoder, post_processor.
 *
 * Each field is one object with a type, or a sequence of them; a table says which types there are.
 * The hard thing is to refuse what can't be done exactly, also where each step by itself could:
 * steps behind ByteLevel would see its alphabet, a Strip before Fuse would strip every token. */
#include "engine/json_steps.h"

#include <stdio.h>

#include "base/utf8.h"
#include "engine/json_fields.h"
#include "engine/spelling.h"

#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

struct context {
    struct arena *arena;
    struct vocab_source *out;
    struct json_steps *steps;
    bool fused;                 /* decoder: tokens are one text by now */
    struct err *err;
};

struct kind {
    const char *name;
    bool (*read)(struct context *context, yyjson_val *object, int argument);
    int argument;
};

/* `field` is for error texts; `list` is the key of a sequence's steps. */
static bool read_step(struct context *context, yyjson_val *object, const char *field,
                      const char *list, const struct kind *kinds)
{
    char known[160] = "";
    struct str type;
    size_t n = 0;

    if (!yyjson_is_obj(object))
        return err_set(context->err, ERR_FORMAT, "%s is not an object", field);
    if (!field_str(object, "type", &type, context->err))
        return err_prefix(context->err, "%s", field);
    if (str_is(type, "Sequence")) {
        yyjson_val *steps;
        if (!field_array(object, list, &steps, context->err))
            return err_prefix(context->err, "%s", field);
        yyjson_arr_iter each = yyjson_arr_iter_with(steps);
        for (yyjson_val *step; (step = yyjson_arr_iter_next(&each));)
            if (!read_step(context, step, field, list, kinds))
                return false;
        return true;
    }
    for (const struct kind *kind = kinds; kind->name; kind++) {
        if (str_is(type, kind->name))
            return kind->read(context, object, kind->argument) ||
                   err_prefix(context->err, "%s %s", field, kind->name);
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, " %s", kind->name);
    }
    return err_set(context->err, ERR_FORMAT, "%s \"%.*s\" is not supported; these are: Sequence%s",
                   field, STR_ARG(utf8_cut(type, 40)), known);
}

/* {"String": text} or {"Regex": text} */
static bool read_pattern(struct context *context, yyjson_val *object, struct str *out,
                         bool *is_literal)
{
    yyjson_val *pattern;

    if (!field_object(object, "pattern", &pattern, context->err))
        return false;
    *is_literal = yyjson_obj_get(pattern, "String") != NULL;
    return field_str(pattern, *is_literal ? "String" : "Regex", out, context->err);
}

/* ---- normalizer ---- */

static bool read_form(struct context *context, yyjson_val *object, int argument)
{
    const struct normalizer_step step = {.kind = (enum normalizer_kind)argument};

    (void)object;
    return normalizer_add(&context->out->normalize, step, context->err);
}

static bool read_prepend(struct context *context, yyjson_val *object, int argument)
{
    struct normalizer_step step = {.kind = NORMALIZE_PREPEND};

    (void)argument;
    return field_str(object, "prepend", &step.to, context->err) &&
           normalizer_add(&context->out->normalize, step, context->err);
}

static bool read_replace(struct context *context, yyjson_val *object, int argument)
{
    struct normalizer_step step = {.kind = NORMALIZE_REPLACE};
    bool literal;

    (void)argument;
    if (!read_pattern(context, object, &step.from, &literal) ||
        !field_str(object, "content", &step.to, context->err))
        return false;
    if (!literal)
        return err_set(context->err, ERR_FORMAT, "an expression is not supported, only a String");
    return normalizer_add(&context->out->normalize, step, context->err);
}

static bool read_strip(struct context *context, yyjson_val *object, int argument)
{
    const struct normalizer_step left_step = {.kind = NORMALIZE_STRIP_LEFT};
    const struct normalizer_step right_step = {.kind = NORMALIZE_STRIP_RIGHT};
    bool left, right;

    (void)argument;
    return field_bool(object, "strip_left", false, &left, context->err) &&
           field_bool(object, "strip_right", false, &right, context->err) &&
           (!left || normalizer_add(&context->out->normalize, left_step, context->err)) &&
           (!right || normalizer_add(&context->out->normalize, right_step, context->err));
}

bool json_normalizer(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                     struct json_steps *steps, struct err *err)
{
    static const struct kind kinds[] = {
        {"NFC", read_form, NORMALIZE_NFC},      {"NFD", read_form, NORMALIZE_NFD},
        {"NFKC", read_form, NORMALIZE_NFKC},    {"NFKD", read_form, NORMALIZE_NFKD},
        {"Prepend", read_prepend, 0},           {"Replace", read_replace, 0},
        {"Strip", read_strip, 0},               {NULL, NULL, 0},
    };
    struct context context = {arena, out, steps, false, err};

    return json_none(value) || read_step(&context, value, "normalizer", "normalizers", kinds);
}

/* ---- pre_tokenizer ---- */

static bool add_split(struct context *context, struct pretokenizer_step step)
{
    if (context->steps->byte_level)
        return err_set(context->err, ERR_FORMAT, "a step behind ByteLevel is not supported");
    return pretokenizer_add(&context->out->split, step, context->err);
}

static bool read_behavior(struct context *context, yyjson_val *object, enum split_behavior *out)
{
    static const char *const names[] = {
        [SPLIT_ISOLATED] = "Isolated", [SPLIT_REMOVED] = "Removed",
        [SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_MERGED_WITH_NEXT] = "MergedWithNext", [SPLIT_CONTIGUOUS] = "Contiguous"};
    struct str name;

    if (!field_str(object, "behavior", &name, context->err))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_is(name, names[i])) {
            *out = (enum split_behavior)i;
            return true;
        }
    }
    return err_set(context->err, ERR_FORMAT, "behavior \"%.*s\" is not known",
                   STR_ARG(utf8_cut(name, 40)));
}

static bool read_split(struct context *context, yyjson_val *object, int argument)
{
    struct pretokenizer_step step = {0};

    (void)argument;
    return read_pattern(context, object, &step.pattern, &step.literal) &&
           field_bool(object, "invert", false, &step.invert, context->err) &&
           read_behavior(context, object, &step.behavior) && add_split(context, step);
}

static bool read_digits(struct context *context, yyjson_val *object, int argument)
{
    struct pretokenizer_step step = {.pattern = STR("\\p{N}")};
    bool individual;

    (void)argument;
    if (!field_bool(object, "individual_digits", false, &individual, context->err))
        return false;
    step.behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return add_split(context, step);
}

static bool read_punctuation(struct context *context, yyjson_val *object, int argument)
{
    struct pretokenizer_step step = {.pattern = STR("[!-/:-@\\[-`{-~\\p{P}]")};

    (void)argument;
    if (!json_none(yyjson_obj_get(object, "behavior")) &&
        !read_behavior(context, object, &step.behavior))
        return false;
    return add_split(context, step);
}

static bool read_whitespace(struct context *context, yyjson_val *object, int argument)
{
    (void)object;
    (void)argument;
    return add_split(context, (struct pretokenizer_step){.pattern = STR("\\s"),
                                                         .behavior = SPLIT_REMOVED});
}

/* A step that changes the text itself: our order of things has it before all cuts. */
static bool add_prepare(struct context *context, struct normalizer_step step)
{
    if (context->out->split.n || context->steps->byte_level)
        return err_set(context->err, ERR_FORMAT, "not as the first step it is not supported");
    return normalizer_add(&context->out->prepare, step, context->err);
}

static bool read_byte_level(struct context *context, yyjson_val *object, int argument)
{
    bool prefix, cuts;

    (void)argument;
    if (!field_bool(object, "add_prefix_space", true, &prefix, context->err) ||
        !field_bool(object, "use_regex", true, &cuts, context->err))
        return false;
    if (prefix && !add_prepare(context, (struct normalizer_step){
                                   .kind = NORMALIZE_PREPEND_MISSING, .to = STR(" ")}))
        return false;
    if (cuts && !add_split(context, (struct pretokenizer_step){.pattern = STR(GPT2_PATTERN)}))
        return false;
    context->steps->byte_level = true;
    return true;
}

/* prepend_scheme, or in older files add_prefix_space: 0 always, 1 first, 2 never. */
static bool read_scheme(struct context *context, yyjson_val *object, int *out)
{
    static const char *const names[] = {"always", "first", "never"};
    struct str name;
    bool prefix;

    if (json_none(yyjson_obj_get(object, "prepend_scheme"))) {
        *out = 0;
        if (!field_bool(object, "add_prefix_space", true, &prefix, context->err))
            return false;
        *out = prefix ? 0 : 2;
        return true;
    }
    if (!field_str(object, "prepend_scheme", &name, context->err))
        return false;
    for (*out = 0; *out < 3; ++*out)
        if (str_is(name, names[*out]))
            return true;
    return err_set(context->err, ERR_FORMAT, "prepend_scheme \"%.*s\" is not known",
                   STR_ARG(utf8_cut(name, 40)));
}

static bool check_mark(struct context *context, yyjson_val *object)
{
    struct str mark;

    if (!field_str(object, "replacement", &mark, context->err))
        return false;
    return str_is(mark, SPACE_MARK) ||
           err_set(context->err, ERR_FORMAT, "a replacement other than U+2581 is not supported");
}

static bool read_metaspace(struct context *context, yyjson_val *object, int argument)
{
    const struct normalizer_step replace = {NORMALIZE_REPLACE, STR(" "), STR(SPACE_MARK)};
    struct normalizer_step prepend = {.to = STR(SPACE_MARK)};
    int scheme;
    bool cuts;

    (void)argument;
    if (!check_mark(context, object) || !read_scheme(context, object, &scheme) ||
        !field_bool(object, "split", true, &cuts, context->err) || !add_prepare(context, replace))
        return false;
    prepend.kind = scheme == 0 ? NORMALIZE_PREPEND_MISSING : NORMALIZE_PREPEND_FIRST;
    if (scheme < 2 && !add_prepare(context, prepend))
        return false;
    return !cuts || add_split(context, (struct pretokenizer_step){
                                  .pattern = STR(SPACE_MARK), .literal = true,
                                  .behavior = SPLIT_MERGED_WITH_NEXT});
}

bool json_pre_tokenizer(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                        struct json_steps *steps, struct err *err)
{
    static const struct kind kinds[] = {
        {"ByteLevel", read_byte_level, 0},      {"Split", read_split, 0},
        {"Digits", read_digits, 0},             {"Metaspace", read_metaspace, 0},
        {"Punctuation", read_punctuation, 0},   {"WhitespaceSplit", read_whitespace, 0},
        {NULL, NULL, 0},
    };
    struct context context = {arena, out, steps, false, err};

    return json_none(value) ||
           read_step(&context, value, "pre_tokenizer", "pretokenizers", kinds);
}

/* ---- decoder ---- */

static bool decode_bytes(struct context *context, yyjson_val *object, int argument)
{
    (void)object;
    (void)argument;
    context->steps->decodes_bytes = true;
    return true;
}

static bool decode_fallback(struct context *context, yyjson_val *object, int argument)
{
    (void)object;
    (void)argument;
    context->steps->decodes_fallback = true;
    return true;
}

static bool decode_fuse(struct context *context, yyjson_val *object, int argument)
{
    (void)object;
    (void)argument;
    context->fused = true;
    return true;
}

static bool decode_replace(struct context *context, yyjson_val *object, int argument)
{
    struct str from, to;
    bool literal;

    (void)argument;
    if (!read_pattern(context, object, &from, &literal) ||
        !field_str(object, "content", &to, context->err))
        return false;
    context->steps->decodes_marks = true;
    return (literal && str_is(from, SPACE_MARK) && str_is(to, " ")) ||
           err_set(context->err, ERR_FORMAT, "only U+2581 by a space is supported");
}

static bool decode_strip(struct context *context, yyjson_val *object, int argument)
{
    size_t start, stop;
    struct str content;

    (void)argument;
    if (!field_str(object, "content", &content, context->err) ||
        !field_size(object, "start", SIZE_MAX, &start, context->err) ||
        !field_size(object, "stop", SIZE_MAX, &stop, context->err))
        return false;
    if (!str_is(content, " ") || start > 1 || stop > 0 || !context->fused)
        return err_set(context->err, ERR_FORMAT, "only one space at the start, behind Fuse, is "
                       "supported");
    if (start)
        context->out->decode = DECODE_STRIP_SPACE;
    return true;
}

static bool decode_metaspace(struct context *context, yyjson_val *object, int argument)
{
    int scheme;

    (void)argument;
    if (!check_mark(context, object) || !read_scheme(context, object, &scheme))
        return false;
    context->steps->decodes_marks = true;
    if (scheme < 2)
        context->out->decode = DECODE_STRIP_TOKEN;
    return true;
}

bool json_decoder(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                  struct json_steps *steps, struct err *err)
{
    static const struct kind kinds[] = {
        {"ByteLevel", decode_bytes, 0},         {"Replace", decode_replace, 0},
        {"ByteFallback", decode_fallback, 0},   {"Fuse", decode_fuse, 0},
        {"Strip", decode_strip, 0},             {"Metaspace", decode_metaspace, 0},
        {NULL, NULL, 0},
    };
    struct context context = {arena, out, steps, false, err};

    if (json_none(value))
        return err_set(err, ERR_FORMAT, "decoder is missing");
    return read_step(&context, value, "decoder", "decoders", kinds);
}

/* ---- post_processor ---- */

static bool read_ignored(struct context *context, yyjson_val *object, int argument)
{
    (void)context;
    (void)object;
    (void)argument;
    return true;
}

/* {"SpecialToken": {"id": name}}, {"Sequence": {"id": "A"}}: what stands before the text counts; an
 * end token behind it doesn't, for a prompt goes on. */
static bool read_template(struct context *context, yyjson_val *object, int argument)
{
    struct json_steps *steps = context->steps;
    yyjson_val *single, *tokens, *token, *ids;

    (void)argument;
    if (!field_array(object, "single", &single, context->err) ||
        !field_object(object, "special_tokens", &tokens, context->err))
        return false;
    steps->has_template = true;
    yyjson_val *first = yyjson_obj_get(yyjson_arr_get_first(single), "SpecialToken");
    if (!first)
        return true;
    if (!yyjson_obj_get(yyjson_arr_get(single, 1), "Sequence"))
        return err_set(context->err, ERR_FORMAT, "more than one token before the text is not "
                       "supported");
    if (!field_str(first, "id", &steps->first, context->err))
        return false;
    token = yyjson_obj_getn(tokens, steps->first.s, steps->first.n);
    if (!yyjson_is_obj(token))
        return err_set(context->err, ERR_FORMAT, "special_tokens has no \"%.*s\"",
                       STR_ARG(utf8_cut(steps->first, 40)));
    if (!field_array(token, "ids", &ids, context->err))
        return false;
    if (yyjson_arr_size(ids) != 1 || !yyjson_is_uint(yyjson_arr_get_first(ids)) ||
        yyjson_get_uint(yyjson_arr_get_first(ids)) >= VOCAB_TOKENS_MAX)
        return err_set(context->err, ERR_FORMAT, "ids is not one token");
    steps->first_id = (int64_t)yyjson_get_uint(yyjson_arr_get_first(ids));
    return true;
}

bool json_post_processor(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                         struct json_steps *steps, struct err *err)
{
    static const struct kind kinds[] = {
        {"ByteLevel", read_ignored, 0}, {"TemplateProcessing", read_template, 0}, {NULL, NULL, 0}};
    struct context context = {arena, out, steps, false, err};

    return json_none(value) || read_step(&context, value, "post_processor", "processors", kinds);
}
