/* blocks_parts.h - between blocks.c (texts, thoughts, marks) and blocks_*.c (what stands in a
 * call). */
#ifndef PENSIEVE_CHAT_BLOCKS_PARTS_H
#define PENSIEVE_CHAT_BLOCKS_PARTS_H

#include "chat/blocks.h"
#include "chat/dialect_parts.h"

enum blocks_state { STATE_TEXT, STATE_THOUGHT, STATE_HEADER, STATE_CALL };

enum call_step {
    CALL_BEGIN,                 /* behind the opening mark */
    CALL_ITEM,                  /* an object of a list */
    CALL_KEY_OR_END, CALL_KEY_BEGIN, CALL_KEY, CALL_COLON, CALL_VALUE_BEGIN, CALL_VALUE,
    CALL_COMMA_OR_END,          /* all of the object */
    CALL_ITEM_END,
    CALL_NAME, CALL_ID,         /* behind [TOOL_CALLS], and behind [CALL_ID] */
    CALL_INPUT_BEGIN,           /* behind [ARGS], or a header */
    CALL_FUNCTION, CALL_FUNCTION_NAME, CALL_TAG, CALL_PARAMETER,
    CALL_STRING_BEGIN, CALL_STRING, CALL_OTHER,         /* a parameter's value, by its type */
};

enum call_holds { HOLDS_OTHER, HOLDS_NAME, HOLDS_INPUT };

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* ---- blocks.c ---- */

/* More of a block of this type, which is opened if it isn't open. Closes one of another type. */
void blocks_say(struct blocks *blocks, enum block_type type, struct str text);
void blocks_close(struct blocks *blocks, bool broken);
/* The name is known: opens its block. What was kept for the case that it is none is dropped. */
void blocks_tell_call(struct blocks *blocks);

/* ---- blocks_call.c ---- */

/* blocks->call.raw holds what of it is text if it is no call. */
void call_begin(struct blocks *blocks, enum call_step step);
/* One more byte. false: it can't stand here, and was not taken. */
bool call_take(struct blocks *blocks, char c);
void call_release(struct call *call);
/* The call is whole: what follows is text, or the next. Returns true. */
bool call_ends(struct blocks *blocks);
/* The input, seen whole, goes out; or waits for the name. */
bool call_put_input(struct blocks *blocks, struct str input);

/* ---- blocks_xml.c ---- */

bool xml_take(struct blocks *blocks, char c);

#endif
