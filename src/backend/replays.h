/* replays.h - a model's store of what it sampled (chat/replay.h): its file's name, its numbers. */
#ifndef PENSIEVE_BACKEND_REPLAYS_H
#define PENSIEVE_BACKEND_REPLAYS_H

#include "backend/backend.h"
#include "chat/replay.h"
#include "pensieve/engine.h"

/* folder NULL: in memory only. In it each model has a file of its own, named by a hash of what the model is.
 * NULL: no memory; then nothing is found. */
struct replay_store *replays_open(const char *folder, const struct model_info *info);
void replays_status(struct replay_store *store, struct backend_status *status);  /* NULL: none */

#endif
