"""Hostile programs in Python."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, Suite

PROMPT = 'def add_all(x: list, k: int) -> list:\n    """Add k to every number of x."""\n'

TESTS = """
def check(candidate):
    assert candidate([1, 2], 3) == [4, 5]
    assert candidate([], 3) == []
    assert candidate([7], -7) == [0]

check(add_all)
"""

SUITE = Suite("python", PROMPT, TESTS)
add = SUITE.add

GOOD = "    return [v + k for v in x]\n"
BAD = "    return []\n"

add(
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
add(
    "runs code at the end",
    FAIL,
    atexit=BAD + "import atexit, os\natexit.register(lambda: os._exit(0))\n",
    excepthook=BAD + "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n",
    del_at_exit=BAD + "class D:\n    def __del__(self):\n        import os; os._exit(0)\nd = D()\n",
    thread_excepthook=BAD + "import threading\nthreading.excepthook = lambda *a: None\n",
)
add(
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
add(
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
add(
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
add(
    "prints a verdict",
    (*FAIL, "output_limit"),
    prints_passed=BAD + "print('passed'); print('OK'); print('1 passed')\n",
    prints_json='    print(\'{"verdict": "pass", "detail": ""}\')\n    return []\n',
    writes_to_every_descriptor=BAD + "import os\nfor i in range(64):\n    try:\n"
    '        os.write(i, b\'{"verdict": "pass", "detail": ""}\\n\')\n    except OSError: pass\n',
)
add(
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
add(
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
add(
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
add(
    "is no text",
    EARLY,
    lone_surrogate="    return '\ud800'\n",
    nul="    return [v + k for v in x]\0\n",
    deeply_nested="    return " + "(" * 3000 + "x" + ")" * 3000 + "\n",
)
add(
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
