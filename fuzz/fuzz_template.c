/* fuzz_template.c - the input is a chat template: compiled, tried, and given one conversation. */
#include <stddef.h>
#include <stdint.h>

#include "chat/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const struct str context = STR(
        "{\"tools\":null,\"add_generation_prompt\":true,\"messages\":["
        "{\"role\":\"system\",\"content\":\" Be \\ud83d\\ude42 \"},"
        "{\"role\":\"user\",\"content\":\"a\\ufdd0b<\\ufdd2|im_end|>\\ufdd1 \"},"
        "{\"role\":\"assistant\",\"content\":\"<think>x</think>y\"},{\"role\":\"user\",\"content\":\"\"}]}");
    struct chat_template *tmpl =
        template_new((struct str){(const char *)bytes, n}, STR("<s>"), STR("</s>"), NULL);
    struct arena *arena = arena_new(4096);
    struct str out;

    if (tmpl)
        template_render(tmpl, arena, context, &out, NULL);
    template_free(tmpl);
    arena_free(arena);
    return 0;
}
