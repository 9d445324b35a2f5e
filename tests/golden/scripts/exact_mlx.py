#!/usr/bin/env python3
"""exact_mlx.py IN.gguf OUT - a Llama GGUF of q4_0, q4_1 and q8_0 as the MLX folder of exactly the same weights.

Blocks of 32 become groups of 32: scale and bias are taken over and the numbers packed anew, nothing is rounded. What Llama's
converter to GGUF permutes (rows of q and k, so that numbers turned together are neighbours) is put back. numpy alone.
"""
import os, shutil, sys
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import affine, blocks, containers, model_files, tokjson

OURS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
         "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def parts(fmt, raw, shape):
    """numbers, scales and biases of a quantised tensor, and how many bits a number has; biases are exact in the scales' type"""
    rows, groups = shape[0], shape[1] // 32
    b = raw.reshape(-1, blocks.BLOCKS[fmt].bytes)
    d = b[:, :2].copy().view("<f2").reshape(rows, groups)
    if fmt == "q8_0":
        q, bias, bits = b[:, 2:].view(np.int8).astype(np.int16) + 128, d.astype(np.float32) * -128, 8
    else:
        head = 4 if fmt == "q4_1" else 2
        q, bits = blocks.nibbles(b[:, head:]), 4
        bias = b[:, 2:4].copy().view("<f2").reshape(rows, groups).astype(np.float32) if fmt == "q4_1" else d.astype(np.float32) * -8
    dtype = "F16" if (bias.astype(np.float16) == bias).all() else "F32"
    return q.astype(np.uint8).reshape(rows, -1), containers.store(dtype, d), containers.store(dtype, bias), bits, dtype


def main():
    source, out = sys.argv[1], sys.argv[2]
    g = containers.Gguf(source)
    of = lambda key, otherwise=None: g.meta.get(f"llama.{key}", otherwise)
    assert g.meta["general.architecture"] == "llama"
    heads = {"attn_q": of("attention.head_count"), "attn_k": of("attention.head_count_kv")}
    tensors, odd = {}, {}
    for name, (fmt, shape, raw) in g.tensors.items():
        p = name.split(".")
        layer = OURS[p[0]] if p[0] in OURS else f"model.layers.{p[1]}.{LAYER[p[2]]}"
        if len(shape) == 1:
            tensors[layer + ".weight"] = "F32", containers.store("F32", blocks.decode(fmt, raw, shape))
            continue
        q, scales, biases, bits, dtype = parts(fmt, raw, shape)
        if p[0] == "blk" and p[2] in heads: q, scales, biases = (model_files.halves_apart(x, heads[p[2]]) for x in (q, scales, biases))
        tensors.update({layer + ".weight": ("U32", affine.pack(q, bits)), layer + ".scales": (dtype, scales), layer + ".biases": (dtype, biases)})
        if bits != 4: odd[layer] = {"group_size": 32, "bits": bits}
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    containers.write_safetensors(f"{out}/model.safetensors", tensors, {"format": "mlx"}, pad=1)
    model_files.write_json(f"{out}/config.json", {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": g.tensors["token_embd.weight"][1][0],
        "hidden_size": of("embedding_length"), "intermediate_size": of("feed_forward_length"), "num_hidden_layers": of("block_count"),
        "num_attention_heads": of("attention.head_count"), "num_key_value_heads": of("attention.head_count_kv"),
        "max_position_embeddings": of("context_length"), "rms_norm_eps": of("attention.layer_norm_rms_epsilon"),
        "rope_theta": of("rope.freq_base", 10000.0), "tie_word_embeddings": "output.weight" not in g.tensors, "hidden_act": "silu",
        "bos_token_id": g.meta["tokenizer.ggml.bos_token_id"], "eos_token_id": g.meta["tokenizer.ggml.eos_token_id"],
        "quantization": {"group_size": 32, "bits": 4, **odd}})
    tokjson.write(g.meta, out)
    print(f"{out}: {len(tensors)} tensors, {sum(a.nbytes for _, a in tensors.values()) / 1e6:.1f} MB")


if __name__ == "__main__": main()
