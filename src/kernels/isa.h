/* isa.h - the tables that the instruction sets' files export. Entries that a set doesn't do better
 * than what stands under it are NULL. */
#ifndef PENSIEVE_KERNELS_ISA_H
#define PENSIEVE_KERNELS_ISA_H

#include "kernels/kernels.h"

extern const struct kernels kernels_scalar;         /* complete */
extern const struct kernels kernels_avx2;           /* AVX2, FMA, F16C; over scalar */
extern const struct kernels kernels_avx_vnni;       /* AVX-VNNI; over avx2 */
extern const struct kernels kernels_avx512_vnni;    /* AVX-512 F, BW, VL, DQ, VNNI; over avx2, has
                                                       all that avx_vnni has */
extern const struct kernels kernels_neon;           /* over scalar */
extern const struct kernels kernels_neon_dotprod;   /* over neon */
extern const struct kernels kernels_neon_i8mm;      /* dot products and I8MM; over neon_dotprod */

/* Replaces what `over` has in `table`, the name too. */
void kernels_overlay(struct kernels *table, const struct kernels *over);

#endif
