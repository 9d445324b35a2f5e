"""oracle.py - logits from the three oracles, one call each (needs mlx_lm, llama_cpp, transformers with torch).

  mlx_logits(dir, ids, f32=True)   f32=True: model.set_dtype(float32) after loading (weights stay the file's exact values,
                                   scales/biases widened) so arithmetic is f32; False: native (what mlx_lm users get)
  hf_logits(dir, ids)              transformers AutoModelForCausalLM float32, eager attention
  ll_logits(gguf, ids, n_ctx)      llama.cpp CPU, F32 KV cache, no flash attention, logits for every position.
                                   Quantised weights: ggml quantises the ACTIVATIONS too (Q8_0/Q8_1/Q8_K), so a Q4_1 file
                                   differs by ~1e-1 from exact arithmetic; requantise to F32 first (requant(...,'F32')).
  requant(src, dst, type)          llama_model_quantize through the llama_cpp binding (F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1
                                   Q2_K Q3_K_M Q4_K_M Q5_K_M Q6_K)
  cmp(a, b)                        dict(max_abs, mean_abs, top1) of two [n, vocab] arrays
"""
import ctypes, gc, os
import numpy as np

FT = dict(F32=0, F16=1, Q4_0=2, Q4_1=3, Q8_0=7, Q5_0=8, Q5_1=9, Q2_K=10, Q3_K_M=12, Q4_K_M=15, Q5_K_M=17, Q6_K=18, BF16=32,
          Q4_K_S=14, Q5_K_S=16)


def mlx_logits(d, ids, f32=True, step=None):
    import mlx.core as mx
    from pathlib import Path
    from mlx_lm.utils import load_model
    model, _ = load_model(Path(d))
    if f32:
        model.set_dtype(mx.float32)
    if step:                                   # prefill in chunks with a cache, to exercise the cache path
        from mlx_lm.models.cache import make_prompt_cache
        c = make_prompt_cache(model)
        o = [np.array(model(mx.array([ids[i:i + step]]), cache=c)[0].astype(mx.float32)) for i in range(0, len(ids), step)]
        out = np.concatenate(o, 0)
    else:
        out = np.array(model(mx.array([ids]))[0].astype(mx.float32))
    del model
    gc.collect()
    mx.clear_cache()
    return out


def hf_logits(d, ids, dtype="float32"):
    import torch
    from transformers import AutoModelForCausalLM
    m = AutoModelForCausalLM.from_pretrained(d, dtype=getattr(torch, dtype), attn_implementation="eager").eval()
    with torch.no_grad():
        o = m(torch.tensor([ids])).logits[0].float().numpy()
    del m
    gc.collect()
    return o


def ll_logits(gguf, ids, n_ctx=None, n_batch=512):
    import llama_cpp
    from llama_cpp import Llama
    n_ctx = n_ctx or max(512, len(ids))
    m = Llama(gguf, n_ctx=n_ctx, n_batch=n_batch, n_ubatch=n_batch, logits_all=True, verbose=False, n_threads=2,
              n_threads_batch=2, type_k=0, type_v=0, flash_attn=False)
    m.eval(list(ids))
    o = np.array(m.scores[:len(ids)], dtype=np.float32)
    m.close()
    return o


def requant(src, dst, typ):
    import llama_cpp
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype = FT[typ]; p.allow_requantize = True; p.nthread = 2
    p.pure = False
    llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
    r = llama_cpp.llama_model_quantize(src.encode(), dst.encode(), ctypes.byref(p))
    if r: raise RuntimeError(f"quantize {src} -> {typ}: {r}")


try:
    import llama_cpp as _l
    _quiet = _l.llama_log_callback(lambda lvl, txt, ud: None)
except ImportError:
    _quiet = None


def cmp(a, b):
    n = min(len(a), len(b))
    d = np.abs(a[:n] - b[:n])
    return {"max_abs": float(d.max()), "mean_abs": float(d.mean()), "top1": float((a[:n].argmax(1) == b[:n].argmax(1)).mean()), "n": n}
