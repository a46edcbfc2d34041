"""Grade C++: the judge's program and the candidate's are compiled apart and run as two processes.

The judge's program is the prompt, a stub in place of the completion, and the tests; the
candidate's is the prompt, the completion, and a ``main`` that answers calls. A function whose
types cannot be carried between the two (MultiPL-E has a few unions) is tested in one process,
which a hostile program could fool: see ``joint``.

This file runs inside the sandbox and imports only the standard library.
"""

import collections
import os
import re
import secrets
import select
import signal
import socket

import containers

COMPILE_SECONDS = 60.0
KEPT = 32  # judges kept for further samples of the same problem
NOT_PLAIN = b"flex_not_plain_data"
CODES = {
    101: "runtime_error",
    102: "gone",
    103: "runtime_error",
    104: "output_limit",
    105: "out_of_memory",
}
MAIN = re.compile(r"\bint\s+main\s*\(")


def open_function(prompt: str):
    """Name and parameter names of the function that the prompt leaves open, or None."""
    head = re.search(r"\)\s*(?:noexcept\s*)?\{\s*$", prompt)
    if head is None:
        return None
    start, depth = head.start(), 1
    while depth and start:
        start -= 1
        depth += (prompt[start] == ")") - (prompt[start] == "(")
    name = re.search(r"([A-Za-z_]\w*)\s*$", prompt[:start])
    if depth or name is None:
        return None
    names, part = [], ""
    for sign in prompt[start + 1 : head.start()] + ",":
        depth += (sign in "<([{") - (sign in ">)]}")
        if sign == "," and not depth:
            part = part.split("=", maxsplit=1)[0].strip()
            found = re.search(r"([A-Za-z_]\w*)\s*(\[\s*\])?$", part)
            if part and (found is None or found[2]):
                return None
            names += [found[1]] if part else []
            part = ""
        else:
            part += sign
    return name[1], names


NOT_STARTED = (126, 127)  # the shell's word that a command cannot be run, or is not there


class Cpp:
    def __init__(self, supervisor):
        self.supervisor = supervisor
        self.judges = collections.OrderedDict()
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}

    def prepare(self):
        """Nothing can be started ahead: a program must be compiled first."""

    tidy = prepare

    def start_compiling(self, source):
        """A container in which ``source`` is compiled, and the descriptor of the program it makes."""
        supervisor = self.supervisor
        text = os.memfd_create("source")
        os.write(text, source.encode())
        os.lseek(text, 0, os.SEEK_SET)
        program = os.memfd_create("program")
        command = " ".join(
            [*supervisor.config["cpp"]["compile"], "-x", "c++", "-", "-o", "program"]
        )
        argv = ["/bin/sh", "-c", f"{command} <&3 && cat program >&4"]
        limits = supervisor.limits(COMPILE_SECONDS, address_space=0, memory=3 << 29)
        request = {
            "mode": "exec",
            "argv": argv,
            "environment": self.environment,
            "limits": limits,
        }
        running = supervisor.open_container(request, text, program)
        os.close(text)
        return running, program, limits

    def finish_compiling(self, running, program, limits):
        """The program's descriptor, or None; what the compiler said; and what was wrong with the grader."""
        clock = {"timeout": COMPILE_SECONDS, "alone": False}
        _, overstepped = self.supervisor.watch(running, None, clock, limits)
        running.close()
        if running.code == 0 and not overstepped and not running.error:
            return program, b"", None
        os.close(program)
        said = overstepped.encode() if overstepped else bytes(running.head)
        trouble = running.error
        if running.code in NOT_STARTED and not trouble and not overstepped:
            trouble = said.decode("utf-8", "replace").strip() or "the compiler does not start"
        return None, said, trouble

    def compile(self, source):
        return self.finish_compiling(*self.start_compiling(source))

    def grade(self, job):
        prompt, completion, tests = job["prompt"], job["completion"], job["tests"]
        main = MAIN.search(tests)
        if main is None:
            return "harness_error", "the C++ tests declare no main function"
        function = open_function(prompt)
        if function is None:
            return self.joint(job, main)
        name, arguments = function
        call = f"flex::call<decltype({name}({', '.join(arguments)}))>({', '.join(arguments)})"
        closing = "" if tests.lstrip().startswith("}") else "}"
        key = (prompt, tests)
        compiling = None
        if key not in self.judges:
            compiling = self.start_compiling(f"{prompt} return {call};{closing}\n{tests}")
        serve = f"int main() {{ return flex::serve(&{name}); }}\n"
        candidate, said, broken = self.compile(
            f"{prompt}{completion}\n{tests[: main.start()]}\n{serve}"
        )
        if compiling:
            made, its_words, also_broken = self.finish_compiling(*compiling)
            broken = broken or also_broken
            if not also_broken:
                self.keep(key, made, its_words)
        if broken:
            if candidate is not None:
                os.close(candidate)
            return "harness_error", broken
        judge, trouble = self.judges[key]
        self.judges.move_to_end(key)
        if judge is None:  # types that cannot be carried, or tests that are no C++
            if candidate is not None:
                os.close(candidate)
            return self.joint(job, main, "" if NOT_PLAIN in trouble else "the tests themselves: ")
        if candidate is None:
            return "compile_error", first_error(said)
        try:
            return self.run(job, judge, candidate)
        finally:
            os.close(candidate)

    def keep(self, key, judge, trouble):
        self.judges[key] = judge, trouble
        if len(self.judges) > KEPT:
            _, (old, _) = self.judges.popitem(last=False)
            if old is not None:
                os.close(old)

    def start(self, program, *descriptors):
        """Run the program of the descriptor ``program`` in a container."""
        limits = self.supervisor.limits(600.0)
        request = {
            "mode": "exec",
            "argv": ["program"],
            "execute": 3 + len(descriptors),
            "environment": self.environment,
            "limits": limits,
        }
        return self.supervisor.open_container(request, *descriptors, program), limits

    def run(self, job, judge, candidate):
        ours, theirs = socket.socketpair()
        running, limits = self.start(candidate, theirs.fileno())
        theirs.close()
        said, say = os.pipe()
        ended, end = os.pipe()
        pid = os.fork()
        if not pid:
            containers.libc.prctl(containers.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.dup2(say, 2)
            os.dup2(end, 1)  # held open until the judge ends
            os.dup2(ours.fileno(), 3)
            os.dup2(judge, 4)
            os.set_inheritable(4, False)
            os.closerange(5, 1024)
            containers.limit_judge()
            os.execve(4, ["judge"], {})
        self.supervisor.trusted.add(pid)
        ours.close()
        os.close(say)
        os.close(end)
        _, overstepped = self.supervisor.watch(running, ended, job, limits)
        if overstepped or not select.select([ended], [], [], 1.0)[0]:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.supervisor.trusted.discard(pid)
        text = os.read(said, 2000).decode("utf-8", "replace").strip()
        os.close(said)
        os.close(ended)
        return self.supervisor.conclude(running, judged(code, text), overstepped, job)

    def joint(self, job, main, blame=""):
        """Tests and program in one process, where the last line of the tests says a secret word.

        Leaving early, one's own ``main`` or ``assert``, and fake output do not make a pass. What
        does: code that finds the word in its own memory. The documentation says so.
        """
        word = secrets.token_hex(16)
        tests = job["tests"]
        renamed = tests[: main.start()] + f"static int flex_tests_{word}(" + tests[main.end() :]
        asserting = "#undef assert\n#undef NDEBUG\n#include <assert.h>\n"
        saying = f'flex::write_all("{word}", {len(word)})'
        end = f"int main() {{ flex_tests_{word}(); {saying}; return 0; }}\n"
        source = f"{job['prompt']}{job['completion']}\n{asserting}{renamed}\n{end}"
        program, said, broken = self.compile(source)
        if broken:
            return "harness_error", broken
        if program is None:
            return "compile_error", blame + first_error(said)
        read, write = os.pipe()
        try:
            running, limits = self.start(program, write)
            os.close(write)
            _, overstepped = self.supervisor.watch(running, None, job, limits)
            running.close()
            os.set_blocking(read, False)
            reached = os.read(read, 100) == word.encode()
        except BlockingIOError:
            reached = False
        finally:
            os.close(read)
            os.close(program)
        if overstepped or running.error or not reached:
            if b"Assertion" in running.tail and not overstepped:
                said = running.tail.decode("utf-8", "replace").strip()[-300:]
                return "wrong", said.replace(f"flex_tests_{word}", "main")
            return self.supervisor.conclude(running, {"verdict": "gone"}, overstepped, job)
        return "pass", ""


def judged(code: int, text: str) -> dict:
    """The word of a judge that ended so."""
    if code == 0:
        return {"verdict": "pass", "detail": ""}
    if code == -signal.SIGABRT and "Assertion" in text:
        return {"verdict": "wrong", "detail": text[:500]}
    if code in CODES:
        return {"verdict": CODES[code], "detail": text[:500]}
    return {"verdict": "harness_error", "detail": f"the judge ended with {code}: {text[:300]}"}


def first_error(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if "error" in line] or lines
    return errors[0][:500] if errors else "the compiler gives no reason"
