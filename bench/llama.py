#!/usr/bin/env python3
"""llama.py - llama.cpp's side of the comparison: one process, one round, JSON on standard output.

It times what llama.cpp's own benchmark does: llama_decode of a batch of random tokens from an empty
cache (prefill), and of one token after another behind a prompt (decode); logits for the last token,
nothing sampled. Settings are llama.cpp's defaults but for the number of threads; flash attention is
the caller's choice, so that the better setting can be compared with.
"""
import argparse
import ctypes
import json
import random
import sys
import time

import llama_cpp

LOG_CALLBACK = llama_cpp.llama_log_callback(lambda level, text, user: None)


class Session:
    def __init__(self, path, threads, context, flash):
        llama_cpp.llama_log_set(LOG_CALLBACK, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp can't load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[flash]
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama.cpp can't make a context")
        self.batch = params.n_batch
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), False)

    def feed(self, tokens):
        for begin in range(0, len(tokens), self.batch):
            part = tokens[begin:begin + self.batch]
            array = (llama_cpp.llama_token * len(part))(*part)
            batch = llama_cpp.llama_batch_get_one(array, len(part))
            if llama_cpp.llama_decode(self.context, batch) != 0:
                sys.exit("llama_decode failed")
        llama_cpp.llama_synchronize(self.context)

    def random_tokens(self, n):
        return [random.randrange(self.vocab) for _ in range(n)]

    def prefill(self, length):
        """Tokens a second."""
        tokens = self.random_tokens(length)
        self.clear()
        start = time.perf_counter()
        self.feed(tokens)
        return length / (time.perf_counter() - start)

    def decode(self, n):
        """Tokens a second, behind what is in the cache."""
        tokens = self.random_tokens(n)
        start = time.perf_counter()
        for token in tokens:
            self.feed([token])
        return n / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 512, 2048])
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--flash", choices=["auto", "on", "off"], default="auto")
    args = parser.parse_args()
    session = Session(args.model, args.threads, max(args.lengths) + args.decode + 64, args.flash)
    session.prefill(64)     # warm: weights read, threads awake
    session.decode(4)
    points = []
    for length in args.lengths:
        prefill = session.prefill(length)
        points.append({"length": length, "prefill_tps": prefill,
                       "decode_tps": session.decode(args.decode)})
    json.dump({"points": points,
               "system": llama_cpp.llama_print_system_info().decode()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
