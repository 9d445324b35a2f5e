"""replay.py - the conversation of tests/support/agent.py: 30 turns, a side request after every sixth."""
import pathlib
import statistics
import sys

from serving.client import ask, assistant, user

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))

from support import agent                                               # noqa: E402


def replay(engine, prose):
    del prose
    history, waits, total = [], [], 0.0
    for i, text in enumerate(agent.turns()):
        history.append(user(text))
        answer = ask(engine.port, history, agent.ANSWER_TOKENS, system=agent.SYSTEM)
        history.append(assistant(answer.text or "."))
        waits.append(answer.ttft)
        total += answer.seconds
        if i % 6 == 5:
            ask(engine.port, [user(agent.side_request(i))], 12)
    return {"agent_30_turns_total": total, "agent_30_turns_ttft_p50": statistics.median(waits[1:]),
            "agent_30_turns_ttft_max": max(waits[1:])}
