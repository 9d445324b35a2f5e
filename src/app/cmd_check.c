/* cmd_check.c - what a model file is and whether it runs, found out by doing it. */
#include "app/app.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "chat/template.h"

/* Every byte, so that a bad disk is found now and not in the middle of an answer. */
static bool read_whole(const char *path, uint64_t expected, struct err *err)
{
    enum { CHUNK = 1 << 20 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    }
    char *chunk = malloc(CHUNK);
    uint64_t total = 0;
    ssize_t n = 0;
    int saved = chunk ? 0 : ENOMEM;
    while (chunk && (n = read(fd, chunk, CHUNK)) != 0) {
        if (n > 0) {
            total += (uint64_t)n;
        } else if (errno != EINTR) {
            saved = errno;
            break;
        }
    }
    free(chunk);
    close(fd);
    if (saved != 0) {
        return err_set(err, ERR_IO, "%s: byte %llu can't be read: %s", path,
                       (unsigned long long)total, strerror(saved));
    }
    return total == expected ? true
                             : err_set(err, ERR_IO, "%s: its size changed while it was read", path);
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
    static const char system[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"PROBE-SYSTEM\"},"
        "{\"role\":\"user\",\"content\":\"Hello\"}],\"add_generation_prompt\":true}";
    static const char tools[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"add_generation_prompt\":true,"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"PROBE-TOOL\",\"description\":"
        "\"A tool\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]}";
    bool speaks = renders(tmpl, arena, user, "PROBE-USER");
    printf("chat template   %zu bytes; conversations: %s, system prompts: %s, tools: %s\n",
           info->chat_template.n, speaks ? "yes" : "no",
           renders(tmpl, arena, system, "PROBE-SYSTEM") ? "yes" : "no",
           renders(tmpl, arena, tools, "PROBE-TOOL") ? "yes" : "no");
    template_free(tmpl);
    return speaks ? true
                  : err_set(err, ERR_FORMAT,
                            "the chat template does not render a user's message");
}

static void say_model(const struct model_info *info, struct arena *arena)
{
    printf("file            %.*s (%s, read whole)\n", STR_ARG(info->path),
           app_size_text(arena, info->file_bytes));
    printf("name            %.*s\n", STR_ARG(info->name));
    printf("architecture    %.*s: %u layers of %u, %u heads and %u key-value heads of %u\n",
           STR_ARG(info->architecture), info->layers, info->hidden, info->heads, info->kv_heads,
           info->head_dim);
    printf("parameters      %.1f million\n", (double)info->parameters / 1e6);
    printf("weights         %.*s\n", STR_ARG(info->types));
    printf("tokenizer       %.*s, %u tokens\n", STR_ARG(info->tokenizer), info->vocab_size);
}

static void say_memory(const struct model_info *info, struct arena *arena)
{
    printf("context         %u tokens (trained for %u)\n", info->context, info->context_trained);
    printf("memory          weights %s; keys and values %s a token:", app_size_text(arena,
           info->file_bytes), app_size_text(arena, info->kv_bytes_token));
    for (uint64_t n = 2048; n < info->context; n *= 4) {
        printf(" %s at %llu tokens,", app_size_text(arena, n * info->kv_bytes_token),
               (unsigned long long)n);
    }
    printf(" %s at %u\n", app_size_text(arena, info->context * info->kv_bytes_token), info->context);
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
    if (config->args.n == 0) {
        return err_set(err, ERR_USAGE, "which model? usage: pensieve check [options] MODEL");
    }
    struct models models = app_models(config, arena);
    struct model_entry entry;
    if (!models_resolve(&models, arena, config->args.items[0].s, &entry, err)) {
        return false;
    }
    struct engine *engine = app_engine_open(config, entry.path, (uint32_t)config->context, err);
    if (!engine) {
        return false;
    }
    const struct model_info *info = engine_info(engine);
    bool good = read_whole(entry.path, info->file_bytes, err);
    if (good) {
        say_model(info, arena);
        good = say_template(info, arena, err);
    }
    if (good) {
        say_memory(info, arena);
        good = say_run(engine, config, arena, err);
    }
    fflush(stdout);
    engine_close(engine);
    return good;
}
