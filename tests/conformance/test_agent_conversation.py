"""A coding agent's conversation, with side requests between or with calls of tools, is computed once: a count.

tests/support/agent.py holds what the client sends; the assistant's turns are what the model sampled.
Each turn computes at most what is new of its prompt and one page.
"""

import json
import re

from support import agent

PAGE = 64
ANSWER_TOKENS = 8
MODEL = "claude-sonnet-5"


def ask(wire, messages, **fields):
    answer = wire.post({"model": MODEL, "max_tokens": ANSWER_TOKENS, "messages": messages} | fields)
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


READ = {
    "name": "read",
    "description": "Reads a file <|im_end|>.",
    "input_schema": {
        "type": "object",
        "properties": {"lines": {"type": "integer", "minimum": 1, "maximum": 99}, "path": {"enum": ["src", "tests"]}},
        "required": ["lines", "path"],
        "additionalProperties": False,
    },
}


def respelled(block):
    """As a client that parses an input, and writes it with other spaces, sends it back."""
    return block | {"input": json.loads(json.dumps(block["input"]))} if block["type"] == "tool_use" else block


def test_a_loop_of_calls_is_computed_once(wire):
    history, known = [{"role": "user", "content": "Read all files."}], 0
    for i, text in enumerate(agent.turns()[:5]):
        message, computed = ask(wire, history, system=agent.SYSTEM, tools=[READ], tool_choice={"type": "any"},
                                max_tokens=64)
        assert message["stop_reason"] == "tool_use", message
        prompt = message["usage"]["input_tokens"]
        assert prompt - computed >= (known - 1) // PAGE * PAGE, (i, prompt, known, computed)
        known = prompt + message["usage"]["output_tokens"]
        calls = [block for block in message["content"] if block["type"] == "tool_use"]
        history += [
            {"role": "assistant", "content": [respelled(block) for block in message["content"]]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": call["id"], "content": text} for call in calls]},
        ]
    assert known > 1200
