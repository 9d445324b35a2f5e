/* replays.c - see replays.h. */
#include "backend/replays.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hash.h"

enum { PATH_BYTES_MAX = 4096 };

/* Names a model's file. Fixed: it must find the same one after a restart. */
static uint64_t model_name(const struct model_info *info)
{
    static const struct hash_key key = {0x70656e7369657665, 0x7265706c6179};
    const uint64_t numbers[] = {info->file_bytes, info->parameters, info->vocab_size};
    const struct str texts[] = {info->name, info->architecture, info->types, info->tokenizer,
                                info->bos, info->eos};
    struct buf told = {0};

    buf_append(&told, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        buf_str(&told, texts[i]);
        buf_char(&told, '\0');
    }
    const uint64_t name = hash_bytes(key, told.data, told.n);
    buf_release(&told);
    return name;
}

struct replay_store *replays_open(const char *folder, const struct model_info *info)
{
    const uint64_t model = model_name(info);
    char path[PATH_BYTES_MAX];
    const int n = snprintf(path, sizeof path, "%s/%016llx.replay", folder ? folder : "",
                           (unsigned long long)model);

    return replay_new(&(struct replay_options){
        .path = folder && n > 0 && (size_t)n < sizeof path ? path : NULL, .model = model,
        .vocab_size = info->vocab_size});
}

void replays_status(struct replay_store *store, struct backend_status *status)
{
    if (!store)
        return;
    const struct replay_counts counts = replay_counts(store);
    status->replays.entries = counts.entries;
    status->replays.bytes = counts.bytes;
    status->replays.file_bytes = counts.file_bytes;
    status->replays.found = counts.found;
    status->replays.missed = counts.missed;
}
