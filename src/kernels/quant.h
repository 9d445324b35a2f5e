/* quant.h - the weight formats: how many numbers a block holds, in how many bytes.
 *
 * One row a format in quants[]; group.c reads every one of them, number by number. All numbers are
 * little-endian. Nibbles: the low ones of the 16 bytes are numbers 0..15, the high ones 16..31.
 *
 * GGUF's, where a block begins with its scales or ends with them:
 *   Q8_0   32: f16 d; int8 n[32]                      w = d*n
 *   Q4_0   32: f16 d; nibbles n[16]                   w = d*(n-8)
 *   Q4_1   32: f16 d, m; nibbles n[16]                w = d*n + m
 *   Q5_0   32: f16 d; u8 high[4]; nibbles n[16]       w = d*(n-16); number i's fifth bit is bit i
 *   Q5_1   32: f16 d, m; u8 high[4]; nibbles n[16]    w = d*n + m
 *   IQ4_NL 32: f16 d; nibbles n[16]                   w = d*curve[n], 16 fixed values of int8
 *   MXFP4  32: u8 e; nibbles n[16]                    w = 2^(e-127) * a float of 4 bits (e2m1)
 * and in blocks of 256, where groups of 16 or 32 numbers have a small integer scale of their own:
 *   Q2_K   u8 sc[16]; u8 n[64]; f16 d, dmin           w = d*(sc&15)*n - dmin*(sc>>4), by 16
 *   Q3_K   u8 high[32]; u8 n[64]; u8 sc[12]; f16 d    w = d*(sc-32)*(n-4), by 16
 *   Q4_K   f16 d, dmin; u8 sc[12]; u8 n[128]          w = d*sc*n - dmin*min, by 32
 *   Q5_K   f16 d, dmin; u8 sc[12]; u8 high[32]; u8 n[128]     the same
 *   Q6_K   u8 n[128]; u8 high[64]; int8 sc[16]; f16 d         w = d*sc*(n-32), by 16
 *   IQ4_XS f16 d; u16 sc_high; u8 sc[4]; u8 n[128]    w = d*(sc-32)*curve[n], by 32
 *
 * MLX's affine formats, of 2, 3, 4, 5, 6 and 8 bits: a row is one stream of bits, number i in bits
 * [i*bits, (i+1)*bits); scales and biases lie apart (struct matrix): w = scale*n + bias. */
#ifndef PENSIEVE_KERNELS_QUANT_H
#define PENSIEVE_KERNELS_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quant {
    QUANT_F32, QUANT_F16, QUANT_BF16,
    QUANT_Q8_0, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_IQ4_NL, QUANT_MXFP4,
    QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_IQ4_XS,
    QUANT_AFFINE_2, QUANT_AFFINE_3, QUANT_AFFINE_4, QUANT_AFFINE_5, QUANT_AFFINE_6, QUANT_AFFINE_8,
    QUANT_COUNT
};

/* ggml_type of the formats that GGUF has no number for. */
#define QUANT_NOT_GGML UINT32_MAX

struct quant_info {
    const char *name;           /* "q4_1" */
    uint32_t ggml_type;         /* the number in a GGUF file, or QUANT_NOT_GGML */
    uint16_t block, bytes;      /* numbers in a block, bytes of a block */
    bool floats;                /* multiplied as floats: its matmul needs no acts_quantize */
    uint8_t affine;             /* bits a number of an affine format; 0: not affine */
};

extern const struct quant_info quants[QUANT_COUNT];

/* A weight matrix where it lies in the file: row r begins at data + r * row_bytes. Any alignment of
 * data that the file gives: kernels use unaligned loads. cols is a multiple of the block.
 *
 * Affine formats (MLX) keep a scale and a bias for each `group` (32, 64 or 128) numbers of a row
 * apart from the numbers: row r's begin at scales + r * scale_row_bytes and at biases + the same,
 * unaligned floats of scale_quant (f32, f16, bf16); cols is a multiple of the group too. For all
 * other formats these fields are zero. */
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
