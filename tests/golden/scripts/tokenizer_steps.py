#!/usr/bin/env python3
"""tokenizer_steps.py OUT - small tokenizer.json files of our own, one for each step or flag that they may have, and what Hugging
Face's `tokenizers` makes of a few texts with them: tests/golden/tokens/steps.json. Needs: pip install tokenizers (0.23.3 made it).

[{"name": ..., "file": the tokenizer.json as text, "vectors": [{"t": text, "ids": [...], "dec": text}]}]"""
import json, random, sys
from tokenizers import Tokenizer

TEXTS = ["", " ", "  ", "a", " a", "a b", "a  b", " a b ", "hello world", "Hello, world!", "hello hello", "don't", "x1y22z333", "1 22 333",
         "a\nb", "\n\n", "a \n b", "\t", "...", "!?a", "a.b.c", "e\u0301", "\u00e9", "caf\u00e9 e\u0301", "\u1100\u1161\u11a8", "\uac01", "\ufb01n",
         "\u4f60\u597d", "\u4f60e\u0301", "a\u4f60\u00e9b", "\U0001f642", "a\u2581b", "\u2581", "\u2581\u2581", "\u00a0a", "a\u3000b", "\u1e9b\u0323", "q\u0323\u0307", "\u212b",
         "<s>", "a<s>b", "<s> a", "a <s> b", "<s>\n\n a", "  <s>  ", "[X]", "a [X] b", "[X]b", "a[X]", "a[X]b", " [X] ", "<m>", "a <m>b", "<m><m>",
         "aab", "abab", "ababab", "bbb", "abc", "cab", "zzz", "azza", "hello\u4f60", "HELLO", "\x00", "a\u0301\u0323b", "--a--", "a-b", "ab-ab",
         "low lower lowest", "\ufffd", "1\u00b2\u0663", "\u2167", "a'b", "\"a\"", "x\u200dy", "k\u016f\u0148", "\u02bca", "hello  <s>  hello"]
BYTES = [chr(b) if 0x21 <= b <= 0x7e or 0xa1 <= b <= 0xac or 0xae <= b <= 0xff else None for b in range(256)]
n = 0
for b in range(256):
    if BYTES[b] is None: BYTES[b] = chr(256 + n); n += 1
PAIRS = ["h e", "l l", "he ll", "hell o", "a b", "ab ab", "b b", "l o", "lo w", "e r", "low er", "a a", "z z", "w o", "r l", "wo rl", "worl d"]
ADDED = {"id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
BYTELEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPLIT = {"type": "Split", "pattern": {"Regex": "[ab]+|\\s"}, "behavior": "Isolated", "invert": False}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
META = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
UNMARK = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def base(model, **fields):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None, "model": model, **fields}


def add(tokenizer, content, **flags):
    vocab = tokenizer["model"]["vocab"]
    known = vocab if isinstance(vocab, dict) else [p for p, _ in vocab]
    ids = vocab if isinstance(vocab, dict) else {p: i for i, p in enumerate(known)}
    new = len(known) + sum(a["content"] not in known for a in tokenizer["added_tokens"])
    tokenizer["added_tokens"].append({**ADDED, "id": ids.get(content, new), "content": content, **flags})
    return tokenizer


def merged(vocab, pairs):
    for pair in pairs:
        vocab.setdefault(pair.replace(" ", ""), len(vocab))
    return pairs


def by_bytes(pre=BYTELEVEL, pairs=(), **fields):
    vocab = {c: i for i, c in enumerate(BYTES)}
    merges = merged(vocab, PAIRS + [p.replace(" ", "\u0120", 1) if p.startswith(" ") else p for p in pairs])
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": fields.pop("ignore_merges", False), "vocab": vocab, "merges": merges}
    return add(base(model, pre_tokenizer=pre, decoder=BYTELEVEL, **fields), "<s>")


def by_chars(fallback=True, fuse=True, decoder=None, pairs=True, **fields):
    vocab = {"<unk>": 0}
    if fallback:
        for b in range(256): vocab["<0x%02X>" % b] = len(vocab)
    for c in "\u2581abcdefghijklmnopqrstuvwxyz.,!-'1\u00e9<>": vocab[c] = len(vocab)
    merges = merged(vocab, PAIRS + ["\u2581 hello", "\u2581 a", "\u2581 \u2581", "\u2581\u2581 \u2581\u2581"])
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": fuse, "byte_fallback": fallback, "ignore_merges": False, "vocab": vocab,
             "merges": [m.split(" ") for m in merges] if pairs else merges}
    steps = [UNMARK] + ([{"type": "ByteFallback"}] if fallback else []) + [{"type": "Fuse"}]
    return add(base(model, decoder=decoder or {"type": "Sequence", "decoders": steps + [STRIP]}, **fields), "<s>")


def by_score(fallback=False, **fields):
    rng = random.Random(7)
    pieces = ["<unk>"] + (["<0x%02X>" % b for b in range(256)] if fallback else [])
    pieces += list("\u2581abcdefghijklmnopqrstuvwxyz.,!-'1\u00e9<>") + ["\u2581a", "\u2581hello", "hello", "world", "\u2581world", "lo", "low", "er",
               "est", "ab", "aba", "bab", "abab", "zz", "he", "ll", "\u2581\u2581", "\u2581l", "o\u2581", "wor", "ld", "<s", "s>"]
    vocab = [[p, 0.0 if p.startswith("<0x") or p == "<unk>" else -round(rng.uniform(2, 9), 3)] for p in pieces]
    model = {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": fallback}
    steps = [UNMARK] + ([{"type": "ByteFallback"}] if fallback else []) + [{"type": "Fuse"}]
    fields.setdefault("decoder", {"type": "Sequence", "decoders": steps})
    return add(base(model, **fields), "<s>")


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def cases():
    yield "byte level", by_bytes()
    yield "byte level with a space first", by_bytes({**BYTELEVEL, "add_prefix_space": True})
    yield "byte level without words", by_bytes({**BYTELEVEL, "use_regex": False})
    yield "merges ignored", by_bytes(ignore_merges=True)
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            split = {**SPLIT, "behavior": behavior, "invert": invert}
            yield f"split {behavior} {invert}", by_bytes(sequence("pretokenizers", split, {**BYTELEVEL, "use_regex": False}))
    yield "split at a text", by_bytes(sequence("pretokenizers", {**SPLIT, "pattern": {"String": "."}}, {**BYTELEVEL, "use_regex": False}))
    yield "three splits", by_bytes(sequence("pretokenizers", {**SPLIT, "pattern": {"Regex": "\\p{N}{1,3}"}},
        {**SPLIT, "pattern": {"Regex": "[\u4e00-\u9fa5\u3040-\u30ff]+"}}, {**SPLIT, "pattern": {"Regex": "\\w+|[^\\w\\s]+"}}, BYTELEVEL))
    yield "lookbehind", by_bytes(sequence("pretokenizers", {**SPLIT, "pattern": {"Regex": "(?<=a)b|(?<!l)l(?=l)|^a|o$"}}, {**BYTELEVEL, "use_regex": False}))
    yield "digits", by_bytes(sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, BYTELEVEL))
    yield "runs of digits", by_bytes(sequence("pretokenizers", {"type": "Digits", "individual_digits": False}, BYTELEVEL))
    yield "punctuation", by_bytes(sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, BYTELEVEL))
    yield "white space", by_bytes(sequence("pretokenizers", {"type": "WhitespaceSplit"}, BYTELEVEL))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield form, by_bytes(normalizer={"type": form})
    yield "strip", by_bytes(normalizer={"type": "Strip", "strip_left": True, "strip_right": True})
    yield "replace", by_bytes(normalizer=sequence("normalizers", {"type": "Replace", "pattern": {"String": "ab"}, "content": "zz"}, {"type": "NFC"}))
    for flag in ("lstrip", "rstrip", "single_word"):
        yield flag, add(by_bytes(), "[X]", **{flag: True})
    yield "both sides", add(by_bytes(), "[X]", lstrip=True, rstrip=True)
    yield "added text", add(add(by_bytes(), "  ", special=False), "lo", special=False)
    yield "added text, normalised", add(by_bytes(normalizer={"type": "NFC"}), "\u4f60e\u0301", special=False, normalized=True)
    yield "added text, not normalised", add(by_bytes(normalizer={"type": "NFC"}), "\u4f60e\u0301", special=False, normalized=False)
    llama = sequence("normalizers", PREPEND, REPLACE)
    yield "characters", by_chars(normalizer=llama)
    yield "characters, merges as texts", by_chars(normalizer=llama, pairs=False)
    yield "unknown, fused", by_chars(False, True, normalizer=llama)
    yield "unknown, one by one", by_chars(False, False, normalizer=llama)
    yield "a mark that is spelled out", add(by_chars(normalizer=llama), "\u2581\u2581\u2581", special=False)
    yield "a normalised token", add(by_chars(normalizer=REPLACE), "a b", special=False, normalized=True)
    yield "gemma", by_chars(normalizer=REPLACE, pre_tokenizer={**SPLIT, "pattern": {"String": " "}, "behavior": "MergedWithPrevious"})
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            meta = {**META, "prepend_scheme": scheme, "split": split}
            yield f"metaspace {scheme} {split}", by_chars(pre_tokenizer=meta)
            yield f"unigram metaspace {scheme} {split}", by_score(pre_tokenizer=meta, decoder=meta)
    yield "unigram", by_score(normalizer=llama)
    yield "unigram with bytes", by_score(True, normalizer=llama)
    yield "unigram, raw", by_score(normalizer=REPLACE)


def main():
    out = []
    for name, file in cases():
        text = json.dumps(file, ensure_ascii=False, separators=(",", ":"))
        tokenizer = Tokenizer.from_str(text)
        vectors = []
        for t in TEXTS:
            ids = tokenizer.encode(t, add_special_tokens=False).ids
            vectors.append({"t": t, "ids": ids, "dec": tokenizer.decode(ids, skip_special_tokens=False)})
        out.append({"name": name, "file": text, "vectors": vectors})
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in out) + "\n]\n")
    print(len(out), "tokenizers,", len(TEXTS), "texts")


if __name__ == "__main__":
    main()
