/* thoughts.c - see thoughts.h. */
#include "backend/thoughts.h"

enum fate { STAYS, STAYS_UNTOLD, GOES, REFUSED };

static enum fate fate_of(const struct signer *signer, const struct content_block *block)
{
    if (block->type == BLOCK_REDACTED_THINKING)
        return GOES;
    if (block->type != BLOCK_THINKING)
        return STAYS;
    switch (sign_check(signer, block->text, block->signature)) {
    case SIGNATURE_OURS: return STAYS;
    case SIGNATURE_UNTOLD: return block->text.n ? STAYS_UNTOLD : STAYS;
    case SIGNATURE_FOREIGN: return GOES;
    case SIGNATURE_BROKEN: break;
    }
    return REFUSED;
}

/* *changes: something of it does not stay as it is. */
static bool message_check(const struct signer *signer, const struct message *message, bool *changes,
                          struct err *err)
{
    *changes = false;
    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        const enum fate fate = fate_of(signer, block);
        if (fate == REFUSED)
            return err_set(err, ERR_INVALID, "messages.%u.content.%u: Invalid `signature` in "
                           "`thinking` block", block->place.message, block->place.block);
        *changes |= fate != STAYS;
    }
    return true;
}

static struct message message_sift(struct arena *arena, const struct signer *signer,
                                   const struct message *message)
{
    struct message copy = {.role = message->role};

    copy.blocks = arena_array(arena, message->blocks_n, sizeof *copy.blocks);
    for (size_t i = 0; i < message->blocks_n; i++) {
        const enum fate fate = fate_of(signer, &message->blocks[i]);
        if (fate == GOES)
            continue;
        copy.blocks[copy.blocks_n] = message->blocks[i];
        if (fate == STAYS_UNTOLD)
            copy.blocks[copy.blocks_n].text = STR("");
        copy.blocks_n++;
    }
    return copy;
}

const struct message_request *thoughts_sift(struct arena *arena, const struct signer *signer,
                                            const struct message_request *request, struct err *err)
{
    struct message_request *copy = NULL;
    bool changes;

    for (size_t i = 0; i < request->messages_n; i++) {
        const struct message *message = &request->messages[i];
        if (!message_check(signer, message, &changes, err))
            return NULL;
        if (!changes)
            continue;
        if (!copy) {
            copy = arena_alloc(arena, sizeof *copy);
            *copy = *request;
            copy->messages = arena_array(arena, request->messages_n, sizeof *copy->messages);
            memcpy(copy->messages, request->messages,
                   request->messages_n * sizeof *copy->messages);
        }
        copy->messages[i] = message_sift(arena, signer, message);
    }
    return copy ? copy : request;
}
