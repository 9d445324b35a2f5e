/* client_tools.c - see client_tools.h. */
#include "api/client_tools.h"

#include <stddef.h>

#define OBJECT(properties, required)                                                             \
    "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required "],"          \
    "\"additionalProperties\":false}"
#define PROPERTY(name, type, description)                                                        \
    "\"" name "\":{\"type\":\"" type "\",\"description\":\"" description "\"}"
#define COMMANDS(names) "\"command\":{\"type\":\"string\",\"enum\":[" names "]}"

#define VIEW_RANGE                                                                               \
    "\"view_range\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"        \
    "\"maxItems\":2,\"description\":\"For view: the first and the last line to show, counted "   \
    "from 1; -1 as the last means to the end.\"}"

#define BASH_TEXT                                                                                \
    "Runs a command in a bash shell and returns what it printed. The shell stays open between "  \
    "calls: its directory, variables and functions are kept. Set restart to true to begin with " \
    "a new one."
#define BASH_SCHEMA                                                                              \
    OBJECT(PROPERTY("command", "string", "The command to run. Not needed with restart.") ","     \
           PROPERTY("restart", "boolean", "Start the shell anew."), "")

#define EDITOR_TEXT                                                                              \
    "Views, creates and edits text files. view shows a file with line numbers, or what is in a " \
    "directory; create writes a whole file; str_replace replaces old_str, which must occur "     \
    "exactly once in the file, by new_str; insert puts new_str behind the line insert_line."
#define EDITOR_PROPERTIES                                                                        \
    PROPERTY("path", "string", "Absolute path of the file or directory.") ","                    \
    PROPERTY("file_text", "string", "For create: what the file holds.") ","                      \
    PROPERTY("old_str", "string", "For str_replace: the text to replace, exactly as it is.") "," \
    PROPERTY("new_str", "string", "For str_replace and insert: the new text.") ","               \
    PROPERTY("insert_line", "integer", "For insert: the line to insert behind; 0: the start.")   \
    "," VIEW_RANGE
#define EDITOR_SCHEMA                                                                            \
    OBJECT(COMMANDS("\"view\",\"create\",\"str_replace\",\"insert\"") "," EDITOR_PROPERTIES,     \
           "\"command\",\"path\"")
#define EDITOR_UNDO_SCHEMA                                                                       \
    OBJECT(COMMANDS("\"view\",\"create\",\"str_replace\",\"insert\",\"undo_edit\"")              \
           "," EDITOR_PROPERTIES, "\"command\",\"path\"")

#define MEMORY_TEXT                                                                              \
    "Keeps notes in files under /memories, which outlive the conversation. Look there (view) "   \
    "before you begin a task, and write down what will be of use later. str_replace and insert " \
    "change a file, delete and rename take a file or a directory."
#define MEMORY_SCHEMA                                                                            \
    OBJECT(COMMANDS("\"view\",\"create\",\"str_replace\",\"insert\",\"delete\",\"rename\"") ","  \
           PROPERTY("path", "string", "The file or directory, under /memories.") ","             \
           VIEW_RANGE ","                                                                        \
           PROPERTY("file_text", "string", "For create: what the file holds.") ","               \
           PROPERTY("old_str", "string", "For str_replace: the text to replace.") ","            \
           PROPERTY("new_str", "string", "For str_replace: the new text.") ","                   \
           PROPERTY("insert_line", "integer", "For insert: the line to insert behind.") ","      \
           PROPERTY("insert_text", "string", "For insert: the new text.") ","                    \
           PROPERTY("old_path", "string", "For rename: from where.") ","                         \
           PROPERTY("new_path", "string", "For rename: to where."),                              \
           "\"command\"")

#define ROW(type, text, schema) {type, {text, sizeof(text) - 1}, {schema, sizeof(schema) - 1}}

static const struct client_tool client_tools[] = {
    ROW("bash_20250124", BASH_TEXT, BASH_SCHEMA),
    ROW("bash_20241022", BASH_TEXT, BASH_SCHEMA),
    ROW("text_editor_20250728", EDITOR_TEXT, EDITOR_SCHEMA),
    ROW("text_editor_20250429", EDITOR_TEXT, EDITOR_SCHEMA),
    ROW("text_editor_20250124", EDITOR_TEXT " undo_edit takes the last change of a file back.",
        EDITOR_UNDO_SCHEMA),
    ROW("text_editor_20241022", EDITOR_TEXT " undo_edit takes the last change of a file back.",
        EDITOR_UNDO_SCHEMA),
    ROW("memory_20250818", MEMORY_TEXT, MEMORY_SCHEMA),
};

const struct client_tool *client_tool_find(const char *type)
{
    for (size_t i = 0; i < sizeof client_tools / sizeof *client_tools; i++)
        if (strcmp(client_tools[i].type, type) == 0)
            return &client_tools[i];
    return NULL;
}
