"""Grade Python, Java and JavaScript: a warm judge for all programs, a fresh candidate for each.

The judge is trusted and lives as long as the supervisor. It takes a program as five texts (prompt,
completion, tests, and the paths of two pipes) and says one line of JSON with the verdict; before
that, in a language that compiles, one when the candidate may start. The candidate's process is
started ahead, in a container; it learns of its program over the pipes, at descriptors 3 and 4.

This file runs inside the sandbox and imports only the standard library.
"""

import collections
import json
import os
import select
import struct
import subprocess
import sys
import time

COMPILE_SECONDS = 30.0
HEAR_SECONDS = 2.0


class Candidate:
    """A process in a container, started ahead."""

    def __init__(self, supervisor, request):
        to_read, self.to_write = os.pipe()
        self.to_read, to_write = os.pipe()
        self.container = supervisor.open_container(request, to_read, to_write)
        os.close(to_read)
        os.close(to_write)
        self.container.held = [self.to_read, self.to_write]

    def paths(self):
        return [f"/proc/{os.getpid()}/fd/{fd}" for fd in (self.to_read, self.to_write)]


class Warm:
    compiles = False

    def __init__(self, supervisor, name, **limits):
        """``limits`` are those in which a candidate of the language ``name`` differs."""
        self.supervisor, self.name = supervisor, name
        self.limits = supervisor.limits(600.0, **limits)
        self.judge = self.leaving = None
        self.ahead = collections.deque()

    def request(self):
        """What the fork server is asked for: a command to run in the container."""
        return {
            "mode": "exec",
            "argv": self.supervisor.config[self.name]["candidate"],
            "environment": {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"},
            "limits": self.limits,
        }

    def judge_command(self):
        return self.supervisor.config[self.name]["judge"]

    def start_judge(self):
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self.judge = subprocess.Popen(self.judge_command(), stdin=pipe, stdout=pipe, stderr=nothing)
        self.supervisor.trusted.add(self.judge.pid)

    def stop_judge(self):
        self.supervisor.trusted.discard(self.judge.pid)
        self.judge.kill()
        self.judge.wait()
        self.judge.stdout.close()
        try:
            self.judge.stdin.close()
        except BrokenPipeError:
            pass
        self.judge = None

    def tidy(self):
        """End the last program, once its verdict is given; it is cleared away beside the next."""
        if self.leaving is not None:
            self.leaving.kill()

    def clear(self):
        """Wait until nothing of the last program is left."""
        if self.leaving is not None:
            self.leaving.close()
            self.leaving = None

    def prepare(self, ahead=1):
        """Start what the next programs will need, ``ahead`` candidates for one."""
        if self.judge is None:
            self.start_judge()
        while len(self.ahead) < ahead:
            self.ahead.append(Candidate(self.supervisor, self.request()))

    def tell(self, *texts):
        """Give texts to the judge; raises BrokenPipeError if it has ended."""
        for text in texts:
            data = text.encode()
            self.judge.stdin.write(struct.pack(">I", len(data)) + data)
        self.judge.stdin.flush()

    def hear(self, seconds):
        """The judge's next line, or None when it ends or takes longer than ``seconds``."""
        until = time.monotonic() + seconds
        word, descriptor = b"", self.judge.stdout.fileno()
        while not word.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            part = os.read(descriptor, 1)  # what follows the line is for another reader
            if not part:
                return None
            word += part
        return json.loads(word)

    def grade(self, job):
        if job["alone"]:
            self.clear()
        self.prepare()
        candidate = self.ahead[0]
        try:
            self.tell(job["prompt"], job["completion"], job["tests"], *candidate.paths())
        except BrokenPipeError:
            self.stop_judge()
            return "harness_error", "the judge had ended"
        self.clear()
        if not job["alone"]:
            self.prepare(2)  # beside this program, on another processor
        if self.compiles:
            word = self.hear(COMPILE_SECONDS)
            if word is None:
                self.stop_judge()
                return "compile_error", "the compiler came to no end"
            if word["verdict"] != "compiled":
                return word["verdict"], word["detail"]
        self.ahead.popleft()
        heard, overstepped = self.supervisor.watch(
            candidate.container, self.judge.stdout.fileno(), job, self.limits
        )
        if heard is not None and heard["verdict"] in ("pass", "wrong"):
            self.leaving = candidate.container  # how it ends says nothing any more
            return heard["verdict"], heard["detail"]
        result = self.supervisor.conclude(candidate.container, heard, overstepped, job)
        if heard is None and self.hear(HEAR_SECONDS) is None:  # the word owed for a stopped program
            self.stop_judge()
        return result


class Python(Warm):
    """The candidate is a fork of the fork server, which has the common modules at hand."""

    def __init__(self, supervisor):
        super().__init__(supervisor, "python")

    def request(self):
        return {"mode": "fork", "limits": self.limits}

    def judge_command(self):
        folder = os.path.dirname(os.path.abspath(__file__))
        return [sys.executable, "-s", "-S", "-B", os.path.join(folder, "python_judge.py")]


class Java(Warm):
    compiles = True

    def __init__(self, supervisor):
        super().__init__(supervisor, "java", address_space=0, memory=5 << 28, processes=256)


class JavaScript(Warm):
    def __init__(self, supervisor):
        super().__init__(supervisor, "javascript", address_space=0, memory=5 << 28)
