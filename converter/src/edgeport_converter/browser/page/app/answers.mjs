// What the model answered: bars of the best classes where it is a classifier, else its numbers.

import { hasBatchAxis } from "./artifact.mjs";
import { count } from "./arrays.mjs";
import { digits, element, shapeText } from "./words.mjs";

const BEST = 5;
const MOST_SAMPLES = 20;
const MOST_NUMBERS = 64;
const MOST_NUMBERS_OF_EACH = 12; // of several samples
const MOST_IN_TEXT = 100_000;

// The name of each class, or null where the model is no classifier. As the runtime's labels.py.
export function classNames(card) {
  const [spec] = card.outputs;
  const isRow =
    card.outputs.length === 1 &&
    spec.shape.length === 2 &&
    hasBatchAxis(spec) &&
    spec.dtype.startsWith("float");
  let labels = card.labels;
  let classes = isRow ? spec.shape[1] : null;
  const isShare = spec.value_range?.[0] === 0 && spec.value_range?.[1] === 1;
  if (classes === 1 && (isShare || labels)) {
    classes = 2;
    labels ??= ["0", "1"];
  }
  if (!Number.isInteger(classes) || classes < 2) return null;
  if (labels && labels.length !== classes) return null;
  return labels ?? Array.from({ length: classes }, (_, index) => String(index));
}

// The classes of one row of scores, best first; ties in class order, as argmax does.
export function bestClasses(row, names, card) {
  const range = card.outputs[0].value_range;
  const isShare = range?.[0] === 0 && range?.[1] === 1;
  const scores = row.length === 1 ? [(isShare ? 1 : 0) - row[0], row[0]] : [...row];
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
  return order.slice(0, BEST).map((index) => ({ name: names[index], score: scores[index] }));
}

function bars(best, isShare) {
  const top = Math.max(...best.map(({ score }) => Math.abs(score)), 1e-30);
  const rows = best.map(({ name, score }, rank) => {
    const width = Math.min(Math.max(0, isShare ? score : score / top), 1) * 100;
    const shown = isShare ? `${(100 * score).toFixed(1)} %` : digits(score);
    return element(
      "li",
      { class: rank ? "bar" : "bar best" },
      element("span", { class: "name" }, name),
      element("span", { class: "score" }, shown),
      element("span", { class: "track", "aria-hidden": "true" },
        element("span", { class: "fill", style: `width:${width.toFixed(2)}%` })),
    );
  });
  return element("ol", { class: "bars" }, ...rows);
}

function numbersOf(name, shape, values, most) {
  const shown = Array.from(values.slice(0, most), (value) =>
    typeof value === "number" ? digits(value) : String(value));
  const more = values.length > shown.length ? `, … (${values.length} numbers)` : "";
  return element("div", { class: "numbers" },
    element("h4", {}, values.length > 1 ? `${name} ${shapeText(shape)}` : name),
    element("p", {}, shown.join(", ") + more));
}

// The elements that show an answer. `titles` names each sample, such as a window's time.
export function answerOf(card, { outputs, samples, ms, warnings, notes = [] }, titles = []) {
  const names = classNames(card);
  const parts = [...warnings, ...notes].map((text) => element("p", { class: "warning" }, text));
  const [range] = card.outputs.map((spec) => spec.value_range);
  const isShare = range?.[0] === 0 && range?.[1] === 1; // a logit between 0 and 1 is no share
  const most = samples > 1 ? MOST_NUMBERS_OF_EACH : MOST_NUMBERS;
  const shownSamples = Math.min(samples ?? 1, MOST_SAMPLES);
  for (let sample = 0; sample < shownSamples; sample++) {
    const title = titles[sample] ?? (samples > 1 ? `sample ${sample + 1}` : null);
    const inner = card.outputs.map((spec) => {
      const { shape, data } = outputs[spec.name];
      const isBatched = samples !== null && hasBatchAxis(spec);
      const own = isBatched ? shape.slice(1) : shape;
      const size = count(own);
      const row = isBatched ? data.slice(sample * size, (sample + 1) * size) : data;
      return names ? bars(bestClasses(row, names, card), isShare) : numbersOf(spec.name, own, row, most);
    });
    parts.push(element("div", { class: "sample" }, ...(title ? [element("h3", {}, title)] : []),
      ...inner));
  }
  if (samples > shownSamples) {
    parts.push(element("p", {}, `and ${samples - shownSamples} more samples, in the JSON below`));
  }
  parts.push(element("p", { class: "quiet", id: "latency" },
    `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms in this browser, one thread`));
  return parts;
}

// The whole answer as JSON, each number with all of its digits.
export function answerText({ outputs, samples }) {
  const plain = {};
  for (const [name, { dtype, shape, data }] of Object.entries(outputs)) {
    const values = Array.from(data.slice(0, MOST_IN_TEXT), (value) =>
      typeof value === "bigint" ? String(value) : value);
    plain[name] = { dtype, shape, values };
  }
  return JSON.stringify({ samples, outputs: plain });
}
