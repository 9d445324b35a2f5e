"""specs.py - the tiny models: their configurations, random weights and tokenizers. Nothing in them is anybody else's.

Weights come from seeded generators and are exact in bf16, f16 and f32 alike, so that one model can lie in all three.
"""
import json, os, zlib
import numpy as np
from blocks import bf16, decode, encode, unbf16

LONG = [1.0 + 0.37 * i ** 1.35 for i in range(48)]          # growing like the real ones of Phi-3
SHORT = [1.0 + 0.012 * i for i in range(48)]
BASE = dict(vocab_size=512, rms_norm_eps=1e-5, max_position_embeddings=2048, rope_theta=10000.0, rope_scaling=None, hidden_act="silu",
            attention_bias=False, attention_dropout=0.0, initializer_range=0.02, use_cache=True, torch_dtype="bfloat16")
LLAMA = dict(BASE, model_type="llama", architectures=["LlamaForCausalLM"])
PHI3 = dict(BASE, model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=192, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=False, max_position_embeddings=131072,
            original_max_position_embeddings=4096, sliding_window=262144, embd_pdrop=0.0, resid_pdrop=0.0,
            rope_scaling={"type": "longrope", "long_factor": LONG, "short_factor": SHORT})
SMALL = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
QWEN = dict(rope_theta=1000000.0, rms_norm_eps=1e-6, use_sliding_window=False, sliding_window=None, max_window_layers=2)

SPECS = {
    "llama_tied": dict(LLAMA, **SMALL, tie_word_embeddings=True),
    "llama31_untied": dict(LLAMA, hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
                           tie_word_embeddings=False, rope_theta=500000.0, max_position_embeddings=131072,
                           rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                         "original_max_position_embeddings": 256}),
    "llama_k256": dict(LLAMA, hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=1,
                       tie_word_embeddings=False),
    "phi3_longrope": PHI3,
    "phi3_longrope_s": dict(PHI3, max_position_embeddings=2048, original_max_position_embeddings=256, num_hidden_layers=1),
    "gemma3_text": dict(BASE, model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], hidden_size=128, intermediate_size=192,
                        num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, rms_norm_eps=1e-6,
                        rope_theta=1000000.0, rope_local_base_freq=10000.0, query_pre_attn_scalar=32, sliding_window=32, sliding_window_pattern=6,
                        hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=None, final_logit_softcapping=None,
                        layer_types=["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(7)]),
    "qwen2": dict(BASE, model_type="qwen2", architectures=["Qwen2ForCausalLM"], **SMALL, tie_word_embeddings=True, **QWEN),
    "qwen3": dict(BASE, model_type="qwen3", architectures=["Qwen3ForCausalLM"], **SMALL, head_dim=32, tie_word_embeddings=True, **QWEN),
    "mistral": dict(BASE, model_type="mistral", architectures=["MistralForCausalLM"], **SMALL, head_dim=16, tie_word_embeddings=False,
                    sliding_window=32),
    "qwen3_moe": dict(BASE, model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], **SMALL, head_dim=32, tie_word_embeddings=False,
                      rope_theta=1000000.0, rms_norm_eps=1e-6, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64,
                      norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False, sliding_window=None,
                      max_window_layers=2, router_aux_loss_coef=0.001, output_router_logits=False),
    "phi4_mini": dict(PHI3, max_position_embeddings=2048, original_max_position_embeddings=256, num_hidden_layers=2, num_key_value_heads=1,
                      partial_rotary_factor=0.75, tie_word_embeddings=True,
                      rope_scaling={"type": "longrope", "long_factor": LONG[:36], "short_factor": SHORT[:36]}),
    "gemma2": dict(BASE, model_type="gemma2", architectures=["Gemma2ForCausalLM"], hidden_size=128, intermediate_size=192, num_hidden_layers=4,
                   num_attention_heads=2, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, rms_norm_eps=1e-6,
                   query_pre_attn_scalar=32, sliding_window=32, hidden_activation="gelu_pytorch_tanh",
                   attn_logit_softcapping=3.0, final_logit_softcapping=2.5,        # low, so that they count
                   layer_types=["full_attention" if i % 2 else "sliding_attention" for i in range(4)]),
    "olmo2": dict(BASE, model_type="olmo2", architectures=["Olmo2ForCausalLM"], **SMALL, tie_word_embeddings=False, rope_theta=500000.0,
                  rms_norm_eps=1e-6),
    "granite": dict(BASE, model_type="granite", architectures=["GraniteForCausalLM"], **SMALL, tie_word_embeddings=True, mlp_bias=False,
                    embedding_multiplier=6.0, attention_multiplier=0.125, residual_multiplier=0.5, logits_scaling=4.0),
    "smollm3": dict(BASE, model_type="smollm3", architectures=["SmolLM3ForCausalLM"], **dict(SMALL, num_hidden_layers=5),
                    tie_word_embeddings=True, rope_theta=2000000.0, rms_norm_eps=1e-6, no_rope_layers=[1, 1, 1, 0, 1],
                    no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None, max_window_layers=5,
                    layer_types=["full_attention"] * 5),
    "gpt_oss": dict(BASE, model_type="gpt_oss", architectures=["GptOssForCausalLM"], **dict(SMALL, intermediate_size=64), head_dim=32,
                    tie_word_embeddings=False, rope_theta=150000.0, max_position_embeddings=8192, attention_bias=True, sliding_window=32,
                    layer_types=["full_attention" if i % 2 else "sliding_attention" for i in range(2)], num_local_experts=8,
                    num_experts_per_tok=2, experts_per_token=2, swiglu_limit=7.0,
                    router_aux_loss_coef=0.9, output_router_logits=False, initial_context_length=256,
                    rope_scaling={"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                                  "original_max_position_embeddings": 256}),
}
SEEDS = {"qwen3_moe": "0"}     # chosen so that no routing decision of the test sequences is a near-tie


class Random:
    """weights by name, drawn in the order in which they are asked for"""

    def __init__(self, name, plus_one):
        self.rng = np.random.Generator(np.random.PCG64(zlib.crc32((name + SEEDS.get(name, "")).encode())))
        self.mean = 0.0 if plus_one else 1.0
        self.w = {}

    def put(self, name, x):
        x = unbf16(bf16(x.astype(np.float32)))
        self.w[name] = np.where(np.abs(x) < 2.0 ** -14, np.float32(0), x)

    def matrix(self, name, rows, cols, gain=1.0): self.put(name + ".weight", self.rng.standard_normal((rows, cols)) * (gain / np.sqrt(cols)))
    def norm(self, name, n): self.put(name + ".weight", self.mean + 0.2 * self.rng.standard_normal(n))
    def bias(self, name, n, gain=0.5): self.put(name + ".bias", gain * self.rng.standard_normal(n))


SANDWICH = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
NORMS = {"gemma2": SANDWICH, "gemma3_text": SANDWICH, "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm")}


def weights(name):
    c = SPECS[name]
    kind, h, f, v = c["model_type"], c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    d = c.get("head_dim") or h // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    gemma = kind.startswith("gemma")
    r = Random(name, gemma)
    r.put("model.embed_tokens.weight", r.rng.standard_normal((v, h)) * (h ** -0.5 if gemma or name in ("phi4_mini", "smollm3") else 0.5))
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for n in NORMS.get(kind, ("input_layernorm", "post_attention_layernorm")): r.norm(p + n, h)
        if kind == "phi3":
            r.matrix(p + "self_attn.qkv_proj", q + 2 * kv, h, 1.5), r.matrix(p + "mlp.gate_up_proj", 2 * f, h)
        else:
            r.matrix(p + "self_attn.q_proj", q, h, 1.5), r.matrix(p + "self_attn.k_proj", kv, h, 1.5), r.matrix(p + "self_attn.v_proj", kv, h)
            if kind in ("qwen2", "gpt_oss"): r.bias(p + "self_attn.q_proj", q), r.bias(p + "self_attn.k_proj", kv), r.bias(p + "self_attn.v_proj", kv)
            if kind in ("qwen3", "qwen3_moe", "gemma3_text"): r.norm(p + "self_attn.q_norm", d), r.norm(p + "self_attn.k_norm", d)
            if kind == "olmo2": r.norm(p + "self_attn.q_norm", q), r.norm(p + "self_attn.k_norm", kv)
            if kind == "qwen3_moe":
                experts(r, p, c)
            elif kind == "gpt_oss":
                biased_experts(r, p, c, q)
            else:
                r.matrix(p + "mlp.gate_proj", f, h), r.matrix(p + "mlp.up_proj", f, h)
        r.matrix(p + "self_attn.o_proj", h, q)
        if kind not in ("qwen3_moe", "gpt_oss"): r.matrix(p + "mlp.down_proj", h, f)
    r.norm("model.norm", h)
    if not c["tie_word_embeddings"]: r.matrix("lm_head", v, h)
    return r.w


def experts(r, p, c):
    h, m = c["hidden_size"], c["moe_intermediate_size"]
    r.matrix(p + "mlp.gate", c["num_experts"], h, 2.0)
    for e in range(c["num_experts"]):
        x = p + f"mlp.experts.{e}."
        r.matrix(x + "gate_proj", m, h), r.matrix(x + "up_proj", m, h), r.matrix(x + "down_proj", h, m)


def biased_experts(r, p, c, q):
    """gpt-oss: biases everywhere, sinks, and experts whose numbers are exact in MXFP4, as they have to be in its files"""
    n, h, m = c["num_local_experts"], c["hidden_size"], c["intermediate_size"]
    r.bias(p + "self_attn.o_proj", h)
    r.put(p + "self_attn.sinks", r.rng.standard_normal(c["num_attention_heads"]))
    r.matrix(p + "mlp.router", n, h, 2.0), r.bias(p + "mlp.router", n)
    for part, rows, cols, gain in (("gate_proj", m, h, 4.0), ("up_proj", m, h, 4.0), ("down_proj", h, m, 0.1)):     # some past the limit
        x = r.rng.standard_normal((n, rows, cols)) * (gain / np.sqrt(cols))
        r.w[f"{p}mlp.experts.{part}.weight"] = decode("mxfp4", encode("mxfp4", x), x.shape).astype(np.float32)
        r.put(f"{p}mlp.experts.{part}.bias", 0.3 * r.rng.standard_normal((n, rows)))


# ---- tokenizers, as GGUF metadata: (key, kind, value)

CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
PHI = ("{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + '<|end|>' + '\n'}}"
       "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")
HERE = os.path.dirname(os.path.abspath(__file__))


def tokenizer(name):
    """the tokens and merges or scores that tinytok.py learnt, ../tiny/tokenizers.json, with what a model's file says beside them"""
    with open(f"{HERE}/../tiny/tokenizers.json", encoding="utf-8") as f: data = json.load(f)
    kind = SPECS[name]["model_type"]
    gemma, bpe = kind.startswith("gemma"), not kind.startswith(("phi3", "gemma", "mistral"))
    t = data["bpe" if bpe else "spm_gemma" if gemma else "spm"]
    pre = "default" if not bpe else "qwen2" if kind.startswith("qwen") else "llama-bpe" if name == "llama31_untied" else "smollm"
    bos, eos, pad = (1, 2, 2) if bpe else (1, 507, 500)
    learnt = [("merges", "str[]", t["merges"])] if bpe else [("scores", "f32[]", t["scores"])]
    return [("tokenizer.ggml." + k, kind, v) for k, kind, v in [
        ("model", "str", "gpt2" if bpe else "llama"), ("pre", "str", pre), ("tokens", "str[]", t["tokens"]),
        ("token_type", "i32[]", t["types"]), *learnt, ("bos_token_id", "u32", bos), ("eos_token_id", "u32", eos),
        ("unknown_token_id", "u32", 0), ("padding_token_id", "u32", pad), ("add_bos_token", "bool", not bpe),
        ("add_space_prefix", "bool", not (bpe or gemma))]] + [("tokenizer.chat_template", "str", CHATML if bpe else PHI)]
