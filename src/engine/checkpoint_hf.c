/* checkpoint_hf.c - config.json, safetensors, tokenizer.json and what stands beside them.
 *
 * The files come from strangers: an index may name a shard outside the folder, any JSON may be deep
 * or endless. Each is read up to a limit, and shards are opened by plain names only. */
#include "engine/checkpoint_hf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "engine/arch.h"
#include "engine/config_json.h"
#include "engine/file_map.h"
#include "engine/hparams_hf.h"
#include "engine/safetensors.h"
#include "engine/tensors_hf.h"
#include "engine/tokenizer_json.h"

enum { TEXT_MAX = 128 };

struct shards {
    struct safetensors **files;
    uint32_t n;
    struct arena *texts;        /* the other files, which vocabulary and template borrow from */
};

static void close_shards(struct safetensors **files, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        safetensors_close(files[i]);
}

static void close_hf(struct checkpoint *checkpoint)
{
    struct shards *shards = checkpoint->files;

    close_shards(shards->files, shards->n);
    arena_free(shards->texts);
}

/* ---- quantisation ---- */

static bool check_mode(yyjson_val *object, struct err *err)
{
    yyjson_val *mode = yyjson_obj_get(object, "mode");
    char shown[TEXT_MAX];

    if (json_none(mode) || yyjson_equals_str(mode, "affine"))
        return true;
    return err_set(err, ERR_FORMAT,
                   "config.json: quantization: mode %s is not supported, only affine",
                   config_quote(shown, sizeof shown, mode));
}

/* MLX's own, or another tool's, whose tensors nobody here can read. Bits and groups are not taken
 * from it: the tensors' shapes say them. */
static bool check_quantization(const struct config *c, bool *mlx, struct err *err)
{
    yyjson_val *own = yyjson_obj_get(c->root, "quantization");
    yyjson_val *other = config_get(c, "quantization_config");
    yyjson_val *method = yyjson_obj_get(other, "quant_method");
    yyjson_obj_iter entries;
    char shown[TEXT_MAX];

    *mlx = yyjson_is_obj(own) || (yyjson_is_obj(other) && !method);
    if (!*mlx)
        return json_none(method) ||
               err_set(err, ERR_FORMAT,
                       "config.json: quantization_config: weights made by %s are not "
                       "supported; MLX's, GGUF and unquantised ones are",
                       config_quote(shown, sizeof shown, method));
    own = yyjson_is_obj(own) ? own : other;
    if (!check_mode(own, err))
        return false;
    yyjson_obj_iter_init(own, &entries);        /* layers with a mode of their own */
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&entries));)
        if (!check_mode(yyjson_obj_iter_get_val(key), err))
            return false;
    return true;
}

/* ---- tokens and templates ---- */

/* eos_token_id: a number, or a list of some. */
static bool add_ends(yyjson_val *value, const char *file, int64_t *ends, size_t *n, struct err *err)
{
    const bool list = yyjson_is_arr(value);
    const size_t count = list ? yyjson_arr_size(value) : json_none(value) ? 0 : 1;

    if (count > VOCAB_ENDS_MAX - *n)
        return err_set(err, ERR_FORMAT, "%s: eos_token_id: more than %d end tokens", file,
                       VOCAB_ENDS_MAX);
    for (size_t i = 0; i < count; i++) {
        yyjson_val *id = list ? yyjson_arr_get(value, i) : value;
        if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= VOCAB_TOKENS_MAX)
            return err_set(err, ERR_FORMAT, "%s: eos_token_id is no token", file);
        ends[(*n)++] = (int64_t)yyjson_get_uint(id);
    }
    return true;
}

/* -1 where it is missing or makes no sense: it is advice. */
static float advised(yyjson_val *root, const char *field, double max)
{
    yyjson_val *value = yyjson_obj_get(root, field);
    const double number = yyjson_get_num(value);

    return yyjson_is_num(value) && number >= 0 && number <= max ? (float)number : -1;
}

static bool read_generation(struct checkpoint *c, const struct config *config, struct str text,
                            struct err *err)
{
    static const char name[] = "generation_config.json";
    int64_t *ends = arena_array(c->arena, VOCAB_ENDS_MAX, sizeof *ends);
    yyjson_val *root = NULL;

    if (text.n && !json_parse_file(c->arena, text, name, CONFIG_VALUES_MAX, &root, err))
        return false;
    yyjson_val *sample = yyjson_obj_get(root, "do_sample");
    if (!yyjson_is_bool(sample) || yyjson_get_bool(sample))
        c->advice = (struct sampling_advice){
            .temperature = advised(root, "temperature", 100), .top_p = advised(root, "top_p", 1),
            .top_k = advised(root, "top_k", VOCAB_TOKENS_MAX),
        };
    c->vocab.ends = ends;
    size_t *n = &c->vocab.ends_n;
    if (!add_ends(config_get(config, "eos_token_id"), "config.json", ends, n, err) ||
        !add_ends(yyjson_obj_get(root, "eos_token_id"), name, ends, n, err))
        return false;
    if (c->vocab.eos < 0 && *n > 0)             /* tokenizer_config.json names none */
        c->vocab.eos = ends[0];
    return true;
}

/* One template, or a list of them with names, of which "default" is meant. */
static struct str find_template(yyjson_val *value)
{
    yyjson_arr_iter entries;

    yyjson_arr_iter_init(value, &entries);
    for (yyjson_val *entry; (entry = yyjson_arr_iter_next(&entries));)
        if (yyjson_equals_str(yyjson_obj_get(entry, "name"), "default"))
            value = yyjson_obj_get(entry, "template");
    return yyjson_is_str(value) ? json_str(value) : (struct str){0};
}

static bool read_template(struct checkpoint *c, const struct hf_files *files, struct err *err)
{
    const struct { const char *name; struct str text; } places[] = {
        {"chat_template.json", files->template_json},
        {"tokenizer_config.json", files->tokenizer_config},
    };

    c->chat_template = files->template_jinja;
    for (size_t i = 0; i < sizeof places / sizeof *places && !c->chat_template.n; i++) {
        yyjson_val *root;
        if (!places[i].text.n)
            continue;
        if (!json_parse_file(c->arena, places[i].text, places[i].name, CONFIG_VALUES_MAX, &root,
                             err))
            return false;
        c->chat_template = find_template(yyjson_obj_get(root, "chat_template"));
    }
    if (c->chat_template.n > CHAT_TEMPLATE_BYTES_MAX || !utf8_valid(c->chat_template))
        return err_set(err, ERR_FORMAT, "the chat template is longer than %d bytes or not UTF-8",
                       CHAT_TEMPLATE_BYTES_MAX);
    return true;
}

static void *resized(struct arena *arena, const void *old, size_t n, size_t old_n, size_t size)
{
    char *array = arena_array(arena, n, size);

    if (old && old_n)
        memcpy(array, old, (n < old_n ? n : old_n) * size);
    return array;
}

/* The embedding may have more rows than the tokenizer has tokens (it is padded), and the tokenizer
 * more tokens than that (Gemma 3's names one for pictures, which the text models lack). */
static void fit_vocab(struct vocab_source *vocab, size_t rows, struct arena *arena)
{
    const size_t n = vocab->tokens_n;

    if (n == rows)
        return;
    vocab->tokens_n = rows;
    if (n > rows)
        return;
    int32_t *types = resized(arena, vocab->types, rows, n, sizeof *types);
    for (size_t i = vocab->types ? n : 0; i < rows; i++)
        types[i] = i < n ? TOKEN_NORMAL : TOKEN_UNUSED;
    vocab->types = types;
    vocab->tokens = resized(arena, vocab->tokens, rows, n, sizeof *vocab->tokens);
    if (vocab->flags)
        vocab->flags = resized(arena, vocab->flags, rows, n, sizeof *vocab->flags);
    if (vocab->scores)
        vocab->scores = resized(arena, vocab->scores, rows, n, sizeof *vocab->scores);
}

static bool read_vocab(struct checkpoint *c, const struct config *config,
                       const struct hf_files *files, struct err *err)
{
    if (!files->tokenizer.n)
        return err_set(err, ERR_FORMAT, "tokenizer.json is missing; transformers writes it: "
                       "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
    if (!vocab_source_json(c->arena, files->tokenizer, files->tokenizer_config, &c->vocab, err) ||
        !read_generation(c, config, files->generation, err))
        return false;
    fit_vocab(&c->vocab, c->hparams.vocab, c->arena);
    return true;
}

/* ---- the whole ---- */

static bool read_hparams(struct checkpoint *c, const struct config *config, struct err *err)
{
    c->arch = arch_of_model_type(config->model_type, "config.json: model_type", err);
    if (!c->arch || !hparams_read_hf(&c->hparams, config, c->arena, err))
        return false;
    return (c->arch->check(&c->hparams, NULL, c->arena, err) &&
            hparams_check(&c->hparams, c->arena, err)) || err_prefix(err, "config.json");
}

static bool read_tensors(struct checkpoint *c, const struct config *config,
                         const struct shards *shards, struct err *err)
{
    struct tensors_hf reader = {.arena = c->arena, .arch = c->arch, .hparams = &c->hparams};
    yyjson_val *tied = config_get(config, "tie_word_embeddings");

    if (!config_take_bool(tied, "tie_word_embeddings", &reader.tied, err) ||
        !tensors_read_hf(&reader, shards->files, shards->n, &c->tensors, err))
        return false;
    if (yyjson_is_false(tied) && !tensors_find(&c->tensors, STR("output.weight")))
        return err_set(err, ERR_FORMAT, "tensor lm_head.weight is missing, and config.json says "
                       "that it is not the embedding");
    return true;
}

static bool read_all(struct checkpoint *c, const struct hf_files *files, struct err *err)
{
    const struct shards *shards = c->files;
    struct config config;
    yyjson_val *root;
    bool mlx;

    if (!json_parse_file(c->arena, files->config, "config.json", CONFIG_VALUES_MAX, &root, err) ||
        !config_init(&config, root, err) || !check_quantization(&config, &mlx, err))
        return false;
    for (uint32_t i = 0; i < shards->n; i++) {
        c->file_bytes += safetensors_bytes(shards->files[i]);
        mlx |= str_is(safetensors_format(shards->files[i]), "mlx");
    }
    c->format = mlx ? "mlx" : "hf";
    return read_hparams(c, &config, err) && read_tensors(c, &config, shards, err) &&
           read_vocab(c, &config, files, err) && read_template(c, files, err);
}

/* The folder's name; of a folder in the hub's cache, models--OWNER--NAME/snapshots/HASH, the
 * model's. */
static struct str describe_name(struct arena *arena, const char *path)
{
    char *real = realpath(path, NULL);
    const struct str whole = arena_str(arena, str_of(real ? real : path));
    const char *cached = strstr(whole.s, "/models--");
    const char *owner = cached ? cached + strlen("/models--") : NULL;
    const char *end = owner ? strstr(owner, "/snapshots/") : NULL;
    const char *name = owner ? strstr(owner, "--") : NULL;
    struct str base = file_base(whole);

    free(real);
    if (end && name && name < end)
        base = (struct str){name + 2, (size_t)(end - name - 2)};
    return base.n && utf8_valid(base) ? base : STR("model");
}

struct checkpoint *checkpoint_of_hf(const struct hf_files *files, const char *path, struct err *err)
{
    struct arena *arena = arena_new(1 << 20);
    struct checkpoint *c = arena_alloc(arena, sizeof *c);
    struct shards *shards = arena_alloc(arena, sizeof *shards);

    shards->files = arena_array(arena, files->shards_n, sizeof *shards->files);
    shards->n = files->shards_n;
    for (uint32_t i = 0; i < shards->n; i++)
        shards->files[i] = files->shards[i];
    *c = (struct checkpoint){
        .arena = arena, .path = arena_str(arena, str_of(path)), .name = describe_name(arena, path),
        .files = shards, .close = close_hf, .advice = {-1, -1, -1},
    };
    hparams_init(&c->hparams);
    vocab_source_init(&c->vocab);
    if (read_all(c, files, err))
        return c;
    checkpoint_prefix(c, err);
    checkpoint_close(c);
    return NULL;
}

static bool is_shard_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.s[i] <= ' ' || strchr("/\\:\x7f", name.s[i]))
            return false;
    return name.n <= SHARD_NAME_MAX && str_ends(name, STR(".safetensors")) && name.s[0] != '.';
}

bool shard_names(struct arena *arena, struct str index, const struct str **names, uint32_t *n,
                 struct err *err)
{
    static const char file[] = "model.safetensors.index.json";
    struct str *list = arena_array(arena, CHECKPOINT_FILES_MAX, sizeof *list);
    yyjson_obj_iter entries;
    yyjson_val *root;
    char shown[TEXT_MAX];

    *n = 0;
    *names = list;
    if (!json_parse_file(arena, index, file, SHARD_INDEX_VALUES_MAX, &root, err))
        return false;
    yyjson_obj_iter_init(yyjson_obj_get(root, "weight_map"), &entries);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&entries));) {
        yyjson_val *value = yyjson_obj_iter_get_val(key);
        const struct str name = json_str(value);
        uint32_t i = 0;
        if (!yyjson_is_str(value) || !is_shard_name(name))
            return err_set(err, ERR_FORMAT, "%s: weight_map: %s is not the name of a .safetensors "
                           "file in the folder", file, config_quote(shown, sizeof shown, value));
        while (i < *n && !str_equal(list[i], name))
            i++;
        if (i < *n)
            continue;
        if (*n == CHECKPOINT_FILES_MAX)
            return err_set(err, ERR_FORMAT, "%s: more than %d files", file, CHECKPOINT_FILES_MAX);
        list[(*n)++] = name;
    }
    return *n > 0 || err_set(err, ERR_FORMAT, "%s: weight_map names no file", file);
}

static bool open_shards(struct arena *arena, struct str folder, struct hf_files *files,
                        struct err *err)
{
    static const struct str single = {"model.safetensors", sizeof "model.safetensors" - 1};
    const struct str *names = &single;
    struct str index;
    uint32_t n = 1;

    if (!file_read(arena, folder, "model.safetensors.index.json", SHARD_INDEX_BYTES_MAX, true,
                   &index, err) ||
        (index.n && !shard_names(arena, index, &names, &n, err)))
        return false;
    files->shards = arena_array(arena, n, sizeof *files->shards);
    for (uint32_t i = 0; i < n; i++) {
        const char *path = arena_printf(arena, "%.*s/%.*s", STR_ARG(folder), STR_ARG(names[i])).s;
        files->shards[i] = safetensors_open(path, err);
        if (!files->shards[i])
            return false;
        files->shards_n++;
    }
    return true;
}

static bool read_files(struct arena *arena, struct str folder, struct hf_files *files,
                       struct err *err)
{
    const struct { const char *name; size_t max; struct str *out; } rows[] = {
        {"config.json", CONFIG_BYTES_MAX, &files->config},
        {"generation_config.json", SMALL_JSON_BYTES_MAX, &files->generation},
        {"tokenizer.json", TOKENIZER_JSON_BYTES_MAX, &files->tokenizer},
        {"tokenizer_config.json", TOKENIZER_CONFIG_BYTES_MAX, &files->tokenizer_config},
        {"chat_template.jinja", CHAT_TEMPLATE_BYTES_MAX, &files->template_jinja},
        {"chat_template.json", SMALL_JSON_BYTES_MAX, &files->template_json},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!file_read(arena, folder, rows[i].name, rows[i].max, i > 0, rows[i].out, err))
            return false;
    return open_shards(arena, folder, files, err);
}

struct checkpoint *checkpoint_open_hf(const char *path, struct err *err)
{
    struct arena *arena = arena_new(1 << 20);
    struct hf_files files = {0};
    struct checkpoint *checkpoint = NULL;

    if (read_files(arena, str_of(path), &files, err))
        checkpoint = checkpoint_of_hf(&files, path, err);
    else
        close_shards(files.shards, files.shards_n);
    if (checkpoint)
        ((struct shards *)checkpoint->files)->texts = arena;
    else
        arena_free(arena);
    return checkpoint;
}
