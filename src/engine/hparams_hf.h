/* hparams_hf.h - a folder's config.json as hparams. */
#ifndef PENSIEVE_ENGINE_HPARAMS_HF_H
#define PENSIEVE_ENGINE_HPARAMS_HF_H

#include "engine/config_json.h"
#include "engine/hparams.h"

/* Arrays lie in the arena. ERR_FORMAT names the field. hparams.vocab is the embedding's rows. */
bool hparams_read_hf(struct hparams *hparams, const struct config *config, struct arena *arena,
                     struct err *err);

#endif
