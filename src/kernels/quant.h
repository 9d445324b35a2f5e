/* quant.h - the weight formats: how many numbers a block holds, in how many bytes.
 *
 * One row a format in quants[]. The layouts are GGUF's (ggml-common.h describes them; all numbers
 * little-endian):
 *   Q8_0  32: f16 d; int8 q[32]                       w = d*q
 *   Q4_0  32: f16 d; u8 q[16]                         w = d*(n-8); low nibbles 0..15, high 16..31
 *   Q4_1  32: f16 d; f16 m; u8 q[16]                  w = d*n + m
 *   Q6_K 256: u8 ql[128]; u8 qh[64]; int8 sc[16]; f16 d   w = d*sc[i/16]*(q-32) */
#ifndef PENSIEVE_KERNELS_QUANT_H
#define PENSIEVE_KERNELS_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quant {
    QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q6_K, QUANT_COUNT
};

struct quant_info {
    const char *name;           /* "q4_1" */
    uint32_t ggml_type;         /* the number in a GGUF file */
    uint16_t block, bytes;      /* numbers in a block, bytes of a block */
    bool floats;                /* multiplied as floats: its matmul needs no acts_quantize */
};

extern const struct quant_info quants[QUANT_COUNT];

/* A weight matrix where it lies in the file: row r begins at data + r * row_bytes. Any alignment of
 * data that the file gives: kernels use unaligned loads. cols is a multiple of the block.
 *
 * Affine formats (MLX) keep a scale and a bias for each `group` numbers of a row apart from the
 * numbers: row r's begin at scales + r * scale_row_bytes and at biases + the same, unaligned floats
 * of scale_quant (f32, f16, bf16). For all other formats these fields are zero. */
struct matrix {
    const void *data;
    size_t row_bytes;
    uint32_t rows, cols;
    enum quant quant;
    const void *scales, *biases;
    size_t scale_row_bytes;
    enum quant scale_quant;
    uint32_t group;
};

#endif
