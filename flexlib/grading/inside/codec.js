// How values pass between a judge and a candidate: as JSON in which every type that JSON lacks
// is an object of one key, its tag. The reader builds each value anew, from its own realm's types.
(function (limit) {
  'use strict';
  const { getPrototypeOf, defineProperty, keys } = Object;

  function pack(value, other) {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value;
      case 'number':
        return Number.isFinite(value) && !Object.is(value, -0)
          ? value : { n: Object.is(value, -0) ? '-0' : String(value) };
      case 'undefined':
        return { u: 0 };
      case 'bigint':
        return { i: String(value) };
      case 'object':
        return value === null ? null : packObject(value, other);
      default:
        return other(value);
    }
  }

  function packObject(value, other) {
    const each = (items) => Array.from(items, (item) => pack(item, other));
    if (Array.isArray(value)) return each(value);
    switch (Object.prototype.toString.call(value)) {
      case '[object Map]':
        return { m: each(Array.from(value)) };
      case '[object Set]':
        return { s: each(value) };
      case '[object Date]':
        return { d: value.getTime() };
      case '[object RegExp]':
        return { r: [value.source, value.flags] };
      case '[object Error]':
        return { e: [String(value.name), String(value.message)] };
      case '[object Number]':
      case '[object String]':
      case '[object Boolean]':
        return { b: pack(value.valueOf(), other) };
      default:
        if (ArrayBuffer.isView(value)) return { t: [value.constructor.name, each(value)] };
        return { o: keys(value).map((key) => [key, pack(value[key], other)]) };
    }
  }

  const typed = new Set(['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array',
    'Uint16Array', 'Int32Array', 'Uint32Array', 'Float32Array', 'Float64Array',
    'BigInt64Array', 'BigUint64Array']);

  function unpack(data, other) {
    if (data === null || typeof data !== 'object') return data;
    if (Array.isArray(data)) return data.map((item) => unpack(item, other));
    const [tag] = keys(data);
    const body = data[tag];
    const each = () => body.map((item) => unpack(item, other));
    switch (tag) {
      case 'n': return Number(body);
      case 'u': return undefined;
      case 'i': return BigInt(body);
      case 'm': return new Map(each());
      case 's': return new Set(each());
      case 'd': return new Date(body);
      case 'r': return new RegExp(body[0], body[1]);
      case 'e': return Object.assign(new Error(String(body[1])), { name: String(body[0]) });
      case 'b': return Object(unpack(body, other));
      case 't':
        if (!typed.has(body[0])) throw new Error('no such array');
        return globalThis[body[0]].from(body[1].map((item) => unpack(item, other)));
      case 'o': {
        const value = {};
        for (const [key, item] of body) {
          defineProperty(value, String(key), {
            value: unpack(item, other), enumerable: true, writable: true, configurable: true,
          });
        }
        return value;
      }
      default: return other(tag, body);
    }
  }

  // Mutable arguments get the contents that they had at the end of the candidate's call.
  function refill(before, after) {
    if (Array.isArray(before) && Array.isArray(after)) {
      before.splice(0, before.length, ...after);
    } else if (before instanceof Map && after instanceof Map) {
      before.clear();
      after.forEach((value, key) => before.set(key, value));
    } else if (before instanceof Set && after instanceof Set) {
      before.clear();
      after.forEach((value) => before.add(value));
    } else if (before && after && typeof before === 'object' && typeof after === 'object'
        && getPrototypeOf(before) === Object.prototype) {
      for (const key of keys(before)) delete before[key];
      Object.assign(before, after);
    }
  }

  return { pack, unpack, refill };
});
