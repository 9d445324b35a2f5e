/* generation.h - what happens while an answer is made: the events between a backend and a writer.
 *
 * A generation reports GEN_STARTED once the prompt is checked and measured, any number of block
 * events, then exactly one GEN_DONE or GEN_FAILED (also after a cancel, also without a STARTED). */
#ifndef PENSIEVE_API_GENERATION_H
#define PENSIEVE_API_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

#include "api/request.h"
#include "base/err.h"
#include "base/str.h"

enum stop_reason {
    STOP_END_TURN, STOP_MAX_TOKENS, STOP_STOP_SEQUENCE, STOP_CONTEXT_WINDOW,
    STOP_TOOL_USE, STOP_REASONS
};

struct usage {
    uint32_t input_tokens, cache_read, cache_creation_5m, cache_creation_1h, output_tokens;
    uint32_t thinking_tokens;           /* of the output's */
};

/* Where the prompt's tokens came from: found in memory, found on disk, computed. */
struct reuse {
    bool known;                         /* false: the engine has not begun with it */
    uint32_t memory, disk, computed;
    uint32_t diverged_at;               /* the first token unlike what was cached; or all found */
};

/* How an answer was decoded: steps after the first token, tokens guessed in them, and guessed
 * right. */
struct decoding {
    uint32_t steps, drafted, accepted;
};

enum gen_event_type {
    GEN_STARTED, GEN_BLOCK_START, GEN_DELTA, GEN_BLOCK_STOP, GEN_PASS, GEN_DONE, GEN_FAILED
};

/* What another server of our API said, to be said as it stands (text: the members of a JSON object,
 * at least one, without those that the writer sets: type, index; of a message id, model and role
 * too). */
enum gen_pass {
    PASS_BLOCK,                         /* a block begins; its BLOCK_STOP comes as for others */
    PASS_DELTA,                         /* more of it */
    PASS_ENDING,                        /* message_delta: DONE then adds none */
    PASS_EVENT,                         /* another event, pass_name */
    PASS_MESSAGE,                       /* the whole message: of a request that doesn't stream */
};

struct gen_event {
    enum gen_event_type type;
    uint32_t block_index;               /* BLOCK_START, DELTA, BLOCK_STOP: counts from 0 */
    /* Texts are whole characters, and borrowed during the call. */
    enum block_type block_type;         /* BLOCK_START: TEXT, THINKING or TOOL_USE */
    struct str tool_id, tool_name;      /* BLOCK_START, TOOL_USE */
    struct str text;                    /* DELTA: text, thought, or more of the input's JSON */
    struct str signature;               /* BLOCK_STOP, THINKING */
    enum gen_pass pass;                 /* PASS: what text is */
    struct str pass_name;               /* PASS_EVENT: letters and _ */
    enum stop_reason stop_reason;       /* DONE */
    struct str stop_sequence;           /* DONE, STOP_STOP_SEQUENCE: which one */
    /* STARTED: the prompt's, as far as it is known (a request that waits for long is started before
     * the engine has looked for its beginning: then all is input); DONE: all, and final. */
    struct usage usage;
    struct reuse reuse;                 /* STARTED, DONE */
    /* STARTED, DONE: which of several answers; it outlives the generation. NULL: the backend that
     * was asked. A start that came to nothing may have been another's: DONE has the last word. */
    const char *served_by;
    struct decoding decoding;           /* DONE */
    struct str diverged;                /* DONE: the text around diverged_at, for --trace only */
    struct str prompt;                  /* STARTED: the text the model sees, for --trace only */
    struct err error;                   /* FAILED */
};

#endif
