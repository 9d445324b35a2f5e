"""A coding agent's conversation of 30 turns, with side requests between, is computed once: a count.

tests/support/agent.py holds what the client sends; the assistant's turns are what the model sampled.
Each turn computes at most what is new of its prompt and one page.
"""

import re

from support import agent

PAGE = 64
ANSWER_TOKENS = 8
MODEL = "claude-sonnet-5"


def ask(wire, messages, **fields):
    answer = wire.post({"model": MODEL, "max_tokens": ANSWER_TOKENS, "messages": messages, **fields})
    assert answer.status == 200, answer.body
    found = re.fullmatch(r"memory=(\d+), disk=(\d+), computed=(\d+)", answer.headers["pensieve-cache"])
    return answer.json(), int(found[3])


def test_thirty_turns_are_computed_once(wire):
    history, known, computed_in_all, prompts = [], 0, 0, 0
    for i, text in enumerate(agent.turns()):
        history.append({"role": "user", "content": text})
        message, computed = ask(wire, history, system=agent.SYSTEM)
        prompt = message["usage"]["input_tokens"]
        assert computed <= prompt - known + PAGE, (i, prompt, known, computed)
        known = prompt + message["usage"]["output_tokens"]
        computed_in_all += computed
        prompts += prompt
        history.append({"role": "assistant", "content": message["content"]})
        if i % 6 == 5:
            ask(wire, [{"role": "user", "content": agent.side_request(i)}])
    assert known > 4000
    assert computed_in_all < prompts / 8
