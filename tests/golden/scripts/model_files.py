"""model_files.py - a model's configuration and weights, under Hugging Face's names, to and from each of the containers.

load(path) gives both with every weight dequantised exactly; save_hf, save_mlx and save_gguf write what the tools of their own world
would. Quantisation is ours (affine.py, blocks.py): readers and the reference see the same stored bits, and that is the point.
"""
import json, os
import numpy as np
import affine, blocks, containers, tokjson

GGUF_ARCH = {"mistral": "llama", "gemma3_text": "gemma3", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss"}
PERMUTED = ("llama", "granite", "smollm3")      # GGUF architectures whose q and k rows lie in another order, see neighbours()
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LAYER = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
         "mlp.gate": "ffn_gate_inp", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "mlp.router": "ffn_gate_inp", "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps",
         "mlp.experts.down_proj": "ffn_down_exps", "self_attn.sinks": "attn_sinks",
         "mlp.switch_mlp.gate_proj": "ffn_gate_exps", "mlp.switch_mlp.up_proj": "ffn_up_exps", "mlp.switch_mlp.down_proj": "ffn_down_exps"}
SANDWICH = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm"}      # norms before and after


def names(arch):
    """of a layer's parts"""
    if arch == "gpt-oss": return dict(LAYER, post_attention_layernorm="post_attention_norm")
    if arch == "olmo2": return dict(LAYER, post_attention_layernorm="post_attention_norm", post_feedforward_layernorm="post_ffw_norm")
    return dict(LAYER, **SANDWICH) if arch.startswith("gemma") else LAYER


def stacked(w, c):
    """each layer's experts as one tensor a projection, as MLX and GGUF have them"""
    n = c.get("num_experts")
    if not n: return w
    out = {k: v for k, v in w.items() if ".mlp.experts." not in k}
    for i in range(c["num_hidden_layers"]):
        for part in ("gate_proj", "up_proj", "down_proj"):
            p = f"model.layers.{i}.mlp."
            out[f"{p}switch_mlp.{part}.weight"] = np.stack([w[f"{p}experts.{e}.{part}.weight"] for e in range(n)])
    return out


# ---- Hugging Face directories

def write_json(path, x, indent=1):
    with open(path, "w", encoding="utf-8") as f: json.dump(x, f, indent=indent)


def config_of(c, tokenizer, dtype):
    t = {k.removeprefix("tokenizer.ggml."): v for k, _, v in tokenizer}
    return dict(c, bos_token_id=t["bos_token_id"], eos_token_id=t["eos_token_id"], pad_token_id=t["padding_token_id"],
                torch_dtype={"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype])


def respelled(c):
    """the same as newer versions write it: dtype, and rope_parameters with all about positions"""
    c = dict(c, dtype=c["torch_dtype"])
    scaling, theta = dict(c.pop("rope_scaling") or {}), c.pop("rope_theta")
    local = c.pop("rope_local_base_freq", None)
    del c["torch_dtype"]
    kind = scaling.pop("type", None) or scaling.get("rope_type", "default")
    rope = dict(scaling, rope_type=kind, rope_theta=theta)
    if "original_max_position_embeddings" in c: rope["original_max_position_embeddings"] = c["original_max_position_embeddings"]
    c["rope_parameters"] = rope if local is None else {
        "full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": local}}
    return c


def microscaled(w):
    """gpt-oss's experts as its makers store them: gate and up rows in turn; numbers of four bits, two neighbours in a byte"""
    out = {k: v for k, v in w.items() if ".mlp.experts." not in k}
    for p in sorted({k.split("gate_proj")[0] for k in w if ".mlp.experts.gate_proj" in k}):
        in_turn = lambda kind: np.stack([w[f"{p}gate_proj.{kind}"], w[f"{p}up_proj.{kind}"]], 2).reshape(
            (w[f"{p}gate_proj.{kind}"].shape[0], -1) + w[f"{p}gate_proj.{kind}"].shape[2:])
        for part, x, bias in (("gate_up_proj", in_turn("weight"), in_turn("bias")),
                              ("down_proj", w[p + "down_proj.weight"], w[p + "down_proj.bias"])):
            exponents, q = nibbles_of(x)
            out.update({f"{p}{part}_blocks": q[..., 0::2] | q[..., 1::2] << 4, f"{p}{part}_scales": exponents, f"{p}{part}_bias": bias})
    return out


def nibbles_of(x):
    """[..., n] that is exact in MXFP4 -> its exponents [..., n / 32], its numbers [..., n / 32, 32]"""
    raw = blocks.encode("mxfp4", x)
    shape = x.shape[:-1] + (x.shape[-1] // 32,)
    return raw[:, 0].reshape(shape), blocks.nibbles(raw[:, 1:]).reshape(shape + (32,))


def plain_experts(raw):
    """microscaled() undone, out of a directory's tensors"""
    for name in [k for k in raw if k.endswith("_blocks")]:
        p, part = name.removesuffix("_blocks").rsplit(".", 1)
        b, bias = raw.pop(name), raw.pop(f"{p}.{part}_bias")
        q = blocks.MX4[np.stack([b & 15, b >> 4], -1).reshape(b.shape[:-1] + (32,))]
        x = np.ldexp(q, raw.pop(f"{p}.{part}_scales")[..., None].astype(np.int64) - 128).reshape(b.shape[:2] + (-1,))
        for half, name in enumerate(("gate_proj", "up_proj") if part == "gate_up_proj" else ("down_proj",)):
            step = 2 if part == "gate_up_proj" else 1
            raw.update({f"{p}.{name}.weight": x[:, half::step], f"{p}.{name}.bias": bias[:, half::step]})
    return raw


def save_hf(folder, c, w, tokenizer, dtype="BF16", shards=1, new_spelling=False):
    os.makedirs(folder)
    if c["model_type"] == "gpt_oss":
        w = microscaled(w)
        c = dict(c, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                                                            "model.embed_tokens", "lm_head"]})
    tensors = {k: ("U8", v) if v.dtype == np.uint8 else (dtype, containers.store(dtype, v)) for k, v in w.items()}
    if shards == 1:
        containers.write_safetensors(f"{folder}/model.safetensors", tensors, {"format": "pt"})
    else:
        keys, where = sorted(tensors), {}
        for s in range(shards):
            part = keys[s * len(keys) // shards:(s + 1) * len(keys) // shards]
            file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
            containers.write_safetensors(f"{folder}/{file}", {k: tensors[k] for k in part}, {"format": "pt"})
            where.update((k, file) for k in part)
        total = sum(a.nbytes for _, a in tensors.values())
        write_json(f"{folder}/model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    c = config_of(c, tokenizer, dtype)
    write_json(f"{folder}/config.json", respelled(c) if new_spelling else c)
    tokjson.write(metadata(c, tokenizer), folder)


def metadata(c, tokenizer):
    """what tokjson wants: GGUF metadata as a dict"""
    return dict({k: v for k, _, v in tokenizer}, **{"general.architecture": GGUF_ARCH.get(c["model_type"], c["model_type"])})


# ---- MLX directories

def save_mlx(folder, c, w, tokenizer, bits, group, dtype="BF16", override=lambda name: {}):
    """bits None: not quantised. override: what differs for a layer ({"bits": .., "group_size": ..}, or False)"""
    os.makedirs(folder)
    w, tensors, quantization = stacked(w, c), {}, {"group_size": group, "bits": bits, "mode": "affine"}
    store = lambda x: containers.store(dtype, x)
    exact = (lambda x: blocks.unbf16(store(x)).astype(np.float64)) if dtype == "BF16" else lambda x: store(x).astype(np.float64)
    for name, x in w.items():
        layer = name.removesuffix(".weight")
        own = override(layer) if x.ndim > 1 and name.endswith(".weight") else False
        if own and own.get("mode") == "mxfp4":
            exponents, q = nibbles_of(x)
            tensors.update({name: ("U32", affine.pack(q.reshape(x.shape), 4)), layer + ".scales": ("U8", exponents)})
            quantization[layer] = own
            continue
        if bits is None or own is False:
            tensors[name] = dtype, store(x)
            if x.ndim > 1 and bits and name.endswith(".weight"): quantization[layer] = False
            continue
        if own: quantization[layer] = own
        own = {"bits": bits, "group_size": group, **own}
        words, scales, biases = affine.quantise(x, own["bits"], own["group_size"], exact)
        tensors.update({name: ("U32", words), layer + ".scales": (dtype, store(scales)), layer + ".biases": (dtype, store(biases))})
    order = sorted(tensors, key=lambda n: n[::-1])      # any order but that of the names
    containers.write_safetensors(f"{folder}/model.safetensors", tensors, {"format": "mlx"}, order, pad=1)
    total = sum(a.nbytes for _, a in tensors.values())
    write_json(f"{folder}/model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict.fromkeys(sorted(tensors), "model.safetensors")}, 4)
    c = config_of(c, tokenizer, dtype)
    if (c["rope_scaling"] or {}).get("type") == "longrope" and c["original_max_position_embeddings"] == 4096:
        c["rope_scaling"] = dict(c["rope_scaling"], type="su")      # as the real Phi-3 directory says
    if bits: c.update(quantization=quantization, quantization_config=quantization)
    write_json(f"{folder}/config.json", dict(sorted(c.items())), 4)
    tokjson.write(metadata(c, tokenizer), folder)
    with open(f"{folder}/tokenizer_config.json", encoding="utf-8") as f: t = json.load(f)
    with open(f"{folder}/chat_template.jinja", "w", encoding="utf-8") as f: f.write(t.pop("chat_template"))
    write_json(f"{folder}/tokenizer_config.json", t)


def load_dir(folder):
    with open(f"{folder}/config.json", encoding="utf-8") as f: c = json.load(f)
    raw = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"): raw.update(containers.read_safetensors(f"{folder}/{file}"))
    quantization, w = c.get("quantization") or {}, {}
    for name, x in raw.items():
        layer = name.removesuffix(".weight")
        own = quantization.get(layer) or quantization
        if name != layer and own.get("mode") == "mxfp4":
            q = blocks.MX4[affine.unpack(x, 4)].reshape(raw[layer + ".scales"].shape + (32,))
            x = np.ldexp(q, raw[layer + ".scales"][..., None].astype(np.int64) - 128).reshape(q.shape[:-2] + (-1,))
        elif name != layer and layer + ".scales" in raw:
            x = affine.dequantise(x, raw[layer + ".scales"], raw[layer + ".biases"], own.get("group_size", quantization["group_size"]))
        if not name.endswith((".scales", ".biases")): w[name] = x
    return c, plain_experts(w)


# ---- GGUF

def heads_of(name, c):
    """llama's q and k rows lie in another order in GGUF: pairs that turn together are neighbours"""
    return {"attn_q": c["num_attention_heads"], "attn_k": c["num_key_value_heads"]}.get(name.split(".")[2] if name.startswith("blk.") else "", 0)


def neighbours(w, heads): return w.reshape((heads, 2, w.shape[0] // heads // 2) + w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
def halves_apart(w, heads): return w.reshape((heads, w.shape[0] // heads // 2, 2) + w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def gguf_name(name, arch):
    if name.endswith(".sinks"): name += ".weight"
    layer, kind = name.rsplit(".", 1)
    if layer in TOP: return f"{TOP[layer]}.{kind}"
    _, _, i, rest = layer.split(".", 3)
    return f"blk.{i}.{names(arch)[rest]}.{kind}"


def gguf_meta(c, arch):
    heads, h = c["num_attention_heads"], c["hidden_size"]
    d = c.get("head_dim") or h // heads
    scaling = c["rope_scaling"] or {}
    rows = [("block_count", "u32", c["num_hidden_layers"]), ("context_length", "u32", c["max_position_embeddings"]),
            ("embedding_length", "u32", h), ("feed_forward_length", "u32", c["intermediate_size"]), ("attention.head_count", "u32", heads),
            ("attention.head_count_kv", "u32", c["num_key_value_heads"]), ("rope.freq_base", "f32", c["rope_theta"]),
            ("attention.layer_norm_rms_epsilon", "f32", c["rms_norm_eps"]),
            ("attention.key_length", "u32", c.get("head_dim")), ("attention.value_length", "u32", c.get("head_dim")),
            ("attn_logit_softcapping", "f32", c.get("attn_logit_softcapping")),
            ("final_logit_softcapping", "f32", c.get("final_logit_softcapping")), ("attention.scale", "f32", c.get("attention_multiplier")),
            ("embedding_scale", "f32", c.get("embedding_multiplier")), ("residual_scale", "f32", c.get("residual_multiplier")),
            ("logit_scale", "f32", c.get("logits_scaling")), ("expert_count", "u32", c.get("num_experts") or c.get("num_local_experts")),
            ("expert_used_count", "u32", c.get("num_experts_per_tok")),
            ("expert_feed_forward_length", "u32", c.get("moe_intermediate_size") or c.get("num_local_experts") and c["intermediate_size"])]
    if arch == "phi3" or arch in PERMUTED: rows.append(("rope.dimension_count", "u32", int(d * c.get("partial_rotary_factor", 1))))
    if arch in PERMUTED: rows.append(("vocab_size", "u32", c["vocab_size"]))
    if arch.startswith("gemma") or arch in ("phi3", "gpt-oss"): rows.append(("attention.sliding_window", "u32", c["sliding_window"]))
    if arch == "phi3":
        o = c["original_max_position_embeddings"]
        rows += [("rope.scaling.original_context_length", "u32", o),
                 ("rope.scaling.attn_factor", "f32", float(np.sqrt(1 + np.log(c["max_position_embeddings"] / o) / np.log(o))))]
    if scaling.get("rope_type") == "yarn":
        rows += [("rope.scaling.type", "str", "yarn"), ("rope.scaling.factor", "f32", scaling["factor"]),
                 ("rope.scaling.original_context_length", "u32", scaling["original_max_position_embeddings"])]
    return [(f"{arch}.{k}", kind, v) for k, kind, v in rows if v is not None]


def rope_tensors(c, arch):
    import refmodel
    scaling = c["rope_scaling"] or {}
    if arch == "phi3": return [(f"rope_factors_{k}.weight", np.array(scaling[k + "_factor"])) for k in ("long", "short")]
    if scaling.get("rope_type") != "llama3": return []
    d = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    plain, scaled = (refmodel.frequencies(c, d, c["rope_theta"], s, 0)[0] for s in (None, scaling))
    return [("rope_freqs.weight", plain / scaled)]


def save_gguf(path, c, w, tokenizer, format_of):
    """format_of: GGUF name of a matrix -> one of blocks.BLOCKS. Vectors and routers stay f32"""
    arch = GGUF_ARCH.get(c["model_type"], c["model_type"])
    meta = [("general.architecture", "str", arch), ("general.type", "str", "model"), ("general.name", "str", "tiny random " + c["model_type"])]
    tensors = []
    for name, x in stacked(w, c).items():
        g = gguf_name(name, arch)
        if arch in PERMUTED and heads_of(g, c): x = neighbours(x, heads_of(g, c))
        if arch.startswith("gemma") and x.ndim == 1: x = x + np.float32(1)
        tensors.append((g, "f32" if x.ndim == 1 or g.endswith(".bias") or "ffn_gate_inp" in g else format_of(g), x))
    tensors += [(n, "f32", x) for n, x in rope_tensors(c, arch)]
    containers.write_gguf(path, meta + gguf_meta(c, arch) + tokenizer, tensors)


def load_gguf(path):
    g = containers.Gguf(path)
    arch = g.meta["general.architecture"]
    m = lambda key, default=None: g.meta.get(f"{arch}.{key}", default)
    heads, h = m("attention.head_count"), m("embedding_length")
    c = {"model_type": {"gemma3": "gemma3_text", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss"}.get(arch, arch), "hidden_size": h,
         "head_dim": m("attention.key_length", h // heads), "num_hidden_layers": m("block_count"), "num_attention_heads": heads,
         "num_key_value_heads": m("attention.head_count_kv"), "rms_norm_eps": m("attention.layer_norm_rms_epsilon"),
         "rope_theta": m("rope.freq_base", 10000.0), "sliding_window": m("attention.sliding_window"),
         "max_position_embeddings": m("context_length"), "num_experts_per_tok": m("expert_used_count"), "norm_topk_prob": True}
    if arch == "gemma3":
        c.update(query_pre_attn_scalar=c["head_dim"], rope_local_base_freq=10000.0,
                 layer_types=["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(c["num_hidden_layers"])])
    if arch == "gemma2": c["layer_types"] = ["full_attention" if i % 2 else "sliding_attention" for i in range(c["num_hidden_layers"])]
    if arch == "smollm3": c["no_rope_layers"] = [(i + 1) % 4 for i in range(c["num_hidden_layers"])]
    if arch == "phi3": c["partial_rotary_factor"] = m("rope.dimension_count") / c["head_dim"]
    if arch == "gpt-oss":       # its makers' numbers, which the format has no place for
        c.update(layer_types=["full_attention" if i % 2 else "sliding_attention" for i in range(c["num_hidden_layers"])],
                 swiglu_limit=7.0,
                 rope_scaling={"rope_type": "yarn", "factor": m("rope.scaling.factor"), "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                               "original_max_position_embeddings": m("rope.scaling.original_context_length")})
    for theirs, ours in (("attn_logit_softcapping",) * 2, ("final_logit_softcapping",) * 2, ("attention.scale", "attention_multiplier"),
                         ("embedding_scale", "embedding_multiplier"), ("residual_scale", "residual_multiplier"), ("logit_scale", "logits_scaling")):
        if m(theirs) is not None: c[ours] = m(theirs)
    ours_of = {v: k for k, v in names(arch).items()}
    ours_of["ffn_up"] = "mlp.gate_up_proj" if arch == "phi3" else "mlp.up_proj"
    if arch == "gpt-oss": ours_of.update((v, k) for k, v in LAYER.items() if k.startswith(("mlp.experts.", "mlp.router")))
    else: ours_of["ffn_gate_inp"] = "mlp.gate"
    w = {}
    for name, (fmt, shape, raw) in g.tensors.items():
        x = blocks.decode(fmt, raw, shape)
        if arch in PERMUTED and heads_of(name, c): x = halves_apart(x, heads_of(name, c))
        if arch.startswith("gemma") and x.ndim == 1: x = x - 1
        layer, kind = name.rsplit(".", 1)
        if layer.startswith("rope_"): c["_" + layer] = x
        elif layer.endswith("attn_sinks"): w[f"model.layers.{layer.split('.')[1]}.self_attn.sinks"] = x
        elif layer.startswith("blk."): w[f"model.layers.{layer.split('.')[1]}.{ours_of[layer.split('.')[2]]}.{kind}"] = x
        else: w[{v: k for k, v in TOP.items()}[layer] + "." + kind] = x
    if "_rope_factors_long" in c:
        c["rope_scaling"] = {"type": "longrope", "long_factor": c["_rope_factors_long"], "short_factor": c["_rope_factors_short"],
                             "attention_factor": m("rope.scaling.attn_factor")}
        c["original_max_position_embeddings"] = m("rope.scaling.original_context_length")
    return c, w


def load(path): return load_gguf(path) if path.endswith(".gguf") else load_dir(path)
