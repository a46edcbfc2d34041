"""A container: the fresh, closed surroundings of one untrusted program.

Each container is a new user, mount, pid and ipc namespace inside the sandbox (which has no network), with
its own bounded /tmp, no capability, no way to make further namespaces, and hard limits. Its first
process is pid 1 of the pid namespace: when that ends or is killed, the kernel kills all the rest,
whatever sessions or signals they chose.

This file runs inside the sandbox and imports only the standard library.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import struct
import sys

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV = 2, 4
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 1, 4, 15, 38
PR_SET_SECCOMP = 22
CAPABILITY_VERSION_3 = 0x20080522
CLONE = {"x86_64": 56, "aarch64": 220}  # the number of the system call

libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _write(path: str, text: str) -> None:
    # Not by a file object: it would touch, and so copy, many more pages of the forked memory.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _new_process(closed: bool) -> int:
    """Fork; the child is the first process of namespaces of its own if ``closed``.

    By the system call itself, because ``unshare`` takes effect for the children only: that would
    cost another process. The C library's fork handlers, which do not run, are for threads.
    """
    if not closed:
        return os.fork()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | signal.SIGCHLD
    pid = ctypes.PyDLL(None, use_errno=True).syscall(CLONE[os.uname().machine], flags, 0, 0, 0, 0)
    if pid < 0:
        _checked(pid, "clone")
    return pid


def _own_user_namespace(uid: int, gid: int) -> None:
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")
    # In a further user namespace the program could mount file systems that no limit bounds.
    _write("/proc/sys/user/max_user_namespaces", "0")


def _mount(kind: str, target: str, options: str = "") -> None:
    result = libc.mount(
        b"container", target.encode(), kind.encode(), MS_NOSUID | MS_NODEV, options.encode()
    )
    _checked(result, f"mount {kind} on {target}")


def _private_folders(disk: int) -> None:
    _mount("proc", "/proc")
    _mount("tmpfs", "/tmp", f"size={disk},nr_inodes=4096,mode=1777")
    _mount("tmpfs", "/dev/shm", f"size={disk // 4},nr_inodes=256,mode=1777")


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    _checked(libc.capset(header, none), "capset")
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _set_limits(limits: dict) -> None:
    def limit(which: int, value: int) -> None:
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))

    if limits["address_space"]:
        limit(resource.RLIMIT_AS, limits["address_space"])
    limit(resource.RLIMIT_NPROC, limits["processes"])
    limit(resource.RLIMIT_FSIZE, limits["disk"])
    limit(resource.RLIMIT_NOFILE, 256)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_MEMLOCK, 1 << 20)
    limit(resource.RLIMIT_MSGQUEUE, 1 << 16)
    limit(resource.RLIMIT_CPU, limits["cpu"])


def _become_victim_of_choice() -> None:
    try:  # where memory runs out all the same, the kernel is to take the program, not the machine
        _write("/proc/self/oom_score_adj", "1000")
    except OSError:
        pass


def _place(descriptors: list, kept: tuple = ()) -> None:
    """Put ``descriptors`` at 0, 1, 2, ... and close every other one, but for those in ``kept``."""
    high = [os.dup2(fd, 200 + i, inheritable=False) for i, fd in enumerate(descriptors)]
    for i, fd in enumerate(high):
        os.dup2(fd, i, inheritable=True)
    start = len(high)
    for fd in (*kept, 1024):
        os.closerange(start, fd)
        start = fd + 1


def _inhabit(request: dict, ids: tuple, descriptors: list, status: int, run) -> None:
    """In the container's first process: close it off, then ``run(request)``; never returns.

    ``descriptors`` become 0, 1, 2, ... of the program. ``status`` takes a line of JSON if something
    is wrong, or with how a command ended.
    """

    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        name_process("candidate")
        os.setsid()
        if not request["unsafe"]:
            _own_user_namespace(*ids)
            _private_folders(request["limits"]["disk"])
        _become_victim_of_choice()
        os.chdir(request.get("folder", "/tmp"))
        if not request["unsafe"]:
            if request.get("hide_proc"):  # through which a program reads its own memory
                _mount("tmpfs", "/proc", "size=4096,nr_inodes=2,mode=0555")
            _drop_capabilities()
        if request["mode"] == "exec":
            _run_command(request, descriptors, status)
        _set_limits(request["limits"])
    except OSError as error:
        _report(status, error=f"cannot close off a program: {error}")
        os._exit(1)
    _place(descriptors)
    run(request)
    os._exit(0)


def _report(status: int, **line) -> None:
    os.write(status, (json.dumps(line) + "\n").encode())


PROGRAM, STATUS = 250, 251  # descriptors that close when the program starts


def _run_command(request: dict, descriptors: list, status: int) -> None:
    """Run ``request["argv"]`` as a child of pid 1, for which signals would mean something else."""
    child = os.fork()
    if not child:
        try:
            _set_limits(request["limits"])
            status = os.dup2(status, STATUS, inheritable=False)
            program = request["argv"][0]
            if request.get("execute") is not None:  # the program itself comes as a descriptor
                program = os.dup2(descriptors[request["execute"]], PROGRAM, inheritable=False)
            if "files" in request:
                descriptors = _settle(request, descriptors)
            elif program == PROGRAM:
                descriptors.pop(request["execute"])
            _place(descriptors, kept=(PROGRAM, STATUS))
            if request.get("childless"):
                _forbid_children()
            os.execve(program, request["argv"], request["environment"])
        except OSError as error:
            _report(status, error=f"cannot start {request['argv'][0]}: {error}")
        os._exit(127)
    libc.prctl(
        PR_SET_DUMPABLE, 0, 0, 0, 0
    )  # the program is not to reach our report to the supervisor
    for fd in descriptors:
        os.close(fd)
    while True:
        pid, how = os.waitpid(-1, 0)
        if pid == child:
            _report(status, ended=os.waitstatus_to_exitcode(how))
            os._exit(0)


def _settle(request: dict, descriptors: list) -> list:
    """Write ``request["files"]`` (names by the descriptors that hold their content) to a new folder, the
    program's; its standard input is the descriptor ``request["input"]``, if that is not None."""
    folder = f"program-{os.getpid()}"
    os.mkdir(folder)
    os.chdir(folder)
    for number, name in request["files"].items():
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        start, size = 0, os.fstat(descriptors[int(number)]).st_size
        while start < size:
            start += os.sendfile(file, descriptors[int(number)], start, size - start)
        os.close(file)
    source = 0 if request["input"] is None else request["input"]
    return [descriptors[source], *descriptors[1:3]]


# System calls that make a process, by machine: fork and its like, and clone, which also makes threads.
FORKS = {"x86_64": ((57, 58), 56), "aarch64": ((), 220)}
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE3, CLONE_THREAD, EPERM, ENOSYS = 435, 0x10000, 1, 38
LOAD, EQUAL, SET, LARGE, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def _forbid_children() -> None:
    """From here on threads can be made, processes not: a program with copies of itself could try answers
    on the tests in one of them, and give in another the one that held."""
    machine = os.uname().machine
    forks, clone = FORKS[machine]
    no, unknown, yes = ([(RETURN, 0, 0, value)] for value in (ERROR | EPERM, ERROR | ENOSYS, ALLOW))
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT[machine]), *no]  # another set of system calls
    code += [(LOAD, 0, 0, 0), (LARGE, 0, 1, 0x40000000), *no]  # x32's
    for call in forks:
        code += [(EQUAL, 0, 1, call), *no]
    code += [(EQUAL, 0, 1, CLONE3), *unknown]  # its flags are out of sight: clone is taken then
    code += [(EQUAL, 1, 0, clone), *yes, (LOAD, 0, 0, 16), (SET, 1, 0, CLONE_THREAD), *no, *yes]
    text = b"".join(struct.pack("=HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(text, len(text))
    program = struct.pack("HP", len(code), ctypes.addressof(held))
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    result = libc.prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(program, len(program)), 0, 0)
    _checked(result, "seccomp")


def serve_containers(requests, run) -> None:
    """The fork server: a process that has never seen a test opens a container for every request.

    Candidates are forked from here, so that no expected value is in their memory, not even one
    of an earlier program. Answers with the pid of the container's first process, or, asked to reap one,
    with its exit code. Ends when the supervisor does.
    """
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    name_process("fork server")
    ids = os.getuid(), os.getgid()
    while True:
        text, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 16)
        if not text:
            os._exit(0)
        request = json.loads(text)
        if "reap" in request:
            _, how = os.waitpid(request["reap"], 0)
            answer = {"code": os.waitstatus_to_exitcode(how)}
        else:
            try:
                pid = _new_process(not request["unsafe"])
                if not pid:
                    requests.close()
                    _inhabit(request, ids, descriptors[:-1], descriptors[-1], run)
                answer = {"pid": pid}
            except OSError as error:
                answer = {"error": f"cannot make namespaces for a program: {error}"}
        for fd in descriptors:
            os.close(fd)
        requests.send(json.dumps(answer).encode())


def name_process(name: str) -> None:
    """What ``ps`` and ``perf`` call this process."""
    libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def limit_judge() -> None:
    """Tests that fill the memory with what a candidate answered end themselves."""
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def make_dumpable() -> None:
    """Own /proc/self again after a change of uid, or the namespaces' maps cannot be written."""
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


if __name__ == "__main__":
    sys.exit("this file is used by supervisor.py")
