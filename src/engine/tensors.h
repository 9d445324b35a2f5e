/* tensors.h - the tensors of a model on disk, whatever its container, under one set of names.
 *
 * Names are GGUF's ("blk.3.attn_q.weight"); other containers translate theirs as they are opened.
 * Data stays where it lies in the mapped files. What stands here was checked against its file's
 * size and needs no further check but that of its shape, which weights_bind does. */
#ifndef PENSIEVE_ENGINE_TENSORS_H
#define PENSIEVE_ENGINE_TENSORS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "kernels/quant.h"

enum { TENSOR_DIMS_MAX = 4, TENSOR_NAME_MAX = 256 };

struct tensor {
    struct str name;            /* GGUF's name for it */
    struct str origin;          /* where it is, for error texts: "byte 1234: tensor NAME" */
    uint32_t dims_n;
    uint64_t dims[TENSOR_DIMS_MAX];     /* dims[0] is the innermost: a row; past dims_n they are 1 */
    enum quant quant;
    const void *data;
    uint64_t elements, bytes;
    /* Affine formats only: a scale and a bias for each group of numbers of a row, in rows of their
     * own, as floats of scale_quant. NULL otherwise. */
    const void *scales, *biases;
    enum quant scale_quant;
    uint32_t group;
};

struct tensors {
    struct tensor *list;
    size_t n;
    uint32_t *table;            /* open addressing over list by name; see tensors_index */
    size_t table_mask;
};

/* Builds the lookup over list, in the arena. ERR_FORMAT: two tensors of one name. */
bool tensors_index(struct tensors *tensors, struct arena *arena, struct err *err);
const struct tensor *tensors_find(const struct tensors *tensors, struct str name);

/* The matrix a tensor is: rows are all dims but the innermost, multiplied (stacked experts too). */
struct matrix tensor_matrix(const struct tensor *tensor);
/* Some of a matrix's rows. */
struct matrix matrix_rows(const struct matrix *matrix, uint32_t first, uint32_t n);

#endif
