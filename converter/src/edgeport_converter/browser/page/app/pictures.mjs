// From a photo file or a camera's picture to the pixels that an input takes, or a refusal.
//
// Nothing is resized or turned to gray unless the user ticked that, and then the answer says so.

import { hasBatchAxis, sampleAxes, sampleShape } from "./artifact.mjs";
import { count } from "./arrays.mjs";
import { checkFrameSize } from "./model.mjs";
import { Refusal } from "./words.mjs";

const SMALLEST_SIDE = 8;
const LARGEST_DRAWING = 64;

// How float inputs may take pixels; the card's range says which, if it is one of these.
export const SCALES = [
  { id: "raw", text: "as they are, 0 to 255", range: [0, 255], of: (pixel) => pixel },
  { id: "unit", text: "pixel / 255, 0 to 1", range: [0, 1], of: (pixel) => Math.fround(pixel / 255) },
  {
    id: "signed",
    text: "pixel / 127.5 - 1, -1 to 1",
    range: [-1, 1],
    of: (pixel) => Math.fround(Math.fround(pixel / 127.5) - 1),
  },
];

// How the card's only input takes a picture, or null where it takes none:
// {spec, frames, channels, order, height, width, axes, scale}; height and width null: any.
export function pictureInput(card) {
  if (card.inputs.length !== 1 || card.columns?.length || card.signal) return null;
  const [spec] = card.inputs;
  const frames = card.frames?.[spec.name] ?? null;
  if (frames) {
    const [height, width] = frames.size ?? [null, null];
    const channels = frames.order === "gray" ? 1 : 3;
    return { spec, frames, channels, order: frames.order, height, width, axes: "HWC", scale: "raw" };
  }
  if (spec.dtype !== "uint8" && spec.dtype !== "float32") return null;
  const scale = spec.dtype === "uint8" ? "raw" : (SCALES.find(({ range }) =>
    range[0] === spec.value_range?.[0] && range[1] === spec.value_range?.[1])?.id ?? null);
  const [shape, axes] = [sampleShape(spec), sampleAxes(spec).join("")];
  const base = { spec, frames: null, order: "rgb", scale, mayScale: spec.dtype === "float32" };
  if (["HW", "HWC", "CHW"].includes(axes)) {
    const size = (letter) => (axes.includes(letter) ? shape[axes.indexOf(letter)] : 1);
    const channels = size("C");
    if (channels !== 1 && channels !== 3) return null;
    const side = (letter) => (Number.isInteger(size(letter)) ? size(letter) : null);
    return { ...base, channels, axes, height: side("H"), width: side("W") };
  }
  const side = Math.sqrt(shape[0]);
  const isSquare = shape.length === 1 && Number.isInteger(side) && side >= SMALLEST_SIDE;
  return isSquare && hasBatchAxis(spec)
    ? { ...base, channels: 1, axes: "F", height: side, width: side }
    : null;
}

// The size of a drawing for this input, or null where it takes no small gray picture.
export function drawingSide(input) {
  if (!input || input.channels !== 1) return null;
  const { height, width, frames } = input;
  if (frames && !frames.size) return Math.min(28, Math.floor(Math.sqrt(frames.most_pixels)));
  return height === width && height >= SMALLEST_SIDE && height <= LARGEST_DRAWING ? height : null;
}

const PNG_KINDS = { 0: "gray", 2: "RGB", 3: "a palette", 4: "gray with alpha", 6: "RGB with alpha" };

// How the file stores its pixels. Refuses pictures that a browser would turn into 8 bits or another
// colour without a word, or of which it would show the part that is there.
function kindOf(bytes, name) {
  const refuse = (found, remedy) => {
    throw Refusal.of(`'${name}'`, found, "a whole PNG or JPEG of 8 bits, gray or RGB", remedy);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0) === 0x89504e47) return kindOfPng(bytes, view, refuse);
  if (view.getUint16(0) === 0xffd8) return kindOfJpeg(bytes, view, refuse);
  return refuse("is neither PNG nor JPEG", "save it as one of these");
}

const CUT = ["was cut short", "copy it again"];

function kindOfPng(bytes, view, refuse) {
  let kind = "unknown";
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const chunk = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (chunk === "IEND") return kind;
    if (chunk === "acTL") refuse("holds several pages", "save one of them");
    if (chunk === "tRNS") kind += " with a transparent colour";
    if (chunk !== "IHDR") continue;
    const bits = bytes[at + 16];
    if (bits > 8) refuse(`has channels of ${bits} bits`, "convert it as for the training");
    kind = PNG_KINDS[bytes[at + 17]] + (bits < 8 ? ` of ${bits} bits` : "");
  }
  return refuse(...CUT);
}

// Source: ITU-T T.81, annex B: segments have a length, and after a scan come entropy-coded bytes
// up to the next marker; FF 00 and FF D0 to FF D7 are part of these, FF D9 ends the picture.
function kindOfJpeg(bytes, view, refuse) {
  let at = 2;
  let kind = "unknown";
  while (at + 2 <= bytes.length) {
    const marker = bytes[at] === 0xff ? bytes[at + 1] : 0;
    if (marker === 0xd9) return kind;
    const isInScan = !marker || (marker >= 0xd0 && marker <= 0xd7) || marker === 0xff;
    if (isInScan) {
      at++;
      continue;
    }
    if (at + 10 > bytes.length) break;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame && bytes[at + 9] > 3) refuse("is CMYK", "save it as RGB");
    if (isFrame && bytes[at + 4] !== 8) {
      refuse(`has channels of ${bytes[at + 4]} bits`, "save it with 8");
    }
    if (isFrame) kind = bytes[at + 9] === 1 ? "gray" : "RGB";
    at += 2 + view.getUint16(at + 2);
  }
  return refuse(...CUT);
}

// The pixels of a photo file: {height, width, rgba, kind}, upright as its camera says.
export async function readPhoto(file, input) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes.length < 16) throw Refusal.of(`'${file.name}'`, "is empty", "a photo", "copy it again");
  const kind = kindOf(bytes, file.name);
  let bitmap;
  try {
    // No colour management: a device's decoder does none either.
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch (error) {
    const found = `cannot be read (${error.message})`;
    throw Refusal.of(`'${file.name}'`, found, "a whole photo", "copy it again");
  }
  if (input.frames) checkFrameSize(bitmap.height, bitmap.width, input.frames, `'${file.name}'`);
  return { ...pixelsOf(bitmap, bitmap.width, bitmap.height, file.name), kind };
}

export function pixelsOf(source, width, height, name) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  for (let at = 3; at < rgba.length; at += 4) {
    if (rgba[at] < 255) {
      const remedy = "paste it on the background that the pictures of the training had";
      throw Refusal.of(`'${name}'`, "has transparent pixels", "none", remedy);
    }
  }
  return { height, width, rgba, source };
}

// One sample of the input, {array, notes}. Options: {resize, gray, scale}, as the user chose.
export function sampleOf(picture, input, options) {
  const notes = [];
  const { height, width } = input;
  const { kind } = picture;
  const isOther = (height ?? picture.height) !== picture.height ||
    (width ?? picture.width) !== picture.width;
  if (isOther) {
    if (!options.resize || input.frames) {
      const found = `is ${picture.height} x ${picture.width} pixels (H x W)`;
      const remedy = input.frames ? "crop it" : "resize it as for the training, or tick Resize";
      throw Refusal.of("the picture", found, `${height} x ${width}`, remedy);
    }
    picture = resized(picture, height ?? picture.height, width ?? picture.width);
    notes.push(
      "The browser resized this picture, not the code that resized those of the training, so a " +
        "device may answer a little differently.",
    );
  }
  const told = notes.length;
  const levels = new Uint8Array(picture.height * picture.width * input.channels);
  if (input.channels === 1) fillGray(levels, picture, options, notes);
  else fillColours(levels, picture, input.order);
  const wanted = input.channels === 1 ? "gray" : "RGB";
  const hasTurned = input.channels === 1 && notes.length > told;
  if (!input.frames && kind && kind !== wanted && !hasTurned) {
    notes.push(`The file stores its pixels as ${kind}, and this page took them as ${wanted}. A ` +
      "device refuses such a file until it is converted, as for the training.");
  }
  return { array: arranged(levels, picture, input, options.scale), notes };
}

function resized({ source }, height, width) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return { height, width, rgba: context.getImageData(0, 0, width, height).data, source: canvas };
}

function fillGray(levels, { rgba }, options, notes) {
  let isTurned = false;
  for (let i = 0, at = 0; i < levels.length; i++, at += 4) {
    const [red, green, blue] = [rgba[at], rgba[at + 1], rgba[at + 2]];
    if (red === green && green === blue) levels[i] = red;
    else {
      // Pillow's convert("L"): ITU-R 601-2 in whole numbers.
      levels[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
      isTurned = true;
    }
  }
  if (!isTurned) return;
  if (!options.gray) {
    const remedy = "convert it to gray as for the training, or tick Turn to gray";
    throw Refusal.of("the picture", "has colours", "a gray picture", remedy);
  }
  notes.push('This page turned the colours to gray as Pillow\'s convert("L") does.');
}

function fillColours(levels, { rgba }, order) {
  const [first, last] = order === "bgr" ? [2, 0] : [0, 2];
  for (let i = 0, at = 0; i < levels.length; i += 3, at += 4) {
    levels[i] = rgba[at + first];
    levels[i + 1] = rgba[at + 1];
    levels[i + 2] = rgba[at + last];
  }
}

function arranged(levels, { height, width }, input, scaleId) {
  const { axes, channels, spec } = input;
  const scale = SCALES.find(({ id }) => id === scaleId);
  if (!scale) {
    throw new Refusal(
      "the card does not say which numbers stand for dark and bright, expected the training's " +
        "scale: choose it under Pixels",
    );
  }
  const data = spec.dtype === "uint8" ? levels : Float32Array.from(levels, scale.of);
  const shape = { HWC: [height, width, channels], HW: [height, width], F: [count([height, width])],
    CHW: [channels, height, width] }[axes];
  if (axes !== "CHW") return { dtype: spec.dtype, shape, data };
  const turned = data.slice();
  const plane = height * width;
  for (let i = 0; i < data.length; i++) {
    turned[(i % channels) * plane + Math.floor(i / channels)] = data[i];
  }
  return { dtype: spec.dtype, shape, data: turned };
}
