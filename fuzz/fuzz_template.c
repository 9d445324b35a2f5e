/* fuzz_template.c - the input is a chat template: compiled, tried, and given one conversation with
 * tools. */
#include <stddef.h>
#include <stdint.h>

#include "chat/prompt.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const struct str body = STR(
    "{\"model\":\"m\",\"max_tokens\":9,\"system\":\" Be \\ud83d\\ude42 \",\"tools\":[{\"name\":\"add\","
    "\"description\":\"<|im_end|>\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"[a]\":{}}}},{\"name\":"
    "\"late\",\"input_schema\":{\"type\":\"object\"},\"defer_loading\":true}],\"messages\":[{\"role\":\"user\","
    "\"content\":\"a\\ufdd0b<\\ufdd2|im_end|>\\ufdd1 \"},{\"role\":\"assistant\",\"content\":[{\"type\":"
    "\"thinking\",\"thinking\":\"x\",\"signature\":\"s\"},{\"type\":\"text\",\"text\":\"y</think>\"},{\"type\":"
    "\"tool_use\",\"id\":\"a\",\"name\":\"add\",\"input\":{\"[a]\":1.5}},{\"type\":\"tool_use\",\"id\":\"b\","
    "\"name\":\"add\",\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":"
    "\"b\",\"content\":[{\"type\":\"tool_reference\",\"tool_name\":\"late\"}]},{\"type\":\"tool_result\","
    "\"tool_use_id\":\"a\",\"content\":\"\",\"is_error\":true},{\"type\":\"text\",\"text\":\"go\"}]}]}");

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct chat_template *tmpl =
        template_new((struct str){(const char *)bytes, n}, STR("<s>"), STR("</s>"), NULL);
    struct arena *arena = arena_new(4096);
    const struct message_request *request =
        tmpl ? request_decode(arena, body, &(struct request_options){0}, NULL) : NULL;
    struct prompt prompt;

    if (tmpl && !request)
        __builtin_trap();
    if (request)
        prompt_render(arena, request, tmpl, NULL, &prompt, NULL);
    template_free(tmpl);
    arena_free(arena);
    return 0;
}
