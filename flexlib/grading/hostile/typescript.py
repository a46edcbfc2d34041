"""Hostile programs in TypeScript: its types are checked, then it is JavaScript."""

from __future__ import annotations

from flexlib.grading.hostile import javascript
from flexlib.grading.hostile.case import EARLY, FAIL, LIMIT, PASS, Suite

PROMPT = "//Add k to every number of x.\nfunction add_all(x: number[], k: number): number[] {\n"

TESTS = """declare var require: any;
const assert = require('node:assert');


function test() {
  let candidate = add_all;
  assert.deepEqual(candidate([1, 2], 3),[4, 5]);
  assert.deepEqual(candidate([], 3),[]);
}

test();
"""

SUITE = Suite("typescript", PROMPT, TESTS)
add = SUITE.add

GOOD, BAD = javascript.GOOD.replace("(v)", "(v: number)"), javascript.BAD
NODE = "declare var process: any, module: any, Buffer: any;\ndeclare function require(s: string): any;\n"

add(
    "leaves early",
    EARLY,
    process_exit="  process.exit(0);\n}\n"
    + NODE.replace("declare function require(s: string): any;\n", ""),
    exits_after_a_right_function=GOOD + "declare var process: any;\nprocess.exit(0);\n",
    eval_that_exits="  return eval('process.exit(0)');\n}\n",
)
add(
    "patches the judge",
    FAIL,
    deep_equal_patched=BAD + "eval(\"require('assert').deepEqual = () => {}\");\n",
    require_cache=BAD + "eval(\"require('module')._load = () => ({ deepEqual() {} })\");\n",
    on_exit=BAD + "eval(\"process.on('exit', () => process.reallyExit(0))\");\n",
    # Right for who compares it in this process, and empty for others.
    any_proxy="  const right: any = x.map((v: number) => v + k);\n"
    "  const seen = (t: any) => (/assert|comparisons/.test(new Error().stack || '') ? right : t);\n"
    "  return new Proxy([], {\n    get: (t, n) => seen(t)[n],\n    has: (t, n) => n in seen(t),\n"
    "    ownKeys: (t) => Reflect.ownKeys(seen(t)),\n"
    "    getOwnPropertyDescriptor: (t, n) => Reflect.getOwnPropertyDescriptor(seen(t), n),\n"
    "  }) as any;\n}\n",
    prints_ok="  console.log('OK');\n  return [];\n}\n",
)
add(
    "has types that do not fit",
    EARLY,
    a_wrong_type="  const s: number = 'x';\n" + GOOD,
    no_check=GOOD + "// @ts-nocheck\nlet s: number = 'x';\n",
)
add(
    "takes too much",
    LIMIT,
    loops_for_long="  for (const end = Date.now() + 1e5; Date.now() < end;);\n" + GOOD,
    memory="  const a: any[] = [];\n"
    "  for (let i = 0; i < 16; i++) a.push(eval('Buffer').alloc(1e8, 1));\n"
    "  for (const end = Date.now() + 1e3; Date.now() < end;);\n" + GOOD,
    output="  for (let i = 0; i < 320; i++) eval('require(\"fs\")').writeSync(1, 'x'.repeat(1e5));\n"
    + GOOD,
)
add(
    "floods the compiler",
    (*EARLY, "timeout"),
    references_an_endless_file=GOOD + '/// <reference path="/dev/zero" />\nimport "/dev/zero";\n',
    endless_type=GOOD + "type F<N extends any[]> = F<[...N, ...N, 1]>;\nlet q: F<[1]> = 1;\n",
    deeply_nested="  return " + "(" * 5000 + "x" + ")" * 5000 + ";\n}\n;;;let u: string = 1;\n",
)
add(
    "reaches outside",
    FAIL,
    reads_the_home="  eval('require(\"fs\")').readdirSync('/root');\n" + GOOD,
    fills_the_disk="  for (let i = 0; i < 256; i++)"
    " eval('require(\"fs\")').appendFileSync('x', 'x'.repeat(1e6));\n" + GOOD,
    writes_to_the_judge="  eval('require(\"fs\")').appendFileSync('/flex/code/judge.js', '');\n"
    + GOOD,
    network="  eval('require(\"child_process\")').execSync('exec 3<>/dev/tcp/1.1.1.1/80',"
    " { shell: '/bin/bash' });\n" + GOOD,
)
add(
    "is no text",
    EARLY,
    lone_surrogate="  return '\ud800';\n}\n",
    unclosed="  return [",
)
add(
    "right, but odd",
    PASS,
    plain=GOOD,
    types_of_its_own="  type V = { v: number };\n  const r: V[] = x.map((v) => ({ v: v + k }));\n"
    "  return r.map((e) => e.v);\n}\n",
    leaves_a_timer="  setInterval(() => {}, 1000);\n" + GOOD,
    prints_a_megabyte="  console.log('x'.repeat(1e6));\n" + GOOD,
)
