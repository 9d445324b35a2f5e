/* Folders of safetensors: config.json in all its spellings, tensors' names, MLX's quantisation,
 * shards, templates and end tokens; and what each kind of broken folder is refused with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/buf.h"
#include "engine/arch.h"
#include "engine/checkpoint_hf.h"
#include "engine/config_json.h"
#include "engine/hparams_hf.h"
#include "engine/tensors_hf.h"
#include "support/folder.h"
#include "support/golden.h"
#include "support/safetensors_text.h"

/* What stands first in an object is what counts. */
#define REST                                                                                       \
    "\"model_type\":\"llama\",\"num_hidden_layers\":4,\"hidden_size\":64,"                         \
    "\"intermediate_size\":128,\"vocab_size\":512,\"num_attention_heads\":4,"                      \
    "\"num_key_value_heads\":2,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-5}"
#define WITH(fields) "{" fields "," REST
#define PLAIN "{" REST

static bool read_config(struct arena *arena, const char *text, struct hparams *h, struct err *err)
{
    struct config config;
    yyjson_val *root;

    hparams_init(h);
    return json_parse_file(arena, str_of(text), "config.json", CONFIG_VALUES_MAX, &root, err) &&
           config_init(&config, root, err) && hparams_read_hf(h, &config, arena, err) &&
           hparams_check(h, arena, err);
}

static const struct { const char *config, *refusal; } bad_configs[] = {
    {"[1]", "config.json: not a JSON object"},
    {"{}", "config.json: model_type is missing"},
    {"{\"model_type\":7}", "config.json: model_type is missing"},
    {"{\"model_type\":\"llama\"}", "config.json: num_hidden_layers is missing"},
    {WITH("\"hidden_size\":-1"), "config.json: hidden_size is not an integer from 1 to 65536"},
    {WITH("\"hidden_size\":64.5"), "config.json: hidden_size is not an integer from 1 to 65536"},
    {WITH("\"hidden_size\":1e300"), "config.json: hidden_size is not an integer from 1 to 65536"},
    {WITH("\"hidden_size\":18446744073709551615"),
     "config.json: hidden_size is not an integer from 1 to 65536"},
    {WITH("\"hidden_size\":\"64\""), "config.json: hidden_size is not an integer from 1 to 65536"},
    {WITH("\"hidden_size\":null"), "config.json: hidden_size is missing"},
    {WITH("\"num_hidden_layers\":100000"),
     "config.json: num_hidden_layers is not an integer from 1 to 1024"},
    {WITH("\"num_attention_heads\":0"),
     "config.json: num_attention_heads is not an integer from 1 to 1024"},
    {WITH("\"num_key_value_heads\":3"), "4 heads do not divide among 3 KV heads"},
    {WITH("\"head_dim\":12"),
     "heads of 12 numbers are not supported, only multiples of 8 up to 256"},
    {WITH("\"vocab_size\":4294967296"),
     "config.json: vocab_size is not an integer from 1 to 1048576"},
    {WITH("\"rms_norm_eps\":\"tiny\""), "config.json: rms_norm_eps is not a number"},
    {WITH("\"rms_norm_eps\":-1"), "norm epsilon: -1 is not above 0"},
    {WITH("\"rope_theta\":1e39"), "config.json: rope_theta is not a number"},
    {WITH("\"rope_theta\":0"), "position base: 0 is not above 0"},
    {WITH("\"hidden_act\":\"relu\""),
     "config.json: hidden_act: activation \"relu\" is not supported"},
    {WITH("\"hidden_act\":[1]"), "config.json: hidden_act: activation (no word) is not supported"},
    {WITH("\"rope_scaling\":3"), "config.json: rope_scaling is not an object"},
    {WITH("\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}"),
     "config.json: rope_scaling: scaling \"dynamic\" of positions is not supported, these are: "
     "linear, "
     "llama3, longrope, yarn"},
    {WITH("\"rope_scaling\":{\"type\":\"linear\"}"), "config.json: rope_scaling.factor is missing"},
    {WITH("\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}"), "scaling of positions by -2"},
    {WITH("\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
          "\"high_freq_factor\":1}"),
     "scaling of positions between 4 and 1"},
    {WITH("\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1]}"),
     "config.json: short_factor is not a list of 8 numbers"},
    {WITH("\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1,1,1,1,1,1,1],"
          "\"long_factor\":[1,1,1,1,1,1,1,\"1\"]}"),
     "config.json: long_factor is not a number"},
    {WITH("\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1,1,1,1,1,1,1],"
          "\"long_factor\":[1,1,1,1,1,1,1,0]}"),
     "position factors: 0 is not above 0"},
    {WITH("\"rope_parameters\":{\"rope_type\":\"mrope\"}"),
     "config.json: rope_parameters: scaling \"mrope\" of positions is not supported, these are: "
     "linear, "
     "llama3, longrope, yarn"},
    {WITH("\"partial_rotary_factor\":1.5"),
     "config.json: partial_rotary_factor: 1.5 is not within 0 to 1"},
    {WITH("\"partial_rotary_factor\":0.2"), "3 rotary dimensions do not make pairs"},
    {WITH("\"sliding_window\":8,\"layer_types\":[\"full_attention\"]"),
     "config.json: layer_types is not a list of 4 words"},
    {WITH("\"sliding_window\":8,\"layer_types\":[\"full_attention\",\"linear_attention\",1,2]"),
     "config.json: layer_types: \"linear_attention\" in layer 1 is not supported"},
    {WITH("\"sliding_window\":8,\"use_sliding_window\":1"),
     "config.json: use_sliding_window is neither true nor false"},
    {WITH("\"no_rope_layers\":[1,0]"), "config.json: no_rope_layers is not a list of 4 numbers"},
    {WITH("\"num_experts\":4096"), "config.json: num_experts is not an integer from 0 to 1024"},
    {WITH("\"num_experts\":8"), "config.json: num_experts_per_tok is missing"},
    {WITH("\"num_experts\":8,\"num_experts_per_tok\":9"),
     "config.json: num_experts_per_tok is not an integer from 1 to 8"},
    {WITH("\"num_experts\":8,\"num_experts_per_tok\":2,\"mlp_only_layers\":[4]"),
     "config.json: mlp_only_layers is not an integer from 0 to 3"},
    {WITH("\"logits_scaling\":0"), "config.json: logits_scaling: 0 is not above 0"},
    {WITH("\"query_pre_attn_scalar\":-4"), "config.json: query_pre_attn_scalar: -4 is not above 0"},
};

static void test_bad_configs(void **state)
{
    for (size_t i = 0; i < sizeof bad_configs / sizeof *bad_configs; i++) {
        struct arena *arena = arena_new(1 << 14);
        struct hparams h;
        struct err err = {0};
        assert_false(read_config(arena, bad_configs[i].config, &h, &err));
        assert_string_equal(err.text, bad_configs[i].refusal);
        assert_int_equal(err.code, ERR_FORMAT);
        arena_free(arena);
    }
}

static struct hparams good_config(struct arena *arena, const char *text)
{
    struct hparams h;
    struct err err = {0};

    if (!read_config(arena, text, &h, &err))
        fail_msg("%s: %s", text, err.text);
    return h;
}

static void test_plain_config(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    const struct hparams h = good_config(arena, PLAIN);

    assert_true(h.layers == 4 && h.hidden == 64 && h.ffn == 128 && h.heads == 4 && h.kv_heads == 2);
    assert_true(h.head_dim == 16 && h.rotary == 16 && h.vocab == 512 && h.context_trained == 2048);
    assert_true(h.rms_eps == 1e-5f && h.ropes[0].base == 10000 && h.ropes[0].scaling == ROPE_PLAIN);
    assert_true(h.attention_scale == 0.25f && h.window == 0 && h.experts == 0);
    for (uint32_t i = 0; i < h.layers; i++)
        assert_false(h.kinds[i].windowed || h.kinds[i].no_rope || h.kinds[i].dense);
    arena_free(arena);
}

/* transformers 4 and 5 spell the same model. */
static void test_two_spellings(void **state)
{
    static const char *const pairs[][2] = {
        {WITH("\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,"
              "\"low_freq_factor\":1,\"high_freq_factor\":4,"
              "\"original_max_position_embeddings\":256}"),
         WITH("\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"llama3\",\"factor\":8,"
              "\"low_freq_factor\":1,\"high_freq_factor\":4,"
              "\"original_max_position_embeddings\":256}")},
        {WITH("\"rope_theta\":1e6,\"rope_local_base_freq\":1e4,\"rope_scaling\":{"
              "\"rope_type\":\"linear\",\"factor\":8}"),
         WITH("\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6,"
              "\"rope_type\":\"linear\",\"factor\":8},\"sliding_attention\":{\"rope_theta\":1e4,"
              "\"rope_type\":\"default\"}}")},
        {WITH("\"partial_rotary_factor\":0.75,\"original_max_position_embeddings\":128,"
              "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}"),
         WITH("\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,"
              "\"partial_rotary_factor\":0.75,\"original_max_position_embeddings\":128}")},
    };
    struct arena *arena = arena_new(1 << 14);

    for (size_t i = 0; i < 3; i++) {
        const struct hparams a = good_config(arena, pairs[i][0]);
        const struct hparams b = good_config(arena, pairs[i][1]);
        assert_memory_equal(a.ropes, b.ropes, sizeof a.ropes);
        assert_int_equal(a.rotary, b.rotary);
        assert_true(a.ropes[0].factor == (i == 2 ? 4 : 8) && a.ropes[0].scaling != ROPE_PLAIN);
        assert_int_equal(a.ropes[1].scaling, ROPE_PLAIN);
    }
    arena_free(arena);
}

static void test_longrope(void **state)
{
    static const char *const spellings[] = {"su", "longrope"};
    struct arena *arena = arena_new(1 << 14);

    for (size_t i = 0; i < 2; i++) {
        const struct str text = arena_printf(arena, WITH(
            "\"original_max_position_embeddings\":512,\"rope_scaling\":{\"type\":\"%s\","
            "\"short_factor\":[1,1,1,1,1,1,1,1.5],\"long_factor\":[1,2,3,4,5,6,7,8]}"),
            spellings[i]);
        const struct hparams h = good_config(arena, text.s);
        assert_true(h.ropes[0].scaling == ROPE_LONGROPE && h.ropes[0].original_context == 512);
        assert_true(h.ropes[0].short_factors[7] == 1.5f && h.ropes[0].long_factors[7] == 8);
        assert_true(h.ropes[0].magnitude == 0);
    }
    arena_free(arena);
}

static void test_yarn(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    struct hparams h =
        good_config(arena, WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}"));

    assert_true(h.ropes[0].low == 1 && h.ropes[0].high == 32 && !h.ropes[0].ramp_exact);
    assert_true(h.ropes[0].original_context == 2048 && h.ropes[0].magnitude == 0);
    h = good_config(arena, WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":16,"
                                "\"truncate\":false,\"attention_factor\":1.5}"));
    assert_true(h.ropes[0].high == 16 && h.ropes[0].ramp_exact && h.ropes[0].magnitude == 1.5f);
    h = good_config(arena, WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"mscale\":1.0,"
                                "\"mscale_all_dim\":1.0}"));
    assert_true(h.ropes[0].magnitude == 1);
    arena_free(arena);
}

/* w: windowed. The layers of each spelling of the same. */
static void test_windows(void **state)
{
    static const struct { const char *config, *layers; } rows[] = {
        {WITH("\"sliding_window\":32"), "wwww"},
        {WITH("\"sliding_window\":null"), "...."},
        {WITH("\"sliding_window\":32,\"use_sliding_window\":false"), "...."},
        {WITH("\"sliding_window\":32,\"use_sliding_window\":true,\"max_window_layers\":3"), "...w"},
        {WITH("\"sliding_window\":32,\"sliding_window_pattern\":2"), "w.w."},
        {WITH("\"sliding_window\":32,\"sliding_window_pattern\":2,\"layer_types\":["
              "\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]"),
         ".ww."},
        {WITH("\"model_type\":\"gemma2\",\"sliding_window\":32"), "w.w."},
        {WITH("\"model_type\":\"mistral\""), "wwww"},
        {WITH("\"model_type\":\"mistral\",\"sliding_window\":null"), "...."},
    };
    struct arena *arena = arena_new(1 << 14);

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct hparams h = good_config(arena, rows[i].config);
        for (uint32_t k = 0; k < h.layers; k++)
            assert_int_equal(h.kinds[k].windowed, rows[i].layers[k] == 'w');
    }
    arena_free(arena);
}

static void test_layers_without_positions(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    struct hparams h = good_config(arena, WITH("\"model_type\":\"smollm3\""));

    assert_true(!h.kinds[2].no_rope && h.kinds[3].no_rope);
    h = good_config(arena, WITH("\"model_type\":\"smollm3\",\"no_rope_layers\":[0,1,1,1]"));
    assert_true(h.kinds[0].no_rope && !h.kinds[3].no_rope);
    arena_free(arena);
}

static void test_experts(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    const struct hparams h = good_config(arena, WITH(
        "\"num_experts\":8,\"num_experts_per_tok\":2,\"moe_intermediate_size\":32,"
        "\"norm_topk_prob\":true,\"decoder_sparse_step\":2,\"mlp_only_layers\":[3]"));

    assert_true(h.experts == 8 && h.experts_used == 2 && h.expert_ffn == 32 && h.experts_norm);
    assert_true(h.kinds[0].dense && !h.kinds[1].dense && h.kinds[2].dense && h.kinds[3].dense);
    arena_free(arena);
}

static void test_multipliers(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    const struct hparams h = good_config(arena, WITH(
        "\"embedding_multiplier\":12,\"residual_multiplier\":0.25,\"attention_multiplier\":0.5,"
        "\"logits_scaling\":8,\"attn_logit_softcapping\":50.0,\"final_logit_softcapping\":30,"
        "\"hidden_act\":\"silu\",\"hidden_activation\":\"gelu_pytorch_tanh\""));

    assert_true(h.embedding_scale == 12 && h.residual_scale == 0.25f && h.attention_scale == 0.5f);
    assert_true(h.logits_scale == 0.125f && h.attention_softcap == 50 && h.logits_softcap == 30);
    assert_int_equal(h.activation, ACTIVATION_GELU_TANH);
    arena_free(arena);
}

/* A model that also sees: the fields of its language model, and what its type says by silence. */
static void test_wrapped_config(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    const struct hparams h = good_config(arena,
        "{\"model_type\":\"gemma3\",\"vision_config\":{\"hidden_size\":1152},\"text_config\":{"
        "\"hidden_size\":2560,\"intermediate_size\":10240,\"num_hidden_layers\":34,"
        "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024}}");

    assert_true(h.hidden == 2560 && h.heads == 8 && h.kv_heads == 4 && h.head_dim == 256);
    assert_true(h.vocab == 262208 && h.context_trained == 131072 && h.window == 1024);
    assert_true(h.ropes[0].base == 1e6f && h.ropes[1].base == 1e4f && h.ropes[0].factor == 8);
    assert_true(h.kinds[4].windowed && !h.kinds[5].windowed && !h.kinds[11].windowed);
    assert_true(fabsf(h.attention_scale - 1 / 16.0f) < 1e-7f);
    arena_free(arena);
}

static const struct { const char *theirs, *ours; } names[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"model.layers.17.self_attn.q_proj.bias", "blk.17.attn_q.bias"},
    {"model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"},
    {"model.layers.0.mlp.gate.weight", "blk.0.ffn_gate_inp.weight"},
    {"model.layers.0.self_attn.sinks", "blk.0.attn_sinks.weight"},
    {"model.layers.3.mlp.experts.12.down_proj.weight", "blk.3.ffn_down.12.weight"},
    {"model.layers.3.mlp.switch_mlp.up_proj.weight", "blk.3.ffn_up_exps.weight"},
    {"language_model.model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"},
    {"model.language_model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"},
    {"vision_tower.vision_model.embeddings.position_embedding.weight", ""},
    {"model.multi_modal_projector.mm_input_projection_weight", ""},
    {"model.layers.0.self_attn.rotary_emb.inv_freq", ""},
    {"model.layers.x.mlp.up_proj.weight", "model.layers.x.mlp.up_proj.weight"},
    {"model.layers.0", "model.layers.0"},
    {"model.layers.0.mlp.experts..up_proj.weight", "model.layers.0.mlp.experts..up_proj.weight"},
    {"model.layers.0.mlp.up_proj.lora_A", "model.layers.0.mlp.up_proj.lora_A"},
    {"score.weight", "score.weight"},
};

static void test_names(void **state)
{
    struct arena *arena = arena_new(1 << 14);
    struct tensors_hf reader = {.arena = arena, .arch = &arch_llama};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(str_is(tensor_name_hf(&reader, str_of(names[i].theirs)), names[i].ours));
    reader.tied = true;
    assert_int_equal(tensor_name_hf(&reader, STR("lm_head.weight")).n, 0);
    arena_free(arena);
}

#define MODULE "model.layers.0.self_attn.q_proj"

/* One quantised weight: rows of 2560 numbers, 2 of them. */
static bool read_affine(struct arena *arena, uint32_t words, const char *scale_type,
                        uint32_t scales, uint32_t biases, struct tensors *out, struct err *err)
{
    const struct str type = str_of(scale_type);
    const uint32_t size = str_is(type, "F32") ? 4 : str_is(type, "U8") ? 1 : 2;
    const uint32_t w = words * 8, s = w + scales * 2 * size, b = s + biases * 2 * size;
    struct hparams h = {.hidden = 2560, .heads = 1, .kv_heads = 1, .head_dim = 2};
    const struct tensors_hf reader = {.arena = arena, .arch = &arch_llama, .hparams = &h};
    struct buf header = {0};

    buf_printf(&header, "{\"" MODULE ".weight\":{\"dtype\":\"U32\",\"shape\":[2,%u],"
               "\"data_offsets\":[0,%u]},", words, w);
    buf_printf(&header, "\"" MODULE ".scales\":{\"dtype\":\"%s\",\"shape\":[2,%u],"
               "\"data_offsets\":[%u,%u]},", scale_type, scales, w, s);
    buf_printf(&header, "\"" MODULE ".biases\":{\"dtype\":\"%s\",\"shape\":[2,%u],"
               "\"data_offsets\":[%u,%u]}}", scale_type, biases, s, b);
    buf_char(&header, '\0');
    const struct str text = safetensors_text(arena, header.data, b);
    buf_release(&header);
    struct safetensors *file = safetensors_parse(text.s, text.n, "x.safetensors", err);

    assert_non_null(file);
    *out = (struct tensors){0};
    const bool ok = tensors_read_hf(&reader, &file, 1, out, err);
    safetensors_close(file);
    return ok;
}

static void test_every_affine_format(void **state)
{
    static const struct { uint32_t bits; enum quant quant; } formats[] = {
        {2, QUANT_AFFINE_2}, {3, QUANT_AFFINE_3}, {4, QUANT_AFFINE_4}, {5, QUANT_AFFINE_5},
        {6, QUANT_AFFINE_6}, {8, QUANT_AFFINE_8},
    };
    static const struct { const char *name; enum quant quant; } types[] = {
        {"F32", QUANT_F32}, {"F16", QUANT_F16}, {"BF16", QUANT_BF16},
    };
    struct arena *arena = arena_new(1 << 16);
    struct tensors tensors;
    struct err err;

    for (size_t i = 0; i < 6; i++)
        for (uint32_t group = 32; group <= 128; group *= 2)
            for (size_t type = 0; type < 3; type++) {
                assert_true(read_affine(arena, 2560 * formats[i].bits / 32, types[type].name,
                                        2560 / group, 2560 / group, &tensors, &err));
                assert_int_equal(tensors.n, 1);
                const struct tensor *t = &tensors.list[0];
                assert_true(t->quant == formats[i].quant && t->group == group);
                assert_true(t->scale_quant == types[type].quant && t->scales && t->biases);
                assert_true(t->dims[0] == 2560 && t->dims[1] == 2 && t->elements == 5120);
                const struct matrix m = tensor_matrix(t);
                assert_int_equal(m.row_bytes, 2560 * formats[i].bits / 8);
                assert_int_equal(m.scale_row_bytes, 2560 / group * quants[t->scale_quant].bytes);
            }
    arena_free(arena);
}

static void test_bad_affine(void **state)
{
#define Q "x.safetensors: tensor " MODULE ".weight: "
#define NO_FORMAT                                                                                  \
    " for a row of 2560 numbers are no format of MLX's: 2, 3, 4, 5, 6 or 8 bits in "               \
    "groups of 32, 64 or 128"
    static const struct { uint32_t words; const char *type; uint32_t scales, biases;
                          const char *refusal; } rows[] = {
        {320, "F32", 40, 39, Q "words of U32 without scales and biases of their shape"},
        {320, "I16", 40, 40, Q "words of U32 without scales and biases of their shape"},
        {320, "U8", 80, 80,
         Q "scales of U8 (MLX's mxfp4 and the like) are not supported, only affine ones"},
        {320, "F32", 10, 10, Q "320 words and 10 scales" NO_FORMAT},
        {320, "F32", 41, 41, Q "320 words and 41 scales" NO_FORMAT},
        {80, "F32", 40, 40, Q "80 words and 40 scales" NO_FORMAT},
        {321, "F32", 40, 40, Q "321 words and 40 scales" NO_FORMAT},
        {1, "F32", 40, 40, Q "1 words and 40 scales" NO_FORMAT},
    };
    struct arena *arena = arena_new(1 << 16);
    struct tensors tensors;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        assert_false(read_affine(arena, rows[i].words, rows[i].type, rows[i].scales, rows[i].biases,
                                 &tensors, &err));
        assert_string_equal(err.text, rows[i].refusal);
    }
    arena_free(arena);
}

static void test_shard_names(void **state)
{
#define INDEX "model.safetensors.index.json: "
#define NOT_A_NAME " is not the name of a .safetensors file in the folder"
    static const struct { const char *index, *refusal; } rows[] = {
        {"{}", INDEX "weight_map names no file"},
        {"{\"weight_map\":{}}", INDEX "weight_map names no file"},
        {"{\"weight_map\":[\"a.safetensors\"]}", INDEX "weight_map names no file"},
        {"{\"weight_map\":{\"w\":\"../a.safetensors\"}}",
         INDEX "weight_map: \"../a.safetensors\"" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":\"/etc/a.safetensors\"}}",
         INDEX "weight_map: \"/etc/a.safetensors\"" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":\"a\\\\b.safetensors\"}}",
         INDEX "weight_map: \"a\\x5cb.safetensors\"" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":\"a\\u0000.safetensors\"}}",
         INDEX "weight_map: \"a\\x00.safetensors\"" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":\".safetensors\"}}",
         INDEX "weight_map: \".safetensors\"" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":\"\"}}", INDEX "weight_map: \"\"" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":7}}", INDEX "weight_map: (no word)" NOT_A_NAME},
        {"{\"weight_map\":{\"w\":\"pytorch_model.bin\"}}",
         INDEX "weight_map: \"pytorch_model.bin\"" NOT_A_NAME},
    };
    struct arena *arena = arena_new(1 << 16);
    const struct str *list;
    struct err err;
    uint32_t n;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_false(shard_names(arena, str_of(rows[i].index), &list, &n, &err));
        assert_string_equal(err.text, rows[i].refusal);
    }
    assert_true(shard_names(arena, STR("{\"weight_map\":{\"v\":\"b.safetensors\","
                                       "\"w\":\"a.safetensors\",\"x\":\"b.safetensors\"}}"),
                            &list, &n, &err));
    assert_true(n == 2 && str_is(list[0], "b.safetensors") && str_is(list[1], "a.safetensors"));
    arena_free(arena);
}

/* One that goes on and on, with files or with tensors. */
static void test_endless_index(void **state)
{
    struct arena *arena = arena_new(1 << 16);
    struct buf index = {0};
    const struct str *list;
    struct err err;
    uint32_t n;

    buf_cstr(&index, "{\"weight_map\":{\"w\":\"a.safetensors\"");
    for (int i = 0; i < CHECKPOINT_FILES_MAX; i++)
        buf_printf(&index, ",\"%d\":\"%d.safetensors\"", i, i);
    buf_cstr(&index, "}}");
    assert_false(shard_names(arena, buf_view(&index), &list, &n, &err));
    assert_string_equal(err.text, INDEX "more than 1024 files");
    buf_reset(&index);
    buf_cstr(&index, "{\"weight_map\":{\"w\":\"a.safetensors\"");
    for (int i = 0; i < SHARD_INDEX_VALUES_MAX / 2; i++)
        buf_cstr(&index, ",\"w\":\"a\"");
    buf_cstr(&index, "}}");
    assert_false(shard_names(arena, buf_view(&index), &list, &n, &err));
    assert_string_equal(err.text,
                        "model.safetensors.index.json holds more than 262144 JSON values");
    buf_release(&index);
    arena_free(arena);
}

/* The files of a tiny model, to be changed. */
struct fixture {
    struct arena *arena;
    const char *folder;
    struct str config, tokenizer, tokenizer_config, weights;
};

static struct fixture fixture_new(void)
{
    struct arena *arena = arena_new(1 << 20);
    struct fixture f = {
        .arena = arena, .folder = folder_new(arena),
        .config = golden_read(arena, TINY "llama_tied/hf/config.json"),
        .tokenizer = golden_read(arena, TINY "llama_tied/hf/tokenizer.json"),
        .tokenizer_config = golden_read(arena, TINY "llama_tied/hf/tokenizer_config.json"),
        .weights = golden_read(arena, TINY "llama_tied/hf/model.safetensors"),
    };

    folder_write(f.folder, "config.json", f.config);
    folder_write(f.folder, "tokenizer.json", f.tokenizer);
    folder_write(f.folder, "tokenizer_config.json", f.tokenizer_config);
    folder_write(f.folder, "model.safetensors", f.weights);
    return f;
}

static void fixture_free(struct fixture *f)
{
    folder_remove(f->folder);
    arena_free(f->arena);
}

/* The model's config with fields that stand before its own. */
static void write_config(struct fixture *f, const char *fields)
{
    assert_int_equal(f->config.s[0], '{');
    folder_write(f->folder, "config.json",
                 arena_printf(f->arena, "{%s,%.*s", fields, (int)f->config.n - 1, f->config.s + 1));
}

static struct checkpoint *opened(struct fixture *f)
{
    struct err err;
    struct checkpoint *c = checkpoint_open(f->folder, &err);

    if (!c)
        fail_msg("%s", err.text);
    return c;
}

/* The text past the folder's name. */
static void refused(struct fixture *f, const char *text)
{
    struct err err = {0};
    const char *base = strrchr(f->folder, '/') + 1;

    assert_null(checkpoint_open(f->folder, &err));
    assert_string_equal(err.text, arena_printf(f->arena, "%s: %s", base, text).s);
    assert_int_equal(err.code, ERR_FORMAT);
}

static void test_a_folder(void **state)
{
    struct fixture f = fixture_new();
    struct checkpoint *c = opened(&f);

    assert_string_equal(c->format, "hf");
    assert_ptr_equal(c->arch, &arch_llama);
    assert_int_equal(c->file_bytes, f.weights.n);
    assert_true(str_ends(str_of(f.folder), c->name) && c->name.n > 0);
    assert_int_equal(c->vocab.tokens_n, 512);
    assert_true(str_starts(c->chat_template, STR("{% for message in messages %}")));
    assert_true(c->advice.temperature < 0 && c->advice.top_p < 0 && c->advice.top_k < 0);
    assert_true(c->vocab.ends_n == 1 && c->vocab.ends[0] == 2);
    assert_non_null(tensors_find(&c->tensors, STR("blk.1.attn_output.weight")));
    assert_null(tensors_find(&c->tensors, STR("output.weight")));
    checkpoint_close(c);
    fixture_free(&f);
}

static void test_generation_config(void **state)
{
    struct fixture f = fixture_new();

    folder_write(f.folder, "generation_config.json",
                 STR("{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.9,\"top_k\":20,"
                     "\"eos_token_id\":[7,8]}"));
    struct checkpoint *c = opened(&f);
    assert_true(c->advice.temperature == 0.6f && c->advice.top_p == 0.9f && c->advice.top_k == 20);
    assert_true(c->vocab.ends_n == 3 && c->vocab.ends[1] == 7 && c->vocab.ends[2] == 8);
    checkpoint_close(c);
    folder_write(f.folder, "generation_config.json",
                 STR("{\"do_sample\":false,\"temperature\":0.6}"));
    c = opened(&f);
    assert_true(c->advice.temperature < 0);
    checkpoint_close(c);
    folder_write(f.folder, "generation_config.json", STR("{\"eos_token_id\":[-1]}"));
    refused(&f, "generation_config.json: eos_token_id is no token");
    folder_write(f.folder, "generation_config.json", STR("{"));
    struct err err;
    assert_null(checkpoint_open(f.folder, &err));
    fixture_free(&f);
}

static void test_templates(void **state)
{
    struct fixture f = fixture_new();

    folder_write(f.folder, "tokenizer_config.json",
                 STR("{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T\"},"
                     "{\"name\":\"default\",\"template\":\"D\"}]}"));
    struct checkpoint *c = opened(&f);
    assert_true(str_is(c->chat_template, "D"));
    checkpoint_close(c);
    folder_write(f.folder, "chat_template.json", STR("{\"chat_template\":\"J\"}"));
    c = opened(&f);
    assert_true(str_is(c->chat_template, "J"));
    checkpoint_close(c);
    folder_write(f.folder, "chat_template.jinja", STR("X"));
    c = opened(&f);
    assert_true(str_is(c->chat_template, "X"));
    checkpoint_close(c);
    folder_write(f.folder, "chat_template.jinja", STR("\xff"));
    refused(&f, "the chat template is longer than 1048576 bytes or not UTF-8");
    fixture_free(&f);
}

static void test_quantisations_of_others(void **state)
{
    struct fixture f = fixture_new();

    write_config(&f, "\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}");
    refused(&f,
            "config.json: quantization_config: weights made by \"awq\" are not supported; MLX's, "
            "GGUF and unquantised ones are");
    write_config(&f, "\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\"}");
    refused(&f, "config.json: quantization: mode \"mxfp4\" is not supported, only affine");
    write_config(&f, "\"quantization\":{\"bits\":4,\"lm_head\":{\"mode\":\"nvfp4\"},\"a\":false}");
    refused(&f, "config.json: quantization: mode \"nvfp4\" is not supported, only affine");
    fixture_free(&f);
}

static void test_what_is_missing(void **state)
{
    struct fixture f = fixture_new();
    struct err err;

    folder_write(f.folder, "tokenizer.json", STR(""));
    assert_null(checkpoint_open(f.folder, &err));
    assert_string_equal(
        err.text, arena_printf(f.arena, "tokenizer.json is empty: %s/tokenizer.json", f.folder).s);
    folder_write(f.folder, "tokenizer.json", f.tokenizer);
    struct hf_files files = {.config = f.config};
    files.shards = &(struct safetensors *){
        safetensors_parse(f.weights.s, f.weights.n, "model.safetensors", &err)};
    files.shards_n = 1;
    assert_null(checkpoint_of_hf(&files, "some/tiny/", &err));
    assert_string_equal(err.text, "tiny: tokenizer.json is missing; transformers writes it: "
                        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
    write_config(&f, "\"tie_word_embeddings\":false");
    refused(&f,
            "tensor lm_head.weight is missing, and config.json says that it is not the embedding");
    write_config(&f, "\"model_type\":\"mamba\"");
    assert_null(checkpoint_open(f.folder, &err));
    assert_non_null(strstr(err.text,
                           "config.json: model_type: model type \"mamba\" is not supported, "
                           "these are: "));
    fixture_free(&f);
}

/* A folder in the hub's cache is called by a hash; the model's name stands above it. */
static void test_name_in_the_cache(void **state)
{
    static const struct { const char *path, *name; } rows[] = {
        {"/no/models--acme--tiny-llama/snapshots/0123abcd", "tiny-llama"},
        {"/no/models--acme--tiny-llama/0123abcd", "0123abcd"},
        {"/no/models--acme/snapshots/0--1", "0--1"},
        {"/no/acme/tiny-llama/", "tiny-llama"},
    };
    struct fixture f = fixture_new();
    struct err err;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct safetensors *shard = safetensors_parse(f.weights.s, f.weights.n, "x", &err);
        const struct hf_files files = {.config = f.config, .tokenizer = f.tokenizer,
                                       .shards = &shard, .shards_n = 1};
        struct checkpoint *c = checkpoint_of_hf(&files, rows[i].path, &err);
        assert_non_null(c);
        assert_true(str_is(c->name, rows[i].name));
        checkpoint_close(c);
    }
    fixture_free(&f);
}

static void test_shards(void **state)
{
    struct fixture f = fixture_new();
    struct err err;

    folder_write(f.folder, "model.safetensors.index.json",
                 STR("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}"));
    folder_write(f.folder, "one.safetensors", f.weights);
    assert_null(checkpoint_open(f.folder, &err));
    assert_string_equal(err.text, arena_printf(f.arena,
                                               "cannot open a file of weights (No such file or "
                                               "directory): %s/two.safetensors",
                                               f.folder)
                                      .s);
    folder_write(f.folder, "two.safetensors", (struct str){f.weights.s, f.weights.n - 1});
    assert_null(checkpoint_open(f.folder, &err));
    assert_true(str_starts(str_of(err.text), STR("two.safetensors: tensor ")));
    folder_write(f.folder, "two.safetensors", f.weights);
    assert_null(checkpoint_open(f.folder, &err));
    assert_non_null(strstr(err.text, ": two.safetensors: tensor "));
    assert_non_null(strstr(err.text, ": there is another tensor of this name, at one.safetensors"));
    fixture_free(&f);
}

static void test_end_token_of_the_config(void **state)
{
    struct fixture f = fixture_new();

    folder_write(f.folder, "tokenizer_config.json", STR("{}"));
    write_config(&f, "\"eos_token_id\":[3,4]");
    struct checkpoint *c = opened(&f);
    assert_true(c->vocab.eos == 3 && c->vocab.ends_n == 2 && c->vocab.ends[1] == 4);
    checkpoint_close(c);
    fixture_free(&f);
}

/* The embedding has more rows than there are tokens, or fewer. */
static void test_vocab_of_another_size(void **state)
{
    struct fixture f = fixture_new();

    write_config(&f, "\"vocab_size\":600");
    struct checkpoint *c = opened(&f);
    assert_int_equal(c->vocab.tokens_n, 600);
    assert_true(c->vocab.tokens[599].n == 0 && c->vocab.types[599] == TOKEN_UNUSED);
    assert_true(c->vocab.tokens[3].n > 0);
    checkpoint_close(c);
    write_config(&f, "\"vocab_size\":511");
    c = opened(&f);
    assert_int_equal(c->vocab.tokens_n, 511);
    checkpoint_close(c);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_plain_config),
        cmocka_unit_test(test_two_spellings),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_layers_without_positions),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_multipliers),
        cmocka_unit_test(test_wrapped_config),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_affine_format),
        cmocka_unit_test(test_bad_affine),
        cmocka_unit_test(test_shard_names),
        cmocka_unit_test(test_endless_index),
        cmocka_unit_test(test_a_folder),
        cmocka_unit_test(test_generation_config),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_quantisations_of_others),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_name_in_the_cache),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_end_token_of_the_config),
        cmocka_unit_test(test_vocab_of_another_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
