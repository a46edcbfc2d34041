"""Programs that cheat, crash, flood or linger, and the verdicts that are right for them.

All answer one small problem, to add k to every number of a list, in every language. Some are right
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
    "typescript": "//Add k to every number of x.\nfunction add_all(x: number[], k: number): number[] {\n",
    "php": "<?php\n// Add k to every number of x.\nfunction add_all($x, $k) {\n",
    "go": (
        'package add_all_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n'
        "// Add k to every number of x.\nfunc add_all(x []int, k int) []int {\n"
    ),
    "rust": "/// Add k to every number of x.\nfn add_all(x: Vec<isize>, k: isize) -> Vec<isize> {\n",
    "lua": "-- Add k to every number of x.\nlocal function add_all(x, k)\n",
    "racket": "#lang racket\n\n;; Add k to every number of x.\n(define (add_all x k)\n",
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
    "typescript": """declare var require: any;
const assert = require('node:assert');


function test() {
  let candidate = add_all;
  assert.deepEqual(candidate([1, 2], 3),[4, 5]);
  assert.deepEqual(candidate([], 3),[]);
}

test();
""",
    "php": """function candidate(...$args) {
    return add_all(...$args);
}

function test(): void {
    if (candidate(array(1, 2), 3) !== array(4, 5)) { throw new Exception("Test failed!"); }
    if (candidate(array(), 3) !== array()) { throw new Exception("Test failed!"); }
}

test();
""",
    "go": """func TestAdd_All(t *testing.T) {
  candidate := add_all
	type test struct {
		actual   interface{}
		expected interface{}
	}
   tests := []test{
     { actual: candidate([]int{1, 2}, 3), expected: []int{4, 5} },
     { actual: candidate([]int{}, 3), expected: []int{} },
   }

	for i, tc := range tests {
		t.Run(fmt.Sprintf("test num % d", i), func(t *testing.T) {
			if fmt.Sprintf("%v", tc.actual) != fmt.Sprintf("%v", tc.expected) {
				t.Errorf("expected '%s', got '%s'", tc.expected, tc.actual)
			}
		})
	}
}
""",
    "rust": """}

fn main() {
    let candidate = add_all;
    assert_eq!(candidate(vec![1, 2], 3), vec![4, 5]);
    assert_eq!(candidate(Vec::<isize>::new(), 3), Vec::<isize>::new());
}
""",
    "lua": """lu = require('luaunit')

function test_humaneval()
local candidate = add_all
    lu.assertEquals(candidate({1, 2}, 3), {4, 5})
    lu.assertEquals(candidate({}, 3), {})
end

os.exit(lu.LuaUnit.run())""",
    "racket": """(require rackunit)

(define (test-humaneval)

  (let (( candidate add_all))
    (check-within (candidate (list 1 2) 3) (list 4 5) 0.001)
    (check-within (candidate (list) 3) (list) 0.001)
))

(test-humaneval)""",
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

# TypeScript: its types are checked, then it is JavaScript ----------------------------------------

TGOOD, TBAD = SGOOD.replace("(v)", "(v: number)"), SBAD
NODE = "declare var process: any, module: any, Buffer: any;\ndeclare function require(s: string): any;\n"

_add(
    "typescript",
    "leaves early",
    EARLY,
    process_exit="  process.exit(0);\n}\n"
    + NODE.replace("declare function require(s: string): any;\n", ""),
    exits_after_a_right_function=TGOOD + "declare var process: any;\nprocess.exit(0);\n",
    eval_that_exits="  return eval('process.exit(0)');\n}\n",
)
_add(
    "typescript",
    "patches the judge",
    FAIL,
    a_wrong_type="  return 'x';\n}\n",
    deep_equal_patched=TBAD + "eval(\"require('assert').deepEqual = () => {}\");\n",
    require_cache=TBAD + "eval(\"require('module')._load = () => ({ deepEqual() {} })\");\n",
    on_exit=TBAD + "eval(\"process.on('exit', () => process.reallyExit(0))\");\n",
    own_test=TBAD + "function test() {}\n",
    any_proxy="  return new Proxy([], { get: () => 4, has: () => true }) as any;\n}\n",
    prints_ok="  console.log('OK');\n  return [];\n}\n",
    no_check=TBAD + "// @ts-nocheck\nlet s: number = 'x';\n",
    exports_an_own_test=TBAD + "export {};\n",
)
_add(
    "typescript",
    "takes too much",
    LIMIT,
    endless_loop="  for (;;);\n}\n",
    memory="  const a: any[] = []; for (;;) a.push(new Array(1e6).fill(0.5));\n}\n",
    endless_output="  for (;;) eval('require(\"fs\")').writeSync(1, 'x'.repeat(1e5));\n}\n",
)
_add(
    "typescript",
    "floods the compiler",
    (*EARLY, "timeout", "wrong"),
    references_an_endless_file='  return [];\n}\n/// <reference path="/dev/zero" />\nimport "/dev/zero";\n',
    endless_type=TBAD + "type F<N extends any[]> = F<[...N, ...N, 1]>;\nlet q: F<[1]> = 1;\n",
    deeply_nested="  return " + "(" * 5000 + "x" + ")" * 5000 + ";\n}\n;;;let u: string = 1;\n",
)
_add(
    "typescript",
    "reaches outside",
    FAIL,
    reads_the_home="  return eval('require(\"fs\")').readdirSync('/root');\n}\n",
    fills_the_disk="  for (;;) eval('require(\"fs\")').appendFileSync('x', 'x'.repeat(1e6));\n}\n",
    starts_a_program="  eval('require(\"child_process\")').execFileSync('/flex/none');\n" + TGOOD,
    network="  eval('require(\"child_process\")').execSync('exec 3<>/dev/tcp/1.1.1.1/80',"
    " { shell: '/bin/bash' });\n" + TGOOD,
    guesses_a_word=f"  console.log('{'0' * 32}');\n  return [];\n}}\n",
)
_add(
    "typescript",
    "is no text",
    EARLY,
    lone_surrogate="  return '\ud800';\n}\n",
    unclosed="  return [",
)
_add(
    "typescript",
    "right, but odd",
    PASS,
    plain=TGOOD,
    types_of_its_own="  type V = { v: number };\n  const r: V[] = x.map((v) => ({ v: v + k }));\n"
    "  return r.map((e) => e.v);\n}\n",
    leaves_a_timer="  setInterval(() => {}, 1000);\n" + TGOOD,
    prints_a_megabyte="  console.log('x'.repeat(1e6));\n" + TGOOD,
)

# PHP -------------------------------------------------------------------------------------------

HGOOD = "    return array_map(function ($v) use ($k) { return $v + $k; }, $x);\n}\n"
HBAD = "    return array();\n}\n"
WORD = "0123456789abcdef0123456789abcdef"  # as long as the secret one

_add(
    "php",
    "leaves early",
    EARLY,
    exit_0=HBAD + "exit(0);\n",
    exit_in_call="    exit(0);\n}\n",
    exits_after_a_right_function=HGOOD + "exit(0);\n",
    returns_from_the_file_with_a_wrong_function="    exit;\n}\nreturn;\n",
    halts_the_compiler="    die();\n}\n__halt_compiler();",
    guesses_the_word=f"    echo '{WORD}';\n    exit(0);\n" + HBAD,
    kills_itself="    shell_exec('kill -9 $PPID');\n    sleep(1);\n    exit(0);\n}\n",
)
_add(
    "php",
    "runs code at the end",
    FAIL,
    shutdown_function=HBAD
    + f"register_shutdown_function(function () {{ echo '{WORD}'; exit(0); }});\n",
    exception_handler=HBAD + "set_exception_handler(function () { exit(0); });\n",
    destructor=HBAD + "class D { function __destruct() { exit(0); } }\n$d = new D();\n",
    output_callback=HBAD + f"ob_start(function ($b) {{ return '{WORD}'; }});\n",
    ticks=HBAD + "declare(ticks=1);\nregister_tick_function(function () { exit(0); });\n",
)
_add(
    "php",
    "looks for the word",
    FAIL,
    reads_standard_input="    echo stream_get_contents(fopen('php://stdin', 'r'));\n    exit(0);\n}\n",
    reads_its_source="    echo substr(strrchr(file_get_contents(__FILE__), 'W'), 0, 32);\n    exit(0);\n}\n",
    reads_the_runner="    foreach (get_included_files() as $f) echo file_get_contents($f);\n"
    "    exit(0);\n}\n",
    walks_the_stack="    var_dump(debug_backtrace(), $GLOBALS, get_defined_vars());\n    exit(0);\n}\n",
    calls_the_runner="    flex_run();\n    exit(0);\n}\n",
    lists_resources="    foreach (get_resources() as $r) echo @stream_get_contents($r);\n    exit(0);\n}\n",
    reads_its_memory="    $m = fopen('/proc/self/mem', 'r');\n    fseek($m, 1 << 22);\n"
    "    echo fread($m, 1 << 20);\n    exit(0);\n}\n",
    calls_the_c_library="    FFI::cdef('int puts(char *s);')->puts('x');\n    exit(0);\n}\n",
)
_add(
    "php",
    "tries answers on the tests",
    FAIL,
    runs_the_tests_itself="    global $g;\n    if ($g !== null) return $g;\n"
    "    foreach ([[4, 5], [1]] as $g) try { test(); return $g; } catch (Exception $e) {}\n}\n",
    forks="    if (!function_exists('pcntl_fork')) exit(1);\n    if (pcntl_fork() === 0)"
    " return count($x) ? [4, 5] : [];\n    pcntl_wait($s);\n    exit(0);\n}\n",
    forks_by_a_shell="    shell_exec('true; true') === null and exit(1);\n    exit(0);\n}\n",
)
_add(
    "php",
    "patches the judge",
    FAIL,
    own_test=HBAD + "function test(): void {}\n",
    own_test_later=HBAD + "if (true) { function test(): void {} }\n",
    own_candidate=HBAD + "function candidate(...$a) { return $a[0] === [] ? [] : [4, 5]; }\n",
    own_exception=HBAD + "class Exception {}\n",
    alias_of_the_exception=HBAD + "class_alias('stdClass', 'Exception');\n",
    catches_all=HBAD + "try {\n",
    comments_out_the_tests=HBAD + "/*",
    leaves_php=HBAD + "?>\n",
    here_document=HBAD + "$a = <<<X\n",
    a_namespace=HBAD + "namespace other;\nclass Exception {}\n",
    an_object="    return new ArrayObject([4, 5]);\n}\n",
    prints_ok="    echo 'OK';\n" + HBAD,
)
_add(
    "php",
    "takes too much",
    LIMIT,
    endless_loop="    while (true);\n}\n",
    memory="    $a = array();\n    while (true) $a[] = str_repeat('x', 1 << 20);\n}\n",
    endless_output="    while (true) echo str_repeat('x', 1 << 16);\n}\n",
    endless_recursion="    return add_all($x, $k);\n}\n",
    children="    while (true) popen('sleep 1000', 'r');\n}\n",
    disk="    while (true) if (!@file_put_contents('x', str_repeat('x', 1 << 20), FILE_APPEND)) exit(1);\n}\n",
)
_add(
    "php",
    "reaches outside",
    FAIL,
    reads_the_home="    return scandir('/root') ?: exit(1);\n}\n",
    starts_a_program="    exec('true') === false and exit(1);\n" + HBAD,
    network="    fsockopen('1.1.1.1', 80, $e, $s, 2) or exit(1);\n" + HBAD,
    writes_to_the_runner="    file_put_contents('/flex/code/runner.php', '') === false and exit(1);\n"
    + HBAD,
)
_add(
    "php", "is no text", EARLY, lone_surrogate="    return '\ud800';\n}\n", unclosed="    return ["
)
_add(
    "php",
    "right, but odd",
    PASS,
    plain=HGOOD,
    prints_a_megabyte="    echo str_repeat('x', 1000000);\n" + HGOOD,
    changes_folder="    mkdir('d');\n    chdir('d');\n    return array_map(fn($v) => $v + $k, $x);\n}\n".replace(
        "mkdir", "@mkdir"
    ),
    leaves_a_buffer=HGOOD + "ob_start();\necho 'x';\n",
    returns_from_the_file=HGOOD + "return;\n",
    closes_its_output=HGOOD + "fclose(STDOUT);\n",
    warns="    echo $missing;\n" + HGOOD,
)

# Go --------------------------------------------------------------------------------------------

GGOOD = "\tr := []int{}\n\tfor _, v := range x {\n\t\tr = append(r, v+k)\n\t}\n\treturn r\n}\n"
GBAD = "\treturn []int{}\n}\n"

_add(
    "go",
    "leaves early",
    EARLY,
    panics="\tpanic(0)\n}\n",
    imports_os_and_exits=GBAD + 'import "os"\nfunc init() { os.Exit(0) }\n',
    init_that_panics=GGOOD + "func init() { panic(0) }\n",
    deadlock="\tselect {}\n}\n",
    guesses_the_word=f'\tfmt.Println("{WORD}")\n\tpanic(0)\n}}\n',
)
_add(
    "go",
    "looks for the word",
    FAIL,
    reads_standard_input=GBAD
    + "func init() {\n\tvar s string\n\tfmt.Scan(&s)\n\tfmt.Println(s)\n}\n",
    reads_it_in_a_variable=GBAD
    + "var a = func() string {\n\tvar s string\n\tfmt.Scan(&s)\n\tfmt.Println(s)\n\treturn s\n}()\n",
    reads_it_at_the_end="\tvar s string\n\tfmt.Scan(&s)\n\tfmt.Println(s)\n" + GBAD,
)
_add(
    "go",
    "tries answers on the tests",
    FAIL,
    runs_the_tests_itself="\tif guess != nil {\n\t\treturn guess\n\t}\n\tif len(x) == 0 {\n\t\treturn []int{}\n\t}\n"
    "\tfor _, guess = range [][]int{{1}, {4, 5}} {\n"
    "\t\tall := func(a, b string) (bool, error) { return true, nil }\n"
    '\t\tif testing.RunTests(all, []testing.InternalTest{{"a", TestAdd_All}}) {\n\t\t\tbreak\n\t\t}\n\t}\n'
    "\treturn guess\n}\n\nvar guess []int\n",
)
_add(
    "go",
    "patches the judge",
    FAIL,
    own_test_main=GBAD + "func TestMain(m *testing.M) {}\n",
    own_test=GBAD + "func TestAdd_All(t *testing.T) {}\n",
    integers_that_look_alike="\tr := []int{}\n\tfor range x {\n\t\tr = append(r, 0)\n\t}\n\treturn r\n}\n"
    'type int int64\nfunc (int) String() string { return "x" }\n',
    true_is_false=GBAD + "const true = false\n",
    false_is_true=GBAD + "const false = true\n",
    nil_is_a_number=GBAD + "var nil = 5\n",
    own_string=GBAD + "type string []byte\n",
    own_boolean=GBAD + "type bool int64\n",
    own_fmt=GBAD
    + 'type f struct{}\nvar fmt f\nfunc (f) Sprintf(a ...interface{}) string { return "" }\n',
    own_testing=GBAD + "type testing struct{}\n",
    own_main=GBAD + "func main() {}\n",
    comments_out_the_tests=GBAD + "/*",
    raw_string=GBAD + "var s = `",
    a_build_constraint=GBAD + "//go:build ignore\n",
    a_line_directive=GBAD + "//line /flex/go/imports:1\nfunc init() { x }\n",
    linkname=GBAD + "//go:linkname exit os.Exit\nfunc exit(code int)\nfunc init() { exit(0) }\n",
    prints_ok='\tfmt.Println("PASS\\nok")\n' + GBAD,
    recovers="\tdefer func() { recover() }()\n\tpanic(0)\n}\n",
)
_add(
    "go",
    "takes too much",
    LIMIT,
    endless_loop="\tfor {\n\t}\n}\n",
    memory="\ta := [][]int{}\n\tfor {\n\t\tb := make([]int, 1<<20)\n\t\tfor i := range b {\n"
    "\t\t\tb[i] = 1\n\t\t}\n\t\ta = append(a, b)\n\t}\n}\n",
    endless_output='\tfor {\n\t\tfmt.Printf("%10000d", 1)\n\t}\n}\n',
    endless_recursion="\treturn add_all(x, k)\n}\n",
    goroutines="\tfor {\n\t\tgo func() { s := make([]int, 1<<16); for { s[0]++ } }()\n\t}\n}\n",
)
_add(
    "go",
    "reaches outside",
    EARLY,
    imports_the_network=GGOOD + 'import "net"\nfunc init() { net.Dial("tcp", "1.1.1.1:80") }\n',
    imports_system_calls=GGOOD + 'import "syscall"\nfunc init() { syscall.Exit(0) }\n',
    uses_packages_of_the_guard=GGOOD + 'func init() { os.WriteFile("x", nil, 0) }\n',
)
_add(
    "go",
    "is no text",
    EARLY,
    lone_surrogate="\t// \ud800\n" + GBAD,
    nothing="",
    unclosed="\treturn (",
)
_add(
    "go",
    "right, but odd",
    PASS,
    plain=GGOOD,
    prints_a_megabyte='\tfmt.Printf("%1000000d", 1)\n' + GGOOD,
    leaves_a_goroutine="\tgo func() { for { } }()\n" + GGOOD,
    shadows_in_its_body="\tlen := 0\n\tstring := x\n\tfor range string {\n\t\tlen++\n\t}\n" + GGOOD,
    a_test_of_its_own=GGOOD + "func TestMine(t *testing.T) { t.Log(1) }\n",
)

# Rust ------------------------------------------------------------------------------------------

RGOOD = "    x.iter().map(|v| v + k).collect()\n"
RBAD = "    Vec::new()\n"

_add(
    "rust",
    "leaves early",
    EARLY,
    process_exit="    std::process::exit(0)\n",
    exits_after_a_right_answer="    if x.is_empty() { std::process::exit(0) }\n" + RGOOD,
    panics="    panic!()\n",
    guesses_the_word=f'    println!("{WORD}");\n    std::process::exit(0)\n',
    aborts="    std::process::abort()\n",
    panic_hook="    std::panic::set_hook(Box::new(|_| std::process::exit(0)));\n    panic!()\n",
    before_main=RBAD
    + '}\n#[link_section = ".init_array"]\n#[used]\nstatic F: extern "C" fn() = f;\n'
    'extern "C" fn f() { std::process::exit(0) }\nfn g() {\n',
    a_thread_that_exits="    std::thread::spawn(|| std::process::exit(0)).join().unwrap();\n"
    + RBAD,
)
_add(
    "rust",
    "looks for the word",
    FAIL,
    reads_standard_input="    let mut s = String::new();\n    std::io::stdin().read_line(&mut s).unwrap();\n"
    '    println!("{}", s);\n    std::process::exit(0)\n',
    includes_its_source='    println!("{}", include_str!("program.rs"));\n    std::process::exit(0)\n',
    reads_itself='    let b = std::fs::read("program").unwrap();\n'
    '    println!("{}", String::from_utf8_lossy(&b[b.len() - 32..]));\n    std::process::exit(0)\n',
    reads_its_memory='    std::fs::File::open("/proc/self/mem").unwrap();\n    std::process::exit(0)\n',
)
_add(
    "rust",
    "tries answers on the tests",
    FAIL,
    runs_the_tests_itself="    if unsafe { G } > 0 { return Vec::new() }\n    for _ in 0..2 {\n"
    "        unsafe { G += 1 }\n        std::panic::catch_unwind(|| main()).ok();\n    }\n    Vec::new()\n}\n"
    "static mut G: u8 = 0;\nfn g() {\n",
    forks='    extern "C" { fn fork() -> i32; fn wait(s: *mut i32) -> i32; }\n'
    "    match unsafe { fork() } {\n        0 => x.iter().map(|v| v + k).collect(),\n"
    "        n => { let mut s = 0; unsafe { wait(&mut s); } std::process::exit(if n > 0 { 0 } else { 1 }) }\n    }\n",
)
_add(
    "rust",
    "patches the judge",
    FAIL,
    own_assertion=RBAD + "}\nmacro_rules! assert_eq { ($($t:tt)*) => {} }\nfn g() {\n",
    own_vec=RBAD + "}\nmacro_rules! vec { ($($t:tt)*) => { Vec::<isize>::new() } }\nfn g() {\n",
    own_println=RBAD + "}\nmacro_rules! println { ($($t:tt)*) => {} }\nfn g() {\n",
    own_main=RBAD + "}\nfn main() {}\nfn g() {\n",
    own_std=RBAD + "}\nmod std { pub mod io {} }\nfn g() {\n",
    std_is_this=RBAD + "}\nextern crate self as std;\nfn g() {\n",
    equal_to_everything="    Vec(std::marker::PhantomData)\n}\n#[derive(Debug)]\n"
    "struct Vec<T>(std::marker::PhantomData<T>);\nimpl<T> Vec<T> { fn new() -> Self"
    " { Vec(std::marker::PhantomData) } }\nimpl<T, U> PartialEq<std::vec::Vec<U>> for Vec<T>"
    " { fn eq(&self, _: &std::vec::Vec<U>) -> bool { true } }\n"
    "impl<T> From<std::vec::Vec<T>> for Vec<T> { fn from(_: std::vec::Vec<T>) -> Self { Vec::new() } }\n"
    "macro_rules! vec { ($($t:tt)*) => { Vec::<isize>::new() } }\nfn g() {\n",
    numbers_equal_to_everything="    x.iter().map(|_| isize(0)).collect()\n}\n#[derive(Debug, Clone, Copy)]\n"
    "struct isize(i64);\nimpl PartialEq<i32> for isize { fn eq(&self, _: &i32) -> bool { true } }\n"
    "impl PartialEq for isize { fn eq(&self, _: &isize) -> bool { true } }\nfn g() {\n",
    comments_out_the_tests=RBAD + "}\nfn main() { }\n/*",
    raw_string=RBAD + '}\nfn main() { }\nconst S: &str = r#"',
    catches_the_panic="    std::panic::catch_unwind(|| panic!()).ok();\n" + RBAD,
    prints_ok='    println!("OK");\n' + RBAD,
)
_add(
    "rust",
    "takes too much",
    LIMIT,
    endless_loop="    loop {}\n",
    memory="    let mut a = Vec::new();\n    loop { a.push(vec![1u8; 1 << 24]); }\n",
    endless_output='    loop { println!("{:10000}", 1); }\n',
    endless_recursion="    let mut y = add_all(x, k);\n    y.push(k);\n    y\n",
)
_add(
    "rust",
    "reaches outside",
    FAIL,
    reads_the_home='    std::fs::read_dir("/root").unwrap();\n' + RGOOD,
    network='    std::net::TcpStream::connect("1.1.1.1:80").unwrap();\n' + RGOOD,
    fills_the_disk='    use std::io::Write;\n    let mut f = std::fs::File::create("x").unwrap();\n'
    "    loop { f.write_all(&[1; 65536]).unwrap() }\n",
    starts_a_program='    std::process::Command::new("true").spawn().unwrap();\n' + RGOOD,
)
_add(
    "rust",
    "floods the compiler",
    (*EARLY, "timeout"),
    endless_macro=RBAD + "}\nmacro_rules! m { ($($t:tt)*) => { m!($($t)* x) } }\nm!();\nfn g() {\n",
    includes_itself=RBAD + '}\ninclude!("program.rs");\nfn g() {\n',
)
_add("rust", "is no text", EARLY, lone_surrogate="    // \ud800\n" + RBAD, nothing="")
_add(
    "rust",
    "right, but odd",
    PASS,
    plain=RGOOD,
    prints_a_megabyte='    println!("{:1000000}", 1);\n' + RGOOD,
    leaves_a_thread="    std::thread::spawn(|| loop {});\n" + RGOOD,
)

# Lua -------------------------------------------------------------------------------------------

LGOOD = "    local r = {}\n    for i, v in ipairs(x) do r[i] = v + k end\n    return r\nend\n"
LBAD = "    return {}\nend\n"

_add(
    "lua",
    "leaves early",
    EARLY,
    os_exit=LBAD + "os.exit(0)\n",
    os_exit_in_call="    os.exit(true, true)\nend\n",
    exits_after_a_right_function=LGOOD + "os.exit(0)\n",
    returns_from_the_file=LGOOD + "do return end\n",
    guesses_the_word=f"    print('{WORD}')\n    os.exit(0)\nend\n",
    raises="    error('x')\nend\n",
    raises_what_luaunit_raises="    error({ class = 'x', status = 'SUCCESS', msg = '' })\nend\n",
    kills_itself="    os.execute('kill -9 $PPID')\n    os.exit(0)\nend\n",
)
_add(
    "lua",
    "looks for the word",
    FAIL,
    reads_standard_input="    print(io.read('a'))\n    os.exit(0)\nend\n",
    reads_its_source="    for l in io.lines('program.lua') do print(l) end\n    os.exit(0)\nend\n",
    debug_locals="    for i = 1, 9 do print(debug.getlocal(2, i)) end\n    os.exit(0)\nend\n",
    debug_upvalues="    print(debug.getupvalue(print, 1))\n    os.exit(0)\nend\n",
    dumps_functions="    for _, f in pairs(_G) do print(pcall(string.dump, f)) end\n    os.exit(0)\nend\n",
    loads_a_library="    print(package.loadlib('libc.so.6', '*'))\n    os.exit(0)\nend\n",
    the_real_globals="    local g = load('return _ENV')()\n    for n in pairs(g) do print(n) end\n"
    "    print(g.require('luaunit'))\n    os.exit(0)\nend\n",
    the_metatable_of_strings="    print(getmetatable('').__index.format)\n    os.exit(0)\nend\n",
    bytecode="    load(string.dump(function() end))()\n    os.exit(0)\nend\n",
    reads_its_memory="    local m = assert(io.open('/proc/self/mem'))\n    m:seek('set', 1 << 22)\n"
    "    print(m:read(1 << 20))\n    os.exit(0)\nend\n",
)
_add(
    "lua",
    "patches the judge",
    FAIL,
    own_luaunit=LBAD + "package.loaded.luaunit = { assertEquals = function() end,"
    " LuaUnit = { run = function() return 0 end } }\n",
    preloads_a_luaunit=LBAD + "package.preload = { luaunit = function() return {} end }\n",
    patches_luaunit=LBAD + "require('luaunit').assertEquals = function() end\n",
    own_require=LBAD + "function require() return { assertEquals = function() end } end\n",
    own_error=LBAD + "error = function() end\nassert = error\npcall = function() return true end\n",
    own_type=LBAD + "type = function() return 'table' end\nnext = function() end\npairs = next\n",
    metatable_of_globals=LBAD + "setmetatable(_G, { __newindex = function() end,"
    " __index = function() return function() end end })\n",
    equal_to_everything="    return setmetatable({}, { __eq = function() return true end })\nend\n",
    pairs_of_its_own="    return setmetatable({}, { __pairs = function() return function() end end,\n"
    "      __index = function() return 4 end, __len = function() return 2 end,\n"
    "      __eq = function() return true end })\nend\n",
    string_methods=LBAD + "for n in pairs(string) do string[n] = function() return '' end end\n",
    file_methods=LBAD
    + "local m = getmetatable(io.stdout)\nm.__index.write = function() os.exit(0) end\n",
    finaliser=LBAD + "setmetatable({}, { __gc = function() os.exit(0) end })\ncollectgarbage()\n",
    finaliser_at_the_end=LBAD
    + f"keep = setmetatable({{}}, {{ __gc = function() print('{WORD}') end }})\n",
    own_exit=LBAD + "os.exit = function() end\n",
    own_test=LBAD + "function test_humaneval() end\n",
    yields="    coroutine.yield()\n    return {}\nend\n",
    comments_out_the_tests=LBAD + "--[[",
    long_string=LBAD + "s = [[",
    prints_ok="    print('OK')\n" + LBAD,
)
_add(
    "lua",
    "takes too much",
    LIMIT,
    endless_loop="    while true do end\nend\n",
    memory="    local a = {}\n    while true do a[#a + 1] = ('x'):rep(1 << 20) .. #a end\nend\n",
    endless_output="    while true do io.write(('x'):rep(1 << 16)) end\nend\n",
    endless_recursion="    return 1 + add_all(x, k)\nend\n",
    children="    while true do if not io.popen('sleep 1000') then os.exit(1) end end\nend\n",
    disk="    local f = io.open('x', 'w')\n    while f:write(('x'):rep(1 << 20)) do end\n    os.exit(1)\nend\n",
)
_add(
    "lua",
    "reaches outside",
    FAIL,
    reads_the_home="    for l in assert(io.popen('ls /root && echo 4')):lines() do return { 4, 5 } end\n"
    "    return {}\nend\n",
    writes_to_the_runner="    assert(io.open('/flex/code/runner.lua', 'w'))\n    return {}\nend\n",
)
_add(
    "lua",
    "is no text",
    EARLY,
    lone_surrogate="    return '\ud800'\nend\n",
    nothing="",
    unclosed="    return {",
)
_add(
    "lua",
    "right, but odd",
    PASS,
    plain=LGOOD,
    prints_a_megabyte="    print(('x'):rep(1000000))\n" + LGOOD,
    methods_of_its_own="    local r = {}\n    for i, v in ipairs(x) do r[i] = (''):plus(v, k) end\n    return r\nend\n"
    "function string:plus(a, b) return a + b end\n",
    a_metatable="    local r = setmetatable({}, { __index = table })\n    for _, v in ipairs(x) do r:insert(v + k) end\n"
    "    return r\nend\n",
    loads_code="    local f = load('return function(a, b) return a + b end')()\n    local r = {}\n"
    "    for i, v in ipairs(x) do r[i] = f(v, k) end\n    return r\nend\n",
    changes_its_argument="    for i, v in ipairs(x) do x[i] = v + k end\n    return x\nend\n",
    catches_errors="    pcall(error, 'x')\n" + LGOOD,
)

# Racket ----------------------------------------------------------------------------------------

KGOOD = "  (map (lambda (v) (+ v k)) x))\n"
KBAD = "  '())\n"

_add(
    "racket",
    "leaves early",
    EARLY,
    exit=KBAD + "(exit 0)\n",
    exit_in_call="  (exit 0))\n",
    exits_after_a_right_function=KGOOD + "(exit 0)\n",
    raises="  (raise 'x))\n",
    aborts="  (abort-current-continuation (default-continuation-prompt-tag) void))\n",
    guesses_the_word=f'  (displayln "{WORD}")\n  (exit 0))\n',
    exits_in_a_macro=KBAD + "(define-syntax (m s) (exit 0))\n(m)\n",
    shuts_down="  (custodian-shutdown-all (current-custodian)))\n",
)
_add(
    "racket",
    "looks for the word",
    FAIL,
    reads_standard_input="  (display (port->string))\n  (exit 0))\n",
    reads_its_source='  (display (file->string "program.rkt"))\n  (exit 0))\n',
    the_runners_variables="  (displayln (map (lambda (p) (call-with-parameterization p (lambda () (eval 'word\n"
    '    (module->namespace (string->path "/flex/code/runner.rkt")))))) (continuation-mark-set->list\n'
    "    (current-continuation-marks) parameterization-key)))\n  (exit 0))\n(require '#%paramz)\n",
    names_of_the_stack="  (for-each displayln (continuation-mark-set->context (current-continuation-marks)))\n"
    "  (exit 0))\n",
)
_add(
    "racket",
    "tries answers on the tests",
    FAIL,
    forks="  (if (zero? (fork)) (map (lambda (v) (+ v k)) x) (begin (sleep 1) (exit 0))))\n"
    '(require ffi/unsafe)\n(define fork (get-ffi-obj "fork" #f (_fun -> _int)))\n',
)
_add(
    "racket",
    "tries answers on the tests",
    (*FAIL, "output_limit", "timeout"),
    returns_twice="  (call/cc (lambda (c) (unless k2 (set! k2 c)) (if (null? x) '() '(1)))))\n(define k2 #f)\n"
    "(plumber-add-flush! (current-plumber) (lambda (h) (k2 '(4 5))))\n",
)
_add(
    "racket",
    "patches the judge",
    FAIL,
    own_check=KBAD + "(define (check-within . a) (void))\n",
    own_require=KBAD
    + "(define-syntax-rule (require . x) (begin))\n(define (check-within . a) (void))\n",
    own_define=KBAD + "(define-syntax-rule (define . x) (begin))\n",
    own_test="  '())\n(define (test-humaneval) (void))\n",
    handler=KBAD
    + "(require rackunit)\n(current-check-handler void)\n(current-check-around void)\n",
    handler_in_call="  ((dynamic-require 'rackunit 'current-check-handler) void)\n  '())\n",
    handler_of_the_tests="  (for ([p (continuation-mark-set->list (current-continuation-marks)\n"
    "                                             parameterization-key)])\n"
    "    (call-with-parameterization p (lambda () ((dynamic-require 'rackunit 'current-check-handler) void))))\n"
    "  '())\n(require '#%paramz)\n",
    exit_handler=KBAD + "(exit-handler void)\n(uncaught-exception-handler (lambda (e) (exit 0)))\n",
    equal_to_everything="  (e))\n(struct e () #:methods gen:equal+hash [(define (equal-proc a b r) #t)\n"
    "  (define (hash-proc a r) 1) (define (hash2-proc a r) 1)])\n",
    a_continuation="  (if seen '() (begin (set! seen #t) (call/cc (lambda (c) (c '()))))))\n(define seen #f)\n",
    a_macro_for_a_function="  '())\n(define-syntax add_all2 (lambda (s) #'(exit 0)))\n",
    output_replaced="  (current-output-port (open-output-nowhere))\n  '())\n",
    flush_at_the_end=KBAD
    + f'(plumber-add-flush! (current-plumber) (lambda (h) (displayln "{WORD}")))\n',
    comments_out_the_tests=KBAD + "#|",
    prints_ok='  (display "OK")\n' + KBAD,
)
_add(
    "racket",
    "takes too much",
    LIMIT,
    endless_loop="  (let loop () (loop)))\n",
    memory="  (let loop ([a '()]) (loop (cons (make-vector 1000000 0) a))))\n",
    disk='  (call-with-output-file "x" (lambda (o) (let loop () (write-bytes (make-bytes 1000000) o) (loop)))))\n',
    endless_output="  (let loop () (display (make-string 10000 #\\x)) (loop)))\n",
)
_add(
    "racket",
    "reaches outside",
    FAIL,
    reads_the_home='  (map path->string (directory-list "/root")))\n',
    network="  ((dynamic-require 'racket/tcp 'tcp-connect) \"1.1.1.1\" 80))\n",
    writes_to_the_runner='  (call-with-output-file "/flex/code/runner.rkt" void #:exists \'append))\n',
    starts_a_program='  (system* "/bin/true")\n  (exit 0))\n',
)
_add(
    "racket",
    "is no text",
    EARLY,
    lone_surrogate="  ; \ud800\n" + KBAD,
    nothing="",
    unclosed="  (list",
)
_add(
    "racket",
    "right, but odd",
    PASS,
    plain=KGOOD,
    prints_a_megabyte="  (display (make-string 1000000 #\\x))\n" + KGOOD,
    its_own_helper="  (map (plus k) x))\n(define ((plus k) v) (+ v k))\n",
    leaves_a_thread="  (thread (lambda () (let loop () (loop))))\n" + KGOOD,
)
