// The artifact's bytes: whether they are the ones that were sealed, and the card that they hold.
//
// An artifact is an ONNX file (protobuf) whose first fields stand in fixed places:
//   08 vv                                   ir_version
//   72 53 0a 0f "edgeport.sha256" 12 40     metadata entry: key, length of the value
//   64 hexadecimal digits                   SHA-256 of the file with these 64 as zeros
//   72 .. 0a 0d "edgeport.card" 12 ..       metadata entry: the card's JSON

import { sha256 } from "./digest.mjs";
import { Refusal, grouped } from "./words.mjs";

const NEWEST_FORMAT = 2;
const DIGEST_SIZE = 64;
const ascii = (text) => Array.from(text, (letter) => letter.charCodeAt(0));
const HEAD = [0x72, 0x53, 0x0a, 0x0f, ...ascii("edgeport.sha256"), 0x12, 0x40];
const CARD_KEY = [0x0a, 0x0d, ...ascii("edgeport.card"), 0x12];

const startsWith = (bytes, part, at) => part.every((byte, i) => bytes[at + i] === byte);

// Protobuf's number at `at`, and the position after it.
function varint(bytes, at) {
  let number = 0;
  for (let place = 0; place < 5; place++) {
    const byte = bytes[at + place];
    number += (byte & 127) * 2 ** (7 * place);
    if (byte < 128) return [number, at + place + 1];
  }
  throw new Refusal("the artifact's card has no length: copy the file again from its source");
}

// Returns {card, sha256} once the digest matches the bytes; refuses everything else.
export function readArtifact(bytes) {
  const start = 2 + HEAD.length;
  if (bytes[0] !== 0x08 || !startsWith(bytes, HEAD, 2)) {
    throw new Refusal(
      `the artifact's ${grouped(bytes.length)} bytes do not begin as those of a sealed artifact, ` +
        "so they were changed or are another file: build this page again with edgeport page",
    );
  }
  const zeroed = bytes.slice();
  zeroed.fill(0x30, start, start + DIGEST_SIZE);
  const actual = sha256(zeroed);
  if (!startsWith(bytes, ascii(actual), start)) {
    throw new Refusal(
      `the artifact is damaged: its ${grouped(bytes.length)} bytes do not match the digest that ` +
        "it was sealed with, so it was cut short or changed; build this page again",
    );
  }
  return { card: readCard(bytes, start + DIGEST_SIZE), sha256: actual };
}

function readCard(bytes, at) {
  if (bytes[at] !== 0x72) throw new Refusal("the artifact has no card: convert the model again");
  let size;
  [, at] = varint(bytes, at + 1);
  if (!startsWith(bytes, CARD_KEY, at)) {
    throw new Refusal("the artifact has no card: convert the model again");
  }
  [size, at] = varint(bytes, at + CARD_KEY.length);
  const card = JSON.parse(new TextDecoder().decode(bytes.subarray(at, at + size)));
  if (!(card.format_version >= 1 && card.format_version <= NEWEST_FORMAT)) {
    throw new Refusal(
      `the artifact has card format ${card.format_version}, this page reads formats up to ` +
        `${NEWEST_FORMAT}: build it with a newer edgeport page`,
    );
  }
  return card;
}

export const hasBatchAxis = (spec) => (spec.axes?.[0] ?? spec.shape[0]) === "N";

export const sampleShape = (spec) => (hasBatchAxis(spec) ? spec.shape.slice(1) : spec.shape);

// The axes of one sample, [] where the card does not know them.
export const sampleAxes = (spec) =>
  hasBatchAxis(spec) ? (spec.axes ?? []).slice(1) : (spec.axes ?? []);
