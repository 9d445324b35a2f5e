/* cmd_list.c - the models in the models folder: what each is, and whether it will run; and those
 * that have a section of the configuration file: who answers for them.
 *
 * Each of the folder is opened and its weights are bound, which reads its description and no more:
 * what is wrong is found out as serve would, at a cost of milliseconds. A broken one is a row like
 * the others. */
#include "app/app.h"

#include <inttypes.h>

#include "base/json.h"
#include "engine/arch.h"

struct row {
    const struct model_entry *entry;
    const char *format;                 /* NULL: it was not even opened */
    struct model_info info;
    struct err error;                   /* ERR_NONE: it will run */
};

static struct row examine(const struct model_entry *entry, struct arena *arena)
{
    struct row row = {.entry = entry};
    struct checkpoint *checkpoint = checkpoint_open(entry->path, &row.error);
    if (!checkpoint) {
        return row;
    }
    row.format = checkpoint->format;
    row.info.architecture = str_of(checkpoint->arch->name);
    row.info.file_bytes = checkpoint->file_bytes;
    row.info.context_trained = checkpoint->hparams.context_trained;
    struct model *model = model_load(checkpoint, &row.error);
    if (model) {
        model_describe(model, &row.info);
        row.info.types = arena_str(arena, row.info.types);
        model_close(model);
    }
    return row;
}

static void put_list(struct buf *out, const char *key, const struct config_list *list)
{
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < list->n; i++) {
        buf_cstr(out, i ? "," : "");
        json_quote(out, list->items[i]);
    }
    buf_char(out, ']');
}

static void put_section(struct buf *out, const struct config_model *model)
{
    buf_cstr(out, "{\"id\":");
    json_quote(out, str_of(model->section.name));
    buf_printf(out, ",\"backend\":\"%s\",\"path\":", model->backend);
    if (model->path[0]) {
        json_quote(out, str_of(model->path));
    } else {
        buf_cstr(out, "null");
    }
    put_list(out, "upstreams", &model->upstreams);
    put_list(out, "fallbacks", &model->fallbacks);
    put_list(out, "aliases", &model->aliases);
    buf_char(out, '}');
}

static void print_json(const struct config *config, const struct row *rows, size_t n)
{
    struct buf out = {0};
    size_t sections = config->model_sections.n;
    buf_char(&out, '[');
    for (size_t i = 0; i < sections; i++) {
        buf_cstr(&out, i ? ",\n " : "\n ");
        put_section(&out, config->model_sections.items[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const struct row *row = &rows[i];
        buf_cstr(&out, i || sections ? ",\n {\"id\":" : "\n {\"id\":");
        json_quote(&out, row->entry->id);
        buf_cstr(&out, ",\"path\":");
        json_quote(&out, str_of(row->entry->path));
        if (row->format) {
            buf_printf(&out, ",\"format\":\"%s\",\"architecture\":", row->format);
            json_quote(&out, row->info.architecture);
            buf_printf(&out, ",\"file_bytes\":%" PRIu64 ",\"context\":%u", row->info.file_bytes,
                       row->info.context_trained);
        }
        if (row->error.code == ERR_NONE) {
            buf_cstr(&out, ",\"weights\":");
            json_quote(&out, row->info.types);
            buf_printf(&out, ",\"parameters\":%" PRIu64 ",\"runs\":true,\"error\":null}",
                       row->info.parameters);
        } else {
            buf_cstr(&out, ",\"runs\":false,\"error\":");
            json_quote(&out, str_of(row->error.text));
            buf_char(&out, '}');
        }
    }
    buf_cstr(&out, n || sections ? "\n]\n" : "]\n");
    fwrite(out.data, 1, out.n, stdout);
    buf_release(&out);
}

static void print_table(const struct row *rows, size_t n, struct arena *arena)
{
    size_t widest = sizeof("model") - 1;
    for (size_t i = 0; i < n; i++) {
        widest = rows[i].entry->id.n > widest ? rows[i].entry->id.n : widest;
    }
    printf("%-*s  form  %-10s %9s %8s  runs\n", (int)widest, "model", "architect.", "size",
           "context");
    for (size_t i = 0; i < n; i++) {
        const struct row *row = &rows[i];
        printf("%-*.*s  %-4s  ", (int)widest, STR_ARG(row->entry->id),
               row->format ? row->format : "-");
        if (row->format) {
            printf("%-10.*s %9s %8u  ", STR_ARG(row->info.architecture),
                   app_size_text(arena, row->info.file_bytes), row->info.context_trained);
        } else {
            printf("%-10s %9s %8s  ", "-", "-", "-");
        }
        printf("%s%s\n", row->error.code ? "no: " : "yes", row->error.text);
    }
}

/* "gpu-a, gpu-b": names as they stand in the file. */
static void print_names(const char *before, const struct config_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        printf("%s%s", i ? ", " : before, list->items[i].s);
    }
}

static void print_sections(const struct config *config)
{
    size_t n = config->model_sections.n, widest = sizeof("model") - 1;
    for (size_t i = 0; i < n; i++) {
        const struct config_model *model = config->model_sections.items[i];
        size_t length = strlen(model->section.name);
        widest = length > widest ? length : widest;
    }
    printf("%-*s  backend   answered by\n", (int)widest, "model");
    for (size_t i = 0; i < n; i++) {
        const struct config_model *model = config->model_sections.items[i];
        printf("%-*s  %-8s  ", (int)widest, model->section.name, model->backend);
        if (model->upstreams.n == 0) {
            printf("%s", config_model_path(model));
        }
        print_names("", &model->upstreams);
        print_names("; else ", &model->fallbacks);
        print_names("; also called ", &model->aliases);
        putchar('\n');
    }
}

bool cmd_list(const struct config *config, struct arena *arena, struct err *err)
{
    struct models models = app_models(config, arena);
    struct row *rows = arena_array(arena, models.n, sizeof(rows[0]));
    for (size_t i = 0; i < models.n; i++) {
        rows[i] = examine(&models.list[i], arena);
    }
    if (config->json) {
        print_json(config, rows, models.n);
        return true;
    }
    if (config->model_sections.n > 0) {
        print_sections(config);
        putchar('\n');
    }
    if (models.n == 0) {
        printf("no models in %s; `pensieve pull OWNER/NAME` gets one\n", config->models_dir);
    } else {
        print_table(rows, models.n, arena);
    }
    return true;
}
