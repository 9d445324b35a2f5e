/* gguf.c - walks a GGUF header once, distrusting all of it, and answers typed lookups.
 *
 * The hard thing: every number in the file is hostile until it is compared with what is left of the
 * file. A cursor does that in one place: take() is the only way forward, sizes are multiplied only
 * after the count was bounded by division, and each refusal says at which byte. */
#include "engine/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "engine/file_map.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF numbers are read as they lie");

enum { NAME_SHOWN = 80 };       /* bytes of a file's name in an error text */

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPES
};

/* bytes 0: of no fixed size. */
static const struct { const char *name; size_t bytes; } types[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2}, [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

/* Tensor types that exist but are not in quants[], so that a refusal can call them by name. */
static const struct { uint32_t ggml_type; const char *name; } foreign_types[] = {
    {9, "q8_1"},   {15, "q8_k"},  {16, "iq2_xxs"}, {17, "iq2_xs"}, {18, "iq3_xxs"}, {19, "iq1_s"},
    {21, "iq3_s"}, {22, "iq2_s"}, {24, "i8"},      {25, "i16"},    {26, "i32"},     {27, "i64"},
    {28, "f64"},   {29, "iq1_m"}, {34, "tq1_0"},   {35, "tq2_0"},  {40, "nvfp4"},
};

/* A value where it lies. data points past a string's length, or at an array's first element. */
struct value {
    struct str key;
    enum gguf_type type, element;   /* element: of an array */
    uint64_t count;                 /* bytes of a string, elements of an array */
    const uint8_t *data;
    uint64_t place;
};

/* Open addressing over names; slots hold index + 1, 0 is empty. At most half full. */
struct index {
    uint32_t *slots;
    size_t mask;
};

struct gguf {
    struct arena *arena;
    struct str name;
    const uint8_t *bytes;
    size_t n;
    struct file_map map;        /* empty where the bytes are the caller's */
    struct value *values;
    size_t values_n;
    struct gguf_tensor *tensors;
    size_t tensors_n;
    struct index keys, names;
};

struct cursor {
    const uint8_t *bytes;
    size_t n, at;
};

static uint64_t left(const struct cursor *c)
{
    return c->n - c->at;
}

static const void *take(struct cursor *c, uint64_t bytes, const char *what, struct err *err)
{
    if (bytes > left(c)) {
        err_set(err, ERR_FORMAT,
                "byte %zu: %s takes %llu bytes, but the file ends after %llu more", c->at, what,
                (unsigned long long)bytes, (unsigned long long)left(c));
        return NULL;
    }
    const void *p = c->bytes + c->at;
    c->at += bytes;
    return p;
}

static bool take_u32(struct cursor *c, const char *what, uint32_t *out, struct err *err)
{
    const void *p = take(c, sizeof *out, what, err);
    if (p)
        memcpy(out, p, sizeof *out);
    return p;
}

static bool take_u64(struct cursor *c, const char *what, uint64_t *out, struct err *err)
{
    const void *p = take(c, sizeof *out, what, err);
    if (p)
        memcpy(out, p, sizeof *out);
    return p;
}

static bool take_string(struct cursor *c, const char *what, uint64_t bytes_max, struct str *out,
                        struct err *err)
{
    const size_t at = c->at;
    uint64_t n;

    if (!take_u64(c, what, &n, err))
        return false;
    if (n > bytes_max)
        return err_set(err, ERR_FORMAT, "byte %zu: %s is %llu bytes long, the limit is %llu", at,
                       what, (unsigned long long)n, (unsigned long long)bytes_max);
    out->s = take(c, n, what, err);
    out->n = n;
    return out->s;
}

/* Keys and tensor names are quoted in errors and logs, so they must be plain text. */
static bool take_name(struct cursor *c, const char *what, struct str *out, struct err *err)
{
    const size_t at = c->at;
    struct str name;

    if (!take_string(c, what, GGUF_NAME_MAX, &name, err))
        return false;
    bool plain = name.n > 0 && utf8_valid(name);
    for (size_t i = 0; i < name.n && plain; i++)
        plain = (unsigned char)name.s[i] > ' ' && name.s[i] != 0x7f;
    if (!plain)
        return err_set(err, ERR_FORMAT, "byte %zu: %s is empty or not plain text", at, what);
    *out = name;
    return true;
}

static void index_init(struct index *index, struct arena *arena, size_t n)
{
    size_t slots = 16;

    while (slots < 2 * n)
        slots *= 2;
    index->slots = arena_array(arena, slots, sizeof *index->slots);
    index->mask = slots - 1;
}

/* The slot that holds the name, or the empty one where it belongs. names are `stride` apart. */
static uint32_t *index_slot(const struct index *index, const void *names, size_t stride,
                            struct str name)
{
    size_t i = hash_bytes(hash_process_key(), name.s, name.n) & index->mask;

    for (; index->slots[i]; i = (i + 1) & index->mask) {
        const char *entry = (const char *)names + (index->slots[i] - 1) * stride;
        if (str_equal(*(const struct str *)entry, name))
            break;
    }
    return &index->slots[i];
}
_Static_assert(offsetof(struct value, key) == 0 && offsetof(struct gguf_tensor, name) == 0,
               "index_slot finds the name at the start of an entry");

static bool read_array(struct cursor *c, struct value *value, struct err *err)
{
    const size_t at = c->at;
    uint32_t element;

    if (!take_u32(c, "an array's element type", &element, err) ||
        !take_u64(c, "an array's count", &value->count, err))
        return false;
    if (element >= GGUF_TYPES)
        return err_set(err, ERR_FORMAT, "byte %zu: unknown array element type %u", at, element);
    if (element == GGUF_ARRAY)
        return err_set(err, ERR_FORMAT, "byte %zu: arrays in arrays are not supported", at);
    value->element = element;
    if (value->count > GGUF_ARRAY_MAX)
        return err_set(err, ERR_FORMAT, "byte %zu: an array of %llu elements, the limit is %d", at,
                       (unsigned long long)value->count, GGUF_ARRAY_MAX);
    value->data = c->bytes + c->at;
    if (element != GGUF_STRING)
        return take(c, value->count * types[element].bytes, "an array", err);
    for (uint64_t i = 0; i < value->count; i++) {
        struct str ignored;
        if (!take_string(c, "a string in an array", GGUF_STRING_MAX, &ignored, err))
            return false;
    }
    return true;
}

static bool read_value(struct cursor *c, struct value *value, struct err *err)
{
    uint32_t type;

    if (!take_name(c, "a key", &value->key, err) || !take_u32(c, "a type", &type, err))
        return false;
    if (type >= GGUF_TYPES)
        return err_set(err, ERR_FORMAT, "byte %zu: unknown value type %u", c->at - 4, type);
    value->type = type;
    value->place = c->at;
    if (type == GGUF_ARRAY)
        return read_array(c, value, err);
    if (type == GGUF_STRING) {
        struct str s;
        if (!take_string(c, "a string", GGUF_STRING_MAX, &s, err))
            return false;
        value->data = (const uint8_t *)s.s;
        value->count = s.n;
        return true;
    }
    value->data = take(c, types[type].bytes, "a value", err);
    if (value->data && type == GGUF_BOOL && *value->data > 1)
        return err_set(err, ERR_FORMAT, "byte %llu: a bool of %u, not 0 or 1",
                       (unsigned long long)value->place, *value->data);
    return value->data;
}

static bool read_values(struct gguf *file, struct cursor *c, struct err *err)
{
    index_init(&file->keys, file->arena, file->values_n);
    file->values = arena_array(file->arena, file->values_n, sizeof *file->values);
    for (size_t i = 0; i < file->values_n; i++) {
        struct value *value = &file->values[i];
        const size_t at = c->at;
        if (!read_value(c, value, err))
            return value->key.s ? err_prefix(err, "key %.*s", STR_ARG(value->key)) : false;
        uint32_t *slot = index_slot(&file->keys, file->values, sizeof *value, value->key);
        if (*slot)
            return err_set(err, ERR_FORMAT, "byte %zu: key %.*s stands there a second time", at,
                           STR_ARG(value->key));
        *slot = (uint32_t)i + 1;
    }
    return true;
}

static bool quant_of_ggml(uint32_t ggml_type, enum quant *out)
{
    for (int q = 0; q < QUANT_COUNT; q++)
        if (quants[q].ggml_type == ggml_type && ggml_type != QUANT_NOT_GGML) {
            *out = q;
            return true;
        }
    return false;
}

static bool refuse_tensor_type(uint32_t ggml_type, size_t at, struct err *err)
{
    const char *name = "unknown";
    char supported[160] = "";

    for (size_t i = 0; i < sizeof foreign_types / sizeof *foreign_types; i++)
        if (foreign_types[i].ggml_type == ggml_type)
            name = foreign_types[i].name;
    for (int q = 0; q < QUANT_COUNT; q++) {
        if (quants[q].ggml_type == QUANT_NOT_GGML)
            continue;
        strncat(supported, q ? ", " : "", sizeof supported - strlen(supported) - 1);
        strncat(supported, quants[q].name, sizeof supported - strlen(supported) - 1);
    }
    return err_set(err, ERR_FORMAT, "byte %zu: type %u (%s) is not supported, these are: %s", at,
                   ggml_type, name, supported);
}

/* dims, type -> elements and bytes, which can't overflow once elements are bounded. */
static bool measure_tensor(struct gguf_tensor *t, size_t dims_at, struct err *err)
{
    const struct quant_info *quant = &quants[t->quant];

    t->elements = 1;
    for (uint32_t i = 0; i < t->dims_n; i++) {
        if (t->dims[i] == 0)
            return err_set(err, ERR_FORMAT, "byte %zu: dimension %u is 0", dims_at, i);
        if (t->dims[i] > GGUF_ELEMENTS_MAX / t->elements)
            return err_set(err, ERR_FORMAT, "byte %zu: its dimensions make more than 2^40 numbers",
                           dims_at);
        t->elements *= t->dims[i];
    }
    if (t->dims[0] % quant->block)
        return err_set(err, ERR_FORMAT, "byte %zu: a row of %llu numbers, not a multiple of %s's %u",
                       dims_at, (unsigned long long)t->dims[0], quant->name, quant->block);
    t->bytes = t->elements / quant->block * quant->bytes;
    return true;
}

/* The offset, relative to where the data begins, is left in *offset. */
static bool read_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset, struct err *err)
{
    uint32_t ggml_type;

    t->place = c->at;
    if (!take_name(c, "a tensor name", &t->name, err) ||
        !take_u32(c, "a number of dimensions", &t->dims_n, err))
        return false;
    const size_t dims_at = c->at;
    if (t->dims_n < 1 || t->dims_n > GGUF_DIMS_MAX)
        return err_set(err, ERR_FORMAT, "byte %zu: %u dimensions, not 1 to %d", dims_at - 4,
                       t->dims_n, GGUF_DIMS_MAX);
    for (uint32_t i = 0; i < GGUF_DIMS_MAX; i++) {
        t->dims[i] = 1;
        if (i < t->dims_n && !take_u64(c, "a dimension", &t->dims[i], err))
            return false;
    }
    if (!take_u32(c, "a tensor type", &ggml_type, err))
        return false;
    if (!quant_of_ggml(ggml_type, &t->quant))
        return refuse_tensor_type(ggml_type, c->at - 4, err);
    return measure_tensor(t, dims_at, err) && take_u64(c, "an offset", offset, err);
}

static bool read_alignment(const struct gguf *file, uint32_t *alignment, struct err *err)
{
    static const char key[] = "general.alignment";

    *alignment = GGUF_ALIGNMENT_DEFAULT;
    if (!gguf_has(file, key))
        return true;
    if (!gguf_u32(file, key, alignment, err))
        return false;
    if (*alignment < GGUF_ALIGNMENT_MIN || *alignment > GGUF_ALIGNMENT_MAX ||
        (*alignment & (*alignment - 1)))
        return err_set(err, ERR_FORMAT, "byte %llu: key %s: %u is not a power of two from %d to %d",
                       (unsigned long long)gguf_place(file, key), key, *alignment,
                       GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX);
    return true;
}

/* Two passes: where the data begins is known only after the last info. */
static bool read_tensors(struct gguf *file, struct cursor *c, struct err *err)
{
    uint64_t *offsets = arena_array(file->arena, file->tensors_n, sizeof *offsets);
    uint32_t alignment;

    if (!read_alignment(file, &alignment, err))
        return false;
    index_init(&file->names, file->arena, file->tensors_n);
    file->tensors = arena_array(file->arena, file->tensors_n, sizeof *file->tensors);
    for (size_t i = 0; i < file->tensors_n; i++) {
        struct gguf_tensor *t = &file->tensors[i];
        if (!read_tensor(c, t, &offsets[i], err))
            return t->name.s ? err_prefix(err, "tensor %.*s", STR_ARG(t->name)) : false;
        uint32_t *slot = index_slot(&file->names, file->tensors, sizeof *t, t->name);
        if (*slot)
            return err_set(err, ERR_FORMAT, "byte %llu: tensor %.*s stands there a second time",
                           (unsigned long long)t->place, STR_ARG(t->name));
        *slot = (uint32_t)i + 1;
    }

    const uint64_t begin = ((uint64_t)c->at + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < file->tensors_n; i++) {
        struct gguf_tensor *t = &file->tensors[i];
        if (offsets[i] % alignment)
            return err_set(err, ERR_FORMAT,
                           "byte %llu: tensor %.*s: offset %llu is not a multiple of %u",
                           (unsigned long long)t->place, STR_ARG(t->name),
                           (unsigned long long)offsets[i], alignment);
        if (begin > file->n || offsets[i] > file->n - begin ||
            t->bytes > file->n - begin - offsets[i])
            return err_set(err, ERR_FORMAT,
                           "byte %llu: tensor %.*s: %llu bytes at offset %llu of the data end "
                           "beyond the file, which has %llu there",
                           (unsigned long long)t->place, STR_ARG(t->name),
                           (unsigned long long)t->bytes, (unsigned long long)offsets[i],
                           (unsigned long long)(begin > file->n ? 0 : file->n - begin));
        t->data = file->bytes + begin + offsets[i];
    }
    return true;
}

/* What stands before the keys: who this is, and how much is to come. */
static bool read_head(struct gguf *file, struct cursor *c, struct err *err)
{
    enum { KEY_BYTES_MIN = 8 + 1 + 4 + 1, TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8 };
    uint64_t tensors, values;
    uint32_t version;
    const void *magic = take(c, 4, "the magic", err);

    if (!magic)
        return false;
    if (memcmp(magic, "FUGG", 4) == 0)
        return err_set(err, ERR_FORMAT, "byte 0: a big-endian GGUF file is not supported");
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(err, ERR_FORMAT, "byte 0: not a GGUF file (it does not begin with \"GGUF\")");
    if (!take_u32(c, "the version", &version, err))
        return false;
    if (version && (version & 0xffff) == 0)
        return err_set(err, ERR_FORMAT, "byte 4: a big-endian GGUF file is not supported");
    if (version != 2 && version != 3)
        return err_set(err, ERR_FORMAT, "byte 4: GGUF version %u is not supported, 2 and 3 are",
                       version);
    if (!take_u64(c, "the number of tensors", &tensors, err) ||
        !take_u64(c, "the number of keys", &values, err))
        return false;
    if (tensors > GGUF_TENSORS_MAX || tensors > left(c) / TENSOR_BYTES_MIN)
        return err_set(err, ERR_FORMAT, "byte 8: %llu tensors are more than the limit of %d or "
                       "than the file can hold", (unsigned long long)tensors, GGUF_TENSORS_MAX);
    if (values > GGUF_KEYS_MAX || values > left(c) / KEY_BYTES_MIN)
        return err_set(err, ERR_FORMAT, "byte 16: %llu keys are more than the limit of %d or than "
                       "the file can hold", (unsigned long long)values, GGUF_KEYS_MAX);
    file->tensors_n = tensors;
    file->values_n = values;
    return true;
}

/* Takes the mapping over, also on failure. */
static struct gguf *parse(struct str bytes, struct file_map map, const char *name, struct err *err)
{
    struct arena *arena = arena_new(1 << 16);
    struct gguf *file = arena_alloc(arena, sizeof *file);
    struct cursor cursor = {.bytes = (const uint8_t *)bytes.s, .n = bytes.n};

    *file = (struct gguf){.arena = arena, .bytes = cursor.bytes, .n = bytes.n, .map = map};
    file->name = arena_str(arena, str_of(name));
    if (read_head(file, &cursor, err) && read_values(file, &cursor, err) &&
        read_tensors(file, &cursor, err))
        return file;
    gguf_prefix(file, err);
    gguf_close(file);
    return NULL;
}

struct gguf *gguf_parse(const void *bytes, size_t n, const char *name, struct err *err)
{
    return parse((struct str){bytes, n}, (struct file_map){0}, name, err);
}

struct gguf *gguf_open(const char *path, struct err *err)
{
    struct file_map map;

    if (!file_map_open(&map, path, "the model", err))
        return NULL;
    return parse((struct str){map.bytes, map.n}, map, path, err);
}

void gguf_close(struct gguf *file)
{
    if (!file)
        return;
    file_map_close(&file->map);
    arena_free(file->arena);
}

bool gguf_prefix(const struct gguf *file, struct err *err)
{
    const struct str name = file_base(file->name);      /* a long path would crowd out the rest */

    return err_prefix(err, "%.*s", (int)(name.n < NAME_SHOWN ? name.n : NAME_SHOWN), name.s);
}

struct str gguf_name(const struct gguf *file)
{
    return file->name;
}

uint64_t gguf_bytes(const struct gguf *file)
{
    return file->n;
}

size_t gguf_tensors_n(const struct gguf *file)
{
    return file->tensors_n;
}

const struct gguf_tensor *gguf_tensor_nth(const struct gguf *file, size_t i)
{
    return i < file->tensors_n ? &file->tensors[i] : NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *file, const char *name)
{
    const uint32_t slot =
        *index_slot(&file->names, file->tensors, sizeof *file->tensors, str_of(name));

    return slot ? &file->tensors[slot - 1] : NULL;
}

static const struct value *find(const struct gguf *file, const char *key)
{
    const uint32_t slot =
        *index_slot(&file->keys, file->values, sizeof *file->values, str_of(key));

    return slot ? &file->values[slot - 1] : NULL;
}

bool gguf_has(const struct gguf *file, const char *key)
{
    return find(file, key);
}

uint64_t gguf_place(const struct gguf *file, const char *key)
{
    const struct value *value = find(file, key);

    return value ? value->place : 0;
}

static const struct value *need(const struct gguf *file, const char *key, struct err *err)
{
    const struct value *value = find(file, key);

    if (!value)
        err_set(err, ERR_FORMAT, "key %s is missing", key);
    return value;
}

static bool refuse_type(const struct value *value, const char *expected, struct err *err)
{
    return err_set(err, ERR_FORMAT, "byte %llu: key %.*s: expected %s, found %s%s",
                   (unsigned long long)value->place, STR_ARG(value->key), expected,
                   value->type == GGUF_ARRAY ? "array of " : "",
                   types[value->type == GGUF_ARRAY ? value->element : value->type].name);
}

/* An integer of any width, sign-extended: the high bit of u64 makes it too large for any caller. */
static bool read_integer(const struct value *value, int64_t *out)
{
    union { uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32;
            uint64_t u64; int64_t i64; } v = {0};

    memcpy(&v, value->data, types[value->type].bytes);
    switch (value->type) {
    case GGUF_U8: *out = v.u8; return true;
    case GGUF_I8: *out = v.i8; return true;
    case GGUF_U16: *out = v.u16; return true;
    case GGUF_I16: *out = v.i16; return true;
    case GGUF_U32: *out = v.u32; return true;
    case GGUF_I32: *out = v.i32; return true;
    case GGUF_I64: *out = v.i64; return true;
    case GGUF_U64: *out = v.u64 > INT64_MAX ? INT64_MAX : (int64_t)v.u64; return true;
    default: return false;
    }
}

bool gguf_u32(const struct gguf *file, const char *key, uint32_t *out, struct err *err)
{
    const struct value *value = need(file, key, err);
    int64_t n;

    if (!value)
        return false;
    if (!read_integer(value, &n))
        return refuse_type(value, "an integer", err);
    if (n < 0 || n > UINT32_MAX)
        return err_set(err, ERR_FORMAT, "byte %llu: key %s: the number does not fit into 32 bits",
                       (unsigned long long)value->place, key);
    *out = (uint32_t)n;
    return true;
}

bool gguf_f32(const struct gguf *file, const char *key, float *out, struct err *err)
{
    const struct value *value = need(file, key, err);

    if (!value)
        return false;
    if (value->type != GGUF_F32)
        return refuse_type(value, "f32", err);
    memcpy(out, value->data, sizeof *out);
    if (!isfinite(*out))
        return err_set(err, ERR_FORMAT, "byte %llu: key %s: not a finite number",
                       (unsigned long long)value->place, key);
    return true;
}

bool gguf_bool(const struct gguf *file, const char *key, bool *out, struct err *err)
{
    const struct value *value = need(file, key, err);

    if (!value)
        return false;
    if (value->type != GGUF_BOOL)
        return refuse_type(value, "bool", err);
    *out = *value->data;
    return true;
}

bool gguf_str(const struct gguf *file, const char *key, struct str *out, struct err *err)
{
    const struct value *value = need(file, key, err);

    if (!value)
        return false;
    if (value->type != GGUF_STRING)
        return refuse_type(value, "string", err);
    *out = (struct str){(const char *)value->data, value->count};
    return true;
}

/* An array of one of two element types. */
static const struct value *need_array(const struct gguf *file, const char *key, uint32_t element,
                                      uint32_t or_element, const char *what, struct err *err)
{
    const struct value *value = need(file, key, err);

    if (value && (value->type != GGUF_ARRAY ||
                  (value->element != element && value->element != or_element))) {
        refuse_type(value, what, err);
        return NULL;
    }
    return value;
}

bool gguf_strings(const struct gguf *file, const char *key, struct arena *arena,
                  const struct str **out, size_t *n, struct err *err)
{
    const struct value *value = need_array(file, key, GGUF_STRING, GGUF_STRING, "array of string", err);

    if (!value)
        return false;
    struct str *strings = arena_array(arena, value->count, sizeof *strings);
    const uint8_t *p = value->data;
    for (uint64_t i = 0; i < value->count; i++) {           /* lengths were checked on opening */
        uint64_t length;
        memcpy(&length, p, sizeof length);
        strings[i] = (struct str){(const char *)p + sizeof length, length};
        p += sizeof length + length;
    }
    *out = strings;
    *n = value->count;
    return true;
}

/* A copy of an array whose elements are 32 bits wide, for the file's may lie unaligned. */
static const void *copy_words(const struct value *value, struct arena *arena, size_t *n)
{
    uint32_t *words = arena_array(arena, value->count, sizeof *words);

    if (value->count)
        memcpy(words, value->data, value->count * sizeof *words);
    *n = value->count;
    return words;
}

bool gguf_i32s(const struct gguf *file, const char *key, struct arena *arena, const int32_t **out,
               size_t *n, struct err *err)
{
    const struct value *value = need_array(file, key, GGUF_I32, GGUF_U32, "array of i32", err);

    if (!value)
        return false;
    *out = copy_words(value, arena, n);
    return true;
}

bool gguf_f32s(const struct gguf *file, const char *key, struct arena *arena, const float **out,
               size_t *n, struct err *err)
{
    const struct value *value = need_array(file, key, GGUF_F32, GGUF_F32, "array of f32", err);

    if (!value)
        return false;
    *out = copy_words(value, arena, n);
    return true;
}

bool gguf_is_array(const struct gguf *file, const char *key)
{
    const struct value *value = find(file, key);

    return value && value->type == GGUF_ARRAY;
}

bool gguf_bools(const struct gguf *file, const char *key, struct arena *arena, const bool **out,
                size_t *n, struct err *err)
{
    const struct value *value = need_array(file, key, GGUF_BOOL, GGUF_BOOL, "array of bool", err);

    if (!value)
        return false;
    bool *flags = arena_array(arena, value->count, sizeof *flags);
    for (uint64_t i = 0; i < value->count; i++)
        flags[i] = value->data[i] != 0;
    *out = flags;
    *n = value->count;
    return true;
}
