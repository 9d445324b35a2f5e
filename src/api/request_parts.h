/* request_parts.h - the body as the client wrote it, between its shape and its meaning.
 *
 * request_fields.c takes the top level, request_content.c messages and blocks, request_tools.c
 * tools; request_rules.c and request_pairs.c then check what no single value shows, and request.c
 * and request_blocks.c make the struct message_request of it. */
#ifndef PENSIEVE_API_REQUEST_PARTS_H
#define PENSIEVE_API_REQUEST_PARTS_H

#include "api/decode.h"

/* What a kind of content block may do here: who may send it, and what becomes of it. */
enum block_facts {
    BY_USER = 1 << ROLE_USER,
    BY_ASSISTANT = 1 << ROLE_ASSISTANT,
    BY_SYSTEM = 1 << ROLE_SYSTEM,
    BY_ALL = BY_USER | BY_ASSISTANT | BY_SYSTEM,
    DROPPED = 8,                /* accepted in history, not shown to the model */
    HOSTED = 16,                /* dropped; refused if strict: another server's doing */
    REFUSED = 32,               /* known, but not supported by this server yet; an empty text,
                                 * if it is no image */
    CACHEABLE = 64,
    USER_UNDER_V26 = 128,       /* V26 takes the assistant's right away */
    /* What it is to the model: */
    TEXT = 256,
    THOUGHT = 512,
    CALL = 1024,
    RESULT = 2048,              /* of a call */
    SOURCE = 4096,              /* a document or search result: text with a head */
    REFERENCE = 8192,           /* to a deferred tool */
    IMAGE = 16384,
};

struct raw_mark {
    bool given;
    int ttl;                    /* 0: 5m, 1: 1h */
};

/* What may be a string or a list of blocks. */
struct raw_content {
    struct str text;            /* n == 0: empty, or a list */
    struct list blocks;         /* of struct raw_block */
};

struct raw_source {
    const struct variant *kind; /* of a document's or an image's; NULL: neither */
    struct raw_content content; /* its text, data or address */
    struct str media;           /* type; an image's, if it is there as data */
};

struct raw_block {
    const struct variant *kind; /* NULL where only text may stand */
    struct str text;            /* TEXT, THOUGHT; CALL: the input, JSON text */
    struct str id;              /* CALL; RESULT: of its call */
    struct str name;            /* CALL, REFERENCE: of the tool; SOURCE: its title */
    struct str note;            /* THOUGHT: the signature; SOURCE: what a document's context says,
                                 * where a search result is from */
    struct raw_source source;   /* RESULT, SOURCE: what is in it */
    struct raw_mark mark;
    bool cited;                 /* holds citations */
    bool is_error;              /* RESULT */
};

struct raw_message {
    int role;                   /* enum role */
    struct list content;        /* of struct raw_block; a string is one text block, "" is none */
    bool clear_at, output_config;
};

enum tool_facts {
    TYPED = 1,                  /* client_tools.h has its description and schema */
    SEES = 2,                   /* its results are images */
    SEARCHES = 4,               /* among deferred tools: here none is, when one of these is there */
};

struct raw_tool {
    const struct variant *kind; /* NULL: custom, without `type` */
    struct str name;            /* n == 0: a toolset has none */
    struct str description;
    struct str schema;          /* JSON text; n == 0: a typed tool brings its own */
    struct raw_mark mark;
    bool strict, deferred;
};

static inline bool raw_tool_is(const struct raw_tool *tool, enum tool_facts fact)
{
    return tool->kind && tool->kind->facts & fact;
}

struct raw_choice {
    const struct variant *kind; /* NULL: not given; facts: enum choice_kind */
    struct str name;
    bool one;                   /* disable_parallel_tool_use */
};

enum thinking_display { SUMMARIZED, OMITTED, UPDATES };

struct raw_thinking {
    const struct variant *kind; /* NULL: not given; facts: enum thinking_kind */
    int64_t budget;
    int display;                /* enum thinking_display */
};

struct raw_metadata {
    struct str user_id;
};

struct raw_format {
    struct str schema;          /* JSON text; n == 0: not given */
};

struct raw_output {
    struct raw_format format;
    int effort;                 /* enum effort */
};

/* Sampling fields start at their defaults; NAN and -1 stand for "not given". */
struct raw_request {
    struct str model;
    int64_t max_tokens;
    struct list tools;          /* struct raw_tool */
    struct raw_choice tool_choice;
    struct list system;         /* struct raw_block */
    struct list messages;       /* struct raw_message */
    struct raw_mark mark;       /* the automatic breakpoint */
    bool stream;
    struct list stop_sequences; /* struct str */
    double temperature, top_p;
    int64_t top_k;
    struct raw_thinking thinking;
    struct raw_output output_config;
    struct raw_format output_format;            /* the older place of output_config.format */
    struct raw_metadata metadata;
    bool diagnostics, context_management;
    bool container, mcp_servers, fallbacks, fallback_credit_token, billing_policy, compaction,
        thread;
};

extern const struct shape request_shape;

take_fn take_cache_control;     /* -> struct raw_mark, and one more of the decoder's marks */
take_fn take_system;            /* -> struct list of struct raw_block, from a string or a list */
take_fn take_message;           /* -> struct raw_message */
take_fn take_tool;              /* -> struct raw_tool */
take_fn take_tool_choice;       /* -> struct raw_choice */

/* The rules that no single value shows. */
bool request_check_messages(struct decoder *decoder, const struct raw_request *raw);
/* Each call of a tool has its result in the next turn, and each result its call before it. */
bool request_check_pairs(struct decoder *decoder, const struct raw_request *raw);
/* Whether the conversation ends in results: the model goes on with what it called tools for. */
bool request_has_results(const struct raw_request *raw);
bool request_check_cache(struct decoder *decoder, const struct raw_request *raw);
/* Where the automatic breakpoint goes: the last block that can carry one. NULL: nowhere. */
struct raw_block *request_last_cacheable(const struct raw_request *raw);
bool request_check_options(struct decoder *decoder, const struct raw_request *raw);
/* What is legal, but not offered by this server yet: the first of it is the decoder's `refused`. */
void request_refuse(struct decoder *decoder, const struct raw_request *raw);

/* The blocks of a `system` list, and the messages: merged, and without what is dropped. */
void request_build_system(struct arena *arena, const struct raw_request *raw,
                          struct message_request *request);
void request_build_messages(struct arena *arena, const struct raw_request *raw,
                            struct message_request *request);
uint32_t request_mark_seconds(struct raw_mark mark);
void request_keep_seconds(uint32_t *kept, uint32_t seconds);    /* the longer of the two */

#endif
