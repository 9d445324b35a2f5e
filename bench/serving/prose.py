"""prose.py - prompts of a wanted length in tokens, each unlike any other, so that no cache knows them."""
import pathlib
import random

from serving.client import body_of, post, user

WORDS = (pathlib.Path(__file__).resolve().parents[1] / "text/declaration.txt").read_text("utf-8").split()


def words(seed, n):
    """n words of English in a random order that the seed fixes; a full stop now and then."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + ("." if i % 17 == 16 else "") for i in range(n))


def measure(port, text):
    return post(port, "/v1/messages/count_tokens",
                {k: v for k, v in body_of([user(text)], 1).items() if k in ("model", "messages")}
                )["input_tokens"]


class Prose:
    """Texts by length in tokens; each is the next of its numbering."""

    def __init__(self, tokens_per_word, serial):
        self.tokens_per_word, self.serial = tokens_per_word, serial

    @staticmethod
    def rate(port):
        """Tokens a word, as the server's tokenizer has it."""
        return (measure(port, words("sample", 2000)) - measure(port, "x")) / 2000

    def of(self, tokens):
        self.serial += 1
        return f"Note {self.serial}. " + words(self.serial, max(1, int(tokens / self.tokens_per_word)))
