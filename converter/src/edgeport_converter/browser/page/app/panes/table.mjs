// A form with a field for each column of the card, and one row as the answer's input.

import { DTYPES, filled } from "../arrays.mjs";
import { hasMissing } from "../columns.mjs";
import { Refusal, digits, element } from "../words.mjs";

export function tablePane(card, answer) {
  const columns = card.columns ?? [];
  if (!columns.length) return null;
  const fields = columns.map((column, place) => fieldOf(column, `column-${place}`));
  const ask = (event) => {
    event?.preventDefault();
    answer(async () => rowOf(card, columns, fields.map(({ input }) => input.value)));
  };
  return {
    id: "table",
    title: "Table row",
    element: element("form", { onsubmit: ask, class: "table", novalidate: true },
      ...fields.map(({ row }) => row),
      element("div", { class: "row" }, element("button", { id: "ask" }, "Answer"))),
  };
}

function fieldOf(column, id) {
  const hint = hintOf(column);
  const isChoice = column.kind === "category" && column.categories?.length;
  const attributes = { id, name: column.name, "aria-describedby": `${id}-hint` };
  const input = isChoice
    ? element("select", attributes)
    : element("input", { ...attributes, autocomplete: "off",
      inputmode: column.kind === "number" ? "text" : undefined });
  if (isChoice) {
    const empty = hasMissing(column) ? "(missing)" : "choose";
    input.append(element("option", { value: "" }, empty));
    for (const name of column.categories) input.append(element("option", { value: name }, name));
  }
  const label = column.unit ? `${column.name} (${column.unit})` : column.name;
  const row = element("div", { class: "field" }, element("label", { for: id }, label), input,
    element("span", { class: "quiet", id: `${id}-hint` }, hint));
  return { row, input };
}

function hintOf(column) {
  const parts = [];
  if (column.value_range) parts.push(column.value_range.map(digits).join(" to "));
  if (hasMissing(column)) {
    const stands = typeof column.missing === "number" ? digits(column.missing) : column.missing;
    parts.push(`empty counts as ${stands}`);
  }
  return parts.join(", ");
}

// One row as arrays by input name. Values far outside of the training are the model's business.
function rowOf(card, columns, texts) {
  const values = columns.map((column, place) => valueOf(column, texts[place]));
  const given = {};
  for (const spec of card.inputs) {
    const own = values.filter((_, place) => columns[place].input === spec.name);
    const shape = spec.shape.length > 1 ? [1, own.length] : [1];
    given[spec.name] = own.some(Number.isNaN)
      ? { dtype: spec.dtype, shape, data: DTYPES[spec.dtype].array.from(own) }
      : filled(spec.dtype, shape, own, "the row", "f");
  }
  return { given };
}

function valueOf(column, text) {
  const subject = `the column '${column.name}'`;
  const isCategory = column.kind === "category";
  if (!text.trim()) {
    if (hasMissing(column)) return isCategory ? column.missing : NaN;
    const remedy = "fill it, since the model was trained without missing values here";
    throw Refusal.of(subject, "has no value", isCategory ? "a text" : "a number", remedy);
  }
  if (isCategory) return text;
  if (!/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(text)) {
    const remedy = "write it with a point, such as 1.5";
    throw Refusal.of(subject, `has the text '${text.slice(0, 40)}'`, "a number", remedy);
  }
  return Number(text);
}
