#!/usr/bin/env python3
"""llama.py - llama.cpp's side of the comparison: one process, one round, JSON on standard output.

It times what llama.cpp's own benchmark does: llama_decode of a batch of random tokens from an empty cache (prefill), and of one token
after another behind a prompt, for one sequence or several at once (decode); logits for the last token of each, nothing sampled.
Settings are llama.cpp's defaults (weights repacked where it can, f16 keys and values, micro-batches of 512) but for the number of
threads; every point is measured with flash attention on and off, so that the better one can be compared with.
"""
import argparse, ctypes, json, random, sys, time
import llama_cpp

FLASH = {"on": 1, "off": 0}
LOG_CALLBACK = llama_cpp.llama_log_callback(lambda level, text, user: None)


class Session:
    def __init__(self, model, threads, length, sequences, flash, ubatch):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = (length + 255) // 256 * 256 * sequences, sequences
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = FLASH[flash]
        if ubatch: params.n_ubatch = ubatch
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context: sys.exit("llama.cpp can't make a context")
        self.batch_max, self.sequences = params.n_batch, sequences
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self.batch = llama_cpp.llama_batch_init(self.batch_max, 0, 1)

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)

    def feed(self, rows):
        """rows: (token, position, sequence, whether its logits are wanted); seconds"""
        seconds = 0
        for begin in range(0, len(rows), self.batch_max):
            part = rows[begin:begin + self.batch_max]
            for i, (token, position, sequence, wanted) in enumerate(part):
                self.batch.token[i], self.batch.pos[i], self.batch.logits[i] = token, position, wanted
                self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
            self.batch.n_tokens = len(part)
            start = time.perf_counter()
            if llama_cpp.llama_decode(self.context, self.batch) != 0: sys.exit("llama_decode failed")
            llama_cpp.llama_synchronize(self.context)
            seconds += time.perf_counter() - start
        return seconds

    def token(self): return random.randrange(self.vocab)

    def prefill(self, length):
        """tokens a second, of the sequences' prompts one after the other"""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), False)
        return length * self.sequences / sum(
            self.feed([(self.token(), i, s, i + 1 == length) for i in range(length)]) for s in range(self.sequences))

    def decode(self, length, n):
        """tokens a second of all sequences together, n steps behind their prompts"""
        return n * self.sequences / sum(
            self.feed([(self.token(), length + i, s, True) for s in range(self.sequences)]) for i in range(n))


def points(a, model):
    for length in a.lengths:
        for batch in a.batch:
            for flash in a.flash:
                session = Session(model, a.threads, length + a.decode, batch, flash, a.ubatch)
                session.prefill(min(length, 64)), session.decode(min(length, 64), min(4, a.decode))    # warm: weights read, threads awake
                prefill = session.prefill(length)
                yield {"length": length, "batch": batch, "flash": flash, "prefill_tps": prefill, "decode_tps": session.decode(length, a.decode)}
                session.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 512, 2048])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--flash", nargs="+", choices=FLASH, default=list(FLASH))
    parser.add_argument("--ubatch", type=int, default=0, help="micro-batch, 0: llama.cpp's default")
    a = parser.parse_args()
    llama_cpp.llama_log_set(LOG_CALLBACK, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(a.model.encode(), llama_cpp.llama_model_default_params())
    if not model: sys.exit(f"llama.cpp can't load {a.model}")
    json.dump({"points": list(points(a, model)), "system": llama_cpp.llama_print_system_info().decode()}, sys.stdout)
    print()


if __name__ == "__main__": main()
