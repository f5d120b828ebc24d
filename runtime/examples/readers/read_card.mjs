// Reads an artifact with Node and onnxruntime-web alone: seal, card, first golden sample.
//
//     npm install onnxruntime-web
//     node read_card.mjs digits.onnx

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import * as ort from "onnxruntime-web";

const KEYS = { sha256: "edgeport.sha256", card: "edgeport.card" };

// Protobuf's number at `at` in base 128, least significant group first, and the position after it.
function varint(bytes, at) {
  let number = 0;
  for (let place = 0; ; place++) {
    number += (bytes[at + place] & 127) * 2 ** (7 * place);
    if (bytes[at + place] < 128) return [number, at + place + 1];
  }
}

// The entries of ModelProto.metadata_props (field 14): where each key's value begins and ends.
function metadata(bytes) {
  const found = new Map();
  for (let at = 0; at < bytes.length; ) {
    let tag, end, size;
    [tag, at] = varint(bytes, at);
    if ((tag & 7) === 0) {
      [, at] = varint(bytes, at);
      continue;
    }
    if ((tag & 7) !== 2) throw new Error(`no ONNX file: wire type ${tag & 7}`);
    [size, at] = varint(bytes, at);
    end = at + size;
    if (tag >> 3 === 14) {
      [size, at] = varint(bytes, at + 1); // after the tag of field 1, the key
      const key = bytes.toString("utf8", at, at + size);
      [size, at] = varint(bytes, at + size + 1); // after the tag of field 2, the value
      found.set(key, { at, end: at + size });
    }
    at = end;
  }
  return found;
}

// The SHA-256 of the file with the place of the digest filled with the letter 0.
function checkSeal(bytes, { at, end }) {
  const zeroed = Buffer.from(bytes).fill("0", at, end);
  const actual = createHash("sha256").update(zeroed).digest("hex");
  if (actual !== bytes.toString("ascii", at, end)) throw new Error("the artifact is damaged");
  return actual;
}

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int64: BigInt64Array };

// An array of a golden sample: its little-endian bytes, deflated, in base64.
function decode({ dtype, zlib }) {
  const bytes = new Uint8Array(inflateSync(Buffer.from(zlib, "base64")));
  return new ARRAYS[dtype](bytes.buffer);
}

const path = process.argv[2];
const bytes = readFileSync(path);
const entries = metadata(bytes);
const sha256 = checkSeal(bytes, entries.get(KEYS.sha256));
const { at, end } = entries.get(KEYS.card);
const card = JSON.parse(bytes.toString("utf8", at, end));

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(bytes);
const sample = card.golden_samples[0];
const feed = {};
for (const [name, array] of Object.entries(sample.inputs)) {
  feed[name] = new ort.Tensor(array.dtype, decode(array), array.shape);
}
const outputs = await session.run(feed);

for (const { name } of card.outputs) {
  const stated = sample.outputs[name]; // every step-th element in row-major order
  const expected = decode(stated.values);
  const found = outputs[name].data.filter((_, place) => place % stated.step === 0);
  const off = Math.max(...expected.map((value, place) => Math.abs(value - found[place])));
  if (!(off <= card.tolerance[name])) throw new Error(`${name} is off by ${off}`);
}
const scores = [...outputs[card.outputs[0].name].data];
const best = scores.indexOf(Math.max(...scores));
console.log(JSON.stringify({ name: card.name, sha256, best: card.labels?.[best] ?? best, scores }));
