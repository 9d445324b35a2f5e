/* cmd_check.c - what a model on disk is and whether it runs, found out by reading all of it and
 * doing it; without a model, whether the configuration file's sections lead somewhere. */
#include "app/app.h"

#include "app/check_sections.h"
#include "app/whole.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "chat/template.h"

static struct str end_tokens(const struct engine *engine, struct arena *arena)
{
    enum { SHOWN_MAX = 8 };
    int32_t tokens = (int32_t)engine_info(engine)->vocab_size;
    struct str text = {0};
    size_t n = 0;
    for (int32_t id = 0; id < tokens; id++) {
        char quoted[80];
        if (engine_token_ends(engine, id) && n++ < SHOWN_MAX) {
            log_quote(quoted, sizeof(quoted), engine_token_text(engine, id, true));
            text = arena_printf(arena, "%.*s%s%s", STR_ARG(text), n > 1 ? ", " : "", quoted);
        }
    }
    return n ? text : STR("none: only max_tokens and stop sequences end an answer");
}

/* Whether what a context holds under a name comes out of the template. */
static bool renders(const struct chat_template *tmpl, struct arena *arena, const char *context,
                    const char *sign)
{
    struct str out;
    struct err ignored = {0};
    return template_render(tmpl, arena, str_of(context), &out, &ignored) && out.n > 0 &&
           memmem(out.s, out.n, sign, strlen(sign)) != NULL;
}

static bool say_template(const struct model_info *info, struct arena *arena, struct err *err)
{
    if (info->chat_template.n == 0) {
        printf("chat template   none: ChatML is used\n");
        return true;
    }
    struct chat_template *tmpl = template_new(info->chat_template, info->bos, info->eos, err);
    if (!tmpl) {
        return err_prefix(err, "chat template");
    }
    static const char user[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"PROBE-USER\"}],"
        "\"add_generation_prompt\":true}";
    const struct template_traits *traits = template_traits(tmpl);
    bool speaks = renders(tmpl, arena, user, "PROBE-USER");
    printf("chat template   %zu bytes; conversations: %s, system prompts: %s, tools: %s\n",
           info->chat_template.n, speaks ? "yes" : "no", traits->system ? "yes" : "no",
           !traits->tools                       ? "no, told in words"
           : traits->calls && traits->results ? "yes"
                                                : "in part, the rest in words");
    template_free(tmpl);
    return speaks ? true
                  : err_set(err, ERR_FORMAT,
                            "the chat template does not render a user's message");
}

static const char *form_name(struct str format)
{
    static const char *const names[][2] = {
        {"gguf", "GGUF"}, {"mlx", "MLX folder"}, {"hf", "Hugging Face folder"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_is(format, names[i][0])) {
            return names[i][1];
        }
    }
    return "in a form of its own";
}

static void say_model(const struct engine *engine, const struct whole *whole, struct arena *arena)
{
    const struct model_info *info = engine_info(engine);
    printf("model           %.*s\n", STR_ARG(info->path));
    printf("form            %s: %zu %s, %s, read whole\n", form_name(info->format), whole->files,
           whole->files == 1 ? "file" : "files", app_size_text(arena, whole->bytes));
    printf("name            %.*s\n", STR_ARG(info->name));
    printf("architecture    %.*s: %u layers of %u, %u heads and %u key-value heads of %u\n",
           STR_ARG(info->architecture), info->layers, info->hidden, info->heads, info->kv_heads,
           info->head_dim);
    if (info->experts) {
        printf("experts         %u, %u of them for each token\n", info->experts,
               info->experts_used);
    }
    if (info->windowed && info->window < info->context_trained) {
        printf("window          %u tokens, in %u of the layers\n", info->window, info->windowed);
    }
    printf("parameters      %.1f million\n", (double)info->parameters / 1e6);
    printf("weights         %.*s\n", STR_ARG(info->types));
    printf("tokenizer       %.*s, %u tokens; a turn ends with %.*s\n", STR_ARG(info->tokenizer),
           info->vocab_size, STR_ARG(end_tokens(engine, arena)));
}

static const char *advice_text(struct arena *arena, const char *name, float value)
{
    return value >= 0 ? arena_printf(arena, " %s %g", name, (double)value).s : "";
}

static void say_advice(const struct model_info *info, struct arena *arena)
{
    const char *text = arena_printf(arena, "%s%s%s",
                                    advice_text(arena, "temperature", info->temperature),
                                    advice_text(arena, "top_p", info->top_p),
                                    advice_text(arena, "top_k", info->top_k)).s;
    printf("sampling        %s\n", *text ? text + 1 : "the makers advise nothing: temperature 1");
}

/* Weights and keys and values at growing lengths, up to what the model was trained for. */
static void say_memory(const struct model_info *info, struct arena *arena)
{
    uint32_t most = info->context_trained;
    printf("context         %u tokens here, trained for %u\n", info->context, most);
    printf("memory          weights %s, and %s a token:", app_size_text(arena, info->file_bytes),
           app_size_text(arena, info->kv_bytes_token));
    for (uint64_t n = 2048; n < most; n *= 4) {
        printf(" %s at %llu,", app_size_text(arena, info->file_bytes + n * info->kv_bytes_token),
               (unsigned long long)n);
    }
    printf(" %s at %u\n", app_size_text(arena, info->file_bytes + most * info->kv_bytes_token),
           most);
}

static bool say_run(struct engine *engine, const struct config *config, struct arena *arena,
                    struct err *err)
{
    enum { WORDS = 8 };
    struct tokens prompt;
    struct sequence_result result = {0};
    struct str text = STR("The capital of France is");
    struct buf answer = {0};
    char quoted[512];
    uint64_t start = clock_ns();
    bool ran = engine_tokenize(engine, arena, text, NULL, 0, true, &prompt, err) &&
               app_sequence(engine, &prompt, WORDS, (struct sampling){.top_p = 1}, &answer, &result,
                            err);
    if (ran) {
        printf("runs            yes, on %s with %u threads: after \"%.*s\" it wrote %s in %.0f ms\n",
               engine_cpu(engine), app_threads(config), STR_ARG(text),
               log_quote(quoted, sizeof(quoted), buf_view(&answer)),
               clock_seconds_since(start) * 1e3);
    }
    buf_release(&answer);
    return ran;
}

bool cmd_check(const struct config *config, struct arena *arena, struct err *err)
{
    struct models models = app_models(config, arena);
    struct model_entry entry;
    struct whole whole;
    if (config->args.n == 0 && config->model_sections.n > 0) {
        return check_sections(config, &models, arena, err);
    }
    if (config->args.n == 0) {
        return err_set(err, ERR_USAGE, "which model? usage: pensieve check [options] MODEL");
    }
    if (!models_resolve(&models, arena, config->args.items[0].s, &entry, err) ||
        !whole_read(arena, entry.path, &whole, err)) {
        return false;
    }
    struct engine *engine = app_engine_alone(config, entry.path, err);
    if (!engine) {
        return false;
    }
    const struct model_info *info = engine_info(engine);
    say_model(engine, &whole, arena);
    bool good = say_template(info, arena, err);
    if (good) {
        say_advice(info, arena);
        say_memory(info, arena);
        good = say_run(engine, config, arena, err);
    }
    fflush(stdout);
    engine_close(engine);
    return good;
}
