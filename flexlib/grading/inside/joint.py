"""Grade a language whose program and tests run in one process: the program prints a secret word last.

Leaving early, own output and own exit codes do not make a pass. What does: code that reads the word
in its own source. flexlib.tasks.languages says so of each language.

This file runs inside the sandbox and imports only the standard library.
"""

import os

CHECK_SECONDS = 60.0


class Joint:
    def __init__(self, supervisor, name):
        self.supervisor, self.config = supervisor, supervisor.config["joint"][name]
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}

    def prepare(self):
        """Nothing is started ahead."""

    tidy = prepare

    def start(self, command, source):
        """Run a command on a source file, in a folder of its own."""
        text = os.memfd_create("source")
        os.write(text, source.encode())
        os.lseek(text, 0, os.SEEK_SET)
        name = "program" + self.config["suffix"]
        words = " ".join(word.replace("{source}", name) for word in command)
        folder = self.supervisor.config.get("folder", "/tmp")
        steps = f'cd "$(mktemp -d -p {folder})" && cat <&3 >{name} && exec {words}'
        limits = self.supervisor.limits(600.0)
        request = {
            "mode": "exec",
            "argv": ["/bin/sh", "-c", steps],
            "environment": self.environment,
            "limits": limits,
        }
        running = self.supervisor.open_container(request, text)
        os.close(text)
        return running, limits

    def grade(self, job):
        if self.config["check"]:
            running, limits = self.start(self.config["check"], job["program"])
            clock = {"timeout": CHECK_SECONDS, "alone": False}
            _, overstepped = self.supervisor.watch(running, None, clock, limits)
            running.close()
            if running.error:
                return "harness_error", running.error
            if running.code or overstepped:
                said = bytes(running.head).decode("utf-8", "replace").strip()
                return "compile_error", said or overstepped or "the compiler gives no reason"
        running, limits = self.start(self.config["run"], job["program"])
        _, overstepped = self.supervisor.watch(running, None, job, limits)
        said = bytes(running.tail).decode("utf-8", "replace").strip()
        if not overstepped and not running.error:
            running.await_end()
            if running.code == 0 and said.splitlines()[-1:] == [job["word"]]:
                running.close()
                return "pass", ""
            if running.code and self.config["wrong"] in said:
                running.close()
                return "wrong", said[-300:]
        return self.supervisor.conclude(running, {"verdict": "gone"}, overstepped, job)
