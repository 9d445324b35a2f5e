/* fuzz_config.c - the input is a folder's config.json and, past a NUL, its generation_config.json.
 * The folder's tensors are those of a small Llama, its tokenizer has the 256 bytes. The input is
 * also tried as an index of shards. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"
#include "engine/arch.h"
#include "engine/checkpoint_hf.h"
#include "engine/model.h"
#include "engine/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { HIDDEN = 64, FFN = 128, KV = 32, VOCAB = 300 };

static void add_tensor(struct buf *header, const char *name, unsigned rows, unsigned cols,
                       unsigned *end)
{
    const unsigned begin = *end;

    *end += rows * cols * 2;
    buf_printf(header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", begin ? "," : "", name);
    if (rows > 1)
        buf_printf(header, "%u,", rows);
    buf_printf(header, "%u],\"data_offsets\":[%u,%u]}", cols, begin, *end);
}

/* A .safetensors file of zeros. */
static struct buf make_weights(void)
{
    static const struct { const char *name; unsigned rows, cols; } tensors[] = {
        {"model.embed_tokens.weight", VOCAB, HIDDEN}, {"model.norm.weight", 1, HIDDEN},
        {"model.layers.0.input_layernorm.weight", 1, HIDDEN},
        {"model.layers.0.self_attn.q_proj.weight", HIDDEN, HIDDEN},
        {"model.layers.0.self_attn.k_proj.weight", KV, HIDDEN},
        {"model.layers.0.self_attn.v_proj.weight", KV, HIDDEN},
        {"model.layers.0.self_attn.o_proj.weight", HIDDEN, HIDDEN},
        {"model.layers.0.post_attention_layernorm.weight", 1, HIDDEN},
        {"model.layers.0.mlp.gate_proj.weight", FFN, HIDDEN},
        {"model.layers.0.mlp.up_proj.weight", FFN, HIDDEN},
        {"model.layers.0.mlp.down_proj.weight", HIDDEN, FFN},
    };
    struct buf header = {0}, file = {0};
    unsigned end = 0;

    buf_char(&header, '{');
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        add_tensor(&header, tensors[i].name, tensors[i].rows, tensors[i].cols, &end);
    buf_char(&header, '}');
    const uint64_t header_n = header.n;
    buf_append(&file, &header_n, sizeof header_n);
    buf_str(&file, buf_view(&header));
    buf_reserve(&file, end);
    memset(file.data + file.n, 0, end);
    file.n += end;
    buf_release(&header);
    return file;
}

/* A tokenizer.json whose tokens are GPT-2's letters for the 256 bytes. */
static struct buf make_tokenizer(void)
{
    struct buf text = {0};
    uint32_t others = 256;
    char letter[4];

    buf_cstr(&text, "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    for (uint32_t i = 0; i < 256; i++) {
        const bool itself = (i > ' ' && i < 0x7f) || (i > 0xa0 && i != 0xad);
        buf_cstr(&text, i ? "," : "");
        json_quote(&text, (struct str){letter, utf8_encode(letter, itself ? i : others++)});
        buf_printf(&text, ":%u", i);
    }
    buf_cstr(&text, "}},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
             "\"decoder\":{\"type\":\"ByteLevel\"}}");
    return text;
}

static void try_as_index(struct str text)
{
    struct arena *arena = arena_new(1 << 14);
    const struct str *names;
    struct err err;
    uint32_t n;

    if (shard_names(arena, text, &names, &n, &err))
        for (uint32_t i = 0; i < n; i++)
            if (memchr(names[i].s, '/', names[i].n) || names[i].s[0] == '.')
                abort();
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct buf weights, tokenizer;
    const char *text = (const char *)bytes, *end = n ? memchr(text, '\0', n) : NULL;
    struct hf_files files = {.config = {text, end ? (size_t)(end - text) : n}};
    struct err err;

    if (!weights.n) {
        weights = make_weights();
        tokenizer = make_tokenizer();
    }
    if (end)
        files.generation = (struct str){end + 1, n - files.config.n - 1};
    files.tokenizer = buf_view(&tokenizer);
    struct safetensors *shard = safetensors_parse(weights.data, weights.n, "fuzz", &err);
    if (!shard)
        abort();
    files.shards = &shard;
    files.shards_n = 1;
    try_as_index(files.config);
    struct checkpoint *checkpoint = checkpoint_of_hf(&files, "fuzz", &err);
    struct model *model = checkpoint ? model_load(checkpoint, &err) : NULL;
    struct model_info info = {0};
    if (model)
        model_describe(model, &info);
    model_close(model);
    return 0;
}
