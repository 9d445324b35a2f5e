/* dialect_parts.h - what a dialect is made of: for dialect*.c and blocks*.c alone. */
#ifndef PENSIEVE_CHAT_DIALECT_PARTS_H
#define PENSIEVE_CHAT_DIALECT_PARTS_H

#include "chat/dialect.h"

/* What stands behind a call's opening mark. A reader takes OBJECT and LIST for each other. */
enum dialect_syntax {
    SYNTAX_OBJECT,              /* {"name": NAME, KEY: INPUT} */
    SYNTAX_LIST,                /* [{"name": NAME, KEY: INPUT}, ...] */
    SYNTAX_BARE,                /* as OBJECT, but nothing opens it: it is how the answer begins */
    SYNTAX_NAMED,               /* NAME, the mark `input`, INPUT */
    SYNTAX_XML,                 /* <function=NAME><parameter=KEY>value</parameter>...</function> */
    SYNTAX_HARMONY,             /* a message's header names it, its body is INPUT */
};

enum { DIALECT_MARKS_MAX = 4 };

/* Lists end with NULL; of several marks for one thing the first is what is written. */
struct dialect {
    const char *name;
    const char *found_by[DIALECT_MARKS_MAX];    /* all of these stand in the template */
    enum dialect_syntax syntax;
    bool single;                                /* one call an answer, and then it ends */
    const char *think_open, *think_close;
    const char *before;                         /* written before the first call's mark */
    const char *open[DIALECT_MARKS_MAX];
    const char *space;                          /* between the marks and what they enclose */
    const char *id;                             /* an id of 9 letters may come behind it. NAMED:
                                                 * the mark before input's; else a key behind input,
                                                 * or NULL */
    const char *input;                          /* NAMED: the mark; else the input's key */
    const char *close[DIALECT_MARKS_MAX];       /* the first belongs to the call */
    const char *after;                          /* written behind the last call */
    const char *between;                        /* written between calls */
    const char *answer[DIALECT_MARKS_MAX];      /* written before an answer that is text */
};

/* With a message's header as it is in harmony. */
#define HARMONY_CHANNEL "<|channel|>"
#define HARMONY_START "<|start|>"
#define HARMONY_MESSAGE "<|message|>"
#define HARMONY_CONSTRAIN "<|constrain|>"
#define HARMONY_END "<|end|>"
#define HARMONY_CALL "<|call|>"
#define HARMONY_RETURN "<|return|>"
#define HARMONY_TO " to=functions."

#endif
