/* quant.c - the table of weight formats (layouts: quant.h; numbers: GGUF's ggml_type). */
#include "kernels/quant.h"

const struct quant_info quants[QUANT_COUNT] = {
    [QUANT_F32] = {"f32", 0, 1, 4, true, 0},
    [QUANT_F16] = {"f16", 1, 1, 2, true, 0},
    [QUANT_BF16] = {"bf16", 30, 1, 2, true, 0},
    [QUANT_Q8_0] = {"q8_0", 8, 32, 34, false, 0},
    [QUANT_Q4_0] = {"q4_0", 2, 32, 18, false, 0},
    [QUANT_Q4_1] = {"q4_1", 3, 32, 20, false, 0},
    [QUANT_Q5_0] = {"q5_0", 6, 32, 22, false, 0},
    [QUANT_Q5_1] = {"q5_1", 7, 32, 24, false, 0},
    [QUANT_IQ4_NL] = {"iq4_nl", 20, 32, 18, false, 0},
    [QUANT_MXFP4] = {"mxfp4", 39, 32, 17, false, 0},
    [QUANT_Q2_K] = {"q2_k", 10, 256, 84, false, 0},
    [QUANT_Q3_K] = {"q3_k", 11, 256, 110, false, 0},
    [QUANT_Q4_K] = {"q4_k", 12, 256, 144, false, 0},
    [QUANT_Q5_K] = {"q5_k", 13, 256, 176, false, 0},
    [QUANT_Q6_K] = {"q6_k", 14, 256, 210, false, 0},
    [QUANT_IQ4_XS] = {"iq4_xs", 23, 256, 136, false, 0},
    [QUANT_AFFINE_2] = {"mlx2", QUANT_NOT_GGML, 32, 8, false, 2},
    [QUANT_AFFINE_3] = {"mlx3", QUANT_NOT_GGML, 32, 12, false, 3},
    [QUANT_AFFINE_4] = {"mlx4", QUANT_NOT_GGML, 32, 16, false, 4},
    [QUANT_AFFINE_5] = {"mlx5", QUANT_NOT_GGML, 32, 20, false, 5},
    [QUANT_AFFINE_6] = {"mlx6", QUANT_NOT_GGML, 32, 24, false, 6},
    [QUANT_AFFINE_8] = {"mlx8", QUANT_NOT_GGML, 32, 32, false, 8},
};
