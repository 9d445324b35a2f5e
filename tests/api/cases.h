/* cases.h - what the case files of this folder share: how a line of JSON becomes a whole body. */
#ifndef PENSIEVE_TESTS_API_CASES_H
#define PENSIEVE_TESTS_API_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

enum { CASES_NO_WRAPPER = -1 };

/* The wrapper of that name: body, messages, user, assistant, tools, system. */
int cases_wrapper(const char *name);
/* Puts json into the wrapper; $R, $B and $H stand for parts of a minimal request. */
void cases_body(struct buf *body, int wrapper, struct str json);

#endif
