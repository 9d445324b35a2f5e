/* cases.c - the wrappers: where in a minimal request a case's JSON stands. */
#include "cases.h"

#include "requests.h"

static const struct {
    const char *name, *before, *after;
} wrappers[] = {
    {"body", "", ""},
    {"messages", "{" MODEL ",\"messages\":", "}"},
    {"user", "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":", "}]}"},
    {"assistant",
     "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
     "{\"role\":\"assistant\",\"content\":",
     "},{\"role\":\"user\",\"content\":\"more\"}]}"},
    {"call",
     "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
     "{\"role\":\"assistant\",\"content\":",
     "},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\"}]}]}"},
    {"result",
     "{" MODEL ",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
     "\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}]},"
     "{\"role\":\"user\",\"content\":",
     "}]}"},
    {"tools", "{" MODEL "," HI ",\"tools\":", "}"},
    {"system", "{" MODEL "," HI ",\"system\":", "}"},
};

int cases_wrapper(const char *name)
{
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (strcmp(name, wrappers[i].name) == 0)
            return (int)i;
    return CASES_NO_WRAPPER;
}

void cases_body(struct buf *body, int wrapper, struct str json)
{
    buf_reset(body);
    buf_cstr(body, wrappers[wrapper].before);
    for (size_t i = 0; i < json.n; i++) {
        const char next = i + 1 < json.n ? json.s[i + 1] : '\0';
        const char *part = next == 'R' ? MODEL "," HI : next == 'B' ? MODEL : HI;
        if (json.s[i] == '$' && (next == 'R' || next == 'B' || next == 'H')) {
            buf_cstr(body, part);
            i++;
        } else {
            buf_char(body, json.s[i]);
        }
    }
    buf_cstr(body, wrappers[wrapper].after);
}
