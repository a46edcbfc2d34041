"""Grade Java: a warm virtual machine compiles and judges, a fresh one runs each candidate.

This file runs inside the sandbox and imports only the standard library.
"""

import json
import os
import select
import signal
import struct
import subprocess
import time

COMPILE_SECONDS = 30.0

# Small and quick to start: one thread for garbage, no statistics file, no attaching.
QUICK = ["-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto", "-XX:+DisableAttachMechanism"]


class Candidate:
    """A virtual machine in a nest, started ahead: it waits for the classes to run."""

    def __init__(self, java):
        hub, config = java.hub, java.hub.config["java"]
        to_read, self.to_write = os.pipe()
        self.to_read, to_write = os.pipe()
        command = [config["java"], *QUICK, "-Xmx512m", "-XX:MaxMetaspaceSize=128m", "-ea"]
        command += [*config["candidate_options"], "flex.Candidate"]
        request = {
            "mode": "exec",
            "argv": command,
            "environment": {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"},
            "limits": java.limits,
        }
        self.nest = hub.open_nest(request, to_read, to_write)
        os.close(to_read)
        os.close(to_write)
        self.nest.held = [self.to_read, self.to_write]

    def close(self):
        self.nest.close()
        self.nest.let_go()


class Java:
    def __init__(self, hub):
        self.hub = hub
        self.limits = hub.limits(600.0, address_space=0, memory=5 << 28, processes=256)
        self.judge = None
        self.ahead = None

    def start_judge(self):
        config = self.hub.config["java"]
        command = [config["java"], *QUICK, "-Xmx384m", *config["judge_options"]]
        command += ["flex.Judge", config["libraries"]]
        self.judge = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.hub.trusted.add(self.judge.pid)
        self.said = b""

    def stop_judge(self):
        self.judge.send_signal(signal.SIGKILL)
        self.judge.wait()
        self.judge.stdin.close()
        self.judge.stdout.close()
        self.hub.trusted.discard(self.judge.pid)
        self.judge = None

    def prepare(self):
        """Start what the next program will need, while no program is timed."""
        if self.judge is None:
            self.start_judge()
        if self.ahead is None:
            self.ahead = Candidate(self)

    def compiled(self):
        """The judge's first line, or None when it ends or takes too long."""
        until = time.monotonic() + COMPILE_SECONDS
        word = b""
        descriptor = self.judge.stdout.fileno()
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
        self.prepare()
        candidate = self.ahead
        ends = [f"/proc/{os.getpid()}/fd/{fd}" for fd in (candidate.to_read, candidate.to_write)]
        parts = [part.encode() for part in (job["prompt"], job["completion"], job["tests"], *ends)]
        try:
            for part in parts:
                self.judge.stdin.write(struct.pack(">I", len(part)) + part)
            self.judge.stdin.flush()
        except BrokenPipeError:
            self.stop_judge()
            return "harness_error", "the compiling virtual machine has ended"
        word = self.compiled()
        if word is None:
            self.stop_judge()
            return "compile_error", "the compiler did not come to an end"
        if word["verdict"] != "compiled":
            return word["verdict"], word["detail"]
        self.ahead = None
        watched = self.hub.watch(candidate.nest, self.judge.stdout.fileno(), job, self.limits)
        result = self.hub.conclude(candidate.nest, *watched, job)
        candidate.close()
        if watched[0] is None and not self.heard():
            self.stop_judge()
        return result

    def heard(self):
        """Take the word that the judge owes for a program that was stopped."""
        descriptor = self.judge.stdout.fileno()
        word = b""
        while not word.endswith(b"\n"):
            if not select.select([descriptor], [], [], 2.0)[0]:
                return False
            part = os.read(descriptor, 1 << 12)
            if not part:
                return False
            word += part
        return True

