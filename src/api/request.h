/* request.h - the body of POST /v1/messages and /v1/messages/count_tokens, decoded and checked.
 *
 * request_decode knows every field of the contract. What this server can't do is noted in
 * `refused`, a 400 that names the field: others may be able to. What has no effect is accepted.
 * Everything points into the exchange's arena or the body, both of which outlive the request.
 * Validation wording follows the contract: `path: text`, one violated rule per response, the first
 * found. */
#ifndef PENSIEVE_API_REQUEST_H
#define PENSIEVE_API_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    REQUEST_MESSAGES_MAX = 100000,
    REQUEST_STOP_SEQUENCES_MAX = 64,
    REQUEST_STOP_SEQUENCE_BYTES_MAX = 4096,
    REQUEST_MODEL_CHARS_MAX = 256,
    REQUEST_MAX_TOKENS_MAX = INT32_MAX,
    REQUEST_BLOCKS_MAX = 100000,        /* in one message, or one result of a tool */
    REQUEST_TOOLS_MAX = 10000,
    REQUEST_USER_ID_CHARS_MAX = 256,
    REQUEST_MARKS_MAX = 4,              /* blocks with cache_control */
    REQUEST_SECONDS_5M = 300,
    REQUEST_SECONDS_1H = 3600,
};

enum api_version { API_V23, API_V26 };          /* 2023-06-01, 2026-10-21 */

/* Who asks, as the server knows it from key and headers. All zero: nobody in particular. */
struct request_caller {
    uint64_t owner;             /* of the key; 0: there are no keys to tell callers apart by */
    uint64_t space;             /* what was computed for one space is found by the same one only */
    struct str session, agent;  /* Claude Code's; n == 0: none */
};

/* What the headers say about how to read the body. */
struct request_options {
    enum api_version version;
    struct request_caller caller;
    const struct str *betas;    /* anthropic-beta, one value each */
    size_t betas_n;
    bool strict;                /* the hosted rules: unknown fields are errors */
    bool count_tokens;          /* max_tokens is not required, nothing is generated */
    /* In lax mode, called once for each unknown top-level key; may be NULL. */
    void (*on_unknown)(void *context, struct str key);
    void *context;
};

enum role { ROLE_USER, ROLE_ASSISTANT, ROLE_SYSTEM };

enum block_type {
    BLOCK_TEXT,
    BLOCK_THINKING,
    BLOCK_REDACTED_THINKING,
    BLOCK_TOOL_USE,
    BLOCK_TOOL_RESULT,
    BLOCK_TOOL_REFERENCE,       /* inside a result: a deferred tool that is to be shown now */
    BLOCK_IMAGE,                /* there is one only where the request is `refused` */
};

/* messages[message].content[block] of the body: what came of it may stand elsewhere. */
struct block_place {
    uint32_t message, block;
};

struct content_block {
    enum block_type type;
    struct block_place place;   /* of a message's blocks, for errors */
    struct str text;            /* TEXT, THINKING; TOOL_USE: the input, JSON text of an object;
                                 * REDACTED_THINKING: its data; IMAGE: base64, or its address */
    struct str id;              /* TOOL_USE, TOOL_RESULT: of the call */
    struct str name;            /* TOOL_USE, TOOL_REFERENCE: of the tool; IMAGE: its media type,
                                 * n == 0: the text is its address */
    struct str signature;       /* THINKING */
    struct content_block *content;      /* TOOL_RESULT: texts, references, images */
    size_t content_n;
    bool is_error;              /* TOOL_RESULT */
    uint32_t cache_seconds;     /* the prompt up to its end is to be kept; 0: nothing is said */
};

struct message {
    enum role role;
    struct content_block *blocks;
    size_t blocks_n;
};

/* output_config.format: the answer is one JSON value that a schema describes. */
struct answer_format {
    struct str schema;                          /* JSON text; n == 0: the answer is free */
    const char *path;                           /* of the schema in the body */
    bool strict;                                /* refuse what of it can't be enforced */
};

/* A tool that the client runs. */
struct tool {
    struct str name;
    struct str description;     /* n == 0: none */
    struct str schema;          /* of its input, JSON text */
    const char *path;           /* of the schema in the body, for errors */
    bool strict;                /* refuse what of the schema can't be enforced */
    bool deferred;              /* not shown to the model until a BLOCK_TOOL_REFERENCE names it */
    uint32_t cache_seconds;
};

enum choice_kind { CHOICE_AUTO, CHOICE_ANY, CHOICE_TOOL, CHOICE_NONE };

struct tool_choice {
    enum choice_kind kind;      /* without tools: NONE */
    size_t tool;                /* CHOICE_TOOL: its place in tools */
    bool one;                   /* at most one call an answer */
};

enum thinking_kind { THINKING_OFF, THINKING_ADAPTIVE, THINKING_ENABLED };

struct thinking {
    enum thinking_kind kind;
    uint32_t budget;            /* ENABLED: tokens */
    bool omitted;               /* display: the client wants the signature, not the text */
};

/* output_config.effort: how much is to be thought and said. */
enum effort {
    EFFORT_UNSAID, EFFORT_LOW, EFFORT_MEDIUM, EFFORT_HIGH, EFFORT_XHIGH, EFFORT_MAX, EFFORTS
};

struct message_request {
    struct str body;                            /* as it came, for who passes it on */
    const struct err *refused;                  /* what who doesn't has to answer: the body holds
                                                 * more than what follows here; NULL: it doesn't */
    bool only_images;                           /* ... but for images, it doesn't */
    struct str model;                           /* as the client wrote it */
    struct content_block *system;               /* without Claude Code's billing line */
    size_t system_n;
    struct message *messages;                   /* same-role neighbours merged, order kept */
    size_t messages_n;
    bool prefill;                               /* the last message is the assistant's */
    uint32_t max_tokens;
    bool stream;
    struct str *stop_sequences;
    size_t stop_sequences_n;
    bool has_temperature, has_top_p, has_top_k;
    double temperature, top_p;
    int64_t top_k;
    struct answer_format format;
    struct tool *tools;
    size_t tools_n;
    struct tool_choice tool_choice;
    struct thinking thinking;
    enum effort effort;
    struct str user_id;                         /* metadata, n == 0: none */
    struct request_caller caller;
    enum api_version version;                   /* and the head's anthropic-beta: for who passes */
    const struct str *betas;                    /* the request on */
    size_t betas_n;
    bool has_tools;                             /* a side request of Claude Code has none */
    bool diagnostics;                           /* asked why the cache missed */
    bool context_management;                    /* asked for: answer that no edit was applied */
};

/* Whether a value of anthropic-beta begins with this: they end in a date. */
bool request_beta(const struct request_options *options, const char *beginning);

const struct message_request *request_decode(struct arena *arena, struct str body,
                                             const struct request_options *options,
                                             struct err *err);

#endif
