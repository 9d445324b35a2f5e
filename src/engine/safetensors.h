/* safetensors.h - one .safetensors file, read where it lies in memory.
 *
 * Opening checks the header against the file's size and the limits below, so that what stands in a
 * struct safetensor needs no further check. Everything lives until safetensors_close. Tensors may
 * lie in any order and at any offset, aligned or not: MLX writes them so.
 *
 * The layout: u64 (little-endian) length of the header; the header, a JSON object of NAME:
 * {"dtype", "shape", "data_offsets": [begin, end]} and "__metadata__"; the data, where offsets
 * begin at 0 (the source is huggingface/safetensors' README). */
#ifndef PENSIEVE_ENGINE_SAFETENSORS_H
#define PENSIEVE_ENGINE_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
    SAFETENSORS_HEADER_MAX = 1 << 26,   /* bytes */
    SAFETENSORS_TENSORS_MAX = 1 << 16,
    SAFETENSORS_NAME_MAX = 256,         /* bytes */
    SAFETENSORS_DIMS_MAX = 8,           /* a convolution of pictures has 5 */
};
#define SAFETENSORS_ELEMENTS_MAX ((uint64_t)1 << 40)    /* numbers in one tensor */

enum dtype {
    DTYPE_BOOL, DTYPE_U8, DTYPE_I8, DTYPE_F8_E4M3, DTYPE_F8_E5M2, DTYPE_U16, DTYPE_I16, DTYPE_F16,
    DTYPE_BF16, DTYPE_U32, DTYPE_I32, DTYPE_F32, DTYPE_U64, DTYPE_I64, DTYPE_F64, DTYPE_COUNT
};

struct safetensor {
    struct str name;            /* plain text */
    enum dtype dtype;
    uint32_t dims_n;            /* 0: one number */
    uint64_t dims[SAFETENSORS_DIMS_MAX];        /* as the file has them: the outermost first */
    const void *data;
    uint64_t elements, bytes;
};

struct safetensors;

/* Maps the file. ERR_IO, or ERR_FORMAT with the tensor and what is wrong with it. */
struct safetensors *safetensors_open(const char *path, struct err *err);
/* The same over bytes that stay the caller's; name is for error texts and is copied. */
struct safetensors *safetensors_parse(const void *bytes, size_t n, const char *name,
                                      struct err *err);
void safetensors_close(struct safetensors *file);       /* NULL is allowed */

struct str safetensors_name(const struct safetensors *file);    /* without its folder */
uint64_t safetensors_bytes(const struct safetensors *file);
/* __metadata__.format: "pt", "mlx"; n == 0: it says nothing. */
struct str safetensors_format(const struct safetensors *file);
size_t safetensors_n(const struct safetensors *file);
const struct safetensor *safetensors_nth(const struct safetensors *file, size_t i);

const char *dtype_name(enum dtype dtype);

#endif
