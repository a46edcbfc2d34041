"""Grade many programs: sandboxes in parallel, verdicts in order, timeouts tried again alone."""

from __future__ import annotations

import os
import queue
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flexlib.errors import FlexError
from flexlib.grading.inside import wire
from flexlib.grading.programs import Program, Verdict
from flexlib.grading.sandbox import Sandbox
from flexlib.grading.tools import tools_for
from flexlib.tasks.languages import LANGUAGES, Guarded, Joint

COMPILE_PATIENCE = 120.0  # seconds beyond the run itself after which a supervisor counts as stuck
AHEAD = 4  # programs read ahead, per worker


class SharedLock:
    """Held by many at a time or by one alone; who waits to be alone goes first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._holders = 0
        self._alone = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._alone)
            self._holders += 1
        try:
            yield
        finally:
            with self._condition:
                self._holders -= 1
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._condition:
            self._alone += 1
            self._condition.wait_for(lambda: not self._holders)
            self._holders += 1
        try:
            yield
        finally:
            with self._condition:
                self._alone -= 1
                self._holders -= 1
                self._condition.notify_all()


class Worker(threading.Thread):
    """One sandbox a language, opened when first needed, and the programs that go through it."""

    def __init__(
        self,
        todo: queue.Queue,
        done: queue.Queue,
        lock: SharedLock,
        timeout: float | None,
        unsafe: bool,
    ) -> None:
        super().__init__(daemon=True)
        self.stopping = False
        self.todo, self.done, self.lock = todo, done, lock
        self.timeout, self.unsafe = timeout, unsafe
        self.sandboxes: dict[str, Sandbox] = {}

    def run(self) -> None:
        try:
            while (item := self.todo.get()) is not None:
                number, program = item
                try:
                    self.done.put((number, self.judge(program)))
                except Exception as error:  # noqa: BLE001 - for the caller, who raises it
                    self.done.put((number, error))
                    return
        finally:
            for sandbox in self.sandboxes.values():
                sandbox.close()

    def judge(self, program: Program) -> Verdict:
        with self.lock.shared():
            verdict = self.ask(program, alone=False)
        if verdict.verdict == "timeout":
            with self.lock.exclusive():
                verdict = self.ask(program, alone=True)
        return verdict

    def ask(self, program: Program, alone: bool) -> Verdict:
        timeout = self.timeout or LANGUAGES[program.language].timeout
        job = job_of(program) | {"timeout": timeout, "alone": alone}
        for _ in range(
            2
        ):  # a supervisor that broke is replaced once: the next program finds a new one
            if program.language not in self.sandboxes:
                tools = tools_for(program.language)
                self.sandboxes[program.language] = Sandbox(tools, self.unsafe)
            if self.stopping:  # set before the sandboxes that are there are killed
                break
            try:
                answer = self.sandboxes[program.language].grade(
                    job, 11 * timeout + COMPILE_PATIENCE
                )
                return Verdict(program.id, **answer)
            except wire.Gone:
                self.sandboxes.pop(program.language).close()
        trouble = "the sandbox ended or hung while it judged this program"
        return Verdict(program.id, "harness_error", trouble, 0.0)


def job_of(program: Program) -> dict[str, Any]:
    """A program as the sandbox is asked about it."""
    how = LANGUAGES[program.language].judge
    texts = {name: getattr(program, name) for name in ("prompt", "completion", "tests")}
    word = secrets.token_hex(16)
    if isinstance(how, Joint):
        tests = how.say(program.tests, word)
        texts = {"program": f"{program.prompt}{program.completion}\n{tests}", "word": word}
    elif isinstance(how, Guarded):
        texts["word"] = word
    return {"language": program.language, **texts}


def check_program(program: Program) -> None:
    """Raises FlexError for a program of no known language, or that is not made of text."""
    if program.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise FlexError(f"program {program.id}: unknown language {program.language!r} ({known})")
    for name in ("prompt", "completion", "tests"):
        if not isinstance(getattr(program, name), str):
            raise FlexError(f"program {program.id}: its {name} is no text")


def grade(
    programs: Iterable[Program],
    *,
    workers: int | None = None,
    timeout: float | None = None,
    unsafe_no_sandbox: bool = False,
    progress: bool = True,
) -> Iterator[Verdict]:
    """Judge ``programs``; yields one verdict each, in their order, as they come.

    ``workers`` programs run at a time (default: one for each processor). ``timeout`` is in seconds of
    running, compiling not counted (default: the language's). A program that
    meets it is run once more with no other beside it before the timeout counts.

    Raises FlexError when bubblewrap or a language's tools are missing, unless
    ``unsafe_no_sandbox`` does without the former.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if timeout is not None and not timeout > 0:
        raise FlexError(f"a time limit of {timeout} s: it must be more than 0")
    if workers < 1:
        raise FlexError(f"{workers} workers: there must be at least 1")
    return _grade(iter(programs), workers, timeout, unsafe_no_sandbox, progress)


def _grade(
    programs: Iterator[Program], workers: int, timeout: float | None, unsafe: bool, progress: bool
) -> Iterator[Verdict]:
    from flexlib.progress import bar as progress_bar

    todo: queue.Queue = queue.Queue()
    done: queue.Queue = queue.Queue()
    lock = SharedLock()
    threads: list[Worker] = []
    ready: dict[int, Verdict] = {}
    given = taken = 0
    bar = progress_bar("grading", "program", leave=False, show=progress)
    try:
        exhausted = False
        while True:
            while not exhausted and given - taken < AHEAD * workers:
                program = next(programs, None)
                if program is None:
                    exhausted = True
                    break
                check_program(program)
                todo.put((given, program))
                given += 1
                if len(threads) < min(workers, given):
                    threads.append(Worker(todo, done, lock, timeout, unsafe))
                    threads[-1].start()
            if taken == given:
                return
            while taken not in ready:
                number, result = done.get()
                if isinstance(result, Exception):
                    raise result
                ready[number] = result
                bar.update()
            yield ready.pop(taken)
            taken += 1
    finally:
        bar.close()
        _stop(threads, todo)


def _stop(threads: list[Worker], todo: queue.Queue) -> None:
    """Let no program start any more, end the sandboxes, and wait for the threads."""
    while True:
        try:
            todo.get_nowait()
        except queue.Empty:
            break
    for thread in threads:
        thread.stopping = True
        todo.put(None)
    for thread in threads:
        for sandbox in list(thread.sandboxes.values()):
            sandbox.kill()
    for thread in threads:
        thread.join()
