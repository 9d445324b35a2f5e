"""Claude Code at work, against a model that is played: it really writes the file, reads it back and ends.

Each flow is a function with a server, a script and a folder of its own. All of them are started
together, a few at a time, when the first test asks: most of a flow is waiting for a program to start.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT
from support import claude as client
from support.played import KEY, MODEL, Played, call, text_of
from support.waiting import wait_until

AT_ONCE = 4
TOOLS = ["--allowedTools", "Bash,Read,Edit,Write,Agent"]
FLOWS = {}


def flow(function):
    FLOWS[function.__name__] = function
    return function


class Stage:
    def __init__(self, folder):
        self.path = folder
        self.played = None
        self.claude = None

    def play(self, turns, **variables):
        self.played = Played(self.path, turns)
        self.claude = client.Claude(self.path, self.played.url, KEY, ANTHROPIC_MODEL=MODEL,
                                    **variables)
        return self.played

    def ask(self, question, *arguments, **more):
        """One run in print mode: the result object, checked to be no error."""
        run = self.claude.run("-p", question, "--output-format", "json", *arguments, **more)
        assert run.returncode == 0, run.stdout + run.stderr + "".join(self.played.other)
        result = json.loads(run.stdout)
        assert result["is_error"] is False, result
        return result

    @property
    def folder(self):
        return self.claude.folder


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if not client.program().exists():
        pytest.skip(client.MISSING)

    def perform(function, folder):
        stage = Stage(folder)
        try:
            function(stage)
        except BaseException:
            if stage.played:
                stage.played.process.kill()
            raise
        stage.played.stop()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        # The folders are made here: pytest's factory is not for several threads.
        yield {name: pool.submit(perform, function, tmp_path_factory.mktemp(name))
               for name, function in FLOWS.items()}


# --- flows: those that take longest first ----------------------------------------------------------


@flow
def resumes(stage):
    """Later runs go on with the first one's conversation, its call included."""
    played = stage.play([
        {"says": "secret", "results": 0, "text": call("Bash", command="echo 42", description="get")},
        {"says": "42", "results": 1, "text": "It is 42."},
        {"says": "again", "text": "As I said: 42."},
        {"says": "once more", "text": "42!"},
    ])
    first = stage.ask("Get the secret", *TOOLS)
    again = stage.ask("Say it again", "--continue", *TOOLS)
    assert again["result"] == "As I said: 42."
    more = stage.ask("And once more", "--resume", first["session_id"], *TOOLS)
    assert more["result"] == "42!"
    told = json.dumps(played.requests[-1]["body"]["messages"])
    assert "Get the secret" in told and "It is 42." in told and "As I said: 42." in told
    assert '"tool_use"' in told


@flow
def agent_sdk(stage):
    played = stage.play([
        {"says": "Count", "times": 0, "text": "One, two, three."},
        {"results": 0, "tools": True, "text": call("mcp__here__weather", town="Bergen")},
        {"results": 1, "text": "It rains in Bergen."},
    ])
    node = shutil.which("node")
    assert node, "node is not installed"
    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", "agent.test.mjs"],
        cwd=ROOT / "tests/conformance/ts", text=True, capture_output=True, timeout=client.SECONDS,
        env={**stage.claude.environment, "CLAUDE": str(client.program()), "FOLDER": str(stage.folder),
             "PATH": os.environ["PATH"]},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert text_of(played.results()[0]) == "rain in Bergen"


@flow
def first_turn(stage):
    """With all that Claude Code has by default: its long prompt, all tools."""
    played = stage.play([{"tools": True, "text": "Hello — from this machine."}])
    result = stage.ask("Say hello")
    assert result["result"] == "Hello — from this machine."
    assert result["num_turns"] == 1 and result["stop_reason"] == "end_turn"
    [request] = played.requests
    names = {tool["name"] for tool in request["body"]["tools"]}
    assert {"Bash", "Read", "Edit", "Write", "Agent"} <= names and len(names) > 15
    assert result["usage"]["input_tokens"] > 10000


@flow
def writes_reads_and_edits(stage):
    path = stage.path / "project/poem.txt"
    played = stage.play([
        {"results": 0, "text": "<think>\nFour lines? One will do.\n</think>\n\nI write it.\n" +
            call("Write", file_path=str(path), content="Roses are red\n“über” \\n\n")},
        {"results": 1, "text": call("Read", file_path=str(path))},
        {"results": 2, "text": call("Edit", file_path=str(path), old_string="red",
                                    new_string="blue")},
        {"results": 3, "text": call("Bash", command="cat poem.txt", description="Show it")},
        {"results": 4, "text": "Done."},
    ])
    result = stage.ask("Write a poem", *TOOLS)
    assert result["result"] == "Done." and result["num_turns"] == 5
    assert path.read_text() == "Roses are blue\n“über” \\n\n"
    [shown] = played.results()
    assert "Roses are blue" in text_of(shown) and not shown.get("is_error")
    # each answer came back as it was told, the thought signed, and each result under its call's id
    thought, text, written = played.requests[-1]["body"]["messages"][2]["content"]
    assert "One will do." in thought["thinking"] and thought["signature"]
    assert text["text"].strip() == "I write it." and written["name"] == "Write"
    for request in played.requests[1:]:
        calls, results = {}, {}
        for message in request["body"]["messages"]:
            for block in message["content"] if isinstance(message["content"], list) else []:
                if block["type"] == "tool_use":
                    calls[block["id"]] = block["name"]
                elif block["type"] == "tool_result":
                    results[block["tool_use_id"]] = block
        assert calls.keys() == results.keys()


@flow
def tool_error(stage):
    """What a tool refuses comes back as an error; so does a call that its schema doesn't allow."""
    played = stage.play([
        {"results": 0, "text": call("Read", file_path=str(stage.path / "nothing.txt"))},
        {"results": 1, "text": call("Bash", descriptio="no command")},
        {"results": 2, "text": call("Nonsense", x=1)},
        {"results": 3, "text": "I give up."},
    ])
    assert stage.ask("Read it", *TOOLS)["result"] == "I give up."
    first, second, third = (played.results(at)[0] for at in (1, 2, 3))
    assert first["is_error"] and "does not exist" in text_of(first)
    assert second["is_error"] and "InputValidationError" in text_of(second)
    assert third["is_error"] and "No such tool" in text_of(third)


@flow
def several_calls_in_one_turn(stage):
    played = stage.play([
        {"results": 0, "text": "Three at once." + "".join(
            call("Bash", command=f"echo number {i}", description="count") for i in range(3))},
        {"results": 3, "text": "All three."},
    ])
    assert stage.ask("Count", *TOOLS)["result"] == "All three."
    asked = [block for block in played.requests[1]["body"]["messages"][-1]["content"]
             if block["type"] == "tool_result"]
    assert sorted(text_of(each).strip() for each in asked) == [f"number {i}" for i in range(3)]


@flow
def sub_agent(stage):
    played = stage.play([
        {"agent": True, "results": 0, "text": call("Bash", command="echo deep", description="look")},
        {"agent": True, "results": 1, "text": "The agent saw: deep."},
        {"agent": False, "results": 0, "text": call(
            "Agent", description="Look around", prompt="Find out what is deep",
            subagent_type="general-purpose", run_in_background=False)},
        {"agent": False, "results": 1, "text": "It is deep."},
    ])
    assert stage.ask("Ask an agent", *TOOLS)["result"] == "It is deep."
    assert [bool(request["agent"]) for request in played.requests] == [False, True, True, False]
    assert "The agent saw: deep." in text_of(played.results()[0])


@flow
def tool_search(stage):
    """Tools that are told of only when they are looked for: a reference in a result, then the tool."""
    played = stage.play([
        {"results": 0, "text": call("ToolSearch", query="select:NotebookEdit", max_results=1)},
        {"results": 1, "text": "Found."},
    ], ENABLE_TOOL_SEARCH="true")
    assert stage.ask("Find a tool", *TOOLS)["result"] == "Found."
    first, second = (
        {tool["name"]: tool.get("defer_loading", False) for tool in request["body"]["tools"]}
        for request in played.requests)
    assert "NotebookEdit" not in first and second["NotebookEdit"] is True
    [found] = played.results()
    assert {"type": "tool_reference", "tool_name": "NotebookEdit"} in found["content"]


@flow
def goes_on_with_a_summary(stage):
    """`prompt is too long` in the middle: the conversation is summed up, and goes on."""
    rounds = [{"results": i, "text": call("Bash", command=f"echo {i}", description="count")}
              for i in range(4)]
    played = stage.play([
        {"says": "<summary>", "text": "<analysis>short</analysis>\n<summary>We count.</summary>"},
        *rounds,
        {"results": 4, "error": "invalid",
         "message": "prompt is too long: 9000 tokens > 8192 maximum"},
        {"says": "We count.", "text": "Counted to four."},
        {"text": "Counted to four."},
    ])
    assert stage.ask("Count", *TOOLS)["result"] == "Counted to four."
    summed, after = played.requests[-2:]
    assert summed["turn"] == 0
    assert "We count." in json.dumps(after["body"]["messages"])
    assert len(json.dumps(after["body"])) < len(json.dumps(summed["body"]))


@flow
def interrupted(stage):
    """Ctrl-C while an answer comes: the client ends, and the server lets go of the answer."""
    played = stage.play([{"text": "word " * 20000, "times": 0}])

    def answers():
        [model] = played.wire.get("/health").json()["models"]
        return model["running"]

    started = stage.claude.start("-p", "Talk", "--tools", "", "--output-format", "stream-json",
                                 "--verbose", "--include-partial-messages")
    wait_until(lambda: answers() == 1, "it answers")
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert "aborted_streaming" in out and "API Error" not in out + err, out + err
    wait_until(lambda: answers() == 0, "it has let go")
    assert len(played.requests) == 1


@flow
def waits_for_its_turn(stage):
    """429 and 529 with retry-after: it waits so long, and then it goes on as if nothing had been."""
    played = stage.play([
        {"error": "rate", "message": "too many", "retry_after": 1},
        {"error": "overloaded", "message": "busy", "retry_after": 2},
        {"text": "At last."},
    ])
    begin = time.monotonic()
    assert stage.ask("Say hi", "--tools", "")["result"] == "At last."
    assert [request["turn"] for request in played.requests] == [0, 1, 2]
    assert time.monotonic() - begin >= 3


@flow
def error_in_the_stream(stage):
    """What was said is dropped and asked for once more, this time without a stream."""
    played = stage.play([
        {"text": "Half of", "error": "internal", "message": "the disk is on fire"},
        {"text": "All of it."},
    ])
    assert stage.ask("Say it", "--tools", "")["result"] == "All of it."
    assert [request["body"].get("stream", False) for request in played.requests] == [True, False]


# --- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOWS)
def test_flow(running, name):
    running[name].result()


def test_title_request(tmp_path):
    """Claude Code asks for a session's title in interactive use only; this is what it sends then."""
    title = json.dumps({"title": "Greeting a machine"})
    with Played(tmp_path, [{"format": True, "tools": False, "text": title}]) as played:
        answer = played.wire.post({
            "model": MODEL, "max_tokens": 32000, "tools": [],
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": "<session>\nSay hi\n</session>"}]}],
            "system": [{"type": "text", "text": "Write a title for this session."}],
            "output_config": {"format": {"type": "json_schema", "schema": {
                "type": "object", "properties": {"title": {"type": "string"}},
                "required": ["title"], "additionalProperties": False}}},
        }, {"anthropic-beta": "structured-outputs-2025-12-15"})
        assert answer.status == 200, answer.body
        [block] = answer.json()["content"]
        assert json.loads(block["text"]) == {"title": "Greeting a machine"}
