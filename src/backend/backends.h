/* backends.h - model names to backends. In this order:
 *
 *   1. an exact id
 *   2. an id or alias behind "claude-local-": pickers that keep only Anthropic's names see it so
 *   3. an alias; * stands for any run of characters; of several that fit, the first one
 *   4. any claude-* or anthropic-* name: the default model, so that every Anthropic client works
 *      without being told */
#ifndef PENSIEVE_BACKEND_BACKENDS_H
#define PENSIEVE_BACKEND_BACKENDS_H

#include "backend/backend.h"

struct backends;

#define PICKER_PREFIX "claude-local-"

struct backends *backends_new(void);
void backends_add(struct backends *backends, struct backend *backend);  /* owned; first: default */
/* A model that can't be had: whoever asks for it is told why. It is not listed. */
void backends_add_broken(struct backends *backends, struct str id, const char *why);
/* Another name, or a pattern of names, for a model that was added. false: there is no such id. */
bool backends_alias(struct backends *backends, struct str pattern, struct str id);
void backends_free(struct backends *backends);
/* ERR_NOT_FOUND "model: NAME" */
struct backend *backends_find(struct backends *backends, struct str name, struct err *err);
/* The i-th card for /v1/models, as it is now: all models, then aliases that are names. false: past the
 * end. */
bool backends_card(const struct backends *backends, size_t i, struct model_card *out);
struct backend *backends_nth(struct backends *backends, size_t i);

/* Whether a pattern with * covers the whole name, capital letters like small ones. */
bool alias_matches(struct str pattern, struct str name);
/* Whether Claude Code's model picker keeps this id. */
bool picker_keeps(struct str id);

#endif
