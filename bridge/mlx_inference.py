#!/usr/bin/env python3
"""mlx_inference.py - runs a model with mlx-lm, for Pensieve or at the command line.

    mlx_inference.py --model-path DIR --prompt TEXT [--max-tokens N] [--stream]   one answer, as JSON lines
    mlx_inference.py --model-path DIR --serve                                     many, as docs/mlx-protocol.md says

The hard thing is doing three things at once: one thread reads requests, cuts them into tokens and
counts them, so that counting never waits; the main thread runs mlx-lm's batches, where answers of
several requests are computed in the same step; and stdin's end ends the process, whatever it is at.
"""

import argparse
import bisect
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import OrderedDict
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # a path that isn't there is an error and not a download

PROTOCOL = 1
LINE_BYTES_MAX = 256 << 20  # of one request
BEAT_SECONDS = 1.0
PREFILL_STEP = 512  # tokens of a prompt between two looks at what else there is to do
CACHED_PROMPTS = 64
CACHED_BYTES = 4 << 30
DECLARED_BEGINNINGS = 4096
UNDECIDED_TOKENS = 8  # a character has no more; what is still none is not going to be one
CONTEXT_TOKENS = 4  # of the prompt, before the first token that is spelled


class Unable(Exception):
    """Why a model can't be run, in words for people: told as it is, without a traceback."""


def reason(error):
    return str(error) if isinstance(error, Unable) else f"{type(error).__name__}: {error}"


class Tokens:
    """Text to tokens and back, by the model's own tokenizer."""

    def __init__(self, tokenizer):
        import tokenizers

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise Unable("the tokenizer is not of the kind that tokenizer.json describes")
        self.whole = tokenizers.Tokenizer.from_str(backend.to_str())
        self.whole.no_truncation()
        self.whole.no_padding()
        self.added = set(self.whole.get_added_tokens_decoder())
        self.control = {i for i, token in self.whole.get_added_tokens_decoder().items() if token.special}
        self.bos, self.eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        self.lead = self.whole.encode("").ids[:1]  # what the tokenizer puts before a text by itself
        if self.lead != [tokenizer.bos_token_id]:
            self.lead = []
        self.begin, self.inside = self._bare(tokenizers, False), self._bare(tokenizers, True)

    def _bare(self, tokenizers, inside):
        """The tokenizer without its added tokens: all is text. inside: not at the text's beginning, where
        some tokenizers add a space."""
        parts = json.loads(self.whole.to_str())
        parts.update(added_tokens=[], post_processor=None)

        def never_first(part):
            if isinstance(part, dict):
                if inside and part.get("prepend_scheme") == "first":
                    part["prepend_scheme"] = "never"
                for value in part.values():
                    never_first(value)
            elif isinstance(part, list):
                for value in part:
                    never_first(value)

        never_first(parts["pre_tokenizer"])
        return tokenizers.Tokenizer.from_str(json.dumps(parts))

    def encode(self, pieces):
        """Tokens of a prompt, and its marks: how many tokens lie before each, and for how many seconds that
        beginning is declared. In pieces that are plain, the spelling of a special token is text."""
        parts, plain, marks = [], [], []
        at = 0
        for piece in pieces:
            parts.append(piece["text"])
            end = at + len(piece["text"])
            if piece.get("plain") and end > at:
                if plain and plain[-1][1] == at:
                    plain[-1] = (plain[-1][0], end)
                else:
                    plain.append((at, end))
            if piece.get("mark"):
                marks.append((end, piece["mark"]))
            at = end
        text = "".join(parts)
        encoding = self.whole.encode(text, add_special_tokens=False)
        ids, ends = encoding.ids, [end for _, end in encoding.offsets]
        if self._lookalike(encoding, plain):
            ids, ends = self._encode_apart(text, plain)
        lead = [] if self.bos and text.startswith(self.bos) else self.lead
        return lead + ids, [(len(lead) + bisect.bisect_right(ends, end), seconds) for end, seconds in marks]

    def _lookalike(self, encoding, plain):
        begins = [begin for begin, _ in plain]
        for token, (begin, end) in zip(encoding.ids, encoding.offsets):
            if token in self.added:
                at = bisect.bisect_left(begins, end) - 1  # the last plain range that begins before its end
                if at >= 0 and plain[at][1] > begin:
                    return True
        return False

    def _encode_apart(self, text, plain):
        """Special tokens are looked for between the plain ranges only; what lies between those is text."""
        specials = []
        at = 0
        for begin, end in [*plain, (len(text), len(text))]:
            found = self.whole.encode(text[at:begin], add_special_tokens=False)
            specials += [(token, at + b, at + e) for token, (b, e) in zip(found.ids, found.offsets)
                         if token in self.added]
            at = end
        ids, ends = [], []
        at = 0
        for token, begin, end in [*specials, (None, len(text), len(text))]:
            if begin > at:
                for i, e in self._encode_text(text[at:begin], at > 0):
                    ids.append(i)
                    ends.append(at + e)
            if token is not None:
                ids.append(token)
                ends.append(end)
            at = end
        return ids, ends

    def _encode_text(self, text, inside):
        bare = self.inside if inside else self.begin
        encoding = bare.encode(text, add_special_tokens=False)
        if not self.control.isdisjoint(encoding.ids):  # a vocabulary that has them as words, too
            return [(i, at + 1) for at, character in enumerate(text)
                    for i in bare.encode(character, add_special_tokens=False).ids]
        return [(i, end) for i, (_, end) in zip(encoding.ids, encoding.offsets)]

    def decode(self, ids):
        return self.whole.decode(ids, skip_special_tokens=False)


class Speller:
    """Tokens to whole characters, as they come. A token is spelled after those before it, because some
    tokenizers spell the first word of a text otherwise."""

    def __init__(self, tokens, prompt):
        self.tokens = tokens
        self.ids = prompt[-CONTEXT_TOKENS:]
        self.spelled = len(self.ids)  # of ids
        self.text = tokens.decode(self.ids)

    def add(self, token, last=False):
        self.ids.append(token)
        return self._spell(last)

    def finish(self):
        return self._spell(True)

    def _spell(self, force):
        new = len(self.ids) - self.spelled
        if new == 0:
            return ""
        text = self.tokens.decode(self.ids)
        if text.endswith("\ufffd") and not force and new < UNDECIDED_TOKENS:
            return ""
        said = text[len(self.text):]
        self.ids = self.ids[self.spelled:]
        self.spelled = len(self.ids)
        self.text = self.tokens.decode(self.ids)
        return said


def sampler(request):
    """Log-probabilities to tokens: temperature, then top_k, then top_p of what that left. Every request
    has random numbers of its own, so that others change nothing."""
    import mlx.core as mx
    from mlx_lm.sample_utils import apply_top_k, apply_top_p

    temperature = request.get("temperature", 1.0)
    top_k, top_p = request.get("top_k", 0), request.get("top_p", 1.0)
    if temperature <= 0.0 or top_k == 1 or top_p <= 0.0:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    state = [mx.random.key(request.get("seed", time.time_ns()) & 0xFFFFFFFFFFFFFFFF)]

    def sample(logprobs):
        state[0], key = mx.random.split(state[0])
        logits = logprobs / temperature
        if 0 < top_k < logits.shape[-1]:
            logits = apply_top_k(logits, top_k)
        if top_p < 1.0:
            logits = apply_top_p(logits - mx.logsumexp(logits, axis=-1, keepdims=True), top_p)
        return mx.random.categorical(logits, key=key)

    return sample


class Answer:
    """A request while it is computed."""

    def __init__(self, request, prompt):
        self.id = request["id"]
        self.request, self.prompt = request, prompt
        self.wanted = request["max_tokens"]
        self.said = 0  # tokens
        self.speller = None


class Beginnings:
    """The beginnings of prompts that clients declared, by a chain of hashes over their tokens."""

    def __init__(self):
        self.until = OrderedDict()

    def declare(self, space, prompt, marks, found):
        """How much of a prompt, of which so many tokens were found, had been declared before. Its own
        marks are declared now; what is used stays for its time again."""
        now, link = time.monotonic(), hash(space)
        longest, wanted = 0, dict(marks)
        for length, token in enumerate(prompt[:max(found, *wanted)], 1):
            link = hash((link, token))
            seconds, until = self.until.get((length, link), (0, 0.0))
            if length <= found and until > now:
                longest = length
            seconds = max(seconds if until > now else 0, wanted.get(length, 0))
            if seconds:
                self.until[length, link] = seconds, now + seconds
                self.until.move_to_end((length, link))
        while len(self.until) > DECLARED_BEGINNINGS:
            self.until.popitem(last=False)
        return longest


class Runner:
    """The model, and the answers it is at. The main thread's own, but for `tokens` and `takes`."""

    def __init__(self, path, put, context=0, cache_bytes=0, batch=8):
        if not Path(path).is_dir():
            raise Unable(f"{path} is not a folder")
        try:
            import mlx_lm
        except ModuleNotFoundError as error:
            if error.name != "mlx_lm":
                raise
            raise Unable(f"{sys.executable} has no mlx-lm: install it there, or name a Python that has it") from None
        from mlx_lm.generate import BatchGenerator
        from mlx_lm.models.cache import LRUPromptCache, make_prompt_cache

        self.put = put
        model, self.tokenizer, config = mlx_lm.load(path, return_config=True)
        self.tokens = Tokens(self.tokenizer)
        if not all(hasattr(cache, "merge") for cache in make_prompt_cache(model)):
            raise Unable(f"mlx-lm can't compute several answers of a {config.get('model_type')} model at once")
        config = {**config, **config.get("text_config", {})}
        trained = config.get("max_position_embeddings") or 1 << 20
        self.context = min(context or trained, trained)
        self.batch = BatchGenerator(
            model, stop_tokens=[(i,) for i in self.tokenizer.eos_token_ids],
            completion_batch_size=batch, prefill_batch_size=min(batch, 8), prefill_step_size=PREFILL_STEP)
        self.cache = LRUPromptCache(CACHED_PROMPTS, cache_bytes or CACHED_BYTES)
        self.beginnings = Beginnings()
        self.answers = {}  # by the batch's number
        self.version = mlx_lm.__version__

    def template(self):
        template = self.tokenizer.chat_template
        return template.get("default") if isinstance(template, dict) else template

    def takes(self, answer):
        """Whether it can be answered; else it is told why not. For any thread."""
        least = min(answer.wanted, 1)
        if len(answer.prompt) + least > self.context:
            self.put(type="error", id=answer.id, code="too_long", tokens=len(answer.prompt), maximum=self.context - least)
        elif not answer.prompt:
            self.put(type="error", id=answer.id, code="invalid", message="the prompt has no tokens")
        else:
            return True
        return False

    def start(self, answer):
        """Puts it into the batch. Where only the prompt is wanted, one token is computed and not told."""
        request, prompt = answer.request, answer.prompt
        # The last token is always computed: out of it comes the answer's first.
        space = request.get("space", "")
        cache, rest = self.cache.fetch_nearest_cache(space, prompt[:-1])
        found = len(prompt) - 1 - len(rest)
        marks = request.get("marks")
        self.put(type="started", id=answer.id, prompt_tokens=len(prompt), cached_tokens=found,
                 marked_tokens=self.beginnings.declare(space, prompt, marks, found) if marks else 0,
                 marks=[length for length, _ in marks or ()])
        answer.speller = Speller(self.tokens, prompt)
        (uid,) = self.batch.insert(
            [prompt[found:]], max_tokens=[max(1, min(answer.wanted, self.context - len(prompt)))], caches=[cache],
            all_tokens=[prompt[:found]], samplers=[sampler(request)])
        self.answers[uid] = answer

    def cancel(self, identity):
        """What was computed is kept: an answer that was long enough for its client ends so, too."""
        for uid, answer in self.answers.items():
            if answer.id == identity:
                kept = self.batch.remove([uid], return_prompt_caches=True)
                for cache, tokens in kept.values():
                    self._keep(answer, tokens, cache)
                del self.answers[uid]
                return

    def _keep(self, answer, tokens, cache):
        if cache and tokens:
            self.cache.insert_cache(answer.request.get("space", ""), list(tokens), cache)

    def step(self):
        """One token of every answer that has begun, and a piece of the prompts of those that have not."""
        prompts, tokens = self.batch.next()
        for prompt in prompts:
            if not prompt.end_of_prompt:
                done, total = prompt.progress
                self.put(type="progress", id=self.answers[prompt.uid].id, done=done, total=total)
        for token in tokens:
            self._tell(self.answers[token.uid], token)
            if token.finish_reason:
                answer = self.answers.pop(token.uid)
                self._keep(answer, token.all_tokens, token.prompt_cache)

    def _tell(self, answer, token):
        answer.said += answer.wanted > 0
        if token.finish_reason != "stop" and answer.wanted > 0:
            if token.token in self.tokens.control:
                self._say(answer, answer.speller.finish(), False)
                self._say(answer, answer.speller.add(token.token, True), True)
            else:
                self._say(answer, answer.speller.add(token.token), False)
        if token.finish_reason:
            self._say(answer, answer.speller.finish(), False)
            full = token.finish_reason == "length" and answer.said < answer.wanted
            self.put(type="done", id=answer.id, tokens=answer.said,
                     reason="context" if full else token.finish_reason)

    def _say(self, answer, text, control):
        if text:
            self.put(type="token", id=answer.id, text=text, tokens=answer.said,
                     **({"control": True} if control else {}))


# ---- serving ----


class Output:
    """Lines of JSON on what was standard output. Whatever a library prints there goes to standard error."""

    def __init__(self):
        self.file = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self.lock = threading.Lock()
        self.last = time.monotonic()

    def put(self, **message):
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        with self.lock:
            self.last = time.monotonic()
            while line:
                line = line[self.file.write(line):]

    def beat(self):
        if time.monotonic() - self.last >= BEAT_SECONDS:
            self.put(type="alive")


def read_requests(loaded, work, output):
    """Until standard input ends, and the process with it, also while the model is being loaded."""
    status, runner = 1, None
    try:
        while line := sys.stdin.buffer.readline(LINE_BYTES_MAX + 1):
            if len(line) > LINE_BYTES_MAX:
                raise ValueError("a line is too long")
            runner = runner or loaded.get()
            request = json.loads(line)
            kind = request["type"]
            if kind == "cancel":
                work.put(request["id"])
                continue
            prompt, marks = runner.tokens.encode(request.pop("prompt"))
            if kind == "count":
                output.put(type="count", id=request["id"], tokens=len(prompt))
            elif kind == "generate":
                answer = Answer({**request, "marks": marks}, prompt)
                if runner.takes(answer):
                    work.put(answer)
            else:
                raise ValueError(f"a request of an unknown type: {kind}")
        status = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)  # also out of the middle of a step


def serve(a):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the server says when it is over
    output, loaded, work = Output(), queue.SimpleQueue(), queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(loaded, work, output), daemon=True).start()
    try:
        runner = Runner(a.model_path, output.put, a.context, a.cache_bytes, a.batch)
        output.put(type="ready", protocol=PROTOCOL, context=runner.context, bos=runner.tokens.bos,
                   eos=runner.tokens.eos, chat_template=runner.template() or "", mlx_lm=runner.version)
        loaded.put(runner)
        answer_all(runner, work, output)
    except Exception as error:
        output.put(type="fatal", message=reason(error))
        if not isinstance(error, Unable):
            traceback.print_exc()
        os._exit(1)  # in the orderly way Python would wait for the thread that reads, and abort


def answer_all(runner, work, output):
    while True:
        try:
            item = work.get(timeout=0 if runner.answers else BEAT_SECONDS)
            runner.start(item) if isinstance(item, Answer) else runner.cancel(item)
        except queue.Empty:
            if runner.answers:
                runner.step()
        output.beat()


# ---- one answer ----


def once(a):
    """The lines of --prompt. The text goes through the model's chat template, if it has one."""
    output = Output()
    state = {"text": "", "started": time.perf_counter()}

    def put(**message):
        elapsed = time.perf_counter() - state["started"]
        if message["type"] == "token":
            state["text"] += message["text"]
            if a.stream:
                output.put(type="text_chunk", text=message["text"], accumulated=state["text"],
                           tokens_per_second=round(message["tokens"] / elapsed, 2), elapsed_ms=round(elapsed * 1000))
        elif message["type"] == "started":
            state["prompt_tokens"] = message["prompt_tokens"]
        elif message["type"] == "done":
            output.put(type="complete", text=state["text"], finish_reason=message["reason"],
                       prompt_tokens=state["prompt_tokens"], completion_tokens=message["tokens"],
                       tokens_per_second=round(message["tokens"] / elapsed, 2), elapsed_ms=round(elapsed * 1000))
        elif message["type"] == "error":
            state["failed"] = True
            output.put(type="error", message=message.get("message") or f"the prompt has {message['tokens']} tokens, "
                       f"the model takes {message['maximum']}")

    try:
        runner = Runner(a.model_path, put, a.context, a.cache_bytes, 1)
        text = a.prompt
        if runner.template() and not a.raw:
            text = runner.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                                        add_generation_prompt=True)
        prompt, _ = runner.tokens.encode([{"text": text}])
        state["started"] = time.perf_counter()
        answer = Answer({"id": 0, "max_tokens": a.max_tokens, "temperature": a.temperature, "seed": a.seed}, prompt)
        if runner.takes(answer):
            runner.start(answer)
        while runner.answers:
            runner.step()
    except Exception as error:
        output.put(type="error", message=reason(error))
        return 1
    return 1 if state.get("failed") else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-path", required=True, metavar="DIR", help="a folder with an MLX model")
    parser.add_argument("--serve", action="store_true", help="answer requests from standard input until it ends")
    parser.add_argument("--prompt", metavar="TEXT", help="answer this one")
    parser.add_argument("--raw", action="store_true", help="the prompt is all the model sees: no chat template")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N")
    parser.add_argument("--stream", action="store_true", help="a line a token, and not only the last one")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=0, metavar="N", help="tokens of prompt and answer; 0: the model's own")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="answers that are computed together")
    parser.add_argument("--cache-bytes", type=int, default=0, metavar="N", help="of keys and values that are kept; 0: 4 GiB")
    a = parser.parse_args()
    if a.serve == (a.prompt is not None):
        parser.error("either --serve or --prompt")
    if a.serve:
        serve(a)
    sys.exit(once(a))


if __name__ == "__main__":
    main()
