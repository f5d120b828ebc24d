// Golden samples: known inputs and answers from the card, run here before anything else.

import { DTYPES, count, typeOf } from "./arrays.mjs";
import { Refusal, few } from "./words.mjs";

// From so many multiply-accumulates on, one sample is run: each takes a browser about a second.
const SLOW = 2 ** 28;
const STEP = (Math.sqrt(5) - 1) / 2; // the runtime's golden.py names the source

async function inflate(packed, size) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  if (buffer.byteLength !== size) {
    throw new Refusal(`a golden array holds ${buffer.byteLength} of ${size} bytes: convert again`);
  }
  return buffer;
}

// numpy's rounding: halves go to the even neighbour.
export function rint(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

function store(data, at, value, { kind, limits }) {
  if (kind === "f") data[at] = value;
  else if (kind === "b") data[at] = Number(value !== 0);
  else {
    const whole = Math.min(Math.max(value, Number(limits[0])), Number(limits[1]));
    data[at] = typeof data[0] === "bigint" ? BigInt(whole) : whole;
  }
}

// The array of any of the card's three forms.
export async function decode(encoded) {
  const { dtype, shape } = encoded;
  const type = typeOf(dtype, "a golden sample");
  const size = count(shape);
  if (encoded.zlib !== undefined) {
    const buffer = await inflate(encoded.zlib, size * type.array.BYTES_PER_ELEMENT);
    return { dtype, shape, data: new type.array(buffer) };
  }
  const data = new type.array(size);
  if (encoded.ramp) {
    const [low, high, start] = encoded.ramp;
    for (let i = 0; i < size; i++) {
      const place = start + i * STEP;
      const value = low + (high - low) * (place - Math.floor(place));
      store(data, i, type.kind === "f" ? value : Math.floor(value), type);
    }
    return { dtype, shape, data };
  }
  const kept = encoded.blocks.shape;
  const codes = new Uint8Array(await inflate(encoded.blocks.zlib, count(kept)));
  const [low, high] = encoded.blocks.range;
  const lengths = shape.map((whole, axis) => Math.ceil(whole / Math.max(kept[axis], 1)));
  for (let i = 0; i < size; i++) {
    let [rest, from, stride] = [i, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += Math.floor((rest % shape[axis]) / lengths[axis]) * stride;
      rest = Math.floor(rest / shape[axis]);
      stride *= kept[axis];
    }
    const place = codes[from] / 255;
    const value = low * (1 - place) + high * place;
    store(data, i, type.kind === "f" ? value : rint(value), type);
  }
  return { dtype, shape, data };
}

// The largest absolute difference; infinity for another shape, dtype or number of values.
function difference(stated, values, actual) {
  const same = (one, other) => one.length === other.length && one.every((x, i) => x === other[i]);
  if (!same(stated.shape, actual.shape) || values.dtype !== actual.dtype) return Infinity;
  const { kind } = DTYPES[actual.dtype];
  let largest = 0;
  let place = 0;
  for (let at = 0; at < actual.data.length; at += stated.step, place++) {
    const [found, wanted] = [actual.data[at], values.data[place]];
    if (found === wanted || Object.is(found, wanted)) continue;
    const gap = kind === "f" || kind === "i" ? Math.abs(Number(found) - Number(wanted)) : Infinity;
    largest = Number.isNaN(gap) ? Infinity : Math.max(largest, gap);
  }
  return place === values.data.length ? largest : Infinity;
}

// Runs the golden samples; returns {ran, total, worst: [{output, measured, allowed}]}, or refuses.
export async function runGoldenSamples(card, run) {
  const all = card.golden_samples ?? [];
  const most = (card.multiply_accumulates ?? 0) >= SLOW ? 1 : all.length;
  const worst = new Map();
  for (const [index, sample] of all.slice(0, most).entries()) {
    const feed = {};
    for (const [name, encoded] of Object.entries(sample.inputs)) feed[name] = await decode(encoded);
    const outputs = await run(feed);
    for (const { name } of card.outputs) {
      const stated = sample.outputs[name];
      const allowed = card.tolerance?.[name] ?? 0;
      const measured = difference(stated, await decode(stated.values), outputs[name]);
      if (!(measured <= allowed)) {
        throw new Refusal(
          `the artifact gives another answer in this browser: golden sample ${index + 1}, output ` +
            `'${name}', is off by ${few(measured)}, expected at most ${few(allowed)}: ` +
            "report the browser and the device, and use edgeport on a device instead",
        );
      }
      worst.set(name, { measured: Math.max(measured, worst.get(name)?.measured ?? 0), allowed });
    }
  }
  return { ran: Math.min(most, all.length), total: all.length, worst };
}
