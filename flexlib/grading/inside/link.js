// Frames over a pair of pipes, one at a time and without events: a 4-byte length, then JSON.
'use strict';
const fs = require('fs');

const LIMIT = 64 << 20;

class Gone extends Error {}
class TooLarge extends Error {}

function readAll(descriptor, size) {
  const data = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    let got;
    try {
      got = fs.readSync(descriptor, data, at, size - at, null);
    } catch (error) {
      throw new Gone(error.message);
    }
    if (got === 0) throw new Gone('the other side is gone');
    at += got;
  }
  return data;
}

function send(descriptor, message) {
  const body = Buffer.from(JSON.stringify(message));
  if (body.length > LIMIT) throw new TooLarge(`a value of ${body.length} bytes`);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  const data = Buffer.concat([head, body]);
  try {
    for (let at = 0; at < data.length;) at += fs.writeSync(descriptor, data, at);
  } catch (error) {
    throw new Gone(error.message);
  }
}

function receive(descriptor) {
  const size = readAll(descriptor, 4).readUInt32BE();
  if (size > LIMIT) throw new TooLarge(`a value of ${size} bytes`);
  return JSON.parse(readAll(descriptor, size).toString());
}

module.exports = { Gone, TooLarge, readAll, send, receive };
