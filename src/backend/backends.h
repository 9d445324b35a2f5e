/* backends.h - model names to backends. An exact id finds its model; any claude-* or anthropic-*
 * name maps to the default one, so that every Anthropic client works without being told. */
#ifndef PENSIEVE_BACKEND_BACKENDS_H
#define PENSIEVE_BACKEND_BACKENDS_H

#include "backend/backend.h"

struct backends;

struct backends *backends_new(void);
void backends_add(struct backends *backends, struct backend *backend);  /* owned; first: default */
void backends_free(struct backends *backends);
/* ERR_NOT_FOUND "model: NAME" */
struct backend *backends_find(struct backends *backends, struct str name, struct err *err);
/* The i-th card for /v1/models, NULL past the end. */
const struct model_card *backends_card(const struct backends *backends, size_t i);
struct backend *backends_nth(struct backends *backends, size_t i);

#endif
