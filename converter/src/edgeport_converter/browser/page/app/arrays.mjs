// Arrays {dtype, shape, data}: from nested lists and .npy files, each value exactly or not at all.
//
// dtype is numpy's name, data a typed array, or an array of strings for "str". The rounding of a
// float to a narrower float is allowed; whatever else would change a value is refused.

import { Refusal, shapeText } from "./words.mjs";

const int = (bits) => [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n];
const uint = (bits) => [0n, 2n ** BigInt(bits) - 1n];

export const DTYPES = {
  bool: { engine: "bool", kind: "b", array: Uint8Array, limits: [0n, 1n] },
  int8: { engine: "int8", kind: "i", array: Int8Array, limits: int(8) },
  int16: { engine: "int16", kind: "i", array: Int16Array, limits: int(16) },
  int32: { engine: "int32", kind: "i", array: Int32Array, limits: int(32) },
  int64: { engine: "int64", kind: "i", array: BigInt64Array, limits: int(64) },
  uint8: { engine: "uint8", kind: "i", array: Uint8Array, limits: uint(8) },
  uint16: { engine: "uint16", kind: "i", array: Uint16Array, limits: uint(16) },
  uint32: { engine: "uint32", kind: "i", array: Uint32Array, limits: uint(32) },
  uint64: { engine: "uint64", kind: "i", array: BigUint64Array, limits: uint(64) },
  float32: { engine: "float32", kind: "f", array: Float32Array },
  float64: { engine: "float64", kind: "f", array: Float64Array },
  str: { engine: "string", kind: "s", array: Array },
};

export const count = (shape) => shape.reduce((product, size) => product * size, 1);

export function typeOf(dtype, subject) {
  const type = DTYPES[dtype];
  if (type) return type;
  throw new Refusal(`${subject} is ${dtype}, which this page cannot run: use edgeport on a device`);
}

// One value in the input's dtype; `subject` is the beginning of a refusal. A whole number that a
// float would round is refused, unless it `was` a float before.
function exact(value, dtype, subject, was) {
  const { kind, limits } = DTYPES[dtype];
  const refuse = (expected) => {
    const found = typeof value === "string" ? `the text "${value.slice(0, 40)}"` : `${value}`;
    throw Refusal.of(subject, `has ${found}`, expected, "repair that value");
  };
  if (kind === "s") return typeof value === "string" ? value : refuse("text");
  if (typeof value === "boolean") value = Number(value);
  if (typeof value !== "number" && typeof value !== "bigint") refuse(`${dtype} numbers`);
  if (kind === "f") {
    const number = Number(value);
    if (!Number.isFinite(number)) refuse("finite numbers");
    const held = dtype === "float32" ? Math.fround(number) : number;
    if (!Number.isFinite(held)) refuse(`numbers that ${dtype} holds`);
    const isWhole = typeof value === "bigint" || (was !== "f" && Number.isInteger(value));
    const isRead = typeof value === "bigint" || Number.isSafeInteger(value);
    if (isWhole && !(isRead && BigInt(held) === BigInt(value))) {
      refuse(`whole numbers that ${dtype} holds exactly`);
    }
    return held;
  }
  const isExact = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isExact || BigInt(value) < limits[0] || BigInt(value) > limits[1]) {
    refuse(`whole numbers from ${limits[0]} to ${limits[1]}`);
  }
  return dtype.endsWith("64") ? BigInt(value) : Number(value);
}

export function filled(dtype, shape, values, subject, was) {
  const type = typeOf(dtype, subject);
  const size = count(shape);
  const data = new type.array(size);
  for (let i = 0; i < size; i++) data[i] = exact(values[i], dtype, subject, was);
  return { dtype, shape, data };
}

// Nested lists in JSON as an array of the dtype; all lists of one depth must have one length.
export function fromJson(text, dtype, subject) {
  // Where the browser gives the digits, whole numbers of any size stay exact, and 3e38 is a float.
  let was = "f";
  const reviver = (key, value, context) => {
    if (typeof value !== "number") return value;
    if (context?.source === undefined) was = undefined;
    return /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;
  };
  let value;
  try {
    value = JSON.parse(text, reviver);
  } catch (error) {
    throw Refusal.of(subject, `is no JSON (${error.message})`, "nested lists", "repair it");
  }
  return fromLists(value, dtype, subject, was);
}

function fromLists(value, dtype, subject, was) {
  const shape = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0]) shape.push(inner.length);
  const flat = [];
  const walk = (item, depth) => {
    if (depth === shape.length) {
      if (Array.isArray(item)) throw uneven(subject);
      flat.push(item);
      return;
    }
    if (!Array.isArray(item) || item.length !== shape[depth]) throw uneven(subject);
    for (const inner of item) walk(inner, depth + 1);
  };
  walk(value, 0);
  return filled(dtype, shape, flat, subject, was);
}

const uneven = (subject) =>
  Refusal.of(subject, "has lists of several lengths", "one length", "give all rows the same size");

const NPY = {
  "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
  "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64", "f4": "float32", "f8": "float64",
};

// A .npy file as it is, of its own dtype. Source: numpy.lib.format.
export function readNpy(buffer, name) {
  const bytes = new Uint8Array(buffer);
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (bytes.length < 12 || !magic.every((byte, i) => bytes[i] === byte)) {
    throw Refusal.of(`'${name}'`, "does not begin as a .npy file", "one", "save it with np.save");
  }
  const view = new DataView(buffer);
  const isOld = bytes[6] === 1;
  const size = isOld ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = isOld ? 10 : 12;
  const header = new TextDecoder().decode(bytes.subarray(start, start + size));
  const found = /'descr': *'([<>|=])(\w+)', *'fortran_order': *(True|False), *'shape': *\(([^)]*)\)/.exec(
    header,
  );
  const dtype = found && NPY[found[2]];
  if (!dtype) {
    throw Refusal.of(`'${name}'`, `holds ${header.slice(0, 60)}`, "numbers", "save plain numbers");
  }
  const isNative = found[1] !== ">";
  if (!isNative || found[3] === "True") {
    const kind = isNative ? "columns first" : "big-endian numbers";
    throw Refusal.of(`'${name}'`, `holds ${kind}`, "numpy's usual order", "save a copy, x.copy()");
  }
  const shape = found[4].split(",").map((part) => part.trim()).filter(Boolean).map(Number);
  const { array } = DTYPES[dtype];
  const data = buffer.slice(start + size);
  if (data.byteLength !== count(shape) * array.BYTES_PER_ELEMENT) {
    const have = `${data.byteLength} bytes for the shape ${shapeText(shape)}`;
    throw Refusal.of(`'${name}'`, `holds ${have}`, "as many as it says", "copy it again");
  }
  return { dtype, shape, data: new array(data) };
}

// The array in another dtype, each value exactly; floats may be rounded to a narrower float.
export function cast(given, dtype, subject) {
  if (given.dtype === dtype) return given;
  return filled(dtype, given.shape, given.data, subject, DTYPES[given.dtype].kind);
}

export function firstNonFinite({ dtype, data }) {
  if (DTYPES[dtype].kind !== "f") return -1;
  return data.findIndex((value) => !Number.isFinite(value));
}
