// The judge's side for JavaScript: one process for all programs, a fresh realm for each one's
// tests. The candidate's functions are stubs that send their arguments over pipes.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const vm = require('vm');
const link = require('./link.js');

const code = new vm.Script(fs.readFileSync(path.join(__dirname, 'codec.js'), 'utf8'));
const MODULES = ['assert', 'node:assert', 'assert/strict', 'node:assert/strict', 'util', 'node:util'];

class Broken extends Error {
  constructor(verdict, detail) {
    super(detail);
    this.verdict = verdict;
  }
}

function identifiers(prompt, tests) {
  const named = [...prompt.matchAll(/^[ \t]*(?:async[ \t]+)?function[ \t]*\*?[ \t]*([\w$]+)[ \t]*\(/gm),
    ...prompt.matchAll(/^[ \t]*(?:const|let|var)[ \t]+([\w$]+)[ \t]*=/gm)].map((match) => match[1]);
  const entry = named.length ? [named[named.length - 1]] : [];
  const declared = new Set(
    [...tests.matchAll(/\b(?:function|class|const|let|var)\s+([\w$]+)/g)].map((match) => match[1]),
  );
  const used = new Set(tests.match(/[A-Za-z_$][\w$]*/g) || []);
  const free = [...used].filter((name) => !declared.has(name) && !(name in globalThis)
    && !['require', 'module', 'exports'].includes(name));
  return [...new Set([...entry, ...free])];
}

function judge(prompt, completion, tests, input, output) {
  const from = fs.openSync(input, 'r');
  const to = fs.openSync(output, 'w');
  let raised;
  const realm = vm.createContext({});
  const { pack, unpack, refill } = code.runInContext(realm)();
  const makeError = vm.runInContext(
    '(name, text) => { const kind = globalThis[name];'
    + ' const right = typeof kind === "function" && kind.prototype instanceof Error;'
    + ' return Object.assign(new (right ? kind : Error)(text), right ? {} : { name }); }',
    realm,
  );

  function ask(message) {
    link.send(to, message);
    let answer;
    try {
      answer = link.receive(from);
    } catch (error) {
      if (error instanceof link.Gone) throw error;
      const verdict = error instanceof link.TooLarge ? 'output_limit' : 'runtime_error';
      throw new Broken(verdict, `answered with ${error.message}`);
    }
    if (answer === null || typeof answer !== 'object') throw new Broken('runtime_error', 'no answer');
    if ('large' in answer) throw new Broken('output_limit', `answered with ${answer.large}`);
    if ('raised' in answer) {
      raised = makeError(String(answer.raised), String(answer.text));
      throw raised;
    }
    return answer;
  }

  function opened(data) {
    try {
      return unpack(data, (tag, body) => {
        if (tag !== 'f') throw new Error('no value');
        return stub(body);
      });
    } catch (error) {
      throw new Broken('runtime_error', `answered with ${error.message}`);
    }
  }

  const stubs = new Map();
  function stub(handle) {
    if (!stubs.has(handle)) {
      const call = (...args) => {
        const answer = ask({ do: 'call', of: handle, args: pack(args, other) });
        const value = opened(answer.value);
        if ('args' in answer) opened(answer.args).forEach((after, i) => refill(args[i], after));
        return value;
      };
      stubs.set(handle, call);
    }
    return stubs.get(handle);
  }

  function other(value) {
    for (const [handle, call] of stubs) if (call === value) return { f: handle };
    throw new Broken('harness_error', `the tests pass a ${typeof value} to the program`);
  }

  try {
    const loaded = ask({ do: 'load', source: `${prompt}${completion}\n` });
    if ('syntax' in loaded) return ['compile_error', String(loaded.syntax)];
    const { names } = ask({ do: 'names', names: identifiers(prompt, tests) });
    for (const [name, data] of Array.isArray(names) ? names : []) realm[String(name)] = opened(data);
    realm.require = (name) => {
      if (!MODULES.includes(name)) throw new Broken('harness_error', `the tests require ${name}`);
      return require(name);
    };
    realm.console = { log() {}, error() {}, warn() {}, info() {}, debug() {}, assert };
    let script;
    try {
      script = new vm.Script(tests, { filename: 'tests.js' });
    } catch (error) {
      return unfitTests(`${prompt}${completion}\n${tests}`, error);
    }
    script.runInContext(realm);
    return ['pass', ''];
  } catch (error) {
    if (error instanceof link.Gone) return ['gone', ''];
    if (error instanceof Broken) return [error.verdict, error.message];
    const text = `${error && error.name}: ${error && error.message}`.slice(0, 500);
    const line = failingLine(error, tests);
    if (raised !== undefined && error === raised) return ['runtime_error', text + line];
    if (error && error.code === 'ERR_ASSERTION') return ['wrong', text + line];
    return ['runtime_error', text + line];
  } finally {
    fs.closeSync(from);
    fs.closeSync(to);
  }
}

// Tests that are no script by themselves: a flaw of theirs, or a form that we cannot judge.
function unfitTests(program, error) {
  try {
    new vm.Script(program);
  } catch (_) {
    return ['compile_error', `the tests themselves: ${error.message}`];
  }
  return ['harness_error', `the tests are no script: ${error.message}`];
}

function failingLine(error, tests) {
  const found = /tests\.js:(\d+)/.exec(String(error && error.stack));
  const line = found && tests.split('\n')[Number(found[1]) - 1];
  return line ? ` [${line.trim().slice(0, 200)}]` : '';
}

function say(verdict, detail) {
  fs.writeSync(1, `${JSON.stringify({ verdict, detail })}\n`);
}

for (;;) {
  const parts = [];
  try {
    for (let i = 0; i < 5; i++) {
      parts.push(link.readAll(0, link.readAll(0, 4).readUInt32BE()).toString());
    }
  } catch (error) {
    process.exit(0);
  }
  let word;
  try {
    word = judge(...parts);
  } catch (error) {
    word = ['harness_error', `the judge failed: ${error.message}`];
  }
  say(...word);
}
