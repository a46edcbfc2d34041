// The candidate's side for JavaScript: run the program's text, then answer the judge's calls.
// Everything in this process belongs to the untrusted program; it holds no expected value.
'use strict';
const fs = require('fs');
const path = require('path');
const vm = require('vm');
const link = require('./link.js');

const code = fs.readFileSync(path.join(__dirname, 'codec.js'), 'utf8');
const { pack, unpack } = vm.runInThisContext(code)();
const functions = [];
let lookUp;

function other(value) {
  if (typeof value !== 'function') throw new Error(`a ${typeof value}, which is no plain data`);
  if (!functions.includes(value)) functions.push(value);
  return { f: functions.indexOf(value) };
}

function built(tag, body) {
  if (tag !== 'f') throw new Error('not a value');
  return functions[body];
}

const actions = {
  load({ source }) {
    let program;
    try {
      program = vm.compileFunction(
        source + '\n;return (__name) => eval(__name);',
        ['exports', 'require', 'module', '__filename', '__dirname'],
        { filename: 'program.js' },
      );
    } catch (error) {
      return { syntax: String(error) };
    }
    const module = { exports: {} };
    lookUp = program.call(module.exports, module.exports, require, module, '/tmp/program.js', '/tmp');
    return { value: null };
  },
  names({ names }) {
    const found = [];
    for (const name of names) {
      try {
        const value = lookUp(name);
        if (value !== undefined) found.push([name, pack(value, other)]);
      } catch (error) {
        continue; // no such name, or none of ours to show
      }
    }
    return { value: null, names: found };
  },
  call({ of, args }) {
    const values = unpack(args, built);
    const result = pack(functions[of](...values), other);
    const after = pack(values, other);
    const changed = JSON.stringify(after) !== JSON.stringify(args);
    return changed ? { value: result, args: after } : { value: result };
  },
};

function answer(message) {
  try {
    return actions[message.do](message);
  } catch (error) {
    let name = 'Error';
    let text = '?';
    try {
      name = String(error && error.name || typeof error);
      text = String(error && error.message || error);
    } catch (_) { /* an error that cannot be read */ }
    return { raised: name.slice(0, 100), text: text.slice(0, 500) };
  }
}

for (;;) {
  let reply;
  try {
    reply = answer(link.receive(3));
    link.send(4, reply);
  } catch (error) {
    if (!(error instanceof link.TooLarge)) process.exit(0);
    link.send(4, { large: error.message });
  }
}
