// WAV files as arrays, with every value as it is in the file, or a refusal; as the runtime's wav.py.

import { rint } from "./golden.mjs";
import { Refusal, digits, grouped } from "./words.mjs";

// Format tags. Source: mmreg.h of Windows; RFC 2361 lists them.
const [PCM, FLOAT, EXTENSIBLE] = [1, 3, 0xfffe];
const COMPRESSED = { 2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3" };
const IDENTIFIER_END = [0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71];
const WIDTHS = { [PCM]: [8, 16, 24, 32], [FLOAT]: [32, 64] };
const OTHER_HEADS = { RF64: "RF64, for files above 4 GiB", FORM: "AIFF", fLaC: "FLAC", OggS: "Ogg",
  "ID3\x03": "MP3", "ID3\x04": "MP3" };

// {rate, channels, samples, as(dtype)}; as() gives (T * C) int16 or float32, channels alternating.
export function readWav(buffer, name) {
  const view = new DataView(buffer);
  const size = buffer.byteLength;
  const refusal = (actual, expected, remedy) => Refusal.of(`'${name}'`, actual, expected, remedy);
  const text = (at, length) =>
    String.fromCharCode(...new Uint8Array(buffer, at, Math.max(0, Math.min(length, size - at))));
  if (!size) throw refusal("is empty", "a WAV file", "record it again");
  const isSmall = text(0, 4) === "RIFF";
  if (!(isSmall || text(0, 4) === "RIFX") || size < 12 || text(8, 4) !== "WAVE") {
    const known = OTHER_HEADS[text(0, 4)];
    const found = known ? `is ${known}` : "does not begin as a WAV file";
    throw refusal(found, "RIFF with WAVE", "save it as a WAV file of 16 bits");
  }
  let format = null;
  let at = 12;
  let length;
  for (;;) {
    if (at + 8 > size) {
      const lacks = format ? "sound data" : "a format";
      throw refusal(`ends before ${lacks}`, "it whole", "copy or record it again");
    }
    const chunk = text(at, 4);
    length = view.getUint32(at + 4, isSmall);
    at += 8;
    if (chunk === "data") break;
    if (chunk === "fmt ") {
      format = readFormat(new DataView(buffer, at, Math.min(length, 40, size - at)), isSmall, refusal);
    }
    at += length + (length % 2);
  }
  if (!format) throw refusal("has sound data before a format", "it after", "save it again");
  if (length > size - at) {
    const found = `ends after ${grouped(size - at)} bytes of sound`;
    const expected = `${grouped(length)}, as its header says`;
    throw refusal(found, expected, "copy or record it again");
  }
  const block = (format.channels * format.bits) / 8;
  if (length % block) {
    const found = `ends ${length % block} bytes into a sample`;
    throw refusal(found, "whole samples", "copy or record it again");
  }
  if (!mayFollow(view, at + length, length % 2, isSmall, text)) {
    throw refusal(
      `has ${grouped(size - at - length)} bytes after its sound that its header does not explain`,
      "one finished recording",
      "repair it, as ffmpeg -ignore_length 1 -i IN OUT.wav does",
    );
  }
  const sound = new DataView(buffer, at, length);
  return {
    rate: format.rate,
    channels: format.channels,
    samples: length / block,
    as: (dtype) => (dtype === "int16" ? asInt16 : asFloats)(sound, format, isSmall, refusal),
  };
}

function readFormat(view, isSmall, refusal) {
  if (view.byteLength < 16) {
    throw refusal(`has a format of ${view.byteLength} bytes`, "at least 16", "save it again");
  }
  let tag = view.getUint16(0, isSmall);
  const channels = view.getUint16(2, isSmall);
  const rate = view.getUint32(4, isSmall);
  const block = view.getUint16(12, isSmall);
  const bits = view.getUint16(14, isSmall);
  if (tag === EXTENSIBLE && view.byteLength === 40) {
    tag = view.getUint32(24, isSmall);
    const isKnown = !view.getUint16(28, isSmall) &&
      IDENTIFIER_END.every((byte, i) => view.getUint8(32 + i) === byte);
    if (!isKnown) tag = EXTENSIBLE;
  }
  if (!WIDTHS[tag]?.includes(bits)) {
    const kind = { [PCM]: "whole numbers", [FLOAT]: "floats" }[tag];
    const found = kind ? `${kind} of ${bits} bits` : (COMPRESSED[tag] ?? `the encoding ${tag}`);
    const expected = "8, 16, 24 or 32 bits or floats, not compressed";
    throw refusal(`has ${found}`, expected, "save it with 16 bits");
  }
  if (!channels || !rate || block !== (channels * bits) / 8) {
    const found = `has ${channels} channels, ${rate} samples a second and ${block} bytes a sample`;
    throw refusal(found, "numbers that fit together", "save it again");
  }
  return { tag, channels, rate, bits };
}

// Whether a further chunk follows the sound, an old tag of MP3, or nothing.
function mayFollow(view, end, fill, isSmall, text) {
  const left = view.byteLength - end;
  if (left < 8 + fill) return true;
  return [...new Set([0, fill])].some((skipped) => {
    const head = end + skipped;
    if (head + 8 > view.byteLength) return text(head, 3) === "TAG";
    const chunk = text(head, 4);
    const isChunk = /^[\x20-\x7e]{4}$/.test(chunk) && chunk !== "data" &&
      view.getUint32(head + 4, isSmall) <= left - 8 - skipped;
    return chunk.startsWith("TAG") || isChunk;
  });
}

function asInt16(view, { tag, bits }, isSmall, refusal) {
  const width = bits / 8;
  const levels = new Int16Array(view.byteLength / width);
  for (let i = 0, at = 0; i < levels.length; i++, at += width) {
    let level;
    let value;
    if (tag === FLOAT) {
      value = bits === 32 ? view.getFloat32(at, isSmall) : view.getFloat64(at, isSmall);
      level = value * 32768;
    } else if (bits === 8) {
      value = level = (view.getUint8(at) - 128) * 256;
    } else if (bits === 16) {
      value = level = view.getInt16(at, isSmall);
    } else {
      value = bits === 32 ? view.getInt32(at, isSmall) : wide(view, at, isSmall);
      level = value / 65536;
    }
    if (!(Number.isInteger(level) && level >= -32768 && level < 32768)) {
      throw refusal(
        `has ${tag === FLOAT ? "floats" : "numbers"} of ${bits} bits that 16 bits do not hold, ` +
          `such as ${digits(value)}`,
        "the int16 of the model",
        "save it with 16 bits, as ffmpeg -i IN -c:a pcm_s16le OUT.wav does",
      );
    }
    levels[i] = level;
  }
  return levels;
}

// 24 bits as the upper ones of 32.
function wide(view, at, isSmall) {
  const [high, middle, low] = (isSmall ? [2, 1, 0] : [0, 1, 2]).map((i) => view.getUint8(at + i));
  return (high << 24) | (middle << 16) | (low << 8);
}

function asFloats(view, { tag, bits }, isSmall, refusal) {
  if (tag !== FLOAT) {
    throw refusal(
      `has whole numbers of ${bits} bits`,
      "floats, since the model takes these in a unit that its card does not say",
      "convert the model with a signal of int16",
    );
  }
  const width = bits / 8;
  const floats = new Float32Array(view.byteLength / width);
  for (let i = 0, at = 0; i < floats.length; i++, at += width) {
    const value = bits === 32 ? view.getFloat32(at, isSmall) : view.getFloat64(at, isSmall);
    floats[i] = value;
    if (Number.isFinite(value) && !Number.isFinite(floats[i])) {
      const found = `has floats of ${bits} bits such as ${digits(value)}`;
      throw refusal(found, "values that float32 holds", "scale them as for the training");
    }
  }
  return floats;
}

// Alternating channels as one, by their mean; for int16 the nearest level, ties to even.
export function mixed(values, channels) {
  if (channels === 1) return values;
  const found = new values.constructor(values.length / channels);
  const isWhole = values instanceof Int16Array;
  for (let i = 0; i < found.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[i * channels + channel];
    found[i] = isWhole ? rint(sum / channels) : sum / channels;
  }
  return found;
}
