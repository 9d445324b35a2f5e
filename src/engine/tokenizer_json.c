/* tokenizer_json.c - Hugging Face's tokenizer.json (and tokenizer_config.json) as a vocab_source.
 *
 * The hard thing is that the ids come from a stranger: they make arrays, so each is checked before
 * anything is sized by it, and two tokens may not share one. Ids that no token has are holes, which
 * text never becomes. Added tokens that the model lacks are numbered by `tokenizers` itself, in
 * order; a file that says otherwise would mean two things. */
#include "engine/tokenizer_json.h"

#include <stdio.h>

#include "base/utf8.h"
#include "engine/json_fields.h"
#include "engine/json_steps.h"
#include "engine/spelling.h"

/* Gemma's file with 262 k tokens and 515 k merges holds 2.2 M. */
enum { VALUES_MAX = 8 << 20, CONFIG_VALUES_MAX = 1 << 20, SHOWN_BYTES = 40 };

struct reader {
    struct arena *arena;
    struct vocab_source *out;
    struct err *err;
    struct str *tokens;         /* [tokens_max]; s == NULL: a hole so far */
    int32_t *types;
    uint8_t *flags;
    double *scores;
    size_t tokens_max;
};

static bool refuse_token(const struct reader *reader, struct str text, const char *what)
{
    return err_set(reader->err, ERR_FORMAT, "token \"%.*s\" %s",
                   STR_ARG(utf8_cut(text, SHOWN_BYTES)), what);
}

/* ---- the model's own tokens ---- */

static bool tokens_alloc(struct reader *reader, size_t n)
{
    if (n == 0 || n > VOCAB_TOKENS_MAX)
        return err_set(reader->err, ERR_FORMAT, "the vocabulary has %zu ids; 1 to %d are allowed",
                       n, VOCAB_TOKENS_MAX);
    reader->tokens_max = n;
    reader->tokens = arena_array(reader->arena, n, sizeof *reader->tokens);
    reader->types = arena_array(reader->arena, n, sizeof *reader->types);
    reader->flags = arena_array(reader->arena, n, sizeof *reader->flags);
    reader->scores = arena_array(reader->arena, n, sizeof *reader->scores);
    for (size_t id = 0; id < n; id++)
        reader->types[id] = TOKEN_UNUSED;
    return true;
}

static bool put_token(struct reader *reader, struct str text, size_t id, int32_t type)
{
    if (reader->tokens[id].s)
        return err_set(reader->err, ERR_FORMAT, "tokens \"%.*s\" and \"%.*s\" have the same id %zu",
                       STR_ARG(utf8_cut(reader->tokens[id], SHOWN_BYTES)),
                       STR_ARG(utf8_cut(text, SHOWN_BYTES)), id);
    reader->tokens[id] = text;
    reader->types[id] = type;
    return true;
}

/* <0xNN>, exactly as the fallback spells it. */
static bool is_fallback(struct str text)
{
    char byte, canonical[8];

    if (!spelling_of_byte(text, &byte))
        return false;
    snprintf(canonical, sizeof canonical, "<0x%02X>", (unsigned)(unsigned char)byte);
    return str_is(text, canonical);
}

static int32_t type_of(const struct reader *reader, struct str text)
{
    return reader->out->byte_fallback && is_fallback(text) ? TOKEN_BYTE : TOKEN_NORMAL;
}

/* {"token": id} */
static bool read_vocab(struct reader *reader, yyjson_val *model, size_t added_n)
{
    yyjson_val *vocab, *key;
    size_t ids = 0;

    if (!field_object(model, "vocab", &vocab, reader->err))
        return false;
    yyjson_obj_iter each = yyjson_obj_iter_with(vocab);
    while ((key = yyjson_obj_iter_next(&each))) {
        yyjson_val *id = yyjson_obj_iter_get_val(key);
        if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= VOCAB_TOKENS_MAX)
            return refuse_token(reader, json_str(key), "has no whole number for an id, or too "
                                "large a one");
        if (yyjson_get_uint(id) >= ids)
            ids = (size_t)yyjson_get_uint(id) + 1;
    }
    if (!tokens_alloc(reader, ids + added_n))
        return false;
    each = yyjson_obj_iter_with(vocab);
    while ((key = yyjson_obj_iter_next(&each))) {
        const struct str text = json_str(key);
        const size_t id = (size_t)yyjson_get_uint(yyjson_obj_iter_get_val(key));
        if (!put_token(reader, text, id, type_of(reader, text)))
            return false;
    }
    reader->out->tokens_n = ids;
    return true;
}

/* [["token", score]] */
static bool read_scored_vocab(struct reader *reader, yyjson_val *model, size_t added_n)
{
    yyjson_val *vocab, *piece;
    size_t id = 0;

    if (!field_array(model, "vocab", &vocab, reader->err) ||
        !tokens_alloc(reader, yyjson_arr_size(vocab) + added_n))
        return false;
    yyjson_arr_iter each = yyjson_arr_iter_with(vocab);
    for (; (piece = yyjson_arr_iter_next(&each)); id++) {
        yyjson_val *text = yyjson_arr_get(piece, 0), *score = yyjson_arr_get(piece, 1);
        if (!yyjson_is_str(text) || !yyjson_is_num(score))
            return err_set(reader->err, ERR_FORMAT, "piece %zu of the vocabulary is not a text "
                           "with a score", id);
        reader->scores[id] = yyjson_get_num(score);
        if (!put_token(reader, json_str(text), id, type_of(reader, json_str(text))))
            return false;
    }
    reader->out->scores = reader->scores;
    reader->out->tokens_n = id;
    return true;
}

/* The id of a token, -1 if there is none. For the few that a file names: it looks at all. */
static int64_t find_token(const struct reader *reader, struct str text)
{
    for (size_t id = 0; id < reader->out->tokens_n; id++)
        if (reader->tokens[id].s && str_equal(reader->tokens[id], text))
            return (int64_t)id;
    return -1;
}

/* ---- merges ---- */

/* "left right", as it stands in the document. */
static bool read_merge_strings(struct reader *reader, yyjson_val *merges, struct str *out)
{
    yyjson_arr_iter each = yyjson_arr_iter_with(merges);
    size_t i = 0;

    for (yyjson_val *merge; (merge = yyjson_arr_iter_next(&each)); i++) {
        if (!yyjson_is_str(merge))
            return err_set(reader->err, ERR_FORMAT, "merge %zu is not a string as the first is", i);
        out[i] = json_str(merge);
    }
    return true;
}

/* ["left", "right"], joined with a space into one block for all. */
static bool read_merge_pairs(struct reader *reader, yyjson_val *merges, struct str *out,
                             uint32_t *lefts)
{
    yyjson_arr_iter each = yyjson_arr_iter_with(merges);
    size_t i = 0, bytes = 0;

    for (yyjson_val *merge; (merge = yyjson_arr_iter_next(&each)); i++) {
        const struct str left = json_str(yyjson_arr_get(merge, 0));
        const struct str right = json_str(yyjson_arr_get(merge, 1));
        if (yyjson_arr_size(merge) != 2 || !left.s || !right.s ||
            left.n > VOCAB_TOKEN_BYTES_MAX || right.n > VOCAB_TOKEN_BYTES_MAX)
            return err_set(reader->err, ERR_FORMAT, "merge %zu is not a pair of tokens", i);
        bytes += left.n + 1 + right.n;
    }
    char *at = arena_raw(reader->arena, bytes);
    each = yyjson_arr_iter_with(merges);
    i = 0;
    for (yyjson_val *merge; (merge = yyjson_arr_iter_next(&each)); i++) {
        const struct str left = json_str(yyjson_arr_get(merge, 0));
        const struct str right = json_str(yyjson_arr_get(merge, 1));
        out[i] = (struct str){at, left.n + 1 + right.n};
        lefts[i] = (uint32_t)left.n;
        memcpy(at, left.s, left.n);
        at[left.n] = ' ';
        memcpy(at + left.n + 1, right.s, right.n);
        at += out[i].n;
    }
    return true;
}

static bool read_merges(struct reader *reader, yyjson_val *model)
{
    yyjson_val *merges;

    if (!field_array(model, "merges", &merges, reader->err))
        return false;
    const size_t n = yyjson_arr_size(merges);
    if (n > VOCAB_MERGES_MAX)
        return err_set(reader->err, ERR_FORMAT, "there are %zu merges; at most %d are allowed", n,
                       VOCAB_MERGES_MAX);
    struct str *list = arena_array(reader->arena, n, sizeof *list);
    uint32_t *lefts = arena_array(reader->arena, n, sizeof *lefts);
    const bool pairs = yyjson_is_arr(yyjson_arr_get_first(merges));
    if (pairs ? !read_merge_pairs(reader, merges, list, lefts)
              : !read_merge_strings(reader, merges, list))
        return false;
    reader->out->merges = list;
    reader->out->merges_n = n;
    reader->out->merge_lefts = pairs ? lefts : NULL;
    return true;
}

/* ---- the model ---- */

/* Fields that would change everything, and that no model in use has. */
static bool check_unused(struct reader *reader, yyjson_val *model)
{
    static const char *const keys[] = {"dropout", "continuing_subword_prefix",
                                       "end_of_word_suffix"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        yyjson_val *value = yyjson_obj_get(model, keys[i]);
        const bool nothing = json_none(value) ||
                             (yyjson_is_str(value) && yyjson_get_len(value) == 0) ||
                             (yyjson_is_num(value) && yyjson_get_num(value) == 0);
        if (!nothing)
            return err_set(reader->err, ERR_FORMAT, "%s is not supported", keys[i]);
    }
    return true;
}

static bool read_unknown(struct reader *reader, yyjson_val *model)
{
    struct str name;

    if (json_none(yyjson_obj_get(model, "unk_token")))
        return true;
    if (!field_str(model, "unk_token", &name, reader->err))
        return false;
    reader->out->unknown = find_token(reader, name);
    return reader->out->unknown >= 0 ||
           refuse_token(reader, name, "is unk_token, but not in the vocabulary");
}

static bool read_bpe(struct reader *reader, yyjson_val *model, size_t added_n)
{
    struct vocab_source *out = reader->out;

    return check_unused(reader, model) &&
           field_bool(model, "byte_fallback", false, &out->byte_fallback, reader->err) &&
           field_bool(model, "fuse_unk", false, &out->fuse_unknown, reader->err) &&
           field_bool(model, "ignore_merges", false, &out->ignore_merges, reader->err) &&
           read_vocab(reader, model, added_n) && read_merges(reader, model) &&
           read_unknown(reader, model);
}

static bool read_unigram(struct reader *reader, yyjson_val *model, size_t added_n)
{
    struct vocab_source *out = reader->out;
    yyjson_val *unknown = yyjson_obj_get(model, "unk_id");

    out->model = VOCAB_UNIGRAM;
    out->fuse_unknown = true;
    if (!field_bool(model, "byte_fallback", false, &out->byte_fallback, reader->err) ||
        !read_scored_vocab(reader, model, added_n))
        return false;
    if (json_none(unknown))
        return true;
    if (!yyjson_is_uint(unknown) || yyjson_get_uint(unknown) >= out->tokens_n)
        return err_set(reader->err, ERR_FORMAT, "unk_id is no token of the vocabulary");
    out->unknown = (int64_t)yyjson_get_uint(unknown);
    return true;
}

static bool read_model(struct reader *reader, yyjson_val *root, size_t added_n)
{
    yyjson_val *model;
    struct str type = STR("BPE");               /* older files leave it out */

    if (!field_object(root, "model", &model, reader->err))
        return false;
    if ((yyjson_obj_get(model, "type") || !yyjson_obj_get(model, "merges")) &&
        !field_str(model, "type", &type, reader->err))
        return err_prefix(reader->err, "model");
    if (str_is(type, "BPE"))
        return read_bpe(reader, model, added_n) || err_prefix(reader->err, "model");
    if (str_is(type, "Unigram"))
        return read_unigram(reader, model, added_n) || err_prefix(reader->err, "model");
    return err_set(reader->err, ERR_FORMAT, "model \"%.*s\" is not supported; these are: BPE "
                   "Unigram", STR_ARG(utf8_cut(type, SHOWN_BYTES)));
}

/* ---- added tokens ---- */

static bool read_flags(yyjson_val *object, uint8_t *flags, bool *special, struct err *err)
{
    static const struct {
        const char *key;
        uint8_t flag;
    } keys[] = {{"lstrip", TOKEN_LSTRIP}, {"rstrip", TOKEN_RSTRIP},
                {"single_word", TOKEN_SINGLE_WORD}, {"normalized", TOKEN_NORMALIZED}};

    *flags = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool set;
        if (!field_bool(object, keys[i].key, false, &set, err))
            return false;
        *flags |= set ? keys[i].flag : 0;
    }
    return field_bool(object, "special", false, special, err);
}

/* One that the model has too says how it is found; any other has to have the next id. */
static bool read_added_token(struct reader *reader, yyjson_val *object)
{
    struct vocab_source *out = reader->out;
    struct str text;
    size_t id;
    uint8_t flags;
    bool special;

    if (!field_str(object, "content", &text, reader->err) ||
        !field_size(object, "id", VOCAB_TOKENS_MAX - 1, &id, reader->err) ||
        !read_flags(object, &flags, &special, reader->err))
        return false;
    if (text.n == 0)
        return err_set(reader->err, ERR_FORMAT, "an added token is empty");
    if (id < out->tokens_n && reader->tokens[id].s) {
        if (!str_equal(reader->tokens[id], text))
            return refuse_token(reader, text, "has the id of another token");
    } else if (id != out->tokens_n) {
        return refuse_token(reader, text, "is added with an id that is not the next one");
    } else {
        reader->scores[id] = reader->scores[0];         /* neither best nor worst */
        reader->tokens[out->tokens_n++] = text;
    }
    reader->types[id] = special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    reader->flags[id] = flags;
    return true;
}

static bool read_added(struct reader *reader, yyjson_val *added)
{
    yyjson_arr_iter each = yyjson_arr_iter_with(added);
    size_t i = 0;

    for (yyjson_val *token; (token = yyjson_arr_iter_next(&each)); i++)
        if (!read_added_token(reader, token))
            return err_prefix(reader->err, "added_tokens %zu", i);
    return true;
}

/* ---- all of it ---- */

/* What only both together show: which alphabet the model has, and that the decoder undoes it. */
static bool check_steps(struct reader *reader, const struct json_steps *steps)
{
    struct vocab_source *out = reader->out;

    if (steps->byte_level && out->model == VOCAB_UNIGRAM)
        return err_set(reader->err, ERR_FORMAT, "pre_tokenizer ByteLevel with a Unigram model is "
                       "not supported");
    if (out->model != VOCAB_UNIGRAM)
        out->model = steps->byte_level ? VOCAB_BPE_BYTES : VOCAB_BPE_CHARS;
    if (steps->byte_level != steps->decodes_bytes)
        return err_set(reader->err, ERR_FORMAT, "the decoder and the pre_tokenizer don't agree "
                       "about ByteLevel");
    if (steps->byte_level && (steps->decodes_marks || steps->decodes_fallback || out->decode))
        return err_set(reader->err, ERR_FORMAT, "a decoder with more than ByteLevel is not "
                       "supported");
    if (!steps->byte_level && !steps->decodes_marks)
        return err_set(reader->err, ERR_FORMAT, "a decoder that leaves U+2581 is not supported");
    if (!steps->byte_level && out->byte_fallback != steps->decodes_fallback)
        return err_set(reader->err, ERR_FORMAT, "the decoder and the model don't agree about byte "
                       "fallback");
    return true;
}

static bool read_first(struct reader *reader, const struct json_steps *steps)
{
    struct vocab_source *out = reader->out;

    if (steps->first.n == 0)
        return true;
    if ((size_t)steps->first_id >= out->tokens_n)
        return refuse_token(reader, steps->first, "of the post_processor has no such id");
    out->bos = steps->first_id;
    out->add_bos = true;
    return true;
}

static bool read_tokenizer(struct reader *reader, struct str text, struct json_steps *steps)
{
    static const char name[] = "tokenizer.json";
    struct vocab_source *out = reader->out;
    yyjson_val *root, *added;

    if (text.n > TOKENIZER_JSON_BYTES_MAX)
        return err_set(reader->err, ERR_FORMAT, "%s has %zu bytes; at most %d are allowed", name,
                       text.n, TOKENIZER_JSON_BYTES_MAX);
    if (!json_parse_file(reader->arena, text, name, VALUES_MAX, &root, reader->err))
        return false;
    if (!yyjson_is_obj(root))
        return err_set(reader->err, ERR_FORMAT, "%s is not an object", name);
    added = yyjson_obj_get(root, "added_tokens");
    if (!json_none(added) && !yyjson_is_arr(added))
        return err_set(reader->err, ERR_FORMAT, "%s: added_tokens is not an array", name);
    if (read_model(reader, root, yyjson_arr_size(added)) && read_added(reader, added) &&
        json_normalizer(reader->arena, yyjson_obj_get(root, "normalizer"), out, steps,
                        reader->err) &&
        json_pre_tokenizer(reader->arena, yyjson_obj_get(root, "pre_tokenizer"), out, steps,
                           reader->err) &&
        json_decoder(reader->arena, yyjson_obj_get(root, "decoder"), out, steps, reader->err) &&
        json_post_processor(reader->arena, yyjson_obj_get(root, "post_processor"), out, steps,
                            reader->err) &&
        check_steps(reader, steps) && read_first(reader, steps))
        return true;
    return err_prefix(reader->err, "%s", name);
}

/* "text", {"content": "text"}, or null; *id stays for the last. */
static bool read_named_token(struct reader *reader, yyjson_val *root, const char *key, int64_t *id)
{
    yyjson_val *value = yyjson_obj_get(root, key);

    if (json_none(value))
        return true;
    if (yyjson_is_obj(value))
        value = yyjson_obj_get(value, "content");
    if (!yyjson_is_str(value))
        return err_set(reader->err, ERR_FORMAT, "%s is not a token's text", key);
    *id = find_token(reader, json_str(value));
    return *id >= 0 || refuse_token(reader, json_str(value), "is named, but not in tokenizer.json");
}

static bool read_config(struct reader *reader, struct str text, const struct json_steps *steps)
{
    static const char name[] = "tokenizer_config.json";
    struct vocab_source *out = reader->out;
    int64_t bos = -1;
    yyjson_val *root;
    bool add_bos;

    if (text.n == 0)
        return true;
    if (text.n > TOKENIZER_CONFIG_BYTES_MAX)
        return err_set(reader->err, ERR_FORMAT, "%s has %zu bytes; at most %d are allowed", name,
                       text.n, TOKENIZER_CONFIG_BYTES_MAX);
    if (!json_parse_file(reader->arena, text, name, CONFIG_VALUES_MAX, &root, reader->err))
        return false;
    if (!yyjson_is_obj(root))
        return err_set(reader->err, ERR_FORMAT, "%s is not an object", name);
    if (!read_named_token(reader, root, "bos_token", &bos) ||
        !read_named_token(reader, root, "eos_token", &out->eos) ||
        !field_bool(root, "add_bos_token", false, &add_bos, reader->err))
        return err_prefix(reader->err, "%s", name);
    if (out->bos < 0)
        out->bos = bos;
    if (!steps->has_template)                   /* else it has said so */
        out->add_bos = add_bos && out->bos >= 0;
    return true;
}

bool vocab_source_json(struct arena *arena, struct str tokenizer_json, struct str tokenizer_config,
                       struct vocab_source *out, struct err *err)
{
    struct reader reader = {.arena = arena, .out = out, .err = err};
    struct json_steps steps = {0};

    vocab_source_init(out);
    if (!read_tokenizer(&reader, tokenizer_json, &steps) ||
        !read_config(&reader, tokenizer_config, &steps))
        return false;
    for (size_t id = 0; id < out->tokens_n; id++)
        if (!reader.tokens[id].s)
            reader.tokens[id] = STR("");
    out->tokens = reader.tokens;
    out->types = reader.types;
    out->flags = reader.flags;
    return true;
}
