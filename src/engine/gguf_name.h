/* gguf_name.h - what the name of a GGUF file says: which part of a set it is, or that it is no model. */
#ifndef PENSIEVE_ENGINE_GGUF_NAME_H
#define PENSIEVE_ENGINE_GGUF_NAME_H

#include <stdbool.h>

#include "base/str.h"

/* Takes ".gguf" and a split file's numbers off; part (1 is the first) and of are 0 where it isn't
 * split. false: the name is not a GGUF file's. */
bool gguf_name_stem(struct str *path, unsigned *part, unsigned *of);

/* A picture encoder beside a model, no model by itself. name: without its folder. */
bool gguf_name_is_encoder(struct str name);

#endif
