"""scenarios.py - what people wait for, each as a function of a running engine: name -> number.

Prompts come from a Prose shared by all engines of a round and are numbered alike, so each engine
gets the same texts; a new round gets new ones.
"""
import concurrent.futures
import statistics
import time

from serving.client import abandon, ask, assistant, begin, finish, user

ANSWER = 48                     # tokens of an answer in a conversation
SIDE = 360                      # tokens of a side request: what Claude Code's title request has
TURN = 200                      # tokens a turn adds


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cold(engine, prose, tokens):
    """Time to the first token of a prompt that the server has never seen."""
    return {f"cold_{tokens}": ask(engine.port, [user(prose.of(tokens))], 2).ttft}


def conversation(engine, prose, tokens):
    """A conversation of `tokens`, and what its next turn takes: at once, after a side request, and
    after a restart of the server."""
    history = [user(prose.of(tokens))]
    figures = {}

    def turn():
        answer = ask(engine.port, history, ANSWER)
        history.extend([assistant(answer.text or "."), user(prose.of(TURN))])
        return answer

    figures[f"conversation_cold_{tokens}"] = turn().ttft
    figures[f"warm_turn_{tokens}"] = turn().ttft
    ask(engine.port, [user(prose.of(SIDE))], ANSWER)
    figures[f"after_side_request_{tokens}"] = turn().ttft
    engine.restart()
    figures[f"after_restart_{tokens}"] = turn().ttft
    return figures


def crowd(engine, prose, clients, requests=2, prompt=400, output=64):
    """So many clients at once, each with a conversation of `requests` turns of its own."""

    def client(first):
        history, answers = [user(first)], []
        for _ in range(requests):
            answers.append(ask(engine.port, history, output))
            history.extend([assistant(answers[-1].text or "."), user("Go on, at length.")])
        return answers

    prompts = [prose.of(prompt) for _ in range(clients)]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = [a for done in pool.map(client, prompts) for a in done]
    seconds = time.monotonic() - began
    gaps = [gap for a in answers for gap in a.gaps] or [0]
    firsts = [a.ttft for a in answers]
    return {
        f"clients_{clients}_tps": sum(a.tokens for a in answers) / seconds,
        f"clients_{clients}_ttft_p50": statistics.median(firsts),
        f"clients_{clients}_ttft_p95": percentile(firsts, 0.95),
        f"clients_{clients}_gap_p50": statistics.median(gaps),
        f"clients_{clients}_gap_p95": percentile(gaps, 0.95),
    }


def cancel(engine, prose, tokens=6000):
    """How much later a short request gets its first token because a long one was given up 0.3 s
    before: in the middle of its prefill, and in the middle of its answer."""
    figures = {}
    for name, prompt, first in (("prefill", tokens, False), ("decode", 200, True)):
        plain = ask(engine.port, [user(prose.of(50))], 2).ttft
        begun = begin(engine.port, [user(prose.of(prompt))], 1000)
        time.sleep(1.0 if first else 0.3)
        abandon(begun)
        figures[f"cancel_in_{name}"] = ask(engine.port, [user(prose.of(50))], 2).ttft - plain
    return figures


def agents(engine, prose, tokens=3000):
    """A warm turn of one conversation while another client's long prompt is being read."""
    history = [user(prose.of(tokens))]
    answer = ask(engine.port, history, ANSWER)
    history.extend([assistant(answer.text or "."), user(prose.of(TURN))])
    other = begin(engine.port, [user(prose.of(6000))], 2)
    time.sleep(0.3)
    figures = {"warm_turn_beside_prefill": ask(engine.port, history, 2).ttft}
    finish(other)
    return figures
