"""The candidate's side for Python: run the program's text, then answer the judge's questions.

Everything in this process belongs to the untrusted program. It holds no test and no expected
value, and nothing that it says is taken for more than plain data.

This file runs inside the sandbox and imports only the standard library.
"""

# ruff: noqa: SIM115 - runs foreign code, and whatever that raises is an answer

import os
import sys
import types

import wire

READ, WRITE = 3, 4


class Peer:
    """A function or an iterator of the tests, called back over the wire."""

    def __init__(self, link, handle):
        self._link, self._handle = link, handle

    def __call__(self, *args):
        return self._link.ask_judge("call", self._handle, args)

    def __iter__(self):
        return self

    def __next__(self):
        return self._link.ask_judge("next", self._handle, ())


class Candidate:
    def __init__(self):
        self.module = types.ModuleType("candidate")
        sys.modules["candidate"] = self.module
        sys.modules["__main__"] = self.module
        self.objects: list = []
        self.handles: dict = {}
        self.shared: dict = {}

    def other(self, value):
        """The data for what is no plain value: an instance of a shared class, or a handle."""
        name = type(value).__name__
        if self.shared.get(name) is type(value):
            return {"I": [name, [[key, self.pack(item)] for key, item in vars(value).items()]]}
        if id(value) not in self.handles:
            self.handles[id(value)] = len(self.objects)
            self.objects.append(value)  # kept, so that the id stays its own
        return {"h": [self.handles[id(value)], callable(value)]}

    def built(self, tag, body):
        if tag == "h":
            return self.objects[body]
        if tag == "p":
            return Peer(self, body)
        if tag == "I":
            value = object.__new__(self.shared[body[0]])
            vars(value).update((key, self.unpack(item)) for key, item in body[1])
            return value
        raise wire.WireError("not a value")

    def pack(self, value):
        return wire.pack(value, self.other)

    def unpack(self, data):
        return wire.unpack(data, self.built)

    def ask_judge(self, what, handle, args):
        wire.send(WRITE, {"ask": what, "of": handle, "args": self.pack(list(args))})
        answer = wire.receive(READ)
        if answer.get("stop"):
            raise StopIteration
        if "raise" in answer:
            raise RuntimeError(answer["raise"])
        return self.unpack(answer["value"])

    def load(self, message):
        source = message["source"]
        try:
            code = compile(source, "<program>", "exec")
        except (SyntaxError, ValueError, UnicodeError, RecursionError, MemoryError) as error:
            return {"syntax": f"{type(error).__name__}: {error}"[:500]}
        exec(code, self.module.__dict__)
        for text in message["shared"]:
            exec(text, self.module.__dict__)
        self.shared = {name: self.module.__dict__.get(name) for name in message["classes"]}
        space = self.module.__dict__
        found = {name: self.pack(space[name]) for name in message["names"] if name in space}
        return {"value": None, "names": found}

    def call(self, message):
        args = self.unpack(message["args"])
        keywords = {name: self.unpack(item) for name, item in message["keywords"].items()}
        target = self.objects[message["of"]]
        answer = {"value": self.pack(target(*args, **keywords))}
        after = self.pack(args)
        if after != message["args"]:
            answer["args"] = after
        return answer

    def attribute(self, message):
        return {"value": self.pack(getattr(self.objects[message["of"]], message["name"]))}

    def assign(self, message):
        setattr(self.objects[message["of"]], message["name"], self.unpack(message["to"]))
        return {"value": None}

    def special(self, message):
        """A special method of an object: only such as give data, none that compares."""
        target = self.objects[message["of"]]
        args = self.unpack(message["args"])
        return {"value": self.pack(SPECIAL[message["name"]](target, *args))}

    def answer(self, message):
        try:
            return getattr(self, message["do"])(message)
        except BaseException as error:  # SystemExit too: leaving early is the program's failure
            kinds = [kind.__name__ for kind in type(error).__mro__]
            try:
                text = str(error)
            except BaseException:
                text = "?"
            return {"raised": kinds, "text": text[:500]}


SPECIAL = {
    "iter": iter,
    "next": next,
    "len": len,
    "str": str,
    "repr": repr,
    "bool": bool,
    "item": lambda target, key: target[key],
    "assign_item": lambda target, key, value: target.__setitem__(key, value),
}


def open_streams() -> None:
    """Standard streams as candidates have them; once, in the fork server, for all of them."""
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.argv = ["program"]
    sys.setrecursionlimit(1000 + 20)  # a program's own thousand, and the frames above it


SAMPLE = """
from typing import Dict, List


def kept(numbers: List[int], name: str) -> List[str]:
    \"\"\"Numbers over one, after the name. >>> kept([1, 2], "a") == ["a2"]\"\"\"
    seen: Dict[str, int] = {}
    for i, n in enumerate(sorted(set(numbers))):
        if n > 1 and i % 2 in (0, 1):
            seen[name + str(n)] = max(n, len(name)) // 1
    total = sum(x * 1.0 for x in seen.values())
    return [word.lower() for word in seen][: int(total)]
"""


def warm_up() -> None:
    """Once through what every candidate does, before the first is forked.

    A fork that parses its first program alone takes five times as long: it has to fetch pages of
    the interpreter that its parent has not yet used.
    """
    read, write = os.pipe()
    for _ in range(8):
        candidate = Candidate()
        load = {"do": "load", "source": SAMPLE, "shared": [], "classes": [], "names": ["kept"]}
        call = {"do": "call", "of": 0, "args": [[3, 2, 1, 1], "a"], "keywords": {}}
        for message in (load, call):
            wire.send(write, candidate.answer(message))
            answer = wire.receive(read)
    os.close(read)
    os.close(write)
    if answer != {"value": ["a2", "a3"]}:
        raise RuntimeError(f"the warm-up failed: {answer}")


def run(request) -> None:
    candidate = Candidate()
    while True:
        try:
            message = wire.receive(READ)
        except wire.Gone:
            os._exit(0)
        answer = candidate.answer(message)
        try:
            wire.send(WRITE, answer)
        except wire.TooLarge as error:
            wire.send(WRITE, {"large": str(error)})
