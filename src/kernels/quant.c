/* quant.c - the table of weight formats (layouts: quant.h; numbers: GGUF's ggml_type). */
#include "kernels/quant.h"

const struct quant_info quants[QUANT_COUNT] = {
    [QUANT_F32] = {"f32", 0, 1, 4, true},
    [QUANT_F16] = {"f16", 1, 1, 2, true},
    [QUANT_BF16] = {"bf16", 30, 1, 2, true},
    [QUANT_Q8_0] = {"q8_0", 8, 32, 34, false},
    [QUANT_Q4_0] = {"q4_0", 2, 32, 18, false},
    [QUANT_Q4_1] = {"q4_1", 3, 32, 20, false},
    [QUANT_Q6_K] = {"q6_k", 14, 256, 210, false},
};
