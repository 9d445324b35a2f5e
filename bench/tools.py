#!/usr/bin/env python3
"""tools.py --program P --model M [--llama L] [--calls N] [--tokens N] [--seed N] - are calls of tools valid, and is the right tool called?

Validity: N requests (200), each with a few tools of generated input schemas (and those that coding agents have), sampled at temperature 1 with
`tool_choice` any or tool. Each call that ended by itself must name a tool that may be called, with an input that is valid by the jsonschema
package. Exit status 1 if one is not. Calls that the tokens ended before (--tokens is the bound of each) are counted apart.

Choice: for each of the questions below one of eight tools is right; asked at temperature 0 with `tool_choice` any, of ours and, with --llama, of
llama-server with the same model. Printed is the share of right tools; exit status 1 if ours is the lower one.
"""
import argparse, collections, concurrent.futures, json, pathlib, random, sys

from serving.client import body_of, call, user
from serving.engines import LlamaServer, Pensieve
from structured import Schemas, answers_of, fault, report

CONTEXT, SLOTS = 4096, 4
STRING = {"type": "string"}


def tool(name, description, schema): return {"name": name, "description": description, "input_schema": schema}


def fields(**properties): return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


# What coding agents have, in our own words: the keywords are theirs.
AGENTS = [
    tool("Bash", "Runs a command in a shell.", {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False, "required": ["command"],
        "properties": {"command": {"type": "string", "description": "The command"}, "timeout": {"type": "number", "maximum": 600000},
                       "description": STRING, "run_in_background": {"type": "boolean"}}}),
    tool("Edit", "Replaces text in a file.", {
        "type": "object", "additionalProperties": False, "required": ["file_path", "old_string", "new_string"],
        "properties": {"file_path": STRING, "old_string": STRING, "new_string": STRING, "replace_all": {"type": "boolean", "default": False}}}),
    tool("Read", "Reads a file.", {
        "type": "object", "additionalProperties": False, "required": ["file_path"],
        "properties": {"file_path": STRING, "offset": {"type": "integer", "minimum": 0, "maximum": 9007199254740991},
                       "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991}}}),
    tool("TaskUpdate", "Changes a task.", {
        "type": "object", "additionalProperties": False, "required": ["taskId"],
        "properties": {"taskId": STRING, "status": {"anyOf": [{"type": "string", "enum": ["pending", "completed"]}, {"type": "string", "const": "deleted"}]},
                       "metadata": {"type": "object", "propertyNames": STRING, "additionalProperties": {}},
                       "blocks": {"type": "array", "items": STRING, "maxItems": 4}}}),
    tool("Workflow", "Runs a script.", {
        "type": "object", "additionalProperties": False, "required": ["script"],
        "properties": {"script": {"type": "string", "maxLength": 300}, "args": {}, "resume": {"type": "string", "pattern": "^wf_[a-z0-9-]{6,}$"}}}),
    tool("WebFetch", "Fetches a page.", fields(url={"type": "string", "format": "uri"}, prompt=STRING)),
    tool("mcp__store__query", "Asks the store.", {"type": "object"}),
]

# Tools of which one is right, and what is asked of each.
CHOICE = [
    (tool("get_weather", "Tells the weather in a city now.", fields(city=STRING)),
     ["What is the weather in Paris?", "Is it raining in Tokyo right now?", "How warm is it in Cairo today?",
      "Do I need an umbrella in London?", "Tell me the temperature in Oslo.", "Is it windy in Chicago?"]),
    (tool("send_email", "Sends an email to an address.", fields(to=STRING, subject=STRING, body=STRING)),
     ["Send an email to ann@example.com that says I will be late.", "Write to bob@example.org by email and thank him.",
      "Email the report summary to team@example.com.", "Please send a mail to lee@example.net about the party.",
      "Email my landlord at home@example.com that the heating is broken.", "Send mia@example.com an email with subject Hello."]),
    (tool("read_file", "Reads the contents of a file on disk.", fields(path=STRING)),
     ["Show me what is in the file notes.txt.", "Read /etc/hosts.", "What does the file README.md say?",
      "Open the file src/main.c and print it.", "Read the contents of config.json.", "Look into the file todo.md."]),
    (tool("run_command", "Runs a shell command and returns its output.", fields(command=STRING)),
     ["Run the command ls -l.", "Execute `git status` in the shell.", "Run the tests with the command make test.",
      "Use the shell to run df -h.", "Run uname -a.", "Execute the shell command whoami."]),
    (tool("search_web", "Searches the web and returns pages.", fields(query=STRING)),
     ["Search the web for the best pizza recipe.", "Look up on the internet who won the 1998 world cup.",
      "Search online for cheap flights to Rome.", "Find web pages about black holes.",
      "Search the web for news about electric cars.", "Look on the internet for a guide to knitting."]),
    (tool("create_event", "Puts an event into the calendar.", fields(title=STRING, date={"type": "string", "format": "date"})),
     ["Put a dentist appointment into my calendar on 2026-05-04.", "Create a calendar event Lunch on 2026-03-01.",
      "Add the meeting on 2026-07-15 to the calendar.", "Schedule an event called Review on 2026-09-09.",
      "Add Anna's birthday, 2026-11-30, to my calendar.", "Make a calendar entry for the concert on 2026-08-20."]),
    (tool("translate", "Translates a text into a language.", fields(text=STRING, language=STRING)),
     ["Translate 'good morning' into French.", "How do you say 'thank you' in Japanese?", "Translate this into German: I like trains.",
      "What is 'house' in Spanish?", "Translate 'see you soon' to Italian.", "Put 'where is the station' into Russian."]),
    (tool("calculate", "Computes an arithmetic expression.", fields(expression=STRING)),
     ["What is 17 * 23?", "Compute 1024 / 16.", "Calculate (3 + 4) * 12.", "What is 2 to the power of 10?",
      "Add up 19, 45 and 88.", "How much is 15 percent of 240?"]),
]


def generated(made, i):
    """A tool whose input is an object, as all must be"""
    while True:
        schema = made.object(2)
        if "$ref" not in json.dumps(schema): return tool(f"tool_{i}", "Does what its name says.", schema)


def cases(n, seed):
    """(tools, tool_choice) of each request"""
    made, r = Schemas(seed), random.Random(seed)
    for i in range(n):
        tools = [AGENTS[i] if i < len(AGENTS) else generated(made, i), generated(made, f"{i}b"), r.choice(AGENTS)]
        tools = list({t["name"]: t for t in tools}.values())
        r.shuffle(tools)
        choice = r.choice([{"type": "any"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": tools[0]["name"]}])
        yield tools, choice


def ask(engine, text, tools, choice, tokens, temperature):
    body = body_of([user(text)], tokens, temperature=temperature, tools=tools, tool_choice=choice)
    return call(engine.port, "POST", "/v1/messages", body)[1]


def verdict(tools, choice, answer):
    """How an answer ended, and what is wrong with it"""
    if answer.get("type") == "error": return "refused", answer["error"]["message"]
    schemas = {t["name"]: t["input_schema"] for t in tools if choice["type"] == "any" or t["name"] == choice["name"]}
    calls = [b for b in answer["content"] if b["type"] == "tool_use"]
    whole = calls if answer["stop_reason"] == "tool_use" else calls[:-1]
    if answer["stop_reason"] not in ("tool_use", "max_tokens"): return "not valid", f"ended {answer['stop_reason']}"
    if answer["stop_reason"] == "tool_use" and not calls: return "not valid", "no call"
    if choice.get("disable_parallel_tool_use") and len(calls) > 1: return "not valid", f"{len(calls)} calls where one is allowed"
    for made in whole:
        if made["name"] not in schemas: return "not valid", f"{made['name']} may not be called"
        if why := fault(schemas[made["name"]], made["input"]): return "not valid", f"{why}\n    {json.dumps(made)[:300]}"
    return "whole" if answer["stop_reason"] == "tool_use" else "max_tokens", None


def validity(a):
    requests = list(cases(a.calls, a.seed))
    answers, log = answers_of(a, ask, [("Invent an example and call a tool with it.", *request, a.tokens, 1) for request in requests])
    verdicts = [verdict(*request, answer) for request, answer in zip(requests, answers)]
    asked = [f"{json.dumps(choice)} {json.dumps(tools)[:600]}" for tools, choice in requests]
    return report(f"validity: {len(requests)} requests", asked, verdicts, log)


ONE = {"type": "any", "disable_parallel_tool_use": True}


def chosen(engine, text, tools):
    """The name of the tool that ours calls"""
    answer = ask(engine, text, tools, ONE, 100, 0)
    return next((block["name"] for block in answer.get("content", []) if block["type"] == "tool_use"), None)


def chosen_llama(engine, text, tools):
    """Theirs, by the interface in which it can be made to call one"""
    body = {"messages": [user(text)], "max_tokens": 100, "temperature": 0, "tool_choice": "required", "parallel_tool_calls": False,
            "tools": [{"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["input_schema"]}}
                      for t in tools]}
    answer = call(engine.port, "POST", "/v1/chat/completions", body)[1]
    calls = answer["choices"][0]["message"].get("tool_calls") if "choices" in answer else None
    return calls[0]["function"]["name"] if calls else None


def right(engine, chosen):
    """Of how many questions the right tool was called"""
    tools = [t for t, _ in CHOICE]
    questions = [(t["name"], text) for t, texts in CHOICE for text in texts]
    with concurrent.futures.ThreadPoolExecutor(SLOTS) as pool:
        called = list(pool.map(lambda q: chosen(engine, q[1], tools), questions))
    print(f"    {engine.name}:", dict(collections.Counter(called).most_common()))
    return sum(name == wanted for name, (wanted, _) in zip(called, questions)), len(questions)


def choice(a):
    with Pensieve(a.program, a.model) as engine: ours, n = right(engine, chosen)
    print(f"choice: pensieve {ours} of {n} right ({ours / n:.0%})")
    if not a.llama: return True
    # Its template is one of ours that shows tools: with the model's own, which doesn't, it would leave them out.
    template = ["--chat-template-file", str(pathlib.Path(__file__).parent / "serving/tools.jinja")]
    with LlamaServer(a.llama, a.model, flags=template, context=CONTEXT, slots=SLOTS) as engine: theirs, n = right(engine, chosen_llama)
    print(f"choice: llama-server {theirs} of {n} right ({theirs / n:.0%})")
    return ours >= theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--llama")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    good = [validity(a), choice(a)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
