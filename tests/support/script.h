/* script.h - what a played model says: turns in a JSON file, each with the requests that it is for.
 *
 *     [{"results": 0, "text": "<tool_call>{...}</tool_call>"},
 *      {"says": "weather", "times": 0, "text": "It is fine."},
 *      {"error": "overloaded", "message": "busy", "retry_after": 1}]
 *
 * A request gets the first turn whose conditions it meets and that is not used up.
 *   conditions: agent, format, tools (true, false): it has the sub-agent's header, a format, tools;
 *               results: so many tool results in its messages; says: what its last message holds
 *   times:      how often it may be given; 0: without end; left out: once
 *   text:       as the model writes it: <think>...</think>, <tool_call>{...}</tool_call>
 *   cut:        true: the tokens ran out at its end
 *   error, message: instead of an answer, or after the text if there is one
 *   retry_after: seconds; delay_ms: before the first event */
#ifndef PENSIEVE_TESTS_SUPPORT_SCRIPT_H
#define PENSIEVE_TESTS_SUPPORT_SCRIPT_H

#include "api/request.h"

enum asked { ASKED_EITHER, ASKED_NO, ASKED_YES };

struct turn {
    enum asked agent, format, tools;
    int64_t results;                    /* -1: any number */
    struct str says;                    /* n == 0: anything */
    uint64_t times;                     /* UINT64_MAX: without end */
    struct str text;
    bool cut;
    struct err error;                   /* code ERR_NONE: none */
    uint32_t retry_after_s, delay_ms;
};

struct script {
    struct turn *turns;
    size_t n;
};

/* ERR_USAGE: which turn has what that can't be understood. */
bool script_read(struct arena *arena, struct str json, struct script *out, struct err *err);
/* The turn for a request, used up by one; NULL: there is none. */
struct turn *script_turn(struct script *script, const struct message_request *request);

#endif
