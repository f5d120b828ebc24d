// Values of a table's columns: missing ones are refused, far ones are told.

import { DTYPES } from "./arrays.mjs";
import { Refusal, digits } from "./words.mjs";

export const hasMissing = (column) => column.missing !== undefined && column.missing !== null;

const ofInput = (card, name) => (card.columns ?? []).filter((column) => column.input === name);

// The lowest and highest number that is not far outside of what the training saw.
// Source: the runtime's inputs/column_ranges.py, which also says why.
function farLimits(low, high) {
  let [lowest, highest] = [low - (high - low), high + (high - low)];
  if (low > 0) lowest = Math.max(lowest, low / 10);
  if (high < 0) highest = Math.min(highest, high / 10);
  return [lowest, highest];
}

// Refuses infinity, and NaN where the graph puts no number in its place.
export function checkColumns(card, spec, { dtype, data }) {
  const columns = ofInput(card, spec.name);
  if (!columns.length || DTYPES[dtype].kind !== "f") return;
  data.forEach((value, place) => {
    const column = columns[place % columns.length];
    if (Number.isFinite(value) || (Number.isNaN(value) && hasMissing(column))) return;
    const found = Number.isNaN(value) ? "has no value" : `has the value ${value}`;
    const remedy = "fill it, since the model was trained without such values here";
    throw Refusal.of(`the column '${column.name}'`, found, "a number", remedy);
  });
}

// A sentence for each column with a value that the training saw nothing like.
export function farColumns(card, feed) {
  const told = new Map();
  for (const { name } of card.inputs) {
    const columns = ofInput(card, name);
    feed[name].data.forEach((value, place) => {
      const column = columns[place % columns.length];
      if (!told.has(column.name) && isFar(column, value)) told.set(column.name, sentence(column, value));
    });
  }
  return [...told.values()];
}

function isFar(column, value) {
  if (column.kind === "category") {
    return column.categories?.length > 0 && value !== column.missing &&
      !column.categories.includes(value);
  }
  if (!column.value_range) return false;
  const [low, high] = farLimits(...column.value_range);
  return Number(value) < low || Number(value) > high;
}

function sentence(column, value) {
  if (column.kind === "category") {
    return `column '${column.name}' has the category '${value}', which the training never saw: ` +
      "check its spelling";
  }
  return `column '${column.name}' has the value ${digits(Number(value))}, far outside of the ` +
    `training's ${column.value_range.map(digits).join(" to ")}, so this answer is not to be ` +
    "trusted: check the column's unit";
}
