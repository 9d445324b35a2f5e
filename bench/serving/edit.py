"""edit.py - the work where guessing ahead pays: a file is repeated with one name changed; and prose, where it doesn't.

A small model does not follow the instruction by itself, so its answer is begun for it.
"""
import random
import sys
import pathlib

from serving.client import ask, assistant, user

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))

from support import agent                                               # noqa: E402

ANSWER = 400


def source(serial):
    """About 60 lines of Python, other ones for each serial."""
    draw = random.Random(serial)
    return "\n\n".join(agent.file(draw).split("```python\n")[1].split("\n```")[0] for _ in range(7))


def edit(engine, prose):
    figures = {}
    modes = [("", engine.flags)] + ([("_plain", engine.plain_flags)] if engine.plain_flags else [])
    code = source(prose.serial)
    begun = "Here is the file again, with the change:\n```python\n" + "\n".join(code.splitlines()[:3])
    task = f"```python\n{code}\n```\nRepeat this file and write session_ for session in its last function."
    text = prose.of(600)
    for suffix, flags in modes:
        if suffix:
            engine.flags = flags
            engine.restart()
        answer = ask(engine.port, [user(task), assistant(begun)], ANSWER)
        figures[f"code_edit{suffix}_tps"] = answer.decode_tps
        story = [user(text + "\nTell me a long story.")]
        figures[f"prose{suffix}_tps"] = ask(engine.port, story, ANSWER // 2).decode_tps
    return figures
