/* blocks.h - cuts an answer, while it is sampled, into thoughts, texts and calls of tools.
 *
 * Fed with characters in pieces of any size; what comes out does not depend on where they were cut.
 * Only what may yet become a mark, or white space that one would swallow, is held back. White space
 * between marks is no block.
 *
 * A call is told as soon as its name is known and its input has begun; then the input's JSON text
 * goes out as it was sampled. What begins like a call but is none before that point comes as text.
 * Once a call was told there is no way back: if its input then turns out to be no JSON object, its
 * block is closed with `broken`, and what follows is text. Under a call's grammar (dialect_grammar)
 * that happens only at the answer's end. */
#ifndef PENSIEVE_CHAT_BLOCKS_H
#define PENSIEVE_CHAT_BLOCKS_H

#include "api/request.h"
#include "base/buf.h"
#include "base/json_follow.h"
#include "base/str.h"
#include "chat/dialect.h"

enum {
    BLOCKS_HELD_MAX = 1 << 20,          /* bytes of a call without its name: more, and it is text */
    BLOCKS_NAME_MAX = 256,              /* bytes of a tool's name */
};

struct blocks_options {
    const struct dialect *dialect;
    const struct message_request *request;      /* its tools' schemas say how a dialect that isn't
                                                 * JSON is to be read; NULL: all is guessed */
    bool in_thought;                    /* the prompt ended inside a thought */
    bool tools;                         /* calls are looked for */
};

enum blocks_kind { BLOCKS_OPEN, BLOCKS_DELTA, BLOCKS_CLOSE };

struct blocks_event {
    enum blocks_kind kind;
    enum block_type type;               /* TEXT, THINKING or TOOL_USE; of all three kinds */
    struct str name;                    /* OPEN, TOOL_USE: the tool's; borrowed during the call */
    struct str text;                    /* DELTA: whole characters; borrowed during the call */
    bool broken;                        /* CLOSE, TOOL_USE: its input is no whole JSON object */
};

typedef void blocks_fn(void *context, const struct blocks_event *event);

enum blocks_place {
    BLOCKS_IN_TEXT,
    BLOCKS_IN_THOUGHT,
    BLOCKS_IN_CALL,                     /* from a call's opening mark on, up to the call's end */
};

struct blocks {
    struct blocks_options options;
    blocks_fn *fn;                      /* during a feed */
    void *context;
    uint8_t state;                      /* enum in blocks_parts.h */
    bool after_mark;                    /* white space is nothing until something is said */
    bool said;                          /* the answer has begun, with a text or a thought */
    bool plain;                         /* no mark was taken yet */
    bool thought_ends;                  /* harmony: some of the marks that close it are to come */
    bool open;                          /* a block is, */
    enum block_type type;               /* of this type */
    struct buf out;                     /* of the open block, not handed out yet */
    struct buf held;                    /* may become a mark; white space before it, */
    size_t space;                       /* so much */
    struct call {                       /* what is read as one */
        struct buf raw;                 /* as it was sampled, up to the feed that tells it */
        size_t begun;                   /* where in raw it begins, behind its mark */
        bool bare, sure;                /* opened by no mark; and yet it can only be a call */
        bool list, told, named, done;   /* done: its input was whole */
        bool fresh;                     /* it wasn't told before this feed */
        uint8_t step, holds;            /* enums in blocks_parts.h */
        struct json_follow follow;
        struct buf name, key, value;    /* value: what has to be seen whole, */
        struct buf input;               /* and an input that came before its name */
        struct yyjson_doc *schema;      /* of its tool, for a dialect that isn't JSON */
        size_t parameters;
    } call;
};

void blocks_init(struct blocks *blocks, const struct blocks_options *options);
void blocks_release(struct blocks *blocks);
/* control: the characters are the spelling of one control token, which is never shown. */
void blocks_feed(struct blocks *blocks, struct str characters, bool control, blocks_fn *fn,
                 void *context);
/* The answer is over: what was held back is text, and a call that is not whole is broken. */
void blocks_end(struct blocks *blocks, blocks_fn *fn, void *context);
enum blocks_place blocks_place(const struct blocks *blocks);
/* All that was fed is one text, byte for byte. */
bool blocks_plain(const struct blocks *blocks);
/* After the feed in which a call has opened, what of it stands behind its opening mark already: the
 * rest of a token; the call's form, where only that tells it from text (Llama's {"name": ...,
 * "parameters":). Feed dialect_grammar(DIALECT_OPENED)'s constraint with it first. Valid until the
 * next feed. */
struct str blocks_begun(const struct blocks *blocks);

#endif
