#!/usr/bin/env python3
"""make_bad_folders.py FUZZ - seeds and regressions of the fuzz targets safetensors and config, into FUZZ/corpus and
FUZZ/regressions: files that lie, each in one way. tests/engine/test_safetensors.c and test_checkpoint_hf.c say what such are
refused with; here they are what the fuzzer starts from, and must never crash again.
"""
import json, os, struct, sys

HIDDEN, FFN, KV, VOCAB = 64, 128, 32, 8


def safetensors(header, data_n=64, header_n=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if header_n is None else header_n) + text + b"\0" * data_n


def tensor(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def llama(bits=None, group=32):
    """The tensors that fuzz_safetensors binds: bf16, or MLX's words with scales and biases."""
    header, end = {"__metadata__": {"format": "mlx" if bits else "pt"}}, 0

    def add(name, dtype, shape):
        nonlocal end
        size = {"BF16": 2, "U32": 4}[dtype]
        for d in shape: size *= d
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    for name, rows, cols in [("embed_tokens", VOCAB, HIDDEN), ("norm", 0, HIDDEN), *(
            (f"layers.0.{n}", r, c) for n, r, c in [
                ("input_layernorm", 0, HIDDEN), ("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", KV, HIDDEN),
                ("self_attn.v_proj", KV, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN), ("post_attention_layernorm", 0, HIDDEN),
                ("mlp.gate_proj", FFN, HIDDEN), ("mlp.up_proj", FFN, HIDDEN), ("mlp.down_proj", HIDDEN, FFN)])]:
        if not rows: add(f"model.{name}.weight", "BF16", [cols])
        elif not bits: add(f"model.{name}.weight", "BF16", [rows, cols])
        else:
            add(f"model.{name}.weight", "U32", [rows, cols * bits // 32])
            for part in ("scales", "biases"): add(f"model.{name}.{part}", "BF16", [rows, cols // group])
    return safetensors(header, end)


SAFETENSORS = {
    "header_length_huge": safetensors({}, header_n=(1 << 64) - 1),
    "header_length_wraps": safetensors({}, header_n=(1 << 64) - 8),
    "header_beyond_file": safetensors({}, header_n=1 << 20),
    "header_empty": safetensors(b""),
    "header_deep": safetensors(b'{"w":' + b"[" * 4096),
    "header_is_list": safetensors(b"[1]"),
    "shape_product_wraps": safetensors(tensor(shape=[1 << 32, 1 << 32])),
    "shape_bytes_wrap": safetensors(tensor("F64", [1 << 61], [0, 0])),
    "dimension_0": safetensors(tensor(shape=[4, 0])),
    "dimension_negative": safetensors(tensor(shape=[-4])),
    "dimensions_many": safetensors(tensor(shape=[1] * 64)),
    "offsets_beyond_file": safetensors(tensor(offsets=[1 << 40, (1 << 40) + 16])),
    "offsets_wrap": safetensors(tensor(offsets=[(1 << 64) - 16, 0])),
    "offsets_reversed": safetensors(tensor(offsets=[16, 0])),
    "offsets_of_another_size": safetensors(tensor(offsets=[0, 17])),
    "dtype_unknown": safetensors(tensor("F31")),
    "dtype_is_list": safetensors(b'{"w":{"dtype":[1],"shape":[4],"data_offsets":[0,16]}}'),
    "tensor_twice": safetensors(b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                b'"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'),
    "name_with_control_bytes": safetensors({"a\x1b[2J": {}}),
    "words_without_scales": safetensors(tensor("U32") | {"model.embed_tokens.weight": tensor("U32")["w"]}),
    "scales_without_weight": safetensors({"model.embed_tokens.scales": tensor()["w"]}),
}

CONFIG = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": HIDDEN, "intermediate_size": FFN, "vocab_size": 300,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
          "tie_word_embeddings": True, "eos_token_id": [1, 2]}


def config(**fields): return json.dumps(CONFIG | fields).encode()


CONFIGS = {
    "number_negative": config(hidden_size=-1),
    "number_float": config(num_attention_heads=4.5),
    "number_huge": config(intermediate_size=1 << 63),
    "number_of_1e300": config(rope_theta=1e300),
    "heads_0": config(num_attention_heads=0),
    "layers_huge": config(num_hidden_layers=1 << 30),
    "vocab_huge": config(vocab_size=1 << 31),
    "experts_without_tensors": config(
        model_type="qwen3_moe", num_experts=1024, num_experts_per_tok=1024, moe_intermediate_size=1 << 20),
    "model_type_is_list": config(model_type=[1]),
    "activation_is_list": config(hidden_act=[1]),
    "text_config_is_root": b'{"text_config":{"text_config":{}}}',
    "deep": b'{"a":' * 4096,
    "empty": b"",
    "mlp_only_layers_endless": config(model_type="qwen3_moe", num_experts=8, num_experts_per_tok=1, mlp_only_layers=[0] * 5000),
    "eos_token_ids_endless": config(eos_token_id=[1] * 5000),
    "quantization_mode_unknown": config(quantization={"bits": 4, "mode": "mxfp9"}),
    "quantization_of_others": config(quantization_config={"quant_method": "gptq"}),
    "longrope_without_factors": config(rope_scaling={"type": "longrope", "short_factor": []}),
    "yarn_of_factor_0": config(rope_scaling={"type": "yarn", "factor": 0, "mscale": 1, "mscale_all_dim": 1}),
    "generation_config_deep": config() + b"\0" + b"[" * 4096,
    "shard_of_parent_folder": b'{"weight_map":{"w":"../../etc/passwd.safetensors"}}',
    "shard_of_absolute_path": b'{"weight_map":{"w":"/dev/zero.safetensors"}}',
    "shards_endless": json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(1200)}}).encode(),
}

SEEDS = {
    "safetensors": {"bf16": llama(), "mlx4": llama(4), "mlx3": llama(3, 64)},
    "config": {
        "plain": config() + b'\0{"temperature":0.6,"top_p":0.9,"top_k":20,"eos_token_id":7,"do_sample":true}',
        "windows": config(sliding_window=32, use_sliding_window=True, max_window_layers=0, sliding_window_pattern=2,
                          layer_types=["sliding_attention"]),
        "llama3": config(rope_theta=5e5, rope_scaling={"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                                                       "high_freq_factor": 4, "original_max_position_embeddings": 256}),
        "longrope": config(original_max_position_embeddings=128, rope_scaling={
            "type": "su", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}),
        "parameters": config(rope_parameters={"full_attention": {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4},
                                              "sliding_attention": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
        "experts": config(model_type="qwen3_moe", num_experts=8, num_experts_per_tok=2,
                          decoder_sparse_step=2, norm_topk_prob=True),
        "mlx": config(quantization={"group_size": 64, "bits": 4, "mode": "affine", "lm_head": False}),
        "wrapped": json.dumps({"model_type": "gemma3", "text_config": CONFIG}).encode(),
        "index": b'{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}',
    },
}


def write(folder, files, end):
    os.makedirs(folder, exist_ok=True)
    for name, content in files.items():
        with open(f"{folder}/{name}{end}", "wb") as f: f.write(content)


if __name__ == "__main__":
    fuzz = sys.argv[1]
    for target, regressions, end in (("safetensors", SAFETENSORS, ".safetensors"), ("config", CONFIGS, ".json")):
        write(f"{fuzz}/corpus/{target}", SEEDS[target], end)
        write(f"{fuzz}/regressions/{target}", regressions, end)
