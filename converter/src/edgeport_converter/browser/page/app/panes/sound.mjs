// Recordings: a WAV file or the microphone, cut into windows as the card says, one answer each.

import { DTYPES } from "../arrays.mjs";
import { rint } from "../golden.mjs";
import { mixed, readWav } from "../wav.mjs";
import { Refusal, digits, element } from "../words.mjs";

const MOST_MIXED = 8;
const MOST_WINDOWS = 1000; // of a file in one answer
const USUAL_DTYPES = ["int16", "float32"];

// Cuts one recording, handed over piece by piece, at the same places as if it were whole.
export class Cutter {
  constructor({ window, hop, channels }, dtype) {
    [this.size, this.step] = [window * channels, hop * channels];
    this.kept = new DTYPES[dtype].array(this.size);
    [this.filled, this.gap] = [0, 0];
  }

  // The windows that the piece completes.
  cut(piece) {
    const found = [];
    let at = 0;
    while (at < piece.length) {
      const skipped = Math.min(this.gap, piece.length - at);
      this.gap -= skipped;
      at += skipped;
      const taken = Math.min(this.size - this.filled, piece.length - at);
      this.kept.set(piece.subarray(at, at + taken), this.filled);
      this.filled += taken;
      at += taken;
      if (this.filled < this.size) continue;
      found.push(this.kept.slice());
      this.kept.copyWithin(0, Math.min(this.step, this.size));
      this.filled = Math.max(this.size - this.step, 0);
      this.gap = Math.max(this.step - this.size, 0);
    }
    return found;
  }
}

// The windows of a WAV file, or a refusal; nothing is resampled.
export function windowsOf(buffer, name, signal, dtype) {
  const file = readWav(buffer, name);
  if (file.rate !== signal.rate) {
    const remedy = "record at this rate, or resample the file with the tool of the training";
    const found = `has ${file.rate} samples a second`;
    throw Refusal.of(`'${name}'`, found, digits(signal.rate), remedy);
  }
  const most = signal.mix_down ? MOST_MIXED : signal.channels;
  if (file.channels < signal.channels || file.channels > most) {
    const expected = signal.mix_down ? `1 to ${most}` : `${most}`;
    const remedy = "choose or mix the channels as in training";
    throw Refusal.of(`'${name}'`, `has ${file.channels} channels`, expected, remedy);
  }
  const missing = signal.window - file.samples;
  if (missing > 0 && !(signal.pad && file.samples)) {
    const expected = `at least one window of ${signal.window}`;
    throw Refusal.of(`'${name}'`, `has ${file.samples} samples`, expected, "record longer");
  }
  const values = signal.mix_down ? mixed(file.as(dtype), file.channels) : file.as(dtype);
  const cutter = new Cutter(signal, dtype);
  const found = cutter.cut(values);
  if (missing > 0) {
    found.push(...cutter.cut(new DTYPES[dtype].array(missing * signal.channels)));
  }
  return found;
}

export function soundPane(card, answer) {
  if (!card.signal || card.inputs.length !== 1 || card.samples_interact) return null;
  const signal = { channels: 1, mix_down: false, pad: false, ...card.signal };
  const [spec] = card.inputs;
  if (!USUAL_DTYPES.includes(spec.dtype)) return null;
  const rank = spec.shape.length - 1;
  const given = (windows) => {
    const data = new DTYPES[spec.dtype].array(windows.length * windows[0].length);
    windows.forEach((window, i) => data.set(window, i * window.length));
    const inner = rank === 2 ? [signal.window, signal.channels] : [signal.window];
    return { [spec.name]: { dtype: spec.dtype, shape: [windows.length, ...inner], data } };
  };
  const titles = (first, total) => Array.from({ length: total }, (_, i) =>
    `from ${digits(((first + i) * signal.hop) / signal.rate)} s`);
  const open = (file) => answer(async () => {
    const windows = windowsOf(await file.arrayBuffer(), file.name, signal, spec.dtype);
    if (windows.length > MOST_WINDOWS) {
      const expected = `at most ${MOST_WINDOWS} on this page`;
      throw Refusal.of(`'${file.name}'`, `has ${windows.length} windows`, expected, "cut it");
    }
    return { given: given(windows), titles: titles(0, windows.length) };
  });
  const chooser = element("input", { type: "file", id: "sound-file", accept: ".wav,audio/wav",
    onchange: () => {
      if (chooser.files[0]) open(chooser.files[0]);
      chooser.value = "";
    } });
  const microphone = spec.dtype === "int16" && signal.channels === 1
    ? recorder(signal, (window, number) =>
      answer(async () => ({ given: given([window]), titles: titles(number, 1) })), answer)
    : null;
  const seconds = digits(signal.window / signal.rate);
  return {
    id: "sound",
    title: "Sound",
    takes: (file) => /\.wav$/i.test(file.name),
    open,
    stop: () => microphone?.stop(),
    element: element("div", {},
      element("p", { class: "hint" },
        `${digits(signal.rate)} samples a second, ` +
          `${signal.channels} channel${signal.channels > 1 ? "s" : ""}; one answer for each ` +
          `${seconds} s. Files of another rate are refused: nothing is resampled.`),
      element("label", { class: "file" }, "Choose a WAV file, or drop one here", chooser),
      microphone ? microphone.element : element("p", { class: "quiet" },
        "No microphone here: the model takes numbers in a unit that its card does not say.")),
  };
}

function recorder(signal, onWindow, answer) {
  const button = element("button", { type: "button", id: "microphone" }, "Use the microphone");
  let parts = null;
  const stop = () => {
    parts?.stream.getTracks().forEach((track) => track.stop());
    parts?.context.close();
    parts = null;
    button.textContent = "Use the microphone";
  };
  const start = async () => {
    if (!navigator.mediaDevices) {
      throw new Refusal(
        "the browser gives the microphone to pages from https or localhost alone, and this one " +
          "is neither: serve it so, or choose a WAV file",
      );
    }
    try {
      const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
      const context = new AudioContext({ sampleRate: signal.rate });
      parts = { stream, context };
      await context.audioWorklet.addModule(new URL("recorder.worklet.mjs", import.meta.url));
      const node = new AudioWorkletNode(context, "recorder");
      context.createMediaStreamSource(stream).connect(node);
      const cutter = new Cutter(signal, "int16");
      let number = 0;
      node.port.onmessage = ({ data }) => {
        const levels = Int16Array.from(data, (value) =>
          Math.min(Math.max(rint(value * 32768), -32768), 32767));
        for (const window of parts ? cutter.cut(levels) : []) onWindow(window, number++);
      };
    } catch (error) {
      stop();
      throw new Refusal(
        `the microphone cannot be used (${error.message || error.name}): allow it for this page, ` +
          "or choose a WAV file",
      );
    }
    button.textContent = "Stop the microphone";
  };
  button.addEventListener("click", () => {
    if (parts) stop();
    else answer(async () => void (await start()));
  });
  const how = `The browser itself brings the microphone to ${digits(signal.rate)} samples a second.`;
  return { stop, element: element("div", { class: "row" }, button,
    element("span", { class: "quiet" }, how)) };
}
