/* checkpoint_gguf.c - a GGUF file, or a set of them, as a checkpoint.
 *
 * A split set is files NAME-00001-of-00003.gguf and so on: each has some of the tensors, the first
 * has the keys. Errors name the key and where in which file it stands. */
#include "engine/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "engine/arch.h"
#include "engine/file_map.h"
#include "engine/gguf.h"
#include "engine/gguf_name.h"
#include "engine/hparams_gguf.h"
#include "engine/vocab_gguf.h"

enum { TEXT_MAX = 256 };

struct parts {
    struct gguf **files;
    uint32_t n;
};

static const struct arch *find_arch(const struct gguf *file, struct err *err)
{
    static const char key[] = "general.architecture";
    struct str name;
    char place[TEXT_MAX];

    if (!gguf_str(file, key, &name, err))
        return NULL;
    snprintf(place, sizeof place, "byte %" PRIu64, gguf_place(file, key));
    return arch_of_gguf(name, place, err);
}

static bool read_template(const struct gguf *file, struct str *out, struct err *err)
{
    static const char key[] = "tokenizer.chat_template";

    if (!gguf_has(file, key))
        return true;
    if (!gguf_str(file, key, out, err))
        return false;
    if (out->n > CHAT_TEMPLATE_BYTES_MAX || !utf8_valid((*out)))
        return err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s is longer than %d bytes or not "
                       "UTF-8", gguf_place(file, key), key, CHAT_TEMPLATE_BYTES_MAX);
    return true;
}

static bool is_printable(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.s[i] < ' ' || text.s[i] == 0x7f)
            return false;
    return text.n > 0 && text.n <= TEXT_MAX && utf8_valid(text);
}

/* The model's name, or the file's where it has none fit to be shown. */
static struct str describe_name(const struct gguf *file)
{
    struct str name = {0};

    if (gguf_has(file, "general.name") && gguf_str(file, "general.name", &name, NULL) &&
        is_printable(name))
        return name;
    return file_base(gguf_name(file));
}

static bool check_part(const struct gguf *file, uint32_t nth, uint32_t count, struct err *err)
{
    uint32_t no, of;

    if (!gguf_u32(file, "split.no", &no, err) || !gguf_u32(file, "split.count", &of, err))
        return gguf_prefix(file, err);
    if (no == nth && of == count)
        return true;
    err_set(err, ERR_FORMAT, "byte %" PRIu64 ": it says that it is part %u of %u, not %u of %u",
            gguf_place(file, "split.no"), no + 1, of, nth + 1, count);
    return gguf_prefix(file, err);
}

static const char *part_name(struct arena *arena, struct str stem, uint32_t nth, uint32_t count)
{
    return arena_printf(arena, "%.*s-%05u-of-%05u.gguf", STR_ARG(stem), nth + 1, count).s;
}

/* Makes the whole set of the one file that parts has. */
static bool open_parts(struct parts *parts, struct arena *arena, uint32_t count, struct err *err)
{
    struct gguf *given = parts->files[0];
    struct str stem = gguf_name(given);
    unsigned part, of;

    if (!str_ends(stem, STR(".gguf")) || !gguf_name_stem(&stem, &part, &of) || of != count ||
        part < 1 || part > count || count > CHECKPOINT_FILES_MAX) {
        err_set(err, ERR_FORMAT, "byte %" PRIu64 ": one of %u parts, but its name is not that of a "
                "split set, like model-00001-of-%05u.gguf", gguf_place(given, "split.count"), count,
                count);
        return gguf_prefix(given, err);
    }
    const uint32_t place = part - 1;
    parts->files = arena_array(arena, count, sizeof *parts->files);
    parts->files[place] = given;
    parts->n = count;
    for (uint32_t i = 0; i < count; i++) {
        if (i != place) {
            parts->files[i] = gguf_open(part_name(arena, stem, i, count), err);
            if (!parts->files[i])
                return err_prefix(err, "part %u of %u", i + 1, count);
        }
        if (!check_part(parts->files[i], i, count, err))
            return false;
    }
    return true;
}

static bool read_parts(struct parts *parts, struct arena *arena, struct err *err)
{
    struct gguf *file = parts->files[0];
    uint32_t count = 1;

    if (gguf_has(file, "split.count") && !gguf_u32(file, "split.count", &count, err))
        return gguf_prefix(file, err);
    return count <= 1 || open_parts(parts, arena, count, err);
}

/* Their numbers are in the hparams. */
static bool is_hparam(struct str tensor)
{
    return str_is(tensor, GGUF_LONG_FACTORS) || str_is(tensor, GGUF_SHORT_FACTORS);
}

static struct str origin_of(const struct gguf *file, const struct gguf_tensor *t, bool named,
                            struct arena *arena)
{
    const struct str name = named ? file_base(gguf_name(file)) : (struct str){0};

    return arena_printf(arena, "%.*s%sbyte %" PRIu64 ": tensor %.*s", STR_ARG(name),
                        named ? ": " : "", t->place, STR_ARG(t->name));
}

static void read_file_tensors(const struct gguf *file, bool named, struct arena *arena,
                              struct tensors *out)
{
    for (size_t i = 0; i < gguf_tensors_n(file); i++) {
        const struct gguf_tensor *t = gguf_tensor_nth(file, i);
        if (is_hparam(t->name))
            continue;
        struct tensor *to = &out->list[out->n++];
        *to = (struct tensor){
            .name = t->name, .dims_n = t->dims_n, .quant = t->quant, .data = t->data,
            .elements = t->elements, .bytes = t->bytes,
            .origin = origin_of(file, t, named, arena),
        };
        memcpy(to->dims, t->dims, sizeof to->dims);
    }
}

static bool read_tensors(struct checkpoint *c, const struct parts *parts, struct err *err)
{
    static const char key[] = "split.tensors.count";
    size_t n = 0;
    uint32_t expected;

    for (uint32_t i = 0; i < parts->n; i++) {
        n += gguf_tensors_n(parts->files[i]);
        c->file_bytes += gguf_bytes(parts->files[i]);
    }
    if (parts->n > 1 && gguf_has(parts->files[0], key)) {
        if (!gguf_u32(parts->files[0], key, &expected, err))
            return gguf_prefix(parts->files[0], err);
        if (expected != n) {
            err_set(err, ERR_FORMAT, "byte %" PRIu64 ": key %s: %u, but the parts have %zu tensors",
                    gguf_place(parts->files[0], key), key, expected, n);
            return gguf_prefix(parts->files[0], err);
        }
    }
    c->tensors.list = arena_array(c->arena, n, sizeof *c->tensors.list);
    for (uint32_t i = 0; i < parts->n; i++)
        read_file_tensors(parts->files[i], parts->n > 1, c->arena, &c->tensors);
    return tensors_index(&c->tensors, c->arena, err) ||
           (parts->n == 1 && gguf_prefix(parts->files[0], err));
}

static void close_gguf(struct checkpoint *checkpoint)
{
    struct parts *parts = checkpoint->files;

    for (uint32_t i = 0; i < parts->n; i++)
        gguf_close(parts->files[i]);
}

/* All that the first file says but tensors; its name is put before what is wrong. */
static bool read_first(struct checkpoint *c, const struct parts *parts, struct err *err)
{
    const struct gguf *file = parts->files[0];

    c->name = describe_name(file);
    c->arch = find_arch(file, err);
    return (c->arch &&
            hparams_read_gguf(&c->hparams, parts->files, parts->n, c->arch->name, c->arena, err) &&
            c->arch->check(&c->hparams, file, c->arena, err) &&
            hparams_check(&c->hparams, c->arena, err) &&
            vocab_source_gguf(file, c->arena, &c->vocab, err) &&
            read_template(file, &c->chat_template, err)) ||
           gguf_prefix(file, err);
}

struct checkpoint *checkpoint_of_gguf(struct gguf *file, struct err *err)
{
    struct arena *arena = arena_new(1 << 20);
    struct checkpoint *c = arena_alloc(arena, sizeof *c);
    struct parts *parts = arena_alloc(arena, sizeof *parts);

    *parts = (struct parts){.files = arena_alloc(arena, sizeof *parts->files), .n = 1};
    parts->files[0] = file;
    *c = (struct checkpoint){
        .arena = arena, .format = "gguf", .path = arena_str(arena, gguf_name(file)),
        .files = parts, .close = close_gguf, .advice = {-1, -1, -1},
    };
    hparams_init(&c->hparams);
    if (read_parts(parts, arena, err) && read_first(c, parts, err) && read_tensors(c, parts, err))
        return c;
    checkpoint_close(c);
    return NULL;
}
