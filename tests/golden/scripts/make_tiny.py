#!/usr/bin/env python3
"""make_tiny.py OUT [name ...] - tiny random models of our own for every architecture, in every container.

For each spec:  OUT/<name>/hf         HF safetensors bf16 (weights are exact in bf16, f16 AND f32: bf16-rounded, |w| >= 2^-14 or 0)
                OUT/<name>/mlx-*      MLX directories made by mlx_lm.convert (4bit-g64 always; more for some)
                OUT/<name>/f16.gguf   our own GGUF writer (fxlib.write_gguf); same weights exactly
                OUT/<name>/<q>.gguf   llama.cpp's llama_model_quantize of the f32 file
llama_tied also gets hf-f32, hf-f16, hf-sharded (3 shards + index).  Weights: numpy PCG64 seeded by crc32(name); nothing third-party.
Needs mlx_lm, llama_cpp, tokenizers, sentencepiece (to MAKE them; the tests only read them).
"""
import json, os, shutil, sys, zlib
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fxlib as fx, tinytok, tokjson

LF = [1.0 + 0.37 * i ** 1.35 for i in range(48)]          # long factors, growing like the real ones (1.08 .. 64.8 there)
SF = [1.0 + 0.012 * i for i in range(48)]                 # short factors (real: 1.0 .. 2.8)
BASE = dict(vocab_size=512, rms_norm_eps=1e-5, max_position_embeddings=2048, rope_theta=10000.0, rope_scaling=None, hidden_act="silu",
            attention_bias=False, attention_dropout=0.0, initializer_range=0.02, use_cache=True, torch_dtype="bfloat16")
PHI3 = dict(BASE, model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=192, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=False, max_position_embeddings=131072,
            original_max_position_embeddings=4096, sliding_window=262144, embd_pdrop=0.0, resid_pdrop=0.0,
            rope_scaling={"type": "longrope", "long_factor": LF, "short_factor": SF})
SPECS = {
    "llama_tied": dict(BASE, model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True),
    "llama31_untied": dict(BASE, model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=64, intermediate_size=192, num_hidden_layers=3,
                           num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False, rope_theta=500000.0, max_position_embeddings=131072,
                           rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                         "original_max_position_embeddings": 256}),
    "llama_k256": dict(BASE, model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=256, intermediate_size=512, num_hidden_layers=1,
                       num_attention_heads=4, num_key_value_heads=1, tie_word_embeddings=False),
    "phi3_longrope": PHI3,
    "phi3_longrope_s": dict(PHI3, max_position_embeddings=2048, original_max_position_embeddings=256, num_hidden_layers=1),
    "gemma3_text": dict(BASE, model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], hidden_size=128, intermediate_size=192,
                        num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, rms_norm_eps=1e-6,
                        rope_theta=1000000.0, rope_local_base_freq=10000.0, query_pre_attn_scalar=32, sliding_window=32, sliding_window_pattern=6,
                        hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=None, final_logit_softcapping=None,
                        layer_types=["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(7)]),
    "qwen2": dict(BASE, model_type="qwen2", architectures=["Qwen2ForCausalLM"], hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                  num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, rope_theta=1000000.0, rms_norm_eps=1e-6,
                  use_sliding_window=False, sliding_window=None, max_window_layers=2),
    "qwen3": dict(BASE, model_type="qwen3", architectures=["Qwen3ForCausalLM"], hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True, rope_theta=1000000.0, rms_norm_eps=1e-6,
                  use_sliding_window=False, sliding_window=None, max_window_layers=2),
    "mistral": dict(BASE, model_type="mistral", architectures=["MistralForCausalLM"], hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, sliding_window=32),
    "qwen3_moe": dict(BASE, model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                      num_attention_heads=4, num_key_value_heads=2, head_dim=32, tie_word_embeddings=False, rope_theta=1000000.0, rms_norm_eps=1e-6,
                      num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
                      use_sliding_window=False, sliding_window=None, max_window_layers=2, router_aux_loss_coef=0.001, output_router_logits=False),
}
MLX = {"*": [("4bit-g64", dict(q_bits=4, q_group_size=64))],
       "llama_tied": [("4bit-g64", dict(q_bits=4, q_group_size=64)), ("4bit-g32", dict(q_bits=4, q_group_size=32)),
                      ("8bit-g64", dict(q_bits=8, q_group_size=64)), ("6bit-g64", dict(q_bits=6, q_group_size=64)), ("5bit-g32", dict(q_bits=5, q_group_size=32)),
                      ("3bit-g64", dict(q_bits=3, q_group_size=64)), ("2bit-g32", dict(q_bits=2, q_group_size=32)),
                      ("mixed", dict(q_bits=4, q_group_size=64, quant_predicate="custom")), ("bf16", None),
                      ("4bit-g64-f16", dict(q_bits=4, q_group_size=64, dtype="float16")), ("4bit-g64-f32", dict(q_bits=4, q_group_size=64, dtype="float32"))],
       "llama_k256": [("4bit-g128", dict(q_bits=4, q_group_size=128)), ("mixed_3_6", dict(q_bits=3, q_group_size=64, quant_predicate="mixed_3_6"))],
       "phi3_longrope": [("4bit-g64", dict(q_bits=4, q_group_size=64)), ("8bit-g64", dict(q_bits=8, q_group_size=64))],
       "gemma3_text": [("4bit-g64", dict(q_bits=4, q_group_size=64))]}
GG = {"*": ["Q8_0", "Q4_0"], "llama_tied": ["F32", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"],
      "llama_k256": ["Q4_K_M", "Q5_K_M", "Q6_K", "Q3_K_M", "Q2_K"], "gemma3_text": ["Q8_0", "Q4_K_M"], "phi3_longrope_s": ["Q4_0"],
      "phi3_longrope": ["Q4_0"]}


SEED = {"qwen3_moe": "0"}      # chosen so that no routing decision of the test sequences is a near-tie


def weights(name, c):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32((name + SEED.get(name, "")).encode())))
    h, f, v, L = c["hidden_size"], c["intermediate_size"], c["vocab_size"], c["num_hidden_layers"]
    H, KV = c["num_attention_heads"], c["num_key_value_heads"]
    D = c.get("head_dim") or h // H
    gem = c["model_type"].startswith("gemma")
    W = {}

    def fix(x):
        x = fx.unbf16(fx.bf16(x.astype(np.float32)))
        return np.where(np.abs(x) < 2.0 ** -14, np.float32(0), x)
    def lin(n, o, i, gain=1.0): W[n + ".weight"] = fix(rng.standard_normal((o, i)) * (gain / np.sqrt(i)))
    def norm(n, d): W[n + ".weight"] = fix((0.0 if gem else 1.0) + 0.2 * rng.standard_normal(d))
    W["model.embed_tokens.weight"] = fix(rng.standard_normal((v, h)) * (h ** -0.5 if gem else 0.5))
    for i in range(L):
        p = f"model.layers.{i}."
        norm(p + "input_layernorm", h); norm(p + "post_attention_layernorm", h)
        if gem: norm(p + "pre_feedforward_layernorm", h); norm(p + "post_feedforward_layernorm", h)
        if c["model_type"] == "phi3":
            lin(p + "self_attn.qkv_proj", (H + 2 * KV) * D, h, 1.5)
            lin(p + "mlp.gate_up_proj", 2 * f, h)
        else:
            lin(p + "self_attn.q_proj", H * D, h, 1.5); lin(p + "self_attn.k_proj", KV * D, h, 1.5); lin(p + "self_attn.v_proj", KV * D, h)
            if c["model_type"] == "qwen2":
                for n, o in (("q", H * D), ("k", KV * D), ("v", KV * D)): W[p + f"self_attn.{n}_proj.bias"] = fix(0.5 * rng.standard_normal(o))
            if c["model_type"] in ("qwen3", "qwen3_moe", "gemma3_text"): norm(p + "self_attn.q_norm", D); norm(p + "self_attn.k_norm", D)
            if c["model_type"] == "qwen3_moe":
                lin(p + "mlp.gate", c["num_experts"], h, 2.0)
                for e in range(c["num_experts"]):
                    m = c["moe_intermediate_size"]
                    lin(p + f"mlp.experts.{e}.gate_proj", m, h); lin(p + f"mlp.experts.{e}.up_proj", m, h); lin(p + f"mlp.experts.{e}.down_proj", h, m)
            else:
                lin(p + "mlp.gate_proj", f, h); lin(p + "mlp.up_proj", f, h)
        lin(p + "self_attn.o_proj", h, H * D)
        if c["model_type"] != "qwen3_moe": lin(p + "mlp.down_proj", h, f)
    norm("model.norm", h)
    if not c["tie_word_embeddings"]: lin("lm_head", v, h)
    return W


def save_hf(d, c, W, dt, tok, shards=1):
    os.makedirs(d, exist_ok=True)
    enc = {"BF16": fx.bf16, "F16": lambda z: z.astype("<f2"), "F32": lambda z: z.astype("<f4")}[dt]
    T = {k: (dt, enc(v)) for k, v in W.items()}
    if dt == "F16": assert all((enc(v).astype(np.float32) == v).all() for v in W.values())
    if shards == 1: fx.write_safetensors(f"{d}/model.safetensors", T, {"format": "pt"})
    else:
        ks, wm = sorted(T), {}
        for s in range(shards):
            part = ks[s * len(ks) // shards:(s + 1) * len(ks) // shards]
            fn = f"model-{s+1:05d}-of-{shards:05d}.safetensors"
            fx.write_safetensors(f"{d}/{fn}", {k: T[k] for k in part}, {"format": "pt"})
            wm.update({k: fn for k in part})
        json.dump({"metadata": {"total_size": sum(v[1].nbytes for v in T.values())}, "weight_map": wm}, open(f"{d}/model.safetensors.index.json", "w"), indent=1)
    meta = {k: v for k, _, v in tok[0]}
    c = dict(c, bos_token_id=meta["tokenizer.ggml.bos_token_id"], eos_token_id=meta["tokenizer.ggml.eos_token_id"], pad_token_id=meta["tokenizer.ggml.padding_token_id"],
             torch_dtype={"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dt])
    json.dump(c, open(f"{d}/config.json", "w"), indent=1)
    tokjson.write(meta, d)
    if tok[1]: open(f"{d}/tokenizer.model", "wb").write(tok[1])


def perm(w, h): return w.reshape((h, 2, w.shape[0] // h // 2) + w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def save_gguf(path, c, W, tok, dt):
    mt = c["model_type"]
    arch = {"mistral": "llama", "gemma3_text": "gemma3", "qwen3_moe": "qwen3moe"}.get(mt, mt)
    H, KV, h = c["num_attention_heads"], c["num_key_value_heads"], c["hidden_size"]
    D = c.get("head_dim") or h // H
    A = lambda k, t, v: meta.append((f"{arch}.{k}", t, v))
    meta = [("general.architecture", "str", arch), ("general.type", "str", "model"), ("general.name", "str", "tiny random " + mt),
            ("general.file_type", "u32", {"F32": 0, "F16": 1}[dt])]
    A("block_count", "u32", c["num_hidden_layers"]); A("context_length", "u32", c["max_position_embeddings"]); A("embedding_length", "u32", h)
    A("feed_forward_length", "u32", c["intermediate_size"]); A("attention.head_count", "u32", H); A("attention.head_count_kv", "u32", KV)
    A("rope.freq_base", "f32", c["rope_theta"]); A("attention.layer_norm_rms_epsilon", "f32", c["rms_norm_eps"])
    if c.get("head_dim"): A("attention.key_length", "u32", D); A("attention.value_length", "u32", D)
    if arch in ("llama", "phi3"): A("rope.dimension_count", "u32", D)
    if arch == "llama": A("vocab_size", "u32", c["vocab_size"])
    if mt == "gemma3_text": A("attention.sliding_window", "u32", c["sliding_window"])
    if mt == "qwen3_moe":
        A("expert_count", "u32", c["num_experts"]); A("expert_used_count", "u32", c["num_experts_per_tok"]); A("expert_feed_forward_length", "u32", c["moe_intermediate_size"])
    T = []
    rs = c["rope_scaling"]
    if rs and rs.get("type") in ("longrope", "su"):
        o = c["original_max_position_embeddings"]; s = c["max_position_embeddings"] / o
        A("rope.scaling.original_context_length", "u32", o); A("attention.sliding_window", "u32", c["sliding_window"])
        A("rope.scaling.attn_factor", "f32", float(np.sqrt(1 + np.log(s) / np.log(o))))
        T += [("rope_factors_long.weight", np.array(rs["long_factor"], np.float32)), ("rope_factors_short.weight", np.array(rs["short_factor"], np.float32))]
    if rs and rs.get("rope_type") == "llama3":
        import refmodel
        f0 = refmodel.inv_freq({}, D, c["rope_theta"], None, 0, "hf")[0]; f1 = refmodel.inv_freq({}, D, c["rope_theta"], rs, 0, "hf")[0]
        T.append(("rope_freqs.weight", (f0 / f1).astype(np.float32)))
    mp = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
          "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
          "mlp.gate_up_proj": "ffn_up", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate": "ffn_gate_inp"}
    if arch == "gemma3": mp.update(post_attention_layernorm="post_attention_norm", pre_feedforward_layernorm="ffn_norm", post_feedforward_layernorm="post_ffw_norm")
    for k, w in W.items():
        if ".experts." in k: continue
        p = k.split(".")
        if p[1] == "layers":
            g = f"blk.{p[2]}.{mp['.'.join(p[3:-1])]}.{p[-1]}"
            if arch == "llama" and "attn_q." in g: w = perm(w, H)
            if arch == "llama" and "attn_k." in g: w = perm(w, KV)
        else: g = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[k]
        if arch == "gemma3" and w.ndim == 1: w = w + np.float32(1)
        T.append((g, w))
    if mt == "qwen3_moe":
        for i in range(c["num_hidden_layers"]):
            for n, gname in (("gate_proj", "ffn_gate_exps"), ("up_proj", "ffn_up_exps"), ("down_proj", "ffn_down_exps")):
                T.append((f"blk.{i}.{gname}.weight", np.stack([W[f"model.layers.{i}.mlp.experts.{e}.{n}.weight"] for e in range(c["num_experts"])])))
    meta += [m for m in tok[0] if m[0] != "general.architecture"]
    f32 = lambda n, w: dt == "F32" or w.ndim == 1 or n.endswith("ffn_gate_inp.weight")
    fx.write_gguf(path, meta, [(n, 0 if f32(n, w) else 1, w.shape, w.astype("<f4" if f32(n, w) else "<f2").tobytes()) for n, w in T])


def main():
    out = sys.argv[1]
    names = sys.argv[2:] or list(SPECS)
    import oracle as O
    for name in names:
        c = SPECS[name]
        d = f"{out}/{name}"
        shutil.rmtree(d, ignore_errors=True); os.makedirs(d)
        mt = c["model_type"]
        tok = (tinytok.bpe({"qwen2": "qwen2", "qwen3": "qwen2", "qwen3_moe": "qwen2", "llama": "llama-bpe" if name == "llama31_untied" else "smollm"}[mt]), None) \
            if mt in ("llama", "qwen2", "qwen3", "qwen3_moe") else tinytok.spm(mt.startswith("gemma"))
        W = weights(name, c)
        save_hf(d + "/hf", c, W, "BF16", tok)
        if name == "llama_tied":
            save_hf(d + "/hf-f32", c, W, "F32", tok); save_hf(d + "/hf-f16", c, W, "F16", tok); save_hf(d + "/hf-sharded", c, W, "BF16", tok, 3)
        try:                                              # the same config as transformers 5 writes it (rope_parameters, dtype)
            from transformers import AutoConfig
            k = AutoConfig.from_pretrained(d + "/hf"); k.save_pretrained(f"{out}/_cfg5")
            shutil.copy(f"{out}/_cfg5/config.json", d + "/hf/config.transformers5.json")
        except ImportError: pass
        save_gguf(d + "/f16.gguf", c, W, tok, "F16")
        save_gguf(f"{out}/_f32.gguf", c, W, tok, "F32")
        for q in GG.get(name, GG["*"]): O.requant(f"{out}/_f32.gguf", f"{d}/{q.lower()}.gguf", q)
        from mlx_lm.convert import convert
        import io, contextlib
        for v, kw in MLX.get(name, MLX["*"]):
            kw = dict(kw or {}, quantize=kw is not None)
            if kw.get("quant_predicate") == "custom":
                def pred(p, m):
                    if "embed_tokens" in p: return {"group_size": 64, "bits": 8}
                    if "v_proj" in p or "down_proj" in p: return {"group_size": 32, "bits": 6}
                    if "layers.0.self_attn.o_proj" in p: return False
                    return True
                kw["quant_predicate"] = pred
            with contextlib.redirect_stdout(io.StringIO()): convert(d + "/hf", d + "/mlx-" + v, **kw)
            if name == "phi3_longrope":                  # the real mlx-community Phi-3 directory says "su"; transformers 5 refuses that name
                f = f"{d}/mlx-{v}/config.json"; j = json.load(open(f)); j["rope_scaling"]["type"] = "su"; json.dump(j, open(f, "w"), indent=4)
        sz = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(d) for f in fs)
        print(name, f"{sz/1e6:.2f} MB", sorted(os.listdir(d)), flush=True)


if __name__ == "__main__": main()
