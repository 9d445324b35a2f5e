/* turns.h - a request as the turns that its model's template can take.
 *
 * Everything stays in the order the client gave. What the template can't take is told in words:
 * system texts as notes in a user's message, tools by the dialect's wording, calls and results as
 * the dialect writes them. A tool that is deferred is shown where a result first refers to it, so
 * that all before that place is the same prefix as without it. */
#ifndef PENSIEVE_CHAT_TURNS_H
#define PENSIEVE_CHAT_TURNS_H

#include "api/request.h"
#include "base/arena.h"
#include "base/buf.h"
#include "chat/dialect.h"
#include "chat/replay.h"
#include "chat/template.h"

enum { TURNS_POINTS_MAX = REQUEST_MARKS_MAX, TURNS_NO_POINT = TURNS_POINTS_MAX };

enum turn_kind { TURN_SYSTEM, TURN_USER, TURN_ASSISTANT, TURN_RESULT };

struct part {
    struct str text;
    const char *before;                 /* stands before it, unless it is the turn's first */
    bool note;                          /* a system text inside another's message */
    unsigned point;                     /* ends with cache_control: its number; or TURNS_NO_POINT */
};

/* One message as the template sees it. */
struct turn {
    enum turn_kind kind;
    struct part *parts;                 /* [parts_n]: its text */
    size_t parts_n;
    const struct message *message;      /* ASSISTANT: what it is made of */
    struct str thoughts;                /* ASSISTANT: n == 0: none */
    bool called;                        /* ASSISTANT: it has calls, */
    const struct content_block *calls;  /* [calls_n]: the template writes them; else in the parts */
    size_t calls_n;
    struct str id, name;                /* RESULT: of the call */
    const struct replay *replay;        /* ASSISTANT: as it was sampled here; NULL: it wasn't */
    size_t replay_number;
};

struct turns {
    struct turn *turns;
    size_t n;
    struct tool *tools;                 /* [tools_n], for the template to show */
    unsigned *tool_points;              /* [tools_n]: as a part's */
    size_t tools_n;
    const struct replay **replays;
    size_t replays_n;
    unsigned points_n;
    uint32_t seconds[TURNS_POINTS_MAX]; /* [number]: what the block asked for */
};

struct turns_needs {
    const struct message_request *request;
    const struct template_traits *traits;
    const struct dialect *dialect;
    struct replay_store *store;         /* NULL: nothing was ever sampled */
};

void turns_collect(struct arena *arena, const struct turns_needs *needs, struct turns *out);

/* A tool as JSON text: its name, description and parameters. */
void turns_put_function(struct buf *out, const struct tool *tool);

/* The id of a call for a template that wants nine letters and digits: the same for the same id. */
struct str turns_short_id(struct arena *arena, struct str id);

#endif
