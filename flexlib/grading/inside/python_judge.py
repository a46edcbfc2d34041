"""The judge's side for Python: run the tests here, the candidate's functions over there.

The tests are executed as they stand, in a process of their own. Every name of theirs that neither
they nor the finished part of the prompt define is asked of the candidate: a function becomes a
``Remote`` that sends its arguments and gets plain data back. So the expected values, the helper
functions of the prompt, ``assert`` and every builtin are out of the candidate's reach.

This file runs inside the sandbox and imports only the standard library.
"""

import ast
import builtins
import decimal
import itertools
import json
import os
import random
import struct
import sys
import warnings

import containers
import wire


class CandidateLeft(BaseException):
    """The candidate's process is gone, before the tests had ended."""


class Broken(BaseException):
    """The candidate answered with something that is no answer."""

    def __init__(self, verdict, detail):
        self.verdict, self.detail = verdict, detail


class Unjudgeable(BaseException):
    """The tests ask for something that cannot be carried to the candidate."""


class Link:
    """The judge's end of the wire, and the values that stay on either side of it."""

    def __init__(self, to_read, to_write):
        self.to_read, self.to_write = to_read, to_write
        self.remotes: dict = {}
        self.locals: list = []
        self.classes: dict = {}

    # values

    def other(self, value):
        if isinstance(value, Remote):
            return {"h": value._handle}
        name = type(value).__name__
        if self.classes.get(name) is type(value):
            return {"I": [name, [[key, self.pack(item)] for key, item in vars(value).items()]]}
        if callable(value) or hasattr(value, "__next__"):
            self.locals.append(value)
            return {"p": len(self.locals) - 1}
        raise Unjudgeable(f"the tests pass a {name}, which cannot be carried to the program")

    def built(self, tag, body):
        if tag == "h":
            handle, is_callable = body
            if type(handle) is not int:
                raise wire.WireError("not a value")
            if handle not in self.remotes:
                self.remotes[handle] = (RemoteCallable if is_callable else Remote)(self, handle)
            return self.remotes[handle]
        if tag == "I" and body[0] in self.classes:
            value = object.__new__(self.classes[body[0]])
            vars(value).update((key, self.unpack(item)) for key, item in body[1])
            return value
        raise wire.WireError("not a value")

    def pack(self, value):
        return wire.pack(value, self.other)

    def unpack(self, data):
        return wire.unpack(data, self.built)

    # questions

    def ask(self, **message):
        """Send a question and return the answer."""
        self.post(**message)
        return self.answer()

    def post(self, **message):
        try:
            wire.send(self.to_write, message)
        except wire.Gone:
            raise CandidateLeft from None

    def answer(self):
        """The answer to what was posted; serves the candidate's own questions meanwhile."""
        try:
            while "ask" in (answer := self._receive()):
                wire.send(self.to_write, self._serve(answer))
        except wire.Gone:
            raise CandidateLeft from None
        if "raised" in answer:
            raise raised(answer)
        return answer

    def _receive(self):
        try:
            answer = wire.receive(self.to_read)
        except wire.TooLarge as error:
            raise Broken("output_limit", f"answered with {error}") from None
        except wire.WireError as error:
            raise Broken("runtime_error", f"answered with {error}") from None
        if not isinstance(answer, dict):
            raise Broken("runtime_error", "answered with no message")
        if "large" in answer:
            raise Broken("output_limit", f"answered with {answer['large']}")
        return answer

    def _serve(self, question):
        """Call a function, or step an iterator, that the tests gave to the candidate."""
        try:
            target, args = self.locals[question["of"]], self.unpack(question["args"])
            value = next(target) if question["ask"] == "next" else target(*args)
            return {"value": self.pack(value)}
        except StopIteration:
            return {"stop": True}
        except Exception as error:
            return {"raise": f"{type(error).__name__}: {error}"}

    def value(self, **message):
        answer = self.ask(**message)
        try:
            return self.unpack(answer["value"])
        except (wire.WireError, KeyError, RecursionError) as error:
            raise Broken("runtime_error", f"answered with {error}") from None

    def call(self, handle, args, keywords):
        sent = self.pack(list(args))
        answer = self.ask(
            do="call",
            of=handle,
            args=sent,
            keywords={name: self.pack(item) for name, item in keywords.items()},
        )
        try:
            if "args" in answer:
                for argument, after in zip(args, self.unpack(answer["args"])):
                    refill(argument, after)
            return self.unpack(answer["value"])
        except (wire.WireError, KeyError, TypeError, RecursionError) as error:
            raise Broken("runtime_error", f"answered with {error}") from None


def refill(argument, after) -> None:
    """Give a mutable argument the contents that it had at the end of the candidate's call."""
    if type(argument) is not type(after):
        return
    if isinstance(argument, (list, bytearray)):
        argument[:] = after
    elif isinstance(argument, (dict, set)):
        argument.clear()
        argument.update(after)
    elif isinstance(argument, tuple):
        for inner, inner_after in zip(argument, after):
            refill(inner, inner_after)
    elif hasattr(argument, "__dict__") and not isinstance(argument, Remote):
        vars(argument).update(vars(after))


class Remote:
    """An object that stays with the candidate. It is equal to itself alone.

    No method that compares or computes is asked of the candidate: an object that claims to be
    equal to everything is equal to nothing here.
    """

    def __init__(self, link, handle):
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_handle", handle)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.value(do="attribute", of=self._handle, name=name)

    def __setattr__(self, name, value):
        self._link.value(do="assign", of=self._handle, name=name, to=self._link.pack(value))

    def _special(self, name, *args):
        packed = self._link.pack(list(args))
        return self._link.value(do="special", of=self._handle, name=name, args=packed)

    def __iter__(self):
        return self._special("iter")

    def __next__(self):
        return self._special("next")

    def __len__(self):
        return self._special("len")

    def __bool__(self):
        return bool(self._special("bool"))

    def __getitem__(self, key):
        return self._special("item", key)

    def __setitem__(self, key, value):
        self._special("assign_item", key, value)

    def __str__(self):
        return str(self._special("str"))

    def __repr__(self):
        return str(self._special("repr"))


class RemoteCallable(Remote):
    def __call__(self, *args, **keywords):
        return self._link.call(self._handle, args, keywords)


class CandidateError(Exception):
    """An exception of the candidate's that is no builtin one."""


def raised(answer):
    """The candidate's exception as the nearest builtin one, marked as the candidate's."""
    kinds, text = answer.get("raised"), str(answer.get("text", ""))
    kinds = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
    name = kinds[0] if kinds else "Exception"
    for kind in kinds:
        found = getattr(builtins, kind, None)
        if isinstance(found, type) and issubclass(found, Exception):
            try:
                error = found(text)
            except Exception:  # UnicodeDecodeError and its like want other arguments
                continue
            break
    else:
        error = CandidateError(text)
    error.of_candidate = f"{name}: {text}" if text else name
    return error


def count_asserts(nodes: list) -> int:
    """Put a counter before every assertion; how many there are."""
    found = 0
    for node in nodes:
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                for i in reversed(range(len(statements))):
                    if isinstance(statements[i], ast.Assert):
                        found += 1
                        counter = ast.Expr(ast.Call(ast.Name("__reached__", ast.Load()), [], []))
                        ast.copy_location(counter, statements[i])
                        statements.insert(i, ast.fix_missing_locations(counter))
    return found


def finished_part(prompt: str) -> ast.Module:
    """The statements of the prompt before the one that the completion goes on with."""
    for ending in ("", "pass", " pass", "    pass", "\n    pass", "        pass"):
        try:
            tree = ast.parse(prompt + ending)
            break
        except (SyntaxError, ValueError):
            continue
    else:
        return ast.Module([], [])
    body = tree.body
    if body and isinstance(body[-1], (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        body = body[:-1]
    return ast.Module(body, [])


def defined_names(tree: ast.Module) -> set:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def names_to_ask(nodes: list, own: set) -> list:
    """The names that the tests use and do not define; builtin ones only if there are no others."""
    used, bound = set(), set(own)
    for node in nodes:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
    free = used - bound
    ours = {name for name in free if not hasattr(builtins, name)}
    return sorted(ours or free)


def judge(link: Link, prompt: str, completion: str, tests: str) -> dict:
    """Run the tests against the candidate at ``link``; the verdict and its detail."""
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError) as error:
        return unfit_tests(prompt + completion + "\n" + tests, error)
    helpers = finished_part(prompt)
    shared = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom, ast.ClassDef))]
    classes = [n.name for n in helpers.body + shared if isinstance(n, ast.ClassDef)]
    reached = itertools.count()
    space = {"__name__": "tests", "__reached__": lambda: next(reached)}
    random.seed(0)
    try:
        nodes = list(ast.walk(tree))
        own = defined_names(helpers)
        link.post(
            do="load",
            source=prompt + completion + "\n",
            shared=[ast.unparse(node) for node in shared],
            classes=classes,
            names=names_to_ask(nodes, own),
        )
        asserts = count_asserts(nodes)  # while the candidate loads
        statements = [(n, compile(ast.Module([n], []), "<tests>", "exec")) for n in tree.body]
        answer = link.answer()
        if "syntax" in answer:
            return {"verdict": "compile_error", "detail": str(answer["syntax"])}
        try:
            exec(compile(helpers, "<prompt>", "exec"), space)
        except Exception as error:
            return {"verdict": "harness_error", "detail": f"the prompt fails: {error!r}"}
        link.classes = {name: space[name] for name in classes if name in space}
        found = answer.get("names")
        for name, data in found.items() if isinstance(found, dict) else ():
            if name not in own:
                space[name] = link.unpack(data)
        for statement, code in statements:
            exec(code, space)
            if isinstance(statement, ast.ClassDef):
                link.classes[statement.name] = space[statement.name]
    except CandidateLeft:
        return {"verdict": "gone", "detail": ""}
    except Broken as broken:
        return {"verdict": broken.verdict, "detail": broken.detail}
    except Unjudgeable as reason:
        return {"verdict": "harness_error", "detail": str(reason)}
    except BaseException as error:
        return failure(error, tests)
    if asserts and not next(reached):
        return {"verdict": "harness_error", "detail": "no assertion of the tests was reached"}
    return {"verdict": "pass", "detail": ""}


def unfit_tests(program: str, error: Exception) -> dict:
    """Tests that are no Python by themselves: a flaw of theirs, or a form that we cannot judge."""
    try:
        ast.parse(program)
    except (SyntaxError, ValueError):
        return {"verdict": "compile_error", "detail": f"the tests themselves: {error}"}
    return {"verdict": "harness_error", "detail": f"the tests are no module: {error}"}


def failure(error, tests: str) -> dict:
    line = failing_line(error, tests)
    if hasattr(error, "of_candidate"):
        memory = error.of_candidate.startswith("MemoryError")
        verdict = "out_of_memory" if memory else "runtime_error"
        return {"verdict": verdict, "detail": f"{error.of_candidate} [{line}]"}
    if isinstance(error, MemoryError):
        return {"verdict": "out_of_memory", "detail": f"its answer filled the judge [{line}]"}
    if isinstance(error, AssertionError):
        return {"verdict": "wrong", "detail": line}
    return {"verdict": "runtime_error", "detail": f"{type(error).__name__}: {error} [{line}]"[:500]}


def failing_line(error, tests: str) -> str:
    """The line of the tests that was being run."""
    number, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""


def main() -> None:
    """Judge program after program: five texts in, a line of JSON out, until the supervisor is gone."""
    containers.limit_judge()
    containers.name_process("judge")
    commands, answers = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    source = os.fdopen(commands, "rb")
    while head := source.read(4):
        parts = [source.read(struct.unpack(">I", head)[0]).decode()]
        for _ in range(4):
            parts.append(source.read(struct.unpack(">I", source.read(4))[0]).decode())
        prompt, completion, tests, read, write = parts
        link = None
        try:
            link = Link(os.open(read, os.O_RDONLY), os.open(write, os.O_WRONLY))
            word = judge(link, prompt, completion, tests)
        except BaseException as error:
            word = {"verdict": "harness_error", "detail": f"the judge failed: {error!r}"}
        if link is not None:
            os.close(link.to_read)
            os.close(link.to_write)
        restore()
        os.write(answers, (json.dumps(word) + "\n").encode())


def restore() -> None:
    """Undo what tests commonly change of the process that the next tests will run in."""
    sys.setrecursionlimit(1000)
    decimal.setcontext(decimal.Context())
    warnings.resetwarnings()
    os.chdir("/")


if __name__ == "__main__":
    main()
