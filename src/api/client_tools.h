/* client_tools.h - the tools that clients run themselves and name by a type: `bash_20250124`.
 *
 * A client sends the type alone; what the tool is for and what it takes the
 * contract says. */
#ifndef PENSIEVE_API_CLIENT_TOOLS_H
#define PENSIEVE_API_CLIENT_TOOLS_H

#include "base/str.h"

struct client_tool {
    const char *type;
    struct str description;
    struct str schema;          /* of its input, JSON text */
};

/* NULL: there is no such tool. */
const struct client_tool *client_tool_find(const char *type);

#endif
