"""The supervisor: one process in each sandbox that takes programs and gives verdicts, one at a time.

    grader --(program)--> supervisor --(completion)--> candidate, in a container of its own
                              |                           ^  plain data, both ways
                              +-----(tests)-----> judge --+

The judge holds the tests and their expected values, the candidate the untrusted program. Only
the judge's word makes a pass; how the candidate ends can only make a failure. The supervisor opens and
closes the container and watches time, memory and output.

This file runs inside the sandbox and imports only the standard library.
"""

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time

import containers
import cpp
import joint
import python_candidate
import typescript
import warm
import wire

OUTPUT_LIMIT = 8 << 20
HEAP_FULL = b"JavaScript heap out of memory"
GRACE = 2.0  # seconds for the judge to notice that the candidate has gone
PATIENCE = 10  # times its limit that a program may last when it is kept from the processor
TICK = 0.2  # seconds between two looks at the memory

LIMITS = {
    "address_space": 1 << 30,
    "memory": 1 << 30,
    "disk": 64 << 20,
    "processes": 64,
    "cpu": 60,
}


class Container:
    """The supervisor's handle on one running program."""

    def __init__(self, supervisor, request: dict, *descriptors: int, sought=None) -> None:
        """Start ``request`` with standard input empty, output to us, ``descriptors`` as 3, 4, ...

        ``sought`` is a pattern of bytes: ``found`` says whether it was in the output."""
        self.supervisor = supervisor
        self.output, output = os.pipe()
        self.status, status = os.pipe()
        self.code, self.error, self.was_running = None, None, False
        self.printed, self.head, self.tail = 0, b"", b""
        self.sought, self.found = sought, False
        self.held: list[int] = []
        passed = [supervisor.null, output, output, *descriptors, status]
        supervisor.ask_fork_server(request | {"unsafe": supervisor.unsafe}, passed, self)
        os.close(output)
        os.close(status)
        os.set_blocking(self.output, False)
        self.open = {self.output}
        self.pid = self.end = None

    def started(self, answer: dict) -> None:
        """Take the fork server's answer to our request."""
        self.error, self.pid = answer.get("error"), answer.get("pid")
        if self.pid is not None:
            self.end = os.pidfd_open(
                self.pid
            )  # ready to read when the container's first process ends
            self.open.add(self.end)

    def read_output(self) -> None:
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._finish(self.output)
        self.printed += len(data)
        self.head += data[: max(0, 4000 - len(self.head))]
        self.tail += data
        self.found = self.found or bool(self.sought and self.sought.search(self.tail))
        self.tail = self.tail[-2000:]

    def _finish(self, descriptor: int) -> None:
        os.close(descriptor)
        self.open.discard(descriptor)

    @property
    def ended(self) -> bool:
        return self.end not in self.open

    def reap(self) -> None:
        """Learn how the container ended, once ``end`` is ready."""
        self.code = self.supervisor.reap(self.pid)
        self._finish(self.end)
        self.let_go()
        with os.fdopen(self.status, "rb") as status:
            for line in status:
                report = json.loads(line)
                self.error = report.get("error", self.error)
                self.code = report.get("ended", self.code)

    def let_go(self) -> None:
        """Close our copies of the program's ends, so that the judge sees them closed."""
        while self.held:
            os.close(self.held.pop())

    def await_end(self, seconds: float = 0.5) -> None:
        """Let a program that has left finish ending, so that we learn how."""
        if not self.ended and select.select([self.end], [], [], seconds)[0]:
            self.reap()

    def kill(self) -> None:
        """End the program; ``close`` must still follow."""
        self.supervisor.hear_fork_server()
        if self.pid is not None and not self.ended:
            signal.pidfd_send_signal(self.end, signal.SIGKILL)

    def close(self) -> None:
        """Kill whatever is left, and return when the kernel has cleared it away."""
        self.kill()
        self.was_running = not self.ended
        if self.pid is None:
            os.close(self.status)
        elif not self.ended:
            select.select([self.end], [], [])
            self.reap()
        if self.pid is not None and self.supervisor.unsafe:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        before = -1
        while self.output in self.open and self.printed != before:
            before = self.printed
            self.read_output()
        for descriptor in list(self.open):
            self._finish(descriptor)
        self.let_go()

    def how_it_ended(self) -> str:
        if self.was_running:
            return "it closed the connection over which it was to answer"
        tail = self.tail.decode("utf-8", "replace").strip()[-300:]
        if self.code is not None and self.code < 0:
            try:
                how = f"killed by {signal.Signals(-self.code).name}"
            except ValueError:
                how = f"killed by signal {-self.code}"
        else:
            how = f"left with status {self.code} before the tests had ended"
        return f"{how}: {tail}" if tail else how


class Supervisor:
    def __init__(self, config: dict):
        self.config = config
        self.unsafe = config["unsafe"]
        self.null = os.open("/dev/null", os.O_RDWR)
        self.fork_server, requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.trusted = {1, os.getpid()}
        self.starting: Container | None = None
        pid = os.fork()
        if not pid:
            self.fork_server.close()
            python_candidate.open_streams()
            python_candidate.warm_up()
            gc.freeze()
            containers.serve_containers(requests, config["run_candidate"])
        requests.close()
        self.trusted.add(pid)
        self.languages = {name: kind(self) for name, kind in LANGUAGES.items()}
        for name, how in config.get("joint", {}).items():
            self.languages[name] = (joint.Guarded if how["guarded"] else joint.Joint)(self, name)

    def ask_fork_server(self, request: dict, descriptors: list[int], container: Container) -> None:
        """Ask for a container; the answer is heard when it is needed, or before the next question."""
        self.hear_fork_server()
        socket.send_fds(self.fork_server, [json.dumps(request).encode()], descriptors)
        self.starting = container

    def hear_fork_server(self) -> None:
        if self.starting is not None:
            container, self.starting = self.starting, None
            container.started(json.loads(self.fork_server.recv(1 << 16)))

    def reap(self, pid: int) -> int:
        """The exit code of a container's first process, which has ended."""
        self.hear_fork_server()
        self.fork_server.send(json.dumps({"reap": pid}).encode())
        return json.loads(self.fork_server.recv(1 << 16))["code"]

    def open_container(self, request: dict, *descriptors: int, sought=None) -> Container:
        return Container(self, request, *descriptors, sought=sought)

    def probe(self) -> str | None:
        """What keeps this machine from opening a container, if anything does."""
        limits = self.limits(1.0)
        command = {"mode": "exec", "limits": limits, "argv": ["/bin/true"], "environment": {}}
        running = Container(self, command)
        self.watch(running, None, {"timeout": 10.0, "alone": False}, limits)
        running.close()
        return running.error

    def limits(self, timeout: float, **changed: int) -> dict:
        return LIMITS | {"cpu": int(2 * timeout) + 5} | changed

    def watch(self, running: Container, verdict: int | None, job: dict, limits: dict):
        """Wait for the judge's word on descriptor ``verdict``, or for the program's end.

        Returns the judge's message (None when it had nothing to say) and the limit that was
        overstepped (None when none was).
        """
        if running.pid is None:
            self.hear_fork_server()
        start = time.monotonic()
        deadline = start + job["timeout"]
        word, look = b"", start + TICK
        waiting = running.open | ({verdict} if verdict is not None else set())
        gone_at = None
        while waiting:
            now = time.monotonic()
            if gone_at is not None and now > gone_at + GRACE:
                return None, None
            if now >= deadline:
                deadline = self._extended(running, start, job, now)
                if now >= deadline:
                    return None, "timeout"
            if now >= look:
                look = now + TICK
                if self.memory_in_use() > limits["memory"]:
                    return None, "out_of_memory"
            until = min(deadline, look)
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, until - now))
            if running.output in ready:
                running.read_output()
                if running.printed > OUTPUT_LIMIT:
                    return None, "output_limit"
            if verdict in ready:
                data = os.read(verdict, 1 << 16)
                if not data:
                    return None, None
                word += data
                if word.endswith(b"\n"):
                    return json.loads(word), None
            if running.end in ready:
                running.reap()
                gone_at = time.monotonic()
                if verdict is None or running.error:
                    return None, None
            waiting = running.open | ({verdict} if verdict is not None else set())
        return None, None

    def _extended(self, running: Container, start: float, job: dict, now: float) -> float:
        """A program that runs alone is not charged for the time in which it had no processor."""
        if not job["alone"]:
            return now
        used, starved = self._processor_time()
        if used > job["timeout"] * os.cpu_count():  # it had enough: it starves itself
            return now
        end = start + min(job["timeout"] + starved, PATIENCE * job["timeout"])
        return end if end > now + 0.005 else now

    def _untrusted(self):
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in self.trusted:
                yield name

    def _processor_time(self) -> tuple[float, float]:
        """Seconds of processor that the program used, and the longest wait of a thread for one."""
        used = longest = 0
        for pid in self._untrusted() if not self.unsafe else ():
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                        running, waiting, _ = map(int, file.read().split())
                    used += running
                    longest = max(longest, waiting)
            except (OSError, ValueError):  # it has just ended
                continue
        return used / 1e9, longest / 1e9

    def memory_in_use(self) -> int:
        """Resident bytes of all that is not ours."""
        total = 0
        for pid in self._untrusted() if not self.unsafe else ():
            try:
                with open(f"/proc/{pid}/statm") as file:
                    total += int(file.read().split()[1])
            except (OSError, IndexError, ValueError):
                continue
        return total * resource.getpagesize()

    def conclude(self, running: Container, word, overstepped, job) -> tuple[str, str]:
        """Verdict and detail from the judge's word, the limits, and the program's end."""
        if word is None or word["verdict"] == "gone":
            running.await_end()
        running.close()
        if running.error:
            return "harness_error", running.error
        if overstepped == "timeout":
            return "timeout", f"no end within {job['timeout']:g} s"
        if overstepped:
            return overstepped, running.tail.decode("utf-8", "replace").strip()[-200:]
        if word is None:
            if running.was_running:
                return "harness_error", "the judge ended without a word"
            return "runtime_error", running.how_it_ended()
        if word["verdict"] == "gone":
            if HEAP_FULL in running.tail:
                return "out_of_memory", running.how_it_ended()
            return "runtime_error", running.how_it_ended()
        return word["verdict"], word["detail"]

    def grade(self, job: dict) -> dict:
        start = time.monotonic()
        try:
            for text in ("prompt", "completion", "tests", "program"):
                job.get(text, "").encode()
        except UnicodeEncodeError:
            return {"verdict": "compile_error", "detail": "no Unicode text", "seconds": 0.0}
        language = self.languages[job["language"]]
        verdict, detail = language.grade(job)
        seconds = time.monotonic() - start
        return {"verdict": verdict, "detail": " ".join(detail.split())[:500], "seconds": seconds}


LANGUAGES = {
    "python": warm.Python,
    "java": warm.Java,
    "javascript": warm.JavaScript,
    "cpp": cpp.Cpp,
    "typescript": typescript.TypeScript,
}


def preload() -> None:
    """Import what programs commonly import, so that each finds it at hand."""
    import importlib

    names = """abc array bisect cmath collections copy functools heapq itertools math operator
    random re string sys time typing"""
    for name in names.split():
        importlib.import_module(name)


def main() -> None:
    containers.make_dumpable()
    containers.name_process("supervisor")
    commands, answers = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    config = json.loads(sys.argv[1])
    preload()
    gc.collect()
    gc.freeze()
    supervisor = Supervisor(config | {"run_candidate": python_candidate.run})
    wire.send(answers, {"error": supervisor.probe()})
    while True:
        try:
            job = wire.receive(commands)
        except wire.Gone:
            os._exit(0)
        wire.send(answers, supervisor.grade(job))
        supervisor.languages[job["language"]].tidy()
        supervisor.languages[job["language"]].prepare()


if __name__ == "__main__":
    main()
