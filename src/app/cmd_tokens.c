/* cmd_tokens.c - a text as the model's tokens, each with its spelling. */
#include "app/app.h"

#include "base/log.h"
#include "base/utf8.h"

bool cmd_tokens(const struct config *config, struct arena *arena, struct err *err)
{
    enum { SPELLING_BYTES_MAX = 1 << 14 };
    struct str text;
    if (config->args.n > 0) {
        text = config->args.items[0];
    } else if (!app_read(arena, NULL, &text, err)) {
        return false;
    }
    if (!utf8_valid(text)) {
        return err_set(err, ERR_INVALID, "the text is not valid UTF-8 (byte %zu)",
                       utf8_valid_prefix(text));
    }
    struct engine *engine = app_engine_only(config, arena, err);
    if (!engine) {
        return false;
    }
    struct plain_range all = {0, text.n};
    struct tokens tokens;
    bool done = engine_tokenize(engine, arena, text, &all, config->plain ? 1 : 0, true, &tokens,
                                err);
    for (size_t i = 0; done && i < tokens.n; i++) {
        static char spelling[SPELLING_BYTES_MAX];
        struct str bytes = engine_token_text(engine, tokens.ids[i], true);
        bool control = engine_token_text(engine, tokens.ids[i], false).n == 0 && bytes.n > 0;
        printf("%6d  %s%s\n", tokens.ids[i], log_quote(spelling, sizeof(spelling), bytes),
               control ? "  control" : "");
    }
    engine_close(engine);
    return done;
}
