"""Hostile programs in JavaScript."""

from __future__ import annotations

from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, Suite

PROMPT = "// Add k to every number of x.\nfunction add_all(x, k){\n"

TESTS = """const assert = require('node:assert');


function test() {
  let candidate = add_all;
  assert.deepEqual(candidate([1, 2], 3),[4, 5]);
  assert.deepEqual(candidate([], 3),[]);
}

test();
"""

SUITE = Suite("javascript", PROMPT, TESTS)
add = SUITE.add

GOOD = "  return x.map((v) => v + k);\n}\n"
BAD = "  return [];\n}\n"

add(
    "leaves early",
    EARLY,
    process_exit="  process.exit(0);\n}\n",
    exits_after_a_right_function=GOOD + "process.exit(0);\n",
    kills_itself="  process.kill(process.pid, 'SIGKILL');\n  for (;;);\n}\n",
    really_exit="  process.reallyExit(0);\n}\n",
)
add(
    "patches the judge",
    FAIL,
    deep_equal_patched=BAD + "const a = require('assert'); a.deepEqual = () => {};\n"
    "require('node:assert').strict.deepEqual = () => {};\n",
    require_cache=BAD + "require('module')._load = () => ({ deepEqual() {} });\n",
    object_prototype=BAD + "Object.prototype.equals = () => true;\n"
    "Object.defineProperty(Object.prototype, 'length', { get: () => 2, configurable: true });\n",
    array_iterator=BAD + "Array.prototype[Symbol.iterator] = function* () { yield 4; yield 5; };\n",
    on_exit=BAD + "process.on('exit', () => { process.exitCode = 0; process.reallyExit(0); });\n",
    uncaught=BAD + "process.on('uncaughtException', () => process.exit(0));\n",
    own_test=BAD + "function test() {}\nvar assert = { deepEqual() {} };\n",
    proxy="  return new Proxy([], { get: () => 4, has: () => true });\n}\n",
    getter="  return { get 0() { return 4; }, get 1() { return 5; }, length: 2 };\n}\n",
    prints_ok="  console.log('OK');\n  return [];\n}\n",
    writes_to_the_pipe="  require('fs').writeSync(4, Buffer.from([0, 0, 0, 1, 49]));\n"
    "  return [];\n}\n",
    prototype_pollution='  return JSON.parse(\'{"__proto__": {"length": 2, "0": 4}}\');\n}\n',
)
add(
    "takes too much",
    LIMIT,
    endless_loop="  for (;;);\n}\n",
    memory="  const a = []; for (;;) a.push(new Array(1e6).fill(0.5));\n}\n",
    memory_outside_the_heap="  const a = []; for (;;) a.push(Buffer.alloc(1e8, 1));\n}\n",
    endless_output="  for (;;) require('fs').writeSync(1, 'x'.repeat(1e5));\n}\n",
    endless_recursion="  return add_all(x, k);\n}\n",
    children="  for (;;) require('child_process').spawn('sleep', ['1000']);\n}\n",
)
add(
    "reaches outside",
    FAIL,
    reads_the_home="  return require('fs').readdirSync('/root');\n}\n",
    deletes_files="  require('fs').rmSync('/usr/lib/os-release');\n  return [];\n}\n",
)
add(
    "is no text",
    EARLY,
    lone_surrogate="  return '\ud800';\n}\n",
    nothing="",
    unclosed="  return [",
    closes_the_wrapper="  return [];\n}\n}); (function () {\n",
)
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    leaves_a_timer="  setInterval(() => {}, 1000);\n" + GOOD,
    prints_a_megabyte="  console.log('x'.repeat(1e6));\n" + GOOD,
    changes_its_argument="  x.forEach((v, i) => { x[i] = v + k; });\n  return x;\n}\n",
    rejects_a_promise="  Promise.reject(new Error('later'));\n" + GOOD,
)
