"""Grade a language whose program and tests run in one process: a secret word is the last that it prints.

Leaving early, own output and own exit codes do not make a pass. In ``Joint`` the word stands in the
source, so that code which reads its own source makes one; in ``Guarded`` it comes over standard input, which
trusted code empties before the program's first line runs. flexlib.tasks.languages says so of each language.

This file runs inside the sandbox and imports only the standard library.
"""

import fcntl
import os
import re
import shlex

import joining

BUILD_SECONDS = 60.0
PIPE_BYTES = 1 << 20
BUILD_LIMITS = {"address_space": 0, "memory": 3 << 29, "disk": 256 << 20, "processes": 256}


class Joint:
    def __init__(self, supervisor, name):
        self.supervisor, self.name = supervisor, name
        self.config = supervisor.config["joint"][name]
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}

    def prepare(self):
        """Nothing is started ahead."""

    tidy = prepare

    def start(self, command, files, limits, given="", made=None, execute=None, sought=None):
        """Run a command in a folder of its own.

        ``files`` are written there first, texts by name. ``given`` is its standard input. ``made`` is a
        descriptor that takes the file ``program`` when it has ended well. ``execute`` is one that holds
        the program to run, which is then in no file. ``sought`` is looked for in what it prints.
        """
        descriptors, ours = [], []
        for content in files.values():
            text = os.memfd_create("file")
            ours.append(text)
            write_all(text, content.encode())
            descriptors.append(text)
        request = {
            "mode": "exec",
            "argv": command,
            "environment": self.environment | self.config.get("environment", {}),
            "limits": limits,
            "files": {3 + number: name for number, name in enumerate(files)},
            "input": None,
        }
        if made is not None:
            request["input"] = 3 + len(descriptors)
            descriptors.append(made)
            words = f"{shlex.join(command)} 0</dev/null && exec cat program >&0"
            request["argv"] = ["/bin/sh", "-c", words]
        elif given:
            read, write = os.pipe()
            ours.append(read)
            data = given.encode()
            if len(data) > 1 << 16:
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            os.set_blocking(write, False)
            write_all(write, data)
            os.close(write)
            request["input"] = 3 + len(descriptors)
            descriptors.append(read)
            request |= {"childless": True, "hide_proc": not self.config["proc"]}
        if execute is not None:
            request["execute"] = 3 + len(descriptors)
            descriptors.append(execute)
        if "folder" in self.supervisor.config:
            request["folder"] = self.supervisor.config["folder"]
        running = self.supervisor.open_container(request, *descriptors, sought=sought)
        for descriptor in ours:
            os.close(descriptor)
        return running

    def build(self, command, files, made=None):
        """What the compiler says if it refuses, "" if it does not; and what was wrong with the grader."""
        limits = self.supervisor.limits(BUILD_SECONDS, **(BUILD_LIMITS if made is not None else {}))
        running = self.start(command, files, limits, made=made)
        clock = {"timeout": BUILD_SECONDS, "alone": False}
        _, overstepped = self.supervisor.watch(running, None, clock, limits)
        running.close()
        if running.code or overstepped:
            said = bytes(running.head).decode("utf-8", "replace").strip()
            return said or overstepped or "the compiler gives no reason", running.error
        return "", running.error

    def parts(self, job):
        """The files of a program, and what it is given."""
        return {"program" + self.config["suffix"]: job["program"]}, ""

    def grade(self, job):
        try:
            files, given = self.parts(job)
        except joining.Unfit as unfit:
            return "harness_error", str(unfit)
        except joining.Refused as refused:
            return "compile_error", str(refused)
        if self.config["check"]:
            made = os.memfd_create("program") if self.config["builds"] else None
            try:
                refused, trouble = self.build(self.config["check"], files, made)
                if trouble:
                    return "harness_error", trouble
                if refused:
                    return "compile_error", refused
                return self.run(job, {} if made is not None else files, given, made)
            finally:
                if made is not None:
                    os.close(made)
        return self.run(job, files, given)

    def run(self, job, files, given, program=None):
        limits = self.supervisor.limits(600.0, **self.config["limits"])
        wrong = re.compile(self.config["wrong"].encode())
        running = self.start(
            self.config["run"], files, limits, given, execute=program, sought=wrong
        )
        _, overstepped = self.supervisor.watch(running, None, job, limits)
        said = bytes(running.tail).decode("utf-8", "replace").strip()
        if not overstepped and not running.error:
            running.await_end()
            if running.code == 0 and said.splitlines()[-1:] == [job["word"]]:
                running.close()
                return "pass", ""
            if running.code and running.found and self.config["wrong_code"] in (None, running.code):
                running.close()
                return "wrong", said[-300:]
            if running.code == joining.NO_PROGRAM and given and not self.config["builds"]:
                running.close()
                return "compile_error", said[-300:]
        return self.supervisor.conclude(running, {"verdict": "gone"}, overstepped, job)


class Guarded(Joint):
    def parts(self, job):
        files, tests = joining.JOIN[self.name](job["prompt"], job["completion"], job["tests"])
        return files, f"{job['word']}\n{tests}"


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]
