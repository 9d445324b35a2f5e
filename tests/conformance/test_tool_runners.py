"""The SDKs' own tool loops against a played model: the Python SDK's runner here, what is written in
JavaScript in ts/loops.test.mjs.

Both SDKs' runners ask the server to keep the conversation; told that it doesn't, they must send all of
it, each time.
"""

import os
import shutil
import subprocess

import anthropic
import pytest
from conftest import ROOT
from support.played import MODEL, Played, call

FOLDER = ROOT / "tests/conformance/ts"
TURNS = [
    # what has two calls in one turn, and a result that is an error
    {"says": "two towns", "results": 0, "times": 0,
     "text": "I will look.\n" + call("weather", town="Bergen") + "\n" + call("weather", town="Atlantis")},
    {"results": 2, "times": 0, "text": "Rain in Bergen; there is no Atlantis."},
    # one call
    {"says": "one town", "results": 0, "times": 0, "text": call("weather", town="Bergen")},
    {"results": 1, "times": 0, "text": "It rains in Bergen — as ever."},
    {"says": "Count", "times": 0, "text": "One, two, three."},
]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    with Played(tmp_path_factory.mktemp("played"), TURNS) as server:
        yield server


@anthropic.beta_tool
def weather(town: str) -> str:
    """The weather now.

    Args:
        town: its name
    """
    if town == "Atlantis":
        raise ValueError("no such town")
    return f"rain in {town}"


def runner(played, question, **more):
    client = anthropic.Anthropic(base_url=played.url, api_key=played.key, max_retries=0)
    return client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, tools=[weather],
        messages=[{"role": "user", "content": question}], **more)


def texts(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_python_runner_loops_to_the_end(played):
    before = len(played.requests)
    messages = list(runner(played, "The weather in two towns?"))
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    first, last = messages
    assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
    assert first.content[0].text.strip() == "I will look."
    calls = first.content[1:]
    assert [(each.name, each.input) for each in calls] == [
        ("weather", {"town": "Bergen"}), ("weather", {"town": "Atlantis"})]
    assert len({each.id for each in calls}) == 2
    assert texts(last) == "Rain in Bergen; there is no Atlantis."

    # the thread was refused before any turn was taken, and the second request had it all
    asked = played.requests[before:]
    assert len(asked) == 2 and not any("thread" in each["body"] for each in asked)
    assert [message["role"] for message in asked[1]["body"]["messages"]] == ["user", "assistant", "user"]
    good, bad = played.results()
    assert good["tool_use_id"] == calls[0].id and "rain in Bergen" in str(good["content"])
    assert bad["tool_use_id"] == calls[1].id and bad["is_error"] is True


def test_python_runner_streams(played):
    events, finals = [], []
    for stream in runner(played, "The weather in one town?", stream=True):
        events.append([event.type for event in stream])
        finals.append(stream.get_final_message())
    assert [final.stop_reason for final in finals] == ["tool_use", "end_turn"]
    assert finals[0].content[0].input == {"town": "Bergen"}
    assert texts(finals[1]) == "It rains in Bergen — as ever."
    assert events[0].count("input_json") > 1 and "text" in events[1]


@pytest.mark.parametrize("file", ["loops.test.mjs"])
def test_in_javascript(played, file):
    """The TypeScript SDK's runner, the AI SDK, LangChain."""
    node = shutil.which("node")
    assert node, "node is not installed"
    assert (FOLDER / "node_modules/ai").exists(), "no AI SDK: run tests/setup-clients"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")}
    environment.update(PENSIEVE_URL=played.url, LANGSMITH_TRACING="false", AI_SDK_TELEMETRY="0")
    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", file],
        cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
