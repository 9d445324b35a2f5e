/* cmd_prompt.c - what the model would see for a request: the same code as the server's, no model
 * run. */
#include "app/app.h"

#include "api/request.h"
#include "chat/prompt.h"
#include "chat/template.h"

static bool print_prompt(const struct engine *engine, const struct chat_template *tmpl,
                         struct arena *arena, struct str body, struct err *err)
{
    /* As count_tokens reads it: a body for either endpoint will do. */
    struct request_options reading = {.version = API_V23, .count_tokens = true};
    const struct message_request *request = request_decode(arena, body, &reading, err);
    struct prompt prompt;
    struct prompt_tokens tokens;
    if (request && request->refused) {
        *err = *request->refused;
        return false;
    }
    if (!request || !prompt_render(arena, request, tmpl, NULL, &prompt, err) ||
        !prompt_tokenize(arena, engine, &prompt, &tokens, err)) {
        return false;
    }
    fwrite(prompt.text.s, 1, prompt.text.n, stdout);
    fflush(stdout);
    fprintf(stderr, "%s%zu tokens\n", prompt.text.n && prompt.text.s[prompt.text.n - 1] != '\n'
            ? "\n" : "", tokens.tokens.n);
    return true;
}

bool cmd_prompt(const struct config *config, struct arena *arena, struct err *err)
{
    struct str body;
    if (!app_read(arena, config->args.n > 0 ? config->args.items[0].s : NULL, &body, err)) {
        return false;
    }
    struct engine *engine = app_engine_only(config, arena, err);
    if (!engine) {
        return false;
    }
    const struct model_info *info = engine_info(engine);
    struct chat_template *tmpl = NULL;
    bool done = true;
    if (info->chat_template.n > 0) {
        tmpl = template_new(info->chat_template, info->bos, info->eos, err);
        done = tmpl != NULL;
    }
    done = done && print_prompt(engine, tmpl, arena, body, err);
    if (tmpl) {
        template_free(tmpl);
    }
    engine_close(engine);
    return done;
}
