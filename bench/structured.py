#!/usr/bin/env python3
"""structured.py --program P --model M [--schemas N] [--tokens N] [--seed N] [--out FILE] - is every answer what its schema says?

Generates N varied schemas (200), asks a server of its own for an answer to each at temperature 1 (`output_config.format`), and checks
every answer that ended by itself with the jsonschema package, formats included. Prints how many were whole, how many the tokens ended
before (--tokens is the bound of each), and any that is not valid. Exit status 1 if one is not. --out: schemas and whole answers as JSON
lines, which `build/bench/tests/engine/masks` measures masks with.
"""
import argparse, collections, concurrent.futures, json, random, sys
import jsonschema

from serving.client import body_of, call, user
from serving.engines import Pensieve

WORDS = "name title city note count price level kind items owner tags size color start end url score parent".split()
PATTERNS = ["^[A-Z]{2}-[0-9]{3}$", "^[a-z]+(_[a-z]+)*$", "^wf_[a-z0-9-]{6,}$", "[0-9]+", "^(red|green|blue)$", "^v\\d+\\.\\d+$"]
FORMATS = ["date", "date-time", "time", "email", "ipv4", "ipv6", "uuid", "hostname", "uri", "duration"]
# As the tools of coding agents have them.
TOOLS = [
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
     "properties": {"command": {"type": "string", "description": "The command"}, "timeout": {"type": "number", "maximum": 600000},
                    "run_in_background": {"type": "boolean"}}, "required": ["command"]},
    {"type": "object", "additionalProperties": False, "required": ["file_path", "old_string", "new_string"],
     "properties": {"file_path": {"type": "string"}, "old_string": {"type": "string", "minLength": 1},
                    "new_string": {"type": "string"}, "replace_all": {"type": "boolean", "default": False}}},
    {"type": "object", "additionalProperties": False, "required": ["questions"], "properties": {"questions": {
        "type": "array", "minItems": 1, "maxItems": 2, "items": {
            "type": "object", "additionalProperties": False, "required": ["question", "options", "multi"], "properties": {
                "question": {"type": "string", "maxLength": 60}, "multi": {"type": "boolean"},
                "options": {"type": "array", "minItems": 2, "maxItems": 4, "items": {"type": "string", "maxLength": 20}}}}}}},
    {"type": "object", "properties": {"subject": {"type": "string"}, "status": {"enum": ["pending", "in_progress", "completed"]},
                                      "metadata": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {}}},
     "required": ["subject", "status"], "additionalProperties": False},
]


class Schemas:
    """Random schemas, all of whose keywords a grammar can enforce"""

    def __init__(self, seed): self.random = random.Random(seed)

    def maybe(self, share): return self.random.random() < share

    def text(self):
        r = self.random
        return r.choice([
            lambda: {"type": "string"}, lambda: {"type": "string", "maxLength": r.randint(1, 40)},
            lambda: {"type": "string", "minLength": (n := r.randint(1, 8)), "maxLength": n + r.randint(0, 20)},
            lambda: {"type": "string", "pattern": r.choice(PATTERNS)}, lambda: {"type": "string", "format": r.choice(FORMATS)},
            lambda: {"enum": r.sample(WORDS, r.randint(1, 8))}, lambda: {"const": r.choice(WORDS)}])()

    def number(self):
        r = self.random
        out = {"type": r.choice(["integer", "number"])}
        low = r.randint(-1000, 1000)
        if self.maybe(0.6): out[r.choice(["minimum", "exclusiveMinimum"])] = low
        if self.maybe(0.6): out[r.choice(["maximum", "exclusiveMaximum"])] = low + r.randint(2, 2000)
        if out["type"] == "integer" and len(out) == 1 and self.maybe(0.5): out["multipleOf"] = r.choice([2, 5, 10])
        return out

    def plain(self):
        return self.random.choice([self.text, self.text, self.number, lambda: {"type": "boolean"}, lambda: {"type": "null"},
                                   lambda: {"enum": [1, "two", None, True, 2.5]}, lambda: {"type": ["string", "null"], "maxLength": 9}])()

    def array(self, depth):
        r = self.random
        out = {"type": "array", "items": self.any(depth - 1)}
        if self.maybe(0.5): out["minItems"] = r.randint(0, 3)
        if self.maybe(0.7): out["maxItems"] = out.get("minItems", 0) + r.randint(0, 3)
        if self.maybe(0.2): out["prefixItems"] = [self.plain() for _ in range(r.randint(1, 2))]
        return out

    def object(self, depth):
        r = self.random
        names = r.sample(WORDS, r.randint(1, 5))
        out = {"type": "object", "properties": {name: self.any(depth - 1) for name in names},
               "required": r.sample(names, r.randint(0, len(names)))}
        extra = r.choice([False, False, False, None, self.plain()])
        if extra is not None: out["additionalProperties"] = extra
        return out

    def any(self, depth):
        r = self.random
        if depth <= 0 or self.maybe(0.3): return self.plain()
        return r.choice([self.array, self.object, self.object, lambda d: {"anyOf": [self.any(d - 1) for _ in range(r.randint(2, 3))]},
                         lambda d: {"allOf": [{"type": "object", "properties": {"a": self.plain()}, "required": ["a"]},
                                              {"type": "object", "properties": {"b": self.plain()}, "required": ["b"]}]}])(depth)

    def next(self, i):
        if i < len(TOOLS): return TOOLS[i]
        shape = self.any(3)
        if not self.maybe(0.25): return shape
        tree = {"type": "object", "properties": {"value": shape, "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
                "required": ["value", "left"], "additionalProperties": False}
        return {"$ref": "#/$defs/tree", "$defs": {"tree": tree}}


def ask(engine, schema, tokens):
    """The message, or the error in its place"""
    body = body_of([user("Invent an example.")], tokens, temperature=1, output_config={"format": {"type": "json_schema", "schema": schema}})
    return call(engine.port, "POST", "/v1/messages", body)[1]


def answers_of(a, ask, requests):
    """ask(engine, *request) of each, sixteen at once; and the server's log"""
    with Pensieve(a.program, a.model, log="info") as engine:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda request: ask(engine, *request), requests))
        engine.stop()
        return answers, engine.log()


def fault(schema, value):
    """What jsonschema has against it, formats included; None: nothing"""
    try:
        jsonschema.validate(value, schema, jsonschema.Draft202012Validator, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    except jsonschema.ValidationError as error:
        return str(error).splitlines()[0]


def report(what, asked, verdicts, log):
    """Prints how the answers ended, and what was asked where one won't do; whether all will do"""
    for text, (how, why) in zip(asked, verdicts):
        if why: print(f"{how}: {why}\n    {text}")
    counts = collections.Counter(how for how, _ in verdicts)
    print(f"{what}:", ", ".join(f"{n} {how}" for how, n in counts.most_common()), f"; loosened: {log.count('schema_loosened')}")
    return not (counts["not valid"] or counts["refused"])


def verdict(schema, answer):
    """How an answer ended, and what is wrong with it"""
    if answer["type"] == "error": return "refused", answer["error"]["message"]
    text = "".join(block["text"] for block in answer["content"])
    if answer["stop_reason"] != "end_turn": return answer["stop_reason"], None
    try:
        why = fault(schema, json.loads(text))
    except ValueError as error:
        why = str(error)
    return ("not valid", f"{why}\n    {text[:300]}") if why else ("whole", None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out")
    a = parser.parse_args()
    made = Schemas(a.seed)
    schemas = [made.next(i) for i in range(a.schemas)]
    answers, log = answers_of(a, ask, [(schema, a.tokens) for schema in schemas])
    verdicts = [verdict(schema, answer) for schema, answer in zip(schemas, answers)]
    good = report(f"{len(schemas)} schemas", [json.dumps(schema)[:400] for schema in schemas], verdicts, log)
    if a.out:
        with open(a.out, "w", encoding="utf-8") as f:
            for schema, answer, (how, _) in zip(schemas, answers, verdicts):
                if how == "whole": f.write(json.dumps({"schema": schema, "answer": answer["content"][0]["text"]}) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
