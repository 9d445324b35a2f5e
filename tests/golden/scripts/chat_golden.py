"""chat_golden.py [OUT] - what transformers renders of conversations with tools, for tests/chat/test_prompt.c.

Each case is a request as a client sends it and the text that apply_chat_template makes of the same
conversation. The templates are our own, in the shape of models' families: tests/golden/chat/families.
Made with transformers 5.24.0 (pip install transformers jinja2 numpy); writes tests/golden/chat/tools.json.
"""

import json
import pathlib
import sys

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

HERE = pathlib.Path(__file__).resolve().parent.parent / "chat"
BOS, EOS = "<s>", "</s>"

TOOLS = [
    {
        "name": "get_weather",
        "description": 'The weather of a "city", <now> or [later].\nIn °C.',
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name, e.g. Zürich <|im_end|>"},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "days": {"type": "array", "items": {"type": "integer"}, "description": "0: today"},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
    {
        "name": "add",
        "description": "",
        "input_schema": {"type": "object", "properties": {"a": {"type": "number", "maximum": 1.5}, "b": {"type": "number"}}},
    },
]
DEFERRED = [{"name": "hidden", "description": "Is found.", "input_schema": {"type": "object"}, "defer_loading": True}]

ZURICH = {"type": "tool_use", "id": "callZ0001", "name": "get_weather",
          "input": {"city": "Zürich </tool_call><|im_end|>", "days": [0, 1], "unit": None}}
ROME = {"type": "tool_use", "id": "callR0002", "name": "get_weather", "input": {"city": "Rome \"x\" \\ \n"}}
ADD = {"type": "tool_use", "id": "callA0003", "name": "add", "input": {"a": 1, "b": 2.5}}
EMPTY = {"type": "tool_use", "id": "callE0004", "name": "add", "input": {}}


def user(*blocks):
    return {"role": "user", "content": [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]}


def assistant(*blocks):
    return {**user(*blocks), "role": "assistant"}


def result(call, content, **fields):
    return {"type": "tool_result", "tool_use_id": call["id"], "content": content, **fields}


def thought(text):
    return {"type": "thinking", "thinking": text, "signature": "c2ln"}


CONVERSATIONS = {
    "defined": {"tools": TOOLS, "messages": [user("Weather?")]},
    "defined_system": {"system": "Be <brief>.", "tools": TOOLS, "messages": [user("Weather?"), assistant("Where?"), user("Here.")]},
    "no_tools": {"system": "Be brief.", "messages": [user("Hi")]},
    "one_call": {"tools": TOOLS, "messages": [
        user("Zürich?"), assistant(ZURICH), user(result(ZURICH, "<tool_response> 21 °C [</tool_response>")),
        assistant("Warm."), user("Thanks"),
    ]},
    "loop": {"system": "S", "tools": TOOLS, "messages": [
        user("Both"), assistant(ZURICH), user(result(ZURICH, "21")), assistant(ADD),
        user(result(ADD, [{"type": "text", "text": "3"}, {"type": "text", "text": ".5"}])),
    ]},
    "empty": {"tools": TOOLS, "messages": [user("E"), assistant(EMPTY), user(result(EMPTY, ""))]},
    "text_and_call": {"tools": TOOLS, "messages": [user("Zürich?"), assistant("Let me look.", ZURICH), user(result(ZURICH, "21"))]},
    "parallel": {"tools": TOOLS, "messages": [
        user("Both?"), assistant("Two calls.", ZURICH, ROME),
        user(result(ROME, "22"), result(ZURICH, "no <|im_start|>", is_error=True)), assistant("Done."), user("Bye"),
    ]},
    "text_behind": {"tools": TOOLS, "messages": [
        user("Zürich?"), assistant(ZURICH), user(result(ZURICH, "21"), "And now", "Rome"),
    ]},
    "thoughts": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": TOOLS, "messages": [
        user("Hi"), assistant(thought("old <think>"), "Hello."), user("Rome?"),
        assistant(thought("They want\nRome </think>"), "Look.", ROME), user(result(ROME, "22")),
    ]},
    "deferred": {"tools": TOOLS + DEFERRED, "messages": [
        user("Find"), assistant(EMPTY), user(result(EMPTY, [{"type": "tool_reference", "tool_name": "hidden"}])),
    ]},
}

# What each family can take; arguments: as text, in the one that wants it.
ALL = list(CONVERSATIONS)
FAMILIES = {
    "hermes": {"takes": ALL},
    "thinker": {"takes": ALL},
    "headers": {"takes": [c for c in ALL if c not in ("text_and_call", "parallel", "thoughts")]},
    "brackets": {"takes": [c for c in ALL if c not in ("text_and_call", "parallel", "thoughts", "text_behind")]},
    "roles": {"takes": ALL},
    "strings": {"takes": ALL, "text": True, "switch": "thinking"},
    "slots": {"takes": ["defined", "defined_system", "no_tools"], "in_system": True},
    "channels": {"takes": [c for c in ALL if c != "parallel"]},
}


def tool(t):
    return {"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["input_schema"]}}


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def result_text(block, tools):
    content = block["content"]
    if isinstance(content, list):
        shown = {t["name"]: dumps(tool(t)) for t in tools if t.get("defer_loading")}
        content = "\n".join(c["text"] if c["type"] == "text" else shown[c["tool_name"]] for c in content)
    return ("Error: " if block.get("is_error") else "") + content


def messages_of(request, text_arguments):
    """The request as one writes it for transformers."""
    out, names = [], {}
    if "system" in request:
        out.append({"role": "system", "content": request["system"]})
    for message in request["messages"]:
        texts = [b["text"] for b in message["content"] if b["type"] == "text"]
        if message["role"] == "assistant":
            calls = [b for b in message["content"] if b["type"] == "tool_use"]
            names |= {b["id"]: b["name"] for b in calls}
            turn = {"role": "assistant", "content": "".join(texts)}
            for b in message["content"]:
                if b["type"] == "thinking":
                    turn["reasoning_content"] = b["thinking"]
            if calls:
                turn["tool_calls"] = [
                    {"type": "function", "id": b["id"], "function": {
                        "name": b["name"], "arguments": dumps(b["input"]) if text_arguments else b["input"]}}
                    for b in calls
                ]
            out.append(turn)
            continue
        for b in message["content"]:
            if b["type"] == "tool_result":
                out.append({"role": "tool", "content": result_text(b, request["tools"]),
                            "name": names[b["tool_use_id"]], "tool_call_id": b["tool_use_id"]})
        if texts:
            out.append({"role": "user", "content": "\n\n".join(texts)})
    return out


def render(source, family, request):
    thinking = "thinking" in request
    tools = [tool(t) for t in request.get("tools", []) if not t.get("defer_loading")]
    switches = {"enable_thinking": thinking, family.get("switch", "enable_thinking"): thinking}
    messages = messages_of(request, family.get("text", False))
    if family.get("in_system") and tools:
        if messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": ""})
        messages[0]["tools"], tools = dumps([t["function"] for t in tools]), None
    texts, _ = render_jinja_template(
        [messages], tools=tools or None, documents=None, chat_template=source,
        add_generation_prompt=True, bos_token=BOS, eos_token=EOS, **switches)
    return texts[0]


def main():
    out = {"made_by": f"transformers {transformers.__version__}", "templates": {}, "cases": []}
    for name, family in FAMILIES.items():
        source = (HERE / "families" / f"{name}.jinja").read_text()
        out["templates"][name] = source
        for conversation in family["takes"]:
            request = CONVERSATIONS[conversation]
            out["cases"].append({
                "template": name, "conversation": conversation,
                "request": {"model": "m", "max_tokens": 2048, **request}, "out": render(source, family, request)})
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "tools.json"
    path.write_text(json.dumps(out, ensure_ascii=True, indent=0) + "\n")
    print(len(out["cases"]), "cases")


main()
