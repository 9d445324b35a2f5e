/* replay.h - what the model sampled, found again when a client sends the answer back.
 *
 * A client returns text; the same text can be cut into tokens in many ways, and the model rarely
 * sampled the one that a tokenizer takes. And it returns a call as a value, which the model wrote
 * in a syntax and spacing of its own. So the sampled tokens of each answer are kept, under a digest
 * of the answer exactly as the client was sent it and of who may see it. An answer of which one
 * byte differs is not found, and is rendered and tokenised like any other.
 *
 * The digest is 128 bits of keyed SipHash, its key secret: nobody can make two texts of one digest.
 * Bounded in entries and bytes, the least recently used go first; any thread may call. With a path
 * the store is also a file (replay_log.h), which outlives the process. */
#ifndef PENSIEVE_CHAT_REPLAY_H
#define PENSIEVE_CHAT_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/request.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

enum {
    REPLAY_PARTS_MAX = 8,               /* an answer that was continued more often is not kept */
    REPLAY_LEAD_BYTES_MAX = 1024,
    REPLAY_TOKENS_MAX = 1 << 20,        /* of one answer */
    REPLAY_ENTRIES_MAX = 1 << 16,
    REPLAY_BYTES_MAX = 32 << 20,        /* of all in memory */
};

/* A run of an answer's bytes, and the tokens that wrote them, control tokens and the marks of
 * thoughts and calls included; ids_n == 0: never sampled (the client began the answer, or a stop
 * sequence cut a token in two), to be tokenised. The bytes are those of the blocks' texts as they
 * were sent, one behind the other: a thought's, a text's, a call's input. */
struct replay_part {
    size_t bytes;
    const int32_t *ids;
    size_t ids_n;
};

/* How templates begin an answer that is to come, and one that is told again, can differ by more
 * than nothing: Qwen3 opens with an empty thought, and leaves it out later. The tokens before the
 * answer are the same again if the telling's `drop` gives way to the `add` that was there. */
struct replay_lead {
    struct str drop, add;
};

struct replay {
    struct replay_lead lead;
    struct replay_part parts[REPLAY_PARTS_MAX];
    size_t parts_n;
};

struct replay_key {
    uint64_t a, b;
};

struct replay_store;

struct replay_options {
    const char *path;                   /* of the file; NULL: in memory only */
    uint64_t model;                     /* a file of another model is begun anew */
    uint32_t vocab_size;                /* a file's tokens must be below it */
};

/* A file that can't be used (another server has it, the disk says no) is not an error: the log says
 * so, and the store is in memory only. NULL: no memory. */
struct replay_store *replay_new(const struct replay_options *options);
void replay_free(struct replay_store *store);           /* NULL is allowed; writes what is left */

/* Of an answer's blocks, as they were sent: text blocks beside each other count as one, a thought
 * counts with its signature, a call with its id, its name and the value of its input, however that
 * is spelled. space: only the same one finds it. */
struct replay_key replay_key_of(const struct replay_store *store, uint64_t space,
                                const struct content_block *blocks, size_t blocks_n);
/* A copy in the arena, or NULL. */
const struct replay *replay_find(struct replay_store *store, struct arena *arena,
                                 struct replay_key key);
/* Copies; takes the place of what was there. What is over a limit is not kept. */
void replay_put(struct replay_store *store, struct replay_key key, const struct replay *replay);

/* A key for something else than digests, as secret and as lasting as theirs. */
struct hash_key replay_secret(const struct replay_store *store, uint64_t purpose);

struct replay_counts {
    uint64_t entries, bytes, found, missed, file_bytes;
};
struct replay_counts replay_counts(struct replay_store *store);

/* With its texts and tokens in this arena. */
struct replay replay_copy(struct arena *arena, const struct replay *replay);

/* How many of the tokens lie wholly within the first `bytes` of what they wrote together. ends[i]:
 * the bytes written when token i was, or REPLAY_WITHIN if it ended inside a character. */
#define REPLAY_WITHIN UINT32_MAX
size_t replay_whole(const uint32_t *ends, size_t n, size_t bytes);

#endif
