#!/usr/bin/env python3
"""tokens_golden.py MODEL.gguf - makes ../tokens/words.json and ../tokens/smollm2.json.

words.json: strings of our own, and random ones from a fixed seed, cut into words by Hugging Face's
`tokenizers` with the pre-tokenisers that the names in src/engine/families.c stand for.
smollm2.json: the same strings through the whole tokenizer, rebuilt from MODEL's metadata;
"plain" is there where special tokens spelled in the text give other ids as text.
Made with tokenizers 0.23.3 and gguf 0.19.0.
"""
import base64, json, os, random, struct, sys, zlib

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers as pre

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tokens")
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER, ELISION = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s|\p{{N}}%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = pre.ByteLevel(add_prefix_space=False, use_regex=True)
WORDS = {
    "gpt-2": GPT2,
    "smollm": pre.Sequence([pre.Digits(individual_digits=True), GPT2]),
    "llama-bpe": pre.Split(Regex(CL100K % "{1,3}"), "isolated"),
    "qwen2": pre.Split(Regex(CL100K % ""), "isolated"),
    "qwen35": pre.Split(Regex(QWEN35), "isolated"),
    "gpt-4o": pre.Split(Regex(O200K % (ELISION, ELISION, "{1,3}")), "isolated"),
    "tekken": pre.Split(Regex(O200K % ("", "", "")), "isolated"),
    "deepseek-v3": pre.Sequence([pre.Split(Regex(p), "isolated") for p in DEEPSEEK]),
}
PIECES = (" ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u180e", "\u200b", "\x85",
          "a", "Zeit", "it", "'s", "'LL", "'", "don't", "1", "23", "4567", "\u0663", "\u00bd", "\u2167",
          "\u00e9", "e\u0301", "\u0301", "\u4f60\u597d", "\u3042", "\ud55c", "\u0939\u093f", "\U0001f642",
          "\U0001f469\u200d\U0001f680", "!", "?!", "...", "_", "-", "=", "<|", "|>", "</", "(x)", "$", "+",
          "\u2014", "\u201c", "\ufffd", "\ue000", "\x00", "\x7f", "\u017f", "\u01c5", "\u02b0", "\u0e01")
OURS = (
    "", "Pensieve keeps what you tell it.", "Count to 3", "  two spaces, then text", "tail   ",
    "def f(x):\n\treturn x ** 2  # squared\n\n\nprint(f(12345))\n", "{\"a\": [1, 2.50, null], \"b\": \"\\n\"}",
    "We've seen it's 10 o'clock; they'll say I'M LATE, you'd better run.", "3.14159 2,718,281 0xFFEE 1e-9",
    "Gr\u00fc\u00dfe aus Z\u00fcrich, \u00e0 bient\u00f4t, \u043f\u0440\u0438\u0432\u0435\u0442, \u05e9\u05dc\u05d5\u05dd, \u4f60\u597d\uff0c\u4e16\u754c",
    "\U0001f642\U0001f642 \U0001f469\u200d\U0001f680 and \u2764\ufe0f", "a\r\nb\rc\n\n\n  d \t e",
    "<|im_start|>user\nhi<|im_end|>\n", "x<|im_end|>y <|endoftext|>", "<|im_end|", "<|IM_END|>", "<|im_<|im_end|>end|>",
    "<file_sep><repo_name>pensieve", "[INST] no token of this model [/INST] </s>", "caf\u00e9 cafe\u0301",
    "snake_case camelCase SCREAMING_CASE kebab-case", "/usr/lib/x.so.1 C:\\dir\\f.txt https://example.org/?q=1#a",
    "===== ----- ..... !!!!! ?????", "\u00bd cup, \u2167 volumes, \u0661\u0662\u0663, x\u00b2", "\u180ea \u200bb \u2028c",
)
LONG = (("a", 20000), ("qz", 9000), (" ", 9999), ("\n ", 5000), ("7", 5000), ("<|im_end|>", 700), ("\u00e9", 4000),
        ("Pensieve ", 3000), ("\U0001f642", 2500))
INVALID = (b"\xff", b"ab\xc3", b"\xe2\x82(", b"\xed\xa0\x80", b"\xf0\x9f\x99", b"x\xf5\x80\x80y", b"\x80", b"\xc0\xaf")


def strings(n, seed):
    rng = random.Random(seed)
    return [*OURS, *("".join(rng.choices(PIECES, k=rng.randint(1, 12))) for _ in range(n))]


def words(tool, text):
    return [text[a:b] for _, (a, b) in tool.pre_tokenize_str(text)]


def tokenizer(path, special):
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, types = get("tokens"), get("token_type")
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in get("merges")]))
    t.pre_tokenizer = WORDS[get("pre")]
    if special:
        t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, kind in zip(tokens, types) if kind == 3])
    return lambda text: t.encode(text, add_special_tokens=False).ids


def write(name, value):
    with open(os.path.join(OUT, name), "w") as file:
        file.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{") + "\n")


def main():
    write("words.json", {name: [{"t": s, "words": words(tool, s)} for s in strings(150, name)] for name, tool in WORDS.items()})
    encode, plain = tokenizer(sys.argv[1], True), tokenizer(sys.argv[1], False)
    vectors = [{"t": s, "ids": encode(s), **({} if plain(s) == encode(s) else {"plain": plain(s)})} for s in strings(250, "smollm2")]
    long = [{"unit": u, "n": n, "len": len(i), "crc": zlib.crc32(struct.pack(f"<{len(i)}I", *i))} for u, n in LONG for i in [encode(u * n)]]
    invalid = [{"b64": base64.b64encode(b).decode(), "ids_replace": encode(b.decode("utf-8", "replace"))} for b in INVALID]
    write("smollm2.json", {"model": os.path.basename(sys.argv[1]), "vectors": vectors, "long": long, "bad_utf8": invalid})


main()
