"""agent.py - what a coding agent sends in a conversation of 30 turns: made here, the same each time.

Each turn is what a tool would have answered (a listing, a file, a search, a test run) and what to do
next, as text. The assistant's turns are for the server to give. About 6,500 tokens with answers of 40.
"""

import random

TURNS = 30
ANSWER_TOKENS = 40

SYSTEM = """You are a careful programmer who works on a small inventory service in one repository.
Say in one or two sentences what you found and what you will do next. Never invent a file.

The rules of this repository:
""" + "\n".join(
    f"{i}. {rule}"
    for i, rule in enumerate(
        [
            "Every function has one job, and its name says which.",
            "Read a file before you change it; change as little as does the work.",
            "A test that fails is read to its end before anything is changed.",
            "Errors are returned to the caller with the name of the thing that failed.",
            "Amounts are integers of the smallest unit; nothing is ever a float.",
            "No file is longer than four hundred lines, no line longer than a hundred letters.",
            "A migration is never edited after it was released; write a new one.",
            "What a request can size has a limit, and the limit has a name.",
            "Dates are in UTC, in ISO form, and come from the clock that is passed in.",
            "A commit says why. What was changed can be seen without words.",
        ],
        1,
    )
)

NOUNS = "order stock item price shelf batch label return supplier invoice reservation audit".split()
VERBS = "load save check count merge split move close open list find drop".split()
FOLDERS = "api store core jobs cli reports".split()


def path(draw):
    return f"src/{draw.choice(FOLDERS)}/{draw.choice(NOUNS)}_{draw.choice(VERBS)}.py"


def listing(draw):
    lines = [f"-rw-r--r-- {draw.randrange(300, 9000):>6} {path(draw)}" for _ in range(9)]
    return "Here is what lies in the folder:\n" + "\n".join(lines) + "\nWhich would you read first?"


def file(draw):
    noun, verb, other = draw.choice(NOUNS), draw.choice(VERBS), draw.choice(NOUNS)
    code = f'''def {verb}_{noun}(session, {noun}_id, amount={draw.randrange(1, 90)}):
    row = session.get({noun.title()}, {noun}_id)
    if row is None:
        raise LookupError(f"no {noun} {{{noun}_id}}")
    if row.{other}_count < amount:
        raise ValueError(f"{noun} {{{noun}_id}} has {{row.{other}_count}}, not {{amount}}")
    row.{other}_count -= amount
    session.add({other.title()}Event({noun}_id={noun}_id, amount=amount))
    return row'''
    return f"The file {path(draw)}:\n```python\n{code}\n```\nIs there anything wrong with it?"


def search(draw):
    noun = draw.choice(NOUNS)
    hits = [f"{path(draw)}:{draw.randrange(4, 380)}: {draw.choice(VERBS)}_{noun}(session, {noun}_id)"
            for _ in range(6)]
    return f"Searching for {noun}_id found:\n" + "\n".join(hits) + "\nWhere does it begin?"


def test_run(draw):
    noun, verb = draw.choice(NOUNS), draw.choice(VERBS)
    had, wanted = draw.randrange(2, 60), draw.randrange(60, 99)
    return (f"The tests say:\nFAILED tests/test_{noun}.py::test_{verb}_{noun} - assert {had} == {wanted}\n"
            f"  where {had} = {verb}_{noun}(session, {draw.randrange(100, 999)})\n"
            f"{draw.randrange(1, 4)} failed, {draw.randrange(40, 200)} passed in "
            f"{draw.randrange(2, 30)} s\nWhat will you change?")


def turns():
    """The 30 texts of the user, in order."""
    draw = random.Random(30)
    kinds = [listing, file, search, test_run]
    return [kinds[i % len(kinds)](draw) for i in range(TURNS)]


def side_request(i):
    """What a client asks beside the conversation every few turns: a title for it."""
    return f"<session>Work on the inventory service, part {i}</session>\nGive this session a title of three words."
