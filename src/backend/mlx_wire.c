/* mlx_wire.c - see mlx_wire.h.
 *
 * A prompt goes out as pieces: text that the template wrote, in which a special token's spelling is that
 * token, and text that the client wrote (`plain`), in which it is not. A piece also ends where a
 * block with cache_control does (`mark`), so that nobody has to count bytes or characters. */
#include "backend/mlx_wire.h"

#include "base/json.h"

/* ---- what is written ---- */

/* seconds: of the mark at its end; 0: there is none */
static void put_piece(struct buf *out, struct str text, bool plain, uint32_t seconds)
{
    buf_cstr(out, "{\"text\":");
    json_quote(out, text);
    buf_cstr(out, plain ? ",\"plain\":true" : "");
    if (seconds)
        buf_printf(out, ",\"mark\":%u", seconds);
    buf_char(out, '}');
}

/* Cuts the text at the borders of plain ranges, and at the points; both ascend. Several points may be in
 * one place: then there are pieces without text. */
static void put_prompt(struct buf *out, const struct prompt *prompt)
{
    const struct plain_range *plain = prompt->plain, *plain_end = plain + prompt->plain_n;
    const struct prompt_point *point = prompt->points, *points_end = point + prompt->points_n;
    const char *between = "";
    size_t at = 0;

    buf_cstr(out, ",\"prompt\":[");
    while (at < prompt->text.n || point < points_end) {
        const size_t begin = at;
        while (plain < plain_end && plain->end <= at)
            plain++;
        const bool inside = plain < plain_end && plain->begin <= at;
        at = inside ? plain->end : plain < plain_end ? plain->begin : prompt->text.n;
        uint32_t seconds = 0;
        if (point < points_end && point->at <= at) {
            at = point->at;
            seconds = prompt->seconds[point++->number];
        }
        buf_cstr(out, between);
        between = ",";
        put_piece(out, (struct str){prompt->text.s + begin, at - begin}, inside, seconds);
    }
    buf_char(out, ']');
}

static void put_head(struct buf *out, const char *type, uint64_t id)
{
    buf_printf(out, "{\"type\":\"%s\",\"id\":%llu", type, (unsigned long long)id);
}

void mlx_write_generate(struct buf *out, uint64_t id, const struct message_request *request,
                        const struct prompt *prompt, const struct mlx_sampling *sampling)
{
    put_head(out, "generate", id);
    buf_printf(out, ",\"max_tokens\":%u,\"temperature\":%.17g,\"top_p\":%.17g,\"top_k\":%lld,"
               "\"seed\":%llu,\"space\":\"%llx\"", request->max_tokens, sampling->temperature,
               sampling->top_p, (long long)sampling->top_k, (unsigned long long)sampling->seed,
               (unsigned long long)request->caller.space);
    put_prompt(out, prompt);
    buf_cstr(out, "}\n");
}

void mlx_write_count(struct buf *out, uint64_t id, const struct prompt *prompt)
{
    put_head(out, "count", id);
    put_prompt(out, prompt);
    buf_cstr(out, "}\n");
}

void mlx_write_cancel(struct buf *out, uint64_t id)
{
    put_head(out, "cancel", id);
    buf_cstr(out, "}\n");
}

/* ---- what is read ---- */

static const char *const type_names[MLX_LINE_TYPES] = {
    [MLX_READY] = "ready", [MLX_FATAL] = "fatal", [MLX_ALIVE] = "alive",
    [MLX_STARTED] = "started", [MLX_PROGRESS] = "progress", [MLX_TOKEN] = "token",
    [MLX_DONE] = "done", [MLX_COUNT] = "count", [MLX_ERROR] = "error",
};

static const char *const reason_names[MLX_REASONS] = {
    [MLX_STOP] = "stop", [MLX_LENGTH] = "length", [MLX_CONTEXT] = "context",
};

/* The value's place among the names, or -1. */
static int name_of(yyjson_val *value, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (yyjson_is_str(value) && str_is(json_str(value), names[i]))
            return i;
    return -1;
}

static bool read_u32(yyjson_val *object, const char *key, uint32_t *out, struct err *err)
{
    yyjson_val *value = yyjson_obj_get(object, key);

    if (!yyjson_is_uint(value) || yyjson_get_uint(value) > UINT32_MAX)
        return err_set(err, ERR_FORMAT, "%s is not a number of 32 bits", key);
    *out = (uint32_t)yyjson_get_uint(value);
    return true;
}

static bool read_text(yyjson_val *object, const char *key, struct str *out, struct err *err)
{
    yyjson_val *value = yyjson_obj_get(object, key);

    if (!yyjson_is_str(value))
        return err_set(err, ERR_FORMAT, "%s is not a text", key);
    *out = json_str(value);
    return true;
}

static bool read_ready(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    return read_u32(object, "protocol", &out->protocol, err) &&
           read_u32(object, "context", &out->context, err) &&
           read_text(object, "chat_template", &out->chat_template, err) &&
           read_text(object, "bos", &out->bos, err) && read_text(object, "eos", &out->eos, err);
}

static bool read_fatal(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    return read_text(object, "message", &out->message, err);
}

static bool read_alive(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    (void)object;
    (void)out;
    (void)err;
    return true;
}

static bool read_started(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    yyjson_val *marks = yyjson_obj_get(object, "marks"), *mark;
    size_t i, n;

    if (!read_u32(object, "prompt_tokens", &out->prompt_tokens, err) ||
        !read_u32(object, "cached_tokens", &out->cached_tokens, err) ||
        !read_u32(object, "marked_tokens", &out->marked_tokens, err))
        return false;
    if (!yyjson_is_arr(marks) || yyjson_arr_size(marks) > PROMPT_POINTS_MAX)
        return err_set(err, ERR_FORMAT, "marks is not a list of at most %d", PROMPT_POINTS_MAX);
    if (out->cached_tokens > out->prompt_tokens)
        return err_set(err, ERR_FORMAT, "more tokens are cached than there are");
    yyjson_arr_foreach(marks, i, n, mark) {
        if (!yyjson_is_uint(mark) || yyjson_get_uint(mark) > out->prompt_tokens)
            return err_set(err, ERR_FORMAT, "a mark is not in the prompt");
        out->marks[out->marks_n++] = (uint32_t)yyjson_get_uint(mark);
    }
    return true;
}

static bool read_progress(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    return read_u32(object, "done", &out->cached_tokens, err) &&
           read_u32(object, "total", &out->prompt_tokens, err);
}

static bool read_token(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    out->control = yyjson_is_true(yyjson_obj_get(object, "control"));
    return read_text(object, "text", &out->text, err) &&
           read_u32(object, "tokens", &out->tokens, err);
}

static bool read_done(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    const int reason = name_of(yyjson_obj_get(object, "reason"), reason_names, MLX_REASONS);

    if (reason < 0)
        return err_set(err, ERR_FORMAT, "reason is none that is known");
    out->reason = (enum mlx_reason)reason;
    return read_u32(object, "tokens", &out->tokens, err);
}

static bool read_count(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    return read_u32(object, "tokens", &out->tokens, err);
}

static bool read_error(yyjson_val *object, struct mlx_line *out, struct err *err)
{
    struct str code;

    if (!read_text(object, "code", &code, err))
        return false;
    out->too_long = str_is(code, "too_long");
    out->invalid = str_is(code, "invalid");
    if (out->too_long)
        return read_u32(object, "tokens", &out->tokens, err) &&
               read_u32(object, "maximum", &out->maximum, err);
    return read_text(object, "message", &out->message, err);
}

static bool (*const readers[MLX_LINE_TYPES])(yyjson_val *, struct mlx_line *, struct err *) = {
    [MLX_READY] = read_ready, [MLX_FATAL] = read_fatal, [MLX_ALIVE] = read_alive,
    [MLX_STARTED] = read_started, [MLX_PROGRESS] = read_progress, [MLX_TOKEN] = read_token,
    [MLX_DONE] = read_done, [MLX_COUNT] = read_count, [MLX_ERROR] = read_error,
};

bool mlx_line_read(struct arena *arena, struct str line, struct mlx_line *out, struct err *err)
{
    yyjson_val *object;

    *out = (struct mlx_line){0};
    if (!json_parse_file(arena, line, "the line", MLX_LINE_VALUES_MAX, &object, err))
        return false;
    const int type = name_of(yyjson_obj_get(object, "type"), type_names, MLX_LINE_TYPES);
    if (type < 0)
        return err_set(err, ERR_FORMAT, "type is none that is known");
    out->type = (enum mlx_line_type)type;
    if (type >= MLX_STARTED) {
        yyjson_val *id = yyjson_obj_get(object, "id");
        if (!yyjson_is_uint(id))
            return err_set(err, ERR_FORMAT, "id is not a number");
        out->id = yyjson_get_uint(id);
    }
    return readers[type](object, out, err) || err_prefix(err, "%s", type_names[type]);
}
