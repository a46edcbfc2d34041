// Compiles TypeScript: one process for all programs, with the declarations of the standard library read
// once. As MultiPL-E does (tsc --target esnext), a type error makes it no program.
'use strict';
const fs = require('fs');
const path = require('path');
const link = require('./link.js');

const library = process.argv[2];
const ts = require(path.join(library, 'typescript.js'));
const options = {
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.ESNext,
  types: [],
  noEmitOnError: false,
};
const kept = new Map();
const none = () => undefined;

// What is wrong with a program: the first that the compiler says, or undefined.
function mistake(text) {
  const name = '/program.ts';
  const source = ts.createSourceFile(name, text, options.target, true);
  const host = {
    getSourceFile(wanted) {
      if (wanted === name) return source;
      if (!wanted.startsWith(`${library}/`)) return undefined; // a program may name any file
      if (!kept.has(wanted)) {
        const read = ts.sys.readFile(wanted);
        kept.set(wanted, read === undefined ? undefined : ts.createSourceFile(wanted, read, options.target));
      }
      return kept.get(wanted);
    },
    writeFile: none,
    getDefaultLibFileName: () => path.join(library, ts.getDefaultLibFileName(options)),
    getDefaultLibLocation: () => library,
    getCurrentDirectory: () => '/',
    getCanonicalFileName: (wanted) => wanted,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => '\n',
    fileExists: (wanted) => wanted === name,
    readFile: none,
    directoryExists: () => false,
    getDirectories: () => [],
  };
  const program = ts.createProgram([name], options, host);
  const [first] = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source),
    ...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
  if (first === undefined) return undefined;
  const line = first.file ? first.file.getLineAndCharacterOfPosition(first.start).line + 1 : 0;
  return `line ${line}: ${ts.flattenDiagnosticMessageText(first.messageText, ' ')}`;
}

// Without its types alone: a program's part is not checked without the other.
function plain(text) {
  return ts.transpileModule(text, { compilerOptions: options }).outputText.replace(/^export \{\};\n/m, '');
}

for (;;) {
  const parts = [];
  try {
    for (let i = 0; i < 2; i++) {
      parts.push(link.readAll(0, link.readAll(0, 4).readUInt32BE()).toString());
    }
  } catch (error) {
    process.exit(0);
  }
  const [program, tests] = parts;
  let said;
  try {
    const refused = mistake(`${program}\n${tests}`);
    said = refused === undefined
      ? { prompt: '', completion: plain(program), tests: plain(tests) } : { refused };
  } catch (error) {
    said = { refused: `the compiler failed: ${error.message}` };
  }
  const line = Buffer.from(`${JSON.stringify(said)}\n`);
  for (let at = 0; at < line.length;) at += fs.writeSync(1, line, at);
}
