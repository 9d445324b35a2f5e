/* safetensors.c - reads the header once, distrusting all of it.
 *
 * The hard thing: a tensor's size is said twice, by its shape and by its offsets. The shape's
 * product is bounded before each multiplication, the offsets by the file, and only where both agree
 * is the tensor taken. */
#include "engine/safetensors.h"

#include <inttypes.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"
#include "engine/file_map.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as they lie");

/* Of a tensor: its name, its object, three keys, two words, two arrays and their numbers. */
enum { VALUES_MAX = SAFETENSORS_TENSORS_MAX * (8 + SAFETENSORS_DIMS_MAX + 2) };

static const struct { const char *name; size_t bytes; } dtypes[DTYPE_COUNT] = {
    [DTYPE_BOOL] = {"BOOL", 1}, [DTYPE_U8] = {"U8", 1}, [DTYPE_I8] = {"I8", 1},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [DTYPE_F8_E5M2] = {"F8_E5M2", 1}, [DTYPE_U16] = {"U16", 2},
    [DTYPE_I16] = {"I16", 2}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_U32] = {"U32", 4}, [DTYPE_I32] = {"I32", 4}, [DTYPE_F32] = {"F32", 4},
    [DTYPE_U64] = {"U64", 8}, [DTYPE_I64] = {"I64", 8}, [DTYPE_F64] = {"F64", 8},
};

struct safetensors {
    struct arena *arena;
    struct str name;
    struct file_map map;        /* empty where the bytes are the caller's */
    const uint8_t *data;        /* past the header */
    uint64_t data_n, bytes;
    struct str format;
    struct safetensor *tensors;
    size_t n;
};

static bool is_plain(struct str text, size_t max)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.s[i] <= ' ' || text.s[i] == 0x7f)
            return false;
    return text.n > 0 && text.n <= max && utf8_valid(text);
}

static bool read_dtype(struct safetensor *t, yyjson_val *value, struct err *err)
{
    if (!yyjson_is_str(value))
        return err_set(err, ERR_FORMAT, "its dtype is missing");
    const struct str name = json_str(value);
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (str_is(name, dtypes[i].name)) {
            t->dtype = i;
            return true;
        }
    return err_set(err, ERR_FORMAT, "dtype %.*s is not known",
                   is_plain(name, 16) ? (int)name.n : 0, name.s);
}

static bool read_shape(struct safetensor *t, yyjson_val *shape, struct err *err)
{
    yyjson_arr_iter numbers;

    t->elements = 1;
    if (!yyjson_is_arr(shape))
        return err_set(err, ERR_FORMAT, "its shape is missing");
    if (yyjson_arr_size(shape) > SAFETENSORS_DIMS_MAX)
        return err_set(err, ERR_FORMAT, "%zu dimensions, the limit is %d", yyjson_arr_size(shape),
                       SAFETENSORS_DIMS_MAX);
    yyjson_arr_iter_init(shape, &numbers);
    for (yyjson_val *number; (number = yyjson_arr_iter_next(&numbers));) {
        const uint64_t dim = yyjson_get_uint(number);
        if (!yyjson_is_uint(number) || dim == 0)
            return err_set(err, ERR_FORMAT, "dimension %u is no number above 0", t->dims_n);
        if (dim > SAFETENSORS_ELEMENTS_MAX / t->elements)
            return err_set(err, ERR_FORMAT, "its dimensions make more than 2^40 numbers");
        t->elements *= dim;
        t->dims[t->dims_n++] = dim;
    }
    t->bytes = t->elements * dtypes[t->dtype].bytes;
    return true;
}

static bool read_offsets(const struct safetensors *file, struct safetensor *t, yyjson_val *offsets,
                         struct err *err)
{
    yyjson_val *first = yyjson_arr_get(offsets, 0), *second = yyjson_arr_get(offsets, 1);
    const uint64_t begin = yyjson_get_uint(first), end = yyjson_get_uint(second);

    if (yyjson_arr_size(offsets) != 2 || !yyjson_is_uint(first) || !yyjson_is_uint(second))
        return err_set(err, ERR_FORMAT, "its data_offsets are not two numbers");
    if (begin > end || end > file->data_n)
        return err_set(err, ERR_FORMAT,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] are not within the "
                       "data, of which the file has %" PRIu64 " bytes",
                       begin, end, file->data_n);
    if (end - begin != t->bytes)
        return err_set(err, ERR_FORMAT, "its shape takes %" PRIu64 " bytes, data_offsets [%" PRIu64
                       ", %" PRIu64 "] are %" PRIu64, t->bytes, begin, end, end - begin);
    t->data = file->data + begin;
    return true;
}

static bool read_tensor(const struct safetensors *file, struct safetensor *t, yyjson_val *value,
                        struct err *err)
{
    if (!is_plain(t->name, SAFETENSORS_NAME_MAX))
        return err_set(err, ERR_FORMAT,
                       "the name of a tensor is empty, longer than %d bytes or not "
                       "plain text",
                       SAFETENSORS_NAME_MAX);
    return (read_dtype(t, yyjson_obj_get(value, "dtype"), err) &&
            read_shape(t, yyjson_obj_get(value, "shape"), err) &&
            read_offsets(file, t, yyjson_obj_get(value, "data_offsets"), err)) ||
           err_prefix(err, "tensor %.*s", STR_ARG(t->name));
}

static bool read_header(struct safetensors *file, yyjson_val *root, struct err *err)
{
    yyjson_obj_iter entries;

    if (!yyjson_is_obj(root))
        return err_set(err, ERR_FORMAT, "the header is not a JSON object");
    if (yyjson_obj_size(root) > SAFETENSORS_TENSORS_MAX)
        return err_set(err, ERR_FORMAT, "%zu tensors, the limit is %d", yyjson_obj_size(root),
                       SAFETENSORS_TENSORS_MAX);
    file->tensors = arena_array(file->arena, yyjson_obj_size(root), sizeof *file->tensors);
    yyjson_obj_iter_init(root, &entries);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&entries));) {
        yyjson_val *value = yyjson_obj_iter_get_val(key);
        struct safetensor *t = &file->tensors[file->n];
        if (str_is(json_str(key), "__metadata__")) {
            yyjson_val *format = yyjson_obj_get(value, "format");
            if (yyjson_is_str(format))
                file->format = json_str(format);
            continue;
        }
        t->name = json_str(key);
        if (!read_tensor(file, t, value, err))
            return false;
        file->n++;
    }
    return true;
}

static bool read_file(struct safetensors *file, const uint8_t *bytes, uint64_t n, struct err *err)
{
    uint64_t header_n;
    yyjson_val *root;

    if (n < sizeof header_n)
        return err_set(err, ERR_FORMAT, "byte 0: the header's length takes 8 bytes, the file has "
                       "%" PRIu64, n);
    memcpy(&header_n, bytes, sizeof header_n);
    if (header_n > SAFETENSORS_HEADER_MAX)
        return err_set(err, ERR_FORMAT,
                       "byte 0: a header of %" PRIu64 " bytes, the limit is %d; is "
                       "this a safetensors file?",
                       header_n, SAFETENSORS_HEADER_MAX);
    if (header_n > n - sizeof header_n)
        return err_set(err, ERR_FORMAT,
                       "byte 8: the header takes %" PRIu64 " bytes, but the file ends "
                       "after %" PRIu64 " more",
                       header_n, n - (uint64_t)sizeof header_n);
    file->data = bytes + sizeof header_n + header_n;
    file->data_n = n - sizeof header_n - header_n;
    file->bytes = n;
    const struct str text = {(const char *)bytes + sizeof header_n, header_n};
    return json_parse_file(file->arena, text, "the header", VALUES_MAX, &root, err) &&
           read_header(file, root, err);
}

/* Takes the mapping over, also on failure. */
static struct safetensors *parse(struct str bytes, struct file_map map, const char *name,
                                 struct err *err)
{
    struct arena *arena = arena_new(1 << 16);
    struct safetensors *file = arena_alloc(arena, sizeof *file);

    *file = (struct safetensors){.arena = arena, .map = map,
                                 .name = arena_str(arena, file_base(str_of(name)))};
    if (read_file(file, (const uint8_t *)bytes.s, bytes.n, err))
        return file;
    err_prefix(err, "%.*s", STR_ARG(file->name));
    safetensors_close(file);
    return NULL;
}

struct safetensors *safetensors_parse(const void *bytes, size_t n, const char *name,
                                      struct err *err)
{
    return parse((struct str){bytes, n}, (struct file_map){0}, name, err);
}

struct safetensors *safetensors_open(const char *path, struct err *err)
{
    struct file_map map;

    if (!file_map_open(&map, path, "a file of weights", err))
        return NULL;
    return parse((struct str){map.bytes, map.n}, map, path, err);
}

void safetensors_close(struct safetensors *file)
{
    if (!file)
        return;
    file_map_close(&file->map);
    arena_free(file->arena);
}

struct str safetensors_name(const struct safetensors *file)
{
    return file->name;
}

uint64_t safetensors_bytes(const struct safetensors *file)
{
    return file->bytes;
}

struct str safetensors_format(const struct safetensors *file)
{
    return file->format;
}

size_t safetensors_n(const struct safetensors *file)
{
    return file->n;
}

const struct safetensor *safetensors_nth(const struct safetensors *file, size_t i)
{
    return i < file->n ? &file->tensors[i] : NULL;
}

const char *dtype_name(enum dtype dtype)
{
    return dtypes[dtype].name;
}
