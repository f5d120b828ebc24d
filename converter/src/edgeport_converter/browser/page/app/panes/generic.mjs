// Any model: an array for each input, as JSON or a .npy file, or plain text where it takes text.

import { hasBatchAxis, sampleShape } from "../artifact.mjs";
import { fromJson, readNpy } from "../arrays.mjs";
import { Refusal, element, shapeText } from "../words.mjs";

const isPlainText = (spec) =>
  spec.dtype === "str" && sampleShape(spec).every((size) => size === 1);

export function genericPane(card, answer) {
  const files = new Map(); // arrays from .npy files, until the text is edited
  const texts = new Map();
  const read = (spec) => {
    if (files.has(spec.name)) return files.get(spec.name);
    const text = texts.get(spec.name).value;
    const subject = `input '${spec.name}'`;
    if (isPlainText(spec)) return { dtype: "str", shape: [1, ...sampleShape(spec)], data: [text] };
    if (!text.trim()) throw Refusal.of(subject, "is empty", "nested lists", "fill it in");
    return fromJson(text, spec.dtype, subject);
  };
  const ask = (event) => {
    event?.preventDefault();
    answer(async () => ({
      given: Object.fromEntries(card.inputs.map((spec) => [spec.name, read(spec)])),
    }));
  };
  const load = (spec, file) => answer(async () => {
    const array = readNpy(await file.arrayBuffer(), file.name);
    files.set(spec.name, array);
    texts.get(spec.name).value = `${file.name}: ${array.dtype} ${shapeText(array.shape)}`;
    if (!card.inputs.every(({ name }) => files.has(name) || texts.get(name).value.trim())) return null;
    return { given: Object.fromEntries(card.inputs.map((each) => [each.name, read(each)])) };
  });
  const rows = card.inputs.map((spec, place) => {
    const text = element("textarea", { id: `array-${place}`, rows: 3, spellcheck: "false",
      oninput: () => files.delete(spec.name) });
    texts.set(spec.name, text);
    const chooser = element("input", { type: "file", id: `array-file-${place}`, accept: ".npy",
      onchange: () => {
        if (chooser.files[0]) load(spec, chooser.files[0]);
        chooser.value = "";
      } });
    const one = shapeText(sampleShape(spec));
    const what = isPlainText(spec) ? "text" : `${spec.dtype}, one sample ${one}` +
      (hasBatchAxis(spec) ? " or a batch" : "");
    return element("div", { class: "field wide" },
      element("label", { for: `array-${place}` }, spec.name, " ",
        element("span", { class: "quiet" }, what)),
      text,
      isPlainText(spec) ? "" : element("label", { class: "file" }, "…or a .npy file", chooser));
  });
  const [first] = card.inputs;
  return {
    id: "arrays",
    title: card.inputs.every(isPlainText) ? "Text" : "Arrays",
    takes: (file) => card.inputs.length === 1 && /\.(npy|json)$/i.test(file.name),
    open: async (file) => {
      if (/\.npy$/i.test(file.name)) return load(first, file);
      files.delete(first.name);
      texts.get(first.name).value = await file.text();
      return ask();
    },
    element: element("form", { onsubmit: ask, novalidate: true }, ...rows,
      element("div", { class: "row" }, element("button", { id: "ask-arrays" }, "Answer"))),
  };
}

