/* fingerprint.h - what the numbers in a page of keys and values depend on, as 128 bits.
 *
 * Two engines with one fingerprint compute the same bits from the same tokens, so that either may
 * read the other's pages: the same weights, hyperparameters and kernel table, and the same version of
 * the page's layout and of the arithmetic. */
#ifndef PENSIEVE_ENGINE_FINGERPRINT_H
#define PENSIEVE_ENGINE_FINGERPRINT_H

#include <stdint.h>

struct model;

/* Reads a sample of each weight: small ones whole, of large ones SAMPLES places. */
void model_fingerprint(const struct model *model, const char *isa, uint64_t out[2]);

#endif
