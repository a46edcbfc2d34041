"""Programs that cheat, crash, flood or linger, and the verdicts that are right for them.

All answer one small problem, to add k to every number of a list, in four languages. Some are right
and merely odd: those must pass. The tests run them all, so does ``flexlib grade --selfcheck``,
and the book shows them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass

from flexlib.grading.programs import Program

PROMPTS = {
    "python": 'def add_all(x: list, k: int) -> list:\n    """Add k to every number of x."""\n',
    "java": (
        "import java.util.*;\nclass Problem {\n    // Add k to every number of x.\n"
        "    public static ArrayList<Long> addAll(ArrayList<Long> x, long k) {\n"
    ),
    "javascript": "// Add k to every number of x.\nfunction add_all(x, k){\n",
    "cpp": (
        "#include<assert.h>\n#include<bits/stdc++.h>\n// Add k to every number of x.\n"
        "std::vector<long> add_all(std::vector<long> x, long k) {\n"
    ),
}

TESTS = {
    "python": """
def check(candidate):
    assert candidate([1, 2], 3) == [4, 5]
    assert candidate([], 3) == []
    assert candidate([7], -7) == [0]

check(add_all)
""",
    "java": """    }
    public static void main(String[] args) {
    assert(addAll((new ArrayList<Long>(Arrays.asList((long)1l, (long)2l))), (3l)).equals((new ArrayList<Long>(Arrays.asList((long)4l, (long)5l)))));
    assert(addAll((new ArrayList<Long>(Arrays.asList())), (3l)).equals((new ArrayList<Long>(Arrays.asList()))));
    }

}
""",
    "javascript": """const assert = require('node:assert');


function test() {
  let candidate = add_all;
  assert.deepEqual(candidate([1, 2], 3),[4, 5]);
  assert.deepEqual(candidate([], 3),[]);
}

test();
""",
    "cpp": """}
int main() {
    auto candidate = add_all;
    assert(candidate((std::vector<long>({(long)1, (long)2})), (3)) == (std::vector<long>({(long)4, (long)5})));
    assert(candidate((std::vector<long>()), (3)) == (std::vector<long>()));
}
""",
}

FAIL = ("wrong", "runtime_error", "compile_error")
EARLY = ("runtime_error", "compile_error")
LIMIT = ("timeout", "output_limit", "out_of_memory", "runtime_error")


@dataclass(frozen=True)
class Case:
    """One program: what it tries, and the verdicts that are right for it."""

    name: str
    language: str
    group: str
    completion: str
    allowed: tuple[str, ...]

    @property
    def program(self) -> Program:
        return Program(
            f"{self.language}: {self.name}",
            self.language,
            PROMPTS[self.language],
            self.completion,
            TESTS[self.language],
        )


CASES: list[Case] = []


def _add(language: str, group: str, allowed: tuple[str, ...], **completions: str) -> None:
    for name, completion in completions.items():
        CASES.append(Case(name.replace("_", " "), language, group, completion, allowed))


PASS = ("pass",)

# Python ----------------------------------------------------------------------------------------

GOOD = "    return [v + k for v in x]\n"
BAD = "    return []\n"

_add(
    "python",
    "leaves early",
    EARLY,
    exit_0=BAD + "exit(0)\n",
    os_exit_in_call="    import os\n    os._exit(0)\n",
    system_exit="    raise SystemExit(0)\n",
    exits_after_a_right_function=GOOD + "import os\nos._exit(0)\n",
    exit_from_a_thread=BAD
    + "import threading, os, time\nthreading.Thread(target=lambda: os._exit(0)).start()\n"
    + "time.sleep(0.5)\n",
    exec_another_program="    import os\n    os.execv('/bin/true', ['true'])\n",
    kills_itself="    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    "    signal.raise_signal(signal.SIGSEGV)\n    raise ValueError\n",
    closes_every_descriptor="    import os\n    os.closerange(0, 256)\n",
    keyboard_interrupt="    raise KeyboardInterrupt\n",
)
_add(
    "python",
    "runs code at the end",
    FAIL,
    atexit=BAD + "import atexit, os\natexit.register(lambda: os._exit(0))\n",
    excepthook=BAD + "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n",
    del_at_exit=BAD + "class D:\n    def __del__(self):\n        import os; os._exit(0)\nd = D()\n",
    thread_excepthook=BAD + "import threading\nthreading.excepthook = lambda *a: None\n",
)
_add(
    "python",
    "is equal to everything",
    FAIL,
    eq_always_true="    class E:\n        def __eq__(self, o): return True\n"
    "        def __ne__(self, o): return False\n    return E()\n",
    list_subclass="    class L(list):\n        def __eq__(self, o): return True\n    return L()\n",
    list_of_liars="    class E(int):\n        def __eq__(self, o): return True\n"
    "        __hash__ = None\n    return [E(0) for v in x]\n",
    metaclass="    class M(type):\n        def __eq__(c, o): return True\n"
    "        __hash__ = None\n    class E(metaclass=M): pass\n    return E\n",
    proxy_of_arguments="    x.__class__\n    class P:\n        def __getattribute__(s, n):\n"
    "            return lambda *a: True\n    return P()\n",
    mock="    from unittest.mock import MagicMock\n    m = MagicMock()\n"
    "    m.__eq__ = lambda s, o: True\n    return m\n",
)
_add(
    "python",
    "looks for the expected values",
    FAIL,
    walks_frames="    import sys\n    f = sys._getframe().f_back\n    while f:\n"
    "        for c in f.f_code.co_consts:\n            if c == (4, 5): return [v + k for v in x]\n"
    "        f = f.f_back\n    return []\n",
    searches_the_heap="    import gc, re\n    for o in gc.get_objects():\n"
    "        if isinstance(o, (str, tuple)) and re.search(r'assert candidat[e]', str(o)): return [v + k for v in x]\n"
    "    return []\n",
    reads_its_memory="    import re\n    for line in open('/proc/self/maps'):\n"
    "        a, b = (int(p, 16) for p in line.split()[0].split('-'))\n"
    "        if 'r' not in line.split()[1] or 'vv' in line: continue\n"
    "        with open('/proc/self/mem', 'rb') as m:\n            m.seek(a)\n"
    "            try: d = m.read(b - a)\n            except OSError: continue\n"
    "            if re.search(rb'assert candidat[e]\\(\\[1, 2', d): return [v + k for v in x]\n    return []\n",
    reads_the_parents_memory="    import os, glob\n    for p in glob.glob('/proc/[0-9]*/mem'):\n"
    "        if p != '/proc/%d/mem' % os.getpid():\n"
    "            try: open(p, 'rb')\n            except OSError: continue\n"
    "            return [v + k for v in x]\n"
    "    return []\n",
    reads_its_source="    import os, glob\n    for d, _, fs in os.walk('/tmp'):\n"
    "        for f in fs:\n"
    "            if 'assert' in open(os.path.join(d, f)).read(): return [v + k for v in x]\n"
    "    return []\n",
    reads_the_tests_function="    import sys\n    sys.modules['__main__'].check\n"
    "    return [v + k for v in x]\n",
)
_add(
    "python",
    "patches the judge",
    FAIL,
    builtins_patched=BAD + "import builtins\nbuiltins.AssertionError = type(None)\n"
    "builtins.len = lambda *a: 2\nbuiltins.list = dict\n",
    own_check=BAD + "def check(candidate): pass\n",
    assertion_replaced=BAD + "AssertionError = SystemExit\n",
    trace_function=BAD + "import sys\nsys.settrace(lambda f, e, a: None)\n"
    "sys.setprofile(lambda *a: None)\n",
    list_eq_patched=BAD + "import ctypes, gc\n"
    "d = gc.get_referents(list.__dict__)[0]\nd['__eq__'] = lambda a, b: True\n"
    "ctypes.pythonapi.PyType_Modified(ctypes.py_object(list))\n",
    finishes_the_tests_itself=BAD + "add_all([1, 2], 3)\nimport sys\nsys.exit(0)\n",
    swallows_the_tests="    '''\n    return []\n",
    comments_out_by_string=BAD + '"""\n',
    answers_in_advance=BAD + "import os, struct\nb = b'{\"value\":[4,5]}'\n"
    "for i in range(9):\n    os.write(3, struct.pack('>I', len(b)) + b)\n",
    answers_with_nonsense="    import os\n    os.write(3, b'\\x00\\x00\\x00\\x04pass')\n    return 1\n",
    answers_with_code="    import os, struct\n"
    '    b = b\'{"value":{"n":"eval"}}\'\n    os.write(3, struct.pack(\'>I\', len(b)) + b)\n',
    answers_too_deep="    r = []\n    for i in range(10**5): r = [r]\n    return r\n",
    nothing="",
    only_a_comment="# ...",
    endless_generator="    while True: yield 1\n",
    returns_itself="    x.append(x)\n    return x\n",
)
_add(
    "python",
    "prints a verdict",
    (*FAIL, "output_limit"),
    prints_passed=BAD + "print('passed'); print('OK'); print('1 passed')\n",
    prints_json='    print(\'{"verdict": "pass", "detail": ""}\')\n    return []\n',
    writes_to_every_descriptor=BAD + "import os\nfor i in range(64):\n    try:\n"
    '        os.write(i, b\'{"verdict": "pass", "detail": ""}\\n\')\n    except OSError: pass\n',
)
_add(
    "python",
    "attacks other processes",
    FAIL + LIMIT,
    kills_everything=BAD + "import os, signal\ntry: os.kill(-1, signal.SIGKILL)\n"
    "except OSError: pass\n",
    kills_its_parent=BAD + "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n",
    stops_its_parent="    import os, signal\n    os.kill(os.getppid(), signal.SIGSTOP)\n"
    "    os.killpg(0, signal.SIGSTOP)\n    return []\n",
    kills_every_number=BAD + "import os\nfor p in range(2, 3000):\n    try: os.kill(p, 9)\n"
    "    except OSError: pass\n",
    traces_its_parent=BAD + "import ctypes, os\n"
    "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0\n",
    fork_storm=BAD + "import os\nwhile True: os.fork()\n",
    fork_storm_that_forgives=BAD + "import os\nwhile True:\n    try: os.fork()\n"
    "    except OSError: pass\n",
    children_in_new_sessions=BAD + "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
    "    if os.fork() == 0:\n        time.sleep(1000)\n    os._exit(0)\n",
    new_namespaces="    import ctypes\n"
    "    assert ctypes.CDLL(None).unshare(0x10000000) == 0\n    return []\n",
)
_add(
    "python",
    "takes too much",
    LIMIT,
    endless_loop="    while True: pass\n",
    endless_loop_at_import=GOOD + "while True: pass\n",
    sleeps="    import time\n    time.sleep(1000)\n",
    ignores_signals="    import signal\n    for s in set(signal.Signals) - {9, 19}:\n"
    "        signal.signal(s, signal.SIG_IGN)\n    while True: pass\n",
    memory="    return ['x' * 10**8 for i in range(10**6)]\n",
    memory_in_a_string="    return 'x' * 10**11\n",
    memory_in_the_answer="    return [0] * (3 * 10**7)\n",
    endless_output="    while True: print('x' * 10000)\n",
    endless_errors="    import sys\n    while True: sys.stderr.write('x' * 10000)\n",
    deep_stack="    import sys\n    sys.setrecursionlimit(10**9)\n"
    "    f = lambda n: f(n + 1) + 1\n    return f(0)\n",
    endless_recursion="    return add_all(x, k)\n",
    disk="    with open('/tmp/x', 'wb') as f:\n        while True: f.write(b'x' * 10**6)\n",
    disk_in_many_files="    i = 0\n    while True:\n        i += 1\n"
    "        open(f'/tmp/{i}', 'w').close()\n",
    shared_memory="    i = 0\n    while True:\n        i += 1\n"
    "        open(f'/dev/shm/{i}', 'wb').write(b'x' * 10**6)\n",
    descriptors="    a = []\n    while True: a.append(open('/dev/null'))\n",
    threads="    import threading, time\n    while True:\n"
    "        threading.Thread(target=time.sleep, args=(1000,)).start()\n",
    huge_number="    return 10 ** 10 ** 9\n",
)
_add(
    "python",
    "reaches outside",
    FAIL,
    reads_the_passwords="    return open('/etc/shadow').read()\n",
    reads_the_home="    import os\n    return os.listdir('/root') + os.listdir('/home')\n",
    deletes_files="    import shutil\n    shutil.rmtree('/usr/lib/python3')\n    return []\n",
    writes_to_its_code="    open('/flex/code/wire.py', 'a').write('#')\n    return []\n",
    loopback="    import socket\n    socket.create_connection(('127.0.0.1', 22), 2)\n",
    network="    import socket\n    socket.create_connection(('1.1.1.1', 80), 2)\n",
    a_secret_of_the_environment="    import os\n    return os.environ['FLEXLIB_TEST_SECRET']\n",
    mounts="    import subprocess\n    subprocess.run(['mount', '-t', 'tmpfs', 'x', '/usr'],"
    " check=True)\n    return []\n",
)
_add(
    "python",
    "is no text",
    EARLY,
    lone_surrogate="    return '\ud800'\n",
    nul="    return [v + k for v in x]\0\n",
    deeply_nested="    return " + "(" * 3000 + "x" + ")" * 3000 + "\n",
)
_add(
    "python",
    "right, but odd",
    PASS,
    plain=GOOD,
    leaves_a_thread="    import threading, time\n"
    "    threading.Thread(target=time.sleep, args=(1000,)).start()\n" + GOOD,
    leaves_a_child="    import os, time\n    if os.fork() == 0:\n        time.sleep(1000)\n" + GOOD,
    prints_a_megabyte="    print('x' * 10**6)\n" + GOOD,
    prints_surrogates="    print('\\ud800', '\\0')\n" + GOOD,
    closes_its_output="    import sys\n    sys.stdout.close()\n" + GOOD,
    changes_folder_and_files="    import os\n    os.mkdir('d')\n    os.chdir('d')\n"
    "    open('f', 'w').write('x')\n" + GOOD.replace("x]", "x]") + "import os\n"
    "add = add_all\ndef add_all(x, k):\n    import tempfile, os\n"
    "    os.chdir(tempfile.mkdtemp())\n    return add(x, k)\n",
    a_subclass="    class L(list): pass\n    return L(v + k for v in x)\n",
    changes_its_argument="    for i in range(len(x)): x[i] += k\n    return x\n",
    a_main_that_reads="    return [v + k for v in x]\nif __name__ == '__main__':\n    input()\n",
    a_pool="    from multiprocessing.dummy import Pool\n"
    "    with Pool(2) as p: return p.map(lambda v: v + k, x)\n",
    uses_a_gigabyte_less="    y = bytearray(3 * 10**8)\n" + GOOD,
)

# Java ------------------------------------------------------------------------------------------

JGOOD = "        ArrayList<Long> r = new ArrayList<>();\n        for (long v : x) r.add(v + k);\n"
JGOOD += "        return r;\n"
JBAD = "        return new ArrayList<Long>();\n"

_add(
    "java",
    "leaves early",
    EARLY,
    system_exit="        System.exit(0);\n" + JBAD,
    halt="        Runtime.getRuntime().halt(0);\n" + JBAD,
    static_initialiser=JBAD + "    }\n    static { System.exit(0); }\n    static void g() {\n",
    exit_after_a_right_answer=JGOOD.replace(
        "        return r;", "        System.exit(0); return r;"
    ),
    thread_that_exits="        new Thread(() -> System.exit(0)).start();\n"
    "        try { Thread.sleep(500); } catch (InterruptedException e) { }\n" + JBAD,
    shutdown_hook="        Runtime.getRuntime().addShutdownHook(new Thread(() ->"
    " Runtime.getRuntime().halt(0)));\n        System.exit(1);\n" + JBAD,
    kills_itself='        try { new ProcessBuilder("/bin/sh", "-c", "kill -9 $PPID").start()'
    ".waitFor(); Thread.sleep(500); } catch (Exception e) { }\n" + JBAD,
)
_add(
    "java",
    "is equal to everything",
    FAIL,
    list_that_is_equal="        return new ArrayList<Long>() {\n"
    "            public boolean equals(Object o) { return true; } };\n",
    own_arraylist=JBAD + "    }\n    static class Yes extends ArrayList<Long> {\n"
    "        public boolean equals(Object o) { return true; }\n    }\n    static void g() {\n",
    own_class_named_arraylist="        return null;\n    }\n"
    "    static class ArrayList<T> { ArrayList(Object... o) { }\n"
    "        public boolean equals(Object o) { return true; } }\n    static void g() {\n",
)
_add(
    "java",
    "looks for the expected values",
    FAIL,
    reads_its_class_file="        try { byte[] b = Problem.class.getResourceAsStream("
    '"Problem.class").readAllBytes();\n'
    '            if (new String(b).contains("asList")) k = k; else k = k + 1;\n'
    "            for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k); return x;\n"
    "        } catch (Exception e) { }\n" + JBAD,
    walks_the_stack="        for (StackTraceElement e : Thread.currentThread().getStackTrace())\n"
    '            if (e.getMethodName().equals("main") && e.getClassName().equals("Problem"))\n'
    "                { for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k); return x; }\n"
    + JBAD,
    reflects_on_the_judge='        try { Class.forName("flex.Judge").getDeclaredField("link")'
    '.setAccessible(true);\n            Class.forName("flex.Judge").getMethod("call", String.class,'
    ' String.class, String.class, Object[].class).invoke(null, "a", "b", "c", null); }\n'
    "        catch (Exception e) { throw new RuntimeException(e); }\n" + JBAD,
    reads_files="        try { for (java.nio.file.Path p : (Iterable<java.nio.file.Path>) "
    'java.nio.file.Files.walk(java.nio.file.Path.of("/tmp"))::iterator)\n'
    "            if (java.nio.file.Files.isRegularFile(p) && new String(java.nio.file.Files"
    '.readAllBytes(p)).contains("assert")) { for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k); return x; } }\n'
    "        catch (Exception e) { }\n" + JBAD,
)
_add(
    "java",
    "patches the judge",
    FAIL,
    own_main=JBAD + "    }\n    public static void main(String[] args) {\n    }\n"
    "    static void g() {\n",
    closes_the_class_early=JBAD + "    }\n    public static void main(String[] args) { }\n}\n"
    "class Other {\n    static ArrayList<Long> addAll(ArrayList<Long> x, long k) {\n" + JBAD,
    comments_out_the_tests=JBAD + "    }\n    public static void main(String[] a) { }\n}\n/*",
    unicode_escapes="        return null; \\u007d \\u007d class Q \\u007b static void g() \\u007b\n",
    assertions_off="        ClassLoader.getSystemClassLoader().setDefaultAssertionStatus(false);\n"
    "        Problem.class.getClassLoader().clearAssertionStatus();\n" + JBAD,
    uncaught_handler="        Thread.setDefaultUncaughtExceptionHandler((t, e) ->"
    " Runtime.getRuntime().halt(0));\n" + JBAD,
    prints_ok='        System.out.println("OK"); System.err.println("{\\"verdict\\":\\"pass\\"}");\n'
    + JBAD,
    writes_to_the_pipe='        try (var o = new java.io.FileOutputStream("/proc/self/fd/4")) {\n'
    "            o.write(new byte[] {0, 0, 0, 1, 'V'}); } catch (Exception e) { }\n" + JBAD,
    deeply_nested="        return " + "(" * 20000 + "null" + ")" * 20000 + ";\n",
    throws_an_assertion="        throw new AssertionError();\n",
    throws_an_error="        throw new Error() { public String getMessage() { System.exit(0);"
    " return null; } };\n",
)
_add(
    "java",
    "takes too much",
    LIMIT,
    endless_loop="        while (true) { }\n",
    endless_threads="        while (true) new Thread(() -> { while (true) { } }).start();\n",
    memory="        ArrayList<long[]> a = new ArrayList<>();\n"
    "        while (true) a.add(new long[1 << 20]);\n",
    memory_outside_the_heap="        ArrayList<Object> a = new ArrayList<>();\n"
    "        while (true) a.add(java.nio.ByteBuffer.allocateDirect(1 << 24));\n",
    endless_output='        while (true) System.out.println("xxxxxxxxxx".repeat(1000));\n',
    endless_recursion="        return addAll(x, k);\n",
    disk='        try (var o = new java.io.FileOutputStream("/tmp/x")) {\n'
    "            while (true) o.write(new byte[1 << 20]); }\n"
    "        catch (java.io.IOException e) { throw new RuntimeException(e); }\n",
    children='        while (true) try { new ProcessBuilder("/bin/sleep", "1000").start(); }\n'
    "            catch (java.io.IOException e) { throw new RuntimeException(e); }\n",
    signals_ignored="        Runtime.getRuntime().addShutdownHook(new Thread(() -> {"
    " while (true) { } }));\n        System.exit(0);\n" + JBAD,
)
_add(
    "java",
    "reaches outside",
    FAIL,
    reads_the_home='        return new ArrayList<>(List.of((long) new java.io.File("/root")'
    ".list().length));\n",
    network='        try { new java.net.Socket("1.1.1.1", 80).close(); }\n'
    "        catch (java.io.IOException e) { throw new RuntimeException(e); }\n" + JBAD,
    loopback='        try { new java.net.Socket("127.0.0.1", 22).close(); }\n'
    "        catch (java.io.IOException e) { throw new RuntimeException(e); }\n" + JBAD,
)
_add(
    "java",
    "is no text",
    EARLY,
    lone_surrogate='        String s = "\ud800";\n' + JBAD,
    nothing="",
    unclosed_string='        return "',
)
_add(
    "java",
    "right, but odd",
    PASS,
    plain=JGOOD,
    leaves_a_thread="        new Thread(() -> { while (true) { } }).start();\n" + JGOOD,
    prints_a_megabyte='        System.out.println("x".repeat(1000000));\n' + JGOOD,
    closes_its_output="        System.out.close();\n" + JGOOD,
    changes_its_argument="        for (int i = 0; i < x.size(); i++) x.set(i, x.get(i) + k);\n"
    "        return x;\n",
    shutdown_hook_that_fails="        Runtime.getRuntime().addShutdownHook(new Thread(() ->"
    " Runtime.getRuntime().halt(1)));\n" + JGOOD,
)

# JavaScript ------------------------------------------------------------------------------------

SGOOD = "  return x.map((v) => v + k);\n}\n"
SBAD = "  return [];\n}\n"

_add(
    "javascript",
    "leaves early",
    EARLY,
    process_exit="  process.exit(0);\n}\n",
    exits_after_a_right_function=SGOOD + "process.exit(0);\n",
    kills_itself="  process.kill(process.pid, 'SIGKILL');\n  for (;;);\n}\n",
    really_exit="  process.reallyExit(0);\n}\n",
)
_add(
    "javascript",
    "patches the judge",
    FAIL,
    deep_equal_patched=SBAD + "const a = require('assert'); a.deepEqual = () => {};\n"
    "require('node:assert').strict.deepEqual = () => {};\n",
    require_cache=SBAD + "require('module')._load = () => ({ deepEqual() {} });\n",
    object_prototype=SBAD + "Object.prototype.equals = () => true;\n"
    "Object.defineProperty(Object.prototype, 'length', { get: () => 2, configurable: true });\n",
    array_iterator=SBAD
    + "Array.prototype[Symbol.iterator] = function* () { yield 4; yield 5; };\n",
    on_exit=SBAD + "process.on('exit', () => { process.exitCode = 0; process.reallyExit(0); });\n",
    uncaught=SBAD + "process.on('uncaughtException', () => process.exit(0));\n",
    own_test=SBAD + "function test() {}\nvar assert = { deepEqual() {} };\n",
    proxy="  return new Proxy([], { get: () => 4, has: () => true });\n}\n",
    getter="  return { get 0() { return 4; }, get 1() { return 5; }, length: 2 };\n}\n",
    prints_ok="  console.log('OK');\n  return [];\n}\n",
    writes_to_the_pipe="  require('fs').writeSync(4, Buffer.from([0, 0, 0, 1, 49]));\n"
    "  return [];\n}\n",
    prototype_pollution='  return JSON.parse(\'{"__proto__": {"length": 2, "0": 4}}\');\n}\n',
)
_add(
    "javascript",
    "takes too much",
    LIMIT,
    endless_loop="  for (;;);\n}\n",
    memory="  const a = []; for (;;) a.push(new Array(1e6).fill(0.5));\n}\n",
    memory_outside_the_heap="  const a = []; for (;;) a.push(Buffer.alloc(1e8, 1));\n}\n",
    endless_output="  for (;;) require('fs').writeSync(1, 'x'.repeat(1e5));\n}\n",
    endless_recursion="  return add_all(x, k);\n}\n",
    children="  for (;;) require('child_process').spawn('sleep', ['1000']);\n}\n",
)
_add(
    "javascript",
    "reaches outside",
    FAIL,
    reads_the_home="  return require('fs').readdirSync('/root');\n}\n",
    deletes_files="  require('fs').rmSync('/usr/lib/os-release');\n  return [];\n}\n",
)
_add(
    "javascript",
    "is no text",
    EARLY,
    lone_surrogate="  return '\ud800';\n}\n",
    nothing="",
    unclosed="  return [",
    closes_the_wrapper="  return [];\n}\n}); (function () {\n",
)
_add(
    "javascript",
    "right, but odd",
    PASS,
    plain=SGOOD,
    leaves_a_timer="  setInterval(() => {}, 1000);\n" + SGOOD,
    prints_a_megabyte="  console.log('x'.repeat(1e6));\n" + SGOOD,
    changes_its_argument="  x.forEach((v, i) => { x[i] = v + k; });\n  return x;\n}\n",
    rejects_a_promise="  Promise.reject(new Error('later'));\n" + SGOOD,
)

# C++ -------------------------------------------------------------------------------------------

CGOOD = "    for (auto& v : x) v += k;\n    return x;\n"
CBAD = "    return {};\n"

_add(
    "cpp",
    "leaves early",
    EARLY,
    exit_0="    exit(0);\n",
    constructor=CBAD
    + "}\n__attribute__((constructor)) static void f() { _exit(0); }\nvoid g() {\n",
    quick_exit="    std::at_quick_exit([] { _exit(0); });\n    std::quick_exit(1);\n",
    atexit_after_right=CGOOD.replace("return x", "exit(1); return x")
    + "}\nstatic int z = atexit([] { _exit(0); });\nvoid g() {\n",
    signal_handler="    signal(SIGSEGV, [](int) { _exit(0); });\n    *(volatile int*)0 = 1;\n"
    "    return x;\n",
)
_add(
    "cpp",
    "patches the judge",
    FAIL,
    own_assert=CBAD + "}\n#undef assert\n#define assert(x) ((void)0)\nvoid g() {\n",
    ndebug=CBAD + "}\n#define NDEBUG\n#include <assert.h>\nvoid g() {\n",
    own_equality=CBAD + "}\nbool operator==(const std::vector<long>&, const std::vector<long>&)"
    " { return true; }\nvoid g() {\n",
    better_equality=CBAD + "}\nnamespace std { bool operator==(vector<long>, vector<long>)"
    " { return true; } }\nvoid g() {\n",
    own_main=CBAD + "}\nint main() { return 0; }\nvoid g() {\n",
    main_renamed=CBAD + "}\nint main() { return 0; }\n#define main other\nvoid g() {\n",
    own_abort=CBAD + '}\nextern "C" void __assert_fail(const char*, const char*, unsigned,'
    " const char*) noexcept { _exit(0); }\nvoid g() {\n",
    comments_out_the_tests=CBAD + "}\nint main() { }\n/*",
    ends_the_file=CBAD + "}\nint main() { }\n#if 0\n",
    writes_to_the_pipe='    for (int i = 0; i < 9; i++) if (write(i, "\\1\\0\\0\\0V", 5)) { }\n'
    + CBAD,
    prints_ok='    puts("OK"); fflush(stdout);\n' + CBAD,
    reads_the_judge='    std::ifstream f("/proc/self/exe");\n'
    "    std::string s((std::istreambuf_iterator<char>(f)), {});\n"
    '    std::string p = "candidat";\n    p += "e((std::vec";\n'
    "    if (s.find(p) != s.npos) { for (auto& v : x) v += k; return x; }\n" + CBAD,
    includes_the_judge=CBAD + '}\n#include "/proc/self/fd/0"\nvoid g() {\n',
)
_add(
    "cpp",
    "takes too much",
    LIMIT,
    endless_loop="    for (volatile int i = 0;;) i++;\n",
    memory="    for (;;) memset(malloc(1 << 24), 1, 1 << 24);\n",
    endless_output='    for (;;) puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");\n',
    endless_recursion="    return add_all(x, k);\n",
    fork_storm="    for (;;) fork();\n",
)
_add(
    "cpp",
    "floods the compiler",
    (*EARLY, "timeout"),
    endless_template=CBAD + "}\ntemplate <int N> struct F { static const int v ="
    " F<N + 1>::v + F<N + 2>::v; };\nint q = F<0>::v;\nvoid g() {\n",
    includes_itself=CBAD + "}\n#include __FILE__\nvoid g() {\n",
    includes_endlessly=CBAD + '}\n#include "/dev/zero"\nvoid g() {\n',
    big_array=CBAD + "}\nchar big[1L << 33] = {1};\nvoid g() {\n",
)
_add("cpp", "is no text", EARLY, lone_surrogate="    // \ud800\n" + CBAD, nothing="    return x")
_add(
    "cpp",
    "right, but odd",
    PASS,
    plain=CGOOD,
    leaves_a_thread="    std::thread([] { for (;;); }).detach();\n" + CGOOD,
    prints_a_megabyte="    puts(std::string(1000000, 'x').c_str());\n" + CGOOD,
    closes_its_output="    fclose(stdout);\n" + CGOOD,
)
