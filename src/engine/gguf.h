/* gguf.h - one GGUF file, version 2 or 3, read where it lies in memory.
 *
 * Opening walks the whole header once and checks every count, length, type, offset and alignment
 * against the file's size and the limits below, so that what the lookups hand out needs no further
 * check. Everything borrowed points into the file's bytes and lives until gguf_close.
 *
 * The layout (little-endian; the source is the specification in ggml's docs/gguf.md):
 *   "GGUF" u32 version, u64 tensors, u64 keys; keys; tensor infos; padding; tensor data
 *   key:    string name, u32 type, value         string: u64 length, bytes
 *   array:  u32 element type, u64 count, elements
 *   tensor: string name, u32 dims, u64 each (the innermost first), u32 type, u64 offset */
#ifndef PENSIEVE_ENGINE_GGUF_H
#define PENSIEVE_ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "kernels/quant.h"

enum {
    GGUF_KEYS_MAX = 1 << 14,
    GGUF_TENSORS_MAX = 1 << 16,
    GGUF_NAME_MAX = 256,            /* bytes of a key or of a tensor's name */
    GGUF_STRING_MAX = 1 << 24,      /* bytes of a string value */
    GGUF_ARRAY_MAX = 1 << 24,       /* elements of an array; arrays in arrays are refused */
    GGUF_DIMS_MAX = 4,
    GGUF_ALIGNMENT_MIN = 8, GGUF_ALIGNMENT_DEFAULT = 32, GGUF_ALIGNMENT_MAX = 1 << 16,
};
#define GGUF_ELEMENTS_MAX ((uint64_t)1 << 40)       /* numbers in one tensor */

struct gguf_tensor {
    struct str name;
    uint32_t dims_n;
    uint64_t dims[GGUF_DIMS_MAX];   /* dims[0] is the innermost: a row; those past dims_n are 1 */
    enum quant quant;
    const void *data;
    uint64_t elements, bytes;
    uint64_t place;                 /* where its info stands in the file */
};

struct gguf;

/* Maps the file. ERR_IO, or ERR_FORMAT with the byte offset of what is wrong. */
struct gguf *gguf_open(const char *path, struct err *err);
/* The same over bytes that stay the caller's; name is for error texts and is copied. */
struct gguf *gguf_parse(const void *bytes, size_t n, const char *name, struct err *err);
void gguf_close(struct gguf *file);             /* NULL is allowed */

/* Puts the file's name before the error's text; returns false. */
bool gguf_prefix(const struct gguf *file, struct err *err);

struct str gguf_name(const struct gguf *file);  /* the path */
uint64_t gguf_bytes(const struct gguf *file);
size_t gguf_tensors_n(const struct gguf *file);
const struct gguf_tensor *gguf_tensor_nth(const struct gguf *file, size_t i);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *file, const char *name);

/* Each fails with ERR_FORMAT if the key is missing or holds another type; the text names the key,
 * both types and the place. Integers of any width are taken where the value fits. */
bool gguf_has(const struct gguf *file, const char *key);
bool gguf_u32(const struct gguf *file, const char *key, uint32_t *out, struct err *err);
bool gguf_f32(const struct gguf *file, const char *key, float *out, struct err *err);   /* finite */
bool gguf_bool(const struct gguf *file, const char *key, bool *out, struct err *err);
bool gguf_str(const struct gguf *file, const char *key, struct str *out, struct err *err);
/* The array of struct str is the arena's, the bytes are the file's. */
bool gguf_strings(const struct gguf *file, const char *key, struct arena *arena,
                  const struct str **out, size_t *n, struct err *err);
/* An array of 32-bit integers, copied, for the file's may lie unaligned. */
bool gguf_i32s(const struct gguf *file, const char *key, struct arena *arena, const int32_t **out,
               size_t *n, struct err *err);
/* The same of f32, which may be infinite or NaN. */
bool gguf_f32s(const struct gguf *file, const char *key, struct arena *arena, const float **out,
               size_t *n, struct err *err);
bool gguf_is_array(const struct gguf *file, const char *key);   /* false also if it is missing */
bool gguf_bools(const struct gguf *file, const char *key, struct arena *arena, const bool **out,
                size_t *n, struct err *err);
/* Where the key's value stands, for a caller's own complaint about it; 0 if it is missing. */
uint64_t gguf_place(const struct gguf *file, const char *key);

#endif
