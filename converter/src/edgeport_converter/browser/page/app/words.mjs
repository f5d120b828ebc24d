// Refusals and numbers in words: a sentence says what was found, what was expected, the next step.

export class Refusal extends Error {
  static of(subject, actual, expected, remedy) {
    return new Refusal(`${subject} ${actual}, expected ${expected}: ${remedy}`);
  }
}

export const digits = (number) =>
  Number.isFinite(number) ? String(Number(number.toPrecision(6))) : String(number);

export const few = (number) =>
  Number.isFinite(number) ? String(Number(number.toPrecision(3))) : String(number);

export const grouped = (number) => number.toLocaleString("en-US");

export function shapeText(shape) {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
}

// An element with attributes and children; texts become text nodes, never markup.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
