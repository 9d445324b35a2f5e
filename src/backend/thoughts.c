/* thoughts.c - see thoughts.h. */
#include "backend/thoughts.h"

/* *gone: how many of the blocks go. */
static bool message_check(const struct signer *signer, const struct message *message, size_t number,
                          size_t *gone, struct err *err)
{
    *gone = 0;
    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        *gone += block->type == BLOCK_REDACTED_THINKING;
        if (block->type != BLOCK_THINKING)
            continue;
        switch (sign_check(signer, block->text, block->signature)) {
        case SIGNATURE_BROKEN:
            return err_set(err, ERR_INVALID, "messages.%zu.content.%zu: Invalid `signature` in "
                           "`thinking` block", number, i);
        case SIGNATURE_FOREIGN:
            ++*gone;
            break;
        case SIGNATURE_OURS:
            break;
        }
    }
    return true;
}

static struct message without(struct arena *arena, const struct signer *signer,
                              const struct message *message, size_t left)
{
    struct message copy = {.role = message->role};

    copy.blocks = arena_array(arena, left, sizeof *copy.blocks);
    for (size_t i = 0; i < message->blocks_n; i++) {
        const struct content_block *block = &message->blocks[i];
        if (block->type == BLOCK_REDACTED_THINKING ||
            (block->type == BLOCK_THINKING &&
             sign_check(signer, block->text, block->signature) != SIGNATURE_OURS))
            continue;
        copy.blocks[copy.blocks_n++] = *block;
    }
    return copy;
}

const struct message_request *thoughts_sift(struct arena *arena, const struct signer *signer,
                                            const struct message_request *request, struct err *err)
{
    struct message_request *copy = NULL;
    size_t gone;

    for (size_t i = 0; i < request->messages_n; i++) {
        const struct message *message = &request->messages[i];
        if (!message_check(signer, message, i, &gone, err))
            return NULL;
        if (gone == 0)
            continue;
        if (!copy) {
            copy = arena_alloc(arena, sizeof *copy);
            *copy = *request;
            copy->messages = arena_array(arena, request->messages_n, sizeof *copy->messages);
            memcpy(copy->messages, request->messages,
                   request->messages_n * sizeof *copy->messages);
        }
        copy->messages[i] = without(arena, signer, message, message->blocks_n - gone);
    }
    return copy ? copy : request;
}
