/* tensors.c - finds a tensor by its name. */
#include "engine/tensors.h"

#include <string.h>

#include "base/hash.h"

enum { TABLE_MIN = 16 };

static uint32_t *slot_of(const struct tensors *tensors, struct str name)
{
    size_t slot = hash_bytes(hash_process_key(), name.s, name.n) & tensors->table_mask;

    while (tensors->table[slot] != UINT32_MAX &&
           !str_equal(tensors->list[tensors->table[slot]].name, name))
        slot = (slot + 1) & tensors->table_mask;
    return &tensors->table[slot];
}

bool tensors_index(struct tensors *tensors, struct arena *arena, struct err *err)
{
    size_t size = TABLE_MIN;

    while (size < tensors->n * 2)
        size *= 2;
    tensors->table = arena_array(arena, size, sizeof *tensors->table);
    memset(tensors->table, 0xff, size * sizeof *tensors->table);
    tensors->table_mask = size - 1;
    for (size_t i = 0; i < tensors->n; i++) {
        uint32_t *slot = slot_of(tensors, tensors->list[i].name);
        if (*slot != UINT32_MAX)
            return err_set(err, ERR_FORMAT, "%.*s: there is another tensor of this name, at %.*s",
                           STR_ARG(tensors->list[i].origin),
                           STR_ARG(tensors->list[*slot].origin));
        *slot = (uint32_t)i;
    }
    return true;
}

const struct tensor *tensors_find(const struct tensors *tensors, struct str name)
{
    const uint32_t at = tensors->n ? *slot_of(tensors, name) : UINT32_MAX;

    return at == UINT32_MAX ? NULL : &tensors->list[at];
}

struct matrix tensor_matrix(const struct tensor *t)
{
    const struct quant_info *quant = &quants[t->quant];

    return (struct matrix){
        .data = t->data,
        .row_bytes = t->dims[0] / quant->block * quant->bytes,
        .rows = (uint32_t)(t->dims[1] * t->dims[2] * t->dims[3]),
        .cols = (uint32_t)t->dims[0],
        .quant = t->quant,
        .scales = t->scales,
        .biases = t->biases,
        .scale_quant = t->scale_quant,
        .group = t->group,
        .scale_row_bytes = t->group ? t->dims[0] / t->group * quants[t->scale_quant].bytes : 0,
    };
}

static const void *skip(const void *p, size_t bytes)
{
    return p ? (const char *)p + bytes : NULL;
}

struct matrix matrix_rows(const struct matrix *matrix, uint32_t first, uint32_t n)
{
    struct matrix part = *matrix;

    part.rows = n;
    part.data = skip(matrix->data, first * matrix->row_bytes);
    part.scales = skip(matrix->scales, first * matrix->scale_row_bytes);
    part.biases = skip(matrix->biases, first * matrix->scale_row_bytes);
    return part;
}
