"""A conversation is never computed twice: counts, by the real server and the default model.

Each turn finds all that the turn before left in memory but the last, unfinished page of it, whatever
tokens the model sampled, wherever its text was cut, and however the client writes the history.
"""

import random
import re

import pytest

PAGE = 64
MODEL = "claude-sonnet-5"
TOPICS = ["a lighthouse", "the price of tin", "a lost letter \u2603", "rain", "an old clock", "salt",
          "echoes"]
SYSTEM = "You tell short stories. " + "Every story has a beginning, a middle and an end. " * 8


def reuse_of(answer):
    """What the pensieve-cache header says: tokens from memory, from disk, computed."""
    found = re.fullmatch(r"memory=(\d+), disk=(\d+), computed=(\d+)", answer.headers["pensieve-cache"])
    return tuple(map(int, found.groups()))


def ask(wire, messages, **fields):
    answer = wire.post({"model": MODEL, "max_tokens": 16, "system": SYSTEM, "messages": messages, **fields})
    assert answer.status == 200, answer.body
    return answer


def text_of(message):
    return "".join(block["text"] for block in message["content"])


def count(wire, *texts):
    """Of a conversation whose turns these are, the user's first; the assistant's are never sampled ones."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return wire.count({"model": MODEL, "system": SYSTEM, "messages": messages}).json()["input_tokens"]


class Talk:
    """One conversation. `total` is what is computed of it: the last prompt and its answer; `told`: the
    tokens of both as the next prompt must begin with them, or None if a stop cut them."""

    def __init__(self, wire):
        self.wire, self.messages, self.total, self.told = wire, [], 0, None

    def turn(self, text, prefill="", **fields):
        self.messages.append({"role": "user", "content": text})
        asked = [*self.messages]
        if prefill:
            asked.append({"role": "assistant", "content": prefill})
        answer = ask(self.wire, asked, **fields)
        message = answer.json()
        memory, disk, computed = reuse_of(answer)
        usage = message["usage"]
        prompt = usage["input_tokens"]
        assert memory + disk + computed == prompt
        assert memory + disk >= self.total - PAGE, (memory, self.total)
        assert computed <= prompt - self.total + PAGE
        if self.told and not prefill:   # to the token: what was told, and what a new turn costs
            assert prompt == self.told + count(self.wire, "?", "!", text) - count(self.wire, "?", "!")
        stop = message["stop_reason"]
        self.total = prompt + usage["output_tokens"]
        self.told = None if stop == "stop_sequence" else self.total - (stop == "end_turn")
        told = prefill + text_of(message)
        self.messages.append({"role": "assistant", "content": told})
        if not told.strip():            # nothing to tell again: an empty answer is no message
            self.messages = []
            self.total, self.told = 0, None
        return message


def test_turn_after_turn(wire):
    talk = Talk(wire)
    for topic in TOPICS:
        talk.turn(f"Tell me about {topic}.")
    assert talk.total > 300


def test_whatever_cuts_the_answer(wire):
    """max_tokens in the middle of words, stop sequences in the middle of tokens."""
    talk = Talk(wire)
    for i, topic in enumerate(TOPICS):
        # A stop cuts a token in two: that token and what came after it are computed again.
        stops = {"stop_sequences": [random.choice(["e", "th", " a", ".", "in"])]} if i % 2 else {}
        message = talk.turn(f"A word on {topic}", max_tokens=1 + 5 * i, **stops)
        if message["stop_reason"] == "stop_sequence":
            talk.total -= 8


def test_an_answer_that_was_begun(wire):
    """The client begins it, the model goes on, and both come back as one text; then it is continued."""
    talk = Talk(wire)
    for topic in TOPICS[:3]:
        talk.turn(f"Tell me about {topic}.", prefill=f"Well: {topic}, in")
        told = talk.messages.pop()["content"]
        if told != told.rstrip():
            talk.messages.append({"role": "assistant", "content": told})
            continue
        asked = talk.messages.pop()["content"]
        talk.turn(asked, prefill=told, max_tokens=6)


@pytest.mark.parametrize("form", ["string", "blocks", "cut", "marked"])
def test_however_the_history_is_written(wire, form):
    talk = Talk(wire)
    for topic in TOPICS[:3]:
        talk.turn(f"Tell me about {topic}.")
        last = talk.messages[-1]
        told = last["content"]
        if last["role"] == "user":
            continue
        if form == "cut":
            cut = random.randrange(1, len(told)) if len(told) > 1 else 0
            parts = [part for part in (told[:cut], told[cut:]) if part.strip()]
            if "".join(parts) == told:
                last["content"] = [{"type": "text", "text": part} for part in parts]
        elif form != "string":
            last["content"] = [{"type": "text", "text": told}]
        if form == "marked":
            last["content"][0]["cache_control"] = {"type": "ephemeral"}
            for message in talk.messages[:-1]:
                if isinstance(message["content"], list):
                    message["content"][0].pop("cache_control", None)


def test_an_edited_answer_is_what_the_client_wrote(wire):
    """One letter changed: no match, and the prompt is as long as it is for somebody who never asked."""
    messages = [{"role": "user", "content": "Say something."}]
    told = text_of(ask(wire, messages).json()) + "."
    messages += [{"role": "assistant", "content": told}, {"role": "user", "content": "Go on."}]
    prompt = wire.count({"model": MODEL, "system": SYSTEM, "messages": messages}).json()["input_tokens"]
    as_user = wire.count({"model": MODEL, "system": SYSTEM, "messages": [
        messages[0], {"role": "assistant", "content": "."}, messages[2]]}).json()["input_tokens"]
    assert prompt > as_user
    assert sum(reuse_of(ask(wire, messages, max_tokens=1))) == prompt


def test_a_conversation_goes_on_after_a_restart(start_server, tmp_path):
    """Its tokens and their keys are both on disk: the new server computes no more than the old one would."""
    flags = ("--cache-dir", tmp_path, "--cache-disk-max", "64MiB")
    server = start_server(*flags)
    talk = Talk(server.wire)
    for topic in TOPICS[:3]:
        talk.turn(f"Tell me about {topic}.")
    assert server.stop() == 0
    talk.wire = start_server(*flags).wire
    for topic in TOPICS[3:5]:
        talk.turn(f"Tell me about {topic}.")
