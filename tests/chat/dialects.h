/* dialects.h - for tests: what of each family's chat template its dialect is found by. */
#ifndef PENSIEVE_TESTS_DIALECTS_H
#define PENSIEVE_TESTS_DIALECTS_H

#include "chat/dialect.h"

static const struct family {
    const char *name, *shows;
} families[] = {
    {"hermes", "{{- '<tool_call>\\n{\"name\": \"' }}"},
    {"thinking", "{{- '<tool_call>\\n{\"name\": \"' }} content.split('</think>')"},
    {"generic", "{{ message.content }}"},
    {"qwen-xml", "{{- '\\n<tool_call>\\n<function=' + tool_call.name }} '<parameter=' + args_name"},
    {"deepseek", "{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'+ tool['function']['name'] + "
                 "'<｜tool▁sep｜>' + tool['function']['arguments'] | tojson }}"},
    {"mistral", "{{- '[TOOL_CALLS]' + tool_call.function.name }} '[CALL_ID]' '[ARGS]'"},
    {"mistral-list", "{{- \"[TOOL_CALLS][\" }}"},
    {"phi", "{{ '<|tool|>' + message['tools'] + '<|/tool|>' }}"},
    {"granite", "respond only with <|tool_call|> followed by a JSON list of tools used"},
    {"llama", "{{- '<|start_header_id|>assistant<|end_header_id|>' }}{{- '\"parameters\": ' }}"},
    {"harmony", "<|start|>assistant to=functions. <|channel|>commentary <|message|>"},
};

enum { FAMILIES = sizeof families / sizeof *families };

static const struct dialect *family(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].name, name) == 0)
            return dialect_find(str_of(families[i].shows));
    return NULL;
}

#endif
