// The artifact on onnxruntime-web: loading with every check, and running one feed.

import * as ort from "../ort/ort.wasm.bundle.min.mjs";

import { hasBatchAxis, readArtifact, sampleShape } from "./artifact.mjs";
import { DTYPES, cast, count, firstNonFinite, typeOf } from "./arrays.mjs";
import { checkColumns, farColumns } from "./columns.mjs";
import { runGoldenSamples } from "./golden.mjs";
import { Refusal, digits, shapeText } from "./words.mjs";

// One thread needs no SharedArrayBuffer, and so no special headers from the server.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  wasm: new URL("../ort/ort-wasm-simd-threaded.wasm", import.meta.url).href,
};
ort.env.logLevel = "error";

export const engineVersion = ort.env.versions.web;

const numbers = (version) => version.split(/\D+/).slice(0, 3).map(Number);

function isOlder(one, other) {
  const [a, b] = [numbers(one), numbers(other)];
  const place = b.findIndex((number, i) => number !== (a[i] ?? 0));
  return place >= 0 && (a[place] ?? 0) < b[place];
}

export class Model {
  // Loads the artifact's bytes; refuses them as `edgeport` does on a device.
  static async load(bytes) {
    const { card, sha256 } = readArtifact(bytes);
    const needed = card.requires?.onnxruntime;
    if (needed && isOlder(engineVersion, needed)) {
      throw new Refusal(
        `the artifact needs onnxruntime ${needed} or newer, this page has ${engineVersion}: ` +
          "build it with a newer edgeport page",
      );
    }
    for (const spec of card.inputs) typeOf(spec.dtype, `input '${spec.name}'`);
    for (const spec of card.outputs) typeOf(spec.dtype, `output '${spec.name}'`);
    let session;
    try {
      session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    } catch (error) {
      throw new Refusal(
        `onnxruntime-web ${engineVersion} cannot load the artifact (${error.message ?? error}): ` +
          "run it with edgeport on a device instead",
      );
    }
    checkAgreement(card, session);
    const model = new Model(card, sha256, session);
    model.selfTest = await runGoldenSamples(card, (feed) => model.run(feed));
    return model;
  }

  constructor(card, sha256, session) {
    this.card = card;
    this.sha256 = sha256;
    this.session = session;
    const batched = card.inputs.filter(hasBatchAxis);
    this.fixed = batched.map((spec) => spec.shape[0]).find(Number.isInteger) ?? null;
    this.maySplit =
      batched.length > 0 && card.outputs.every(hasBatchAxis) && !card.samples_interact;
    this.oneByOne = this.maySplit && card.quantization?.recipe === "dynamic";
    this.tail = Promise.resolve(); // the engine takes one run at a time
  }

  // Arrays by input name, of one sample or of a batch, to {outputs, samples, ms, warnings}.
  async predict(given) {
    const { feed, isSingle } = this.prepare(given);
    const warnings = this.outOfRange(feed);
    const start = performance.now();
    const outputs = await this.run(feed);
    const ms = performance.now() - start;
    for (const spec of this.card.outputs) {
      const at = firstNonFinite(outputs[spec.name]);
      if (at >= 0) {
        throw new Refusal(
          `output '${spec.name}' is ${outputs[spec.name].data[at]} at place ${at}, expected finite ` +
            "numbers: look for far out-of-range values in the input, or for a damaged sensor",
        );
      }
    }
    const samples = this.samplesOf(feed);
    return { outputs, samples, isSingle, ms, warnings };
  }

  samplesOf(feed) {
    const spec = this.card.inputs.find(hasBatchAxis);
    return spec ? feed[spec.name].shape[0] : null;
  }

  // Every input with its batch axis, in the card's dtype and shape, or a refusal.
  prepare(given) {
    const feed = {};
    const sizes = new Map();
    const singles = new Set();
    for (const spec of this.card.inputs) {
      const subject = `input '${spec.name}'`;
      if (!given[spec.name]) throw Refusal.of(subject, "is missing", "an array", "fill it in");
      const frames = this.card.frames?.[spec.name];
      let array = given[spec.name];
      if (frames) checkFrames(array, frames, subject);
      else array = cast(array, spec.dtype, subject);
      if (hasBatchAxis(spec)) {
        const isSingle = array.shape.length === spec.shape.length - 1;
        singles.add(isSingle);
        if (isSingle) array = { ...array, shape: [1, ...array.shape] };
      }
      checkShape(spec, given[spec.name], array, subject, sizes);
      const isTable = this.card.columns?.length > 0;
      if (isTable) checkColumns(this.card, spec, array);
      const bad = isTable ? -1 : firstNonFinite(array);
      if (bad >= 0) {
        const found = `is ${array.data[bad]} at place ${bad}`;
        throw Refusal.of(subject, found, "finite numbers", "repair or drop the sample");
      }
      feed[spec.name] = array;
    }
    if (singles.size > 1) {
      throw new Refusal(
        "one input is a single sample and another a batch, expected all alike: give each of them " +
          "the batch axis",
      );
    }
    return { feed, isSingle: singles.has(true) };
  }

  // The runtime's warning about an input in another unit, see its inputs/ranges.py.
  outOfRange(feed) {
    if (this.card.columns?.length) return farColumns(this.card, feed);
    const sentences = [];
    for (const { name, value_range: range } of this.card.inputs) {
      if (!range || DTYPES[feed[name].dtype].kind === "s") continue;
      const [low, high] = range;
      let [lowest, highest, outside] = [Infinity, -Infinity, 0];
      for (const item of feed[name].data) {
        const value = Number(item);
        lowest = Math.min(lowest, value);
        highest = Math.max(highest, value);
        outside += value < low || value > high;
      }
      const excess = Math.max(low - lowest, highest - high);
      if (outside > 0.25 * feed[name].data.length || excess > high - low) {
        sentences.push(
          `input '${name}' has values from ${digits(lowest)} to ${digits(highest)}, but the model ` +
            `was calibrated for ${digits(low)} to ${digits(high)} and saturates beyond, so this ` +
            "answer is not to be trusted: scale the input as in the training",
        );
      }
    }
    return sentences;
  }

  // Splits and pads a batch as the runtime does, so that an answer does not depend on its company.
  async run(feed) {
    const samples = this.samplesOf(feed);
    if (samples === null) return this.once(feed);
    if (this.fixed !== null && samples !== this.fixed && !this.maySplit) {
      const expected = `exactly ${this.fixed}, since its samples depend on each other`;
      throw Refusal.of("the model was given", `${samples} samples`, expected, "pass as many");
    }
    if (this.fixed === null && !this.oneByOne) return this.once(feed);
    const size = this.fixed ?? 1;
    const parts = [];
    for (let start = 0; start < samples; start += size) {
      parts.push(await this.once(this.take(feed, start, Math.min(size, samples - start), size)));
    }
    return joined(parts, this.card.outputs, samples);
  }

  take(feed, start, taken, size) {
    const part = { ...feed };
    for (const spec of this.card.inputs.filter(hasBatchAxis)) {
      const { dtype, shape, data } = feed[spec.name];
      const step = count(shape.slice(1));
      const own = data.slice(start * step, (start + taken) * step);
      const wide = new DTYPES[dtype].array(size * step);
      for (let i = 0; i < wide.length; i++) {
        wide[i] = own[i < own.length ? i : own.length - step + (i % step)];
      }
      part[spec.name] = { dtype, shape: [size, ...shape.slice(1)], data: wide };
    }
    return part;
  }

  async once(feed) {
    const turn = this.tail.then(() => this.call(feed));
    this.tail = turn.catch(() => {});
    return turn;
  }

  async call(feed) {
    const tensors = {};
    for (const [name, { dtype, shape, data }] of Object.entries(feed)) {
      tensors[name] = new ort.Tensor(DTYPES[dtype].engine, data, shape);
    }
    let found;
    try {
      found = await this.session.run(tensors);
    } catch (error) {
      throw new Refusal(
        `the engine failed while it ran (${error.message ?? error}): check the input, or run the ` +
          "model with edgeport on a device",
      );
    }
    const outputs = {};
    for (const { name, dtype } of this.card.outputs) {
      const { dims, data } = found[name];
      outputs[name] = { dtype, shape: [...dims], data };
    }
    return outputs;
  }
}

function joined(parts, specs, samples) {
  const outputs = {};
  for (const { name, dtype } of specs) {
    const shape = [samples, ...parts[0][name].shape.slice(1)];
    const data = new DTYPES[dtype].array(count(shape));
    let at = 0;
    for (const part of parts) {
      for (const value of part[name].data) if (at < data.length) data[at++] = value;
    }
    outputs[name] = { dtype, shape, data };
  }
  return outputs;
}

// Refuses a card that describes another graph than the one it came with.
function checkAgreement(card, session) {
  for (const [kind, specs, ports] of [
    ["input", card.inputs, session.inputMetadata],
    ["output", card.outputs, session.outputMetadata],
  ]) {
    const found = new Map(ports.map((port) => [port.name, port]));
    const agrees = specs.every(({ name, dtype, shape }) => {
      const port = found.get(name);
      if (!port || port.type !== DTYPES[dtype].engine) return false;
      const sizes = port.shape ?? [];
      const isSame = (size, axis) => typeof size !== "number" || size < 0 || shape[axis] === size;
      return !sizes.length || (sizes.length === shape.length && sizes.every(isSame));
    });
    if (!agrees || (kind === "input" && ports.length !== specs.length)) {
      throw new Refusal(
        `the artifact has a card for another graph: its ${kind}s are not those of the graph: ` +
          "convert the model again",
      );
    }
  }
}

function checkShape(spec, given, array, subject, sizes) {
  const wanted = hasBatchAxis(spec) ? ["N", ...spec.shape.slice(1)] : spec.shape;
  const fits =
    wanted.length === array.shape.length &&
    wanted.every((size, axis) => typeof size === "string" || size === array.shape[axis]);
  if (!fits) {
    const remedy = `pass one sample of shape ${shapeText(sampleShape(spec))} or a batch of them`;
    throw Refusal.of(subject, `has shape ${shapeText(given.shape)}`, shapeText(wanted), remedy);
  }
  if (array.shape.includes(0)) {
    throw Refusal.of(subject, "is empty", "at least one value", "leave such a sample out");
  }
  wanted.forEach((axis, place) => {
    const size = array.shape[place];
    if (typeof axis !== "string") return;
    if ((sizes.get(axis) ?? size) !== size) {
      const found = `has ${size} along axis ${axis}`;
      throw Refusal.of(subject, found, `${sizes.get(axis)} as in another input`, "make both alike");
    }
    sizes.set(axis, size);
  });
}

// A frame is uint8: of a dark picture, nobody can tell whether its floats go up to 1 or to 255.
export function checkFrames({ dtype, shape }, frames, subject) {
  if (dtype !== "uint8") {
    const expected = "uint8, levels from 0 to 255 as a camera gives them";
    const remedy = "pass the frame as it was before it was scaled, since the graph scales it";
    throw Refusal.of(subject, `has pixels of dtype ${dtype}`, expected, remedy);
  }
  const [height, width, channels] = shape.slice(-3);
  const wanted = frames.order === "gray" ? 1 : 3;
  if (channels !== wanted || (shape.length !== 3 && shape.length !== 4)) {
    const expected = `a frame (H, W, ${wanted}) in the order ${frames.order}`;
    throw Refusal.of(subject, `has the shape ${shapeText(shape)}`, expected, "pass one frame");
  }
  checkFrameSize(height, width, frames, subject);
}

export function checkFrameSize(height, width, frames, subject) {
  const found = `is a frame of ${height} x ${width} (H x W)`;
  if (frames.size && (frames.size[0] !== height || frames.size[1] !== width)) {
    const expected = `${frames.size.join(" x ")}, the only size of this model`;
    throw Refusal.of(subject, found, expected, "set the camera to it, or crop the photo");
  }
  if (height * width > frames.most_pixels) {
    const pixels = `${found}, which are ${height * width} pixels`;
    throw Refusal.of(subject, pixels, `at most ${frames.most_pixels}`, "crop it or take a smaller one");
  }
}
