// A digit drawn by finger, mouse or arrow keys, as a small gray picture: white on black, like MNIST.

import { drawingSide, pictureInput, sampleOf } from "../pictures.mjs";
import { element } from "../words.mjs";

const SIDE = 280; // of the canvas, in its own pixels
const PEN = 22;
const MNIST_SIDE = 28;
const MNIST_BOX = 20; // a digit's longer side, centred by its mass. Source: MNIST's home page

export function drawingPane(card, answer, choices) {
  const input = pictureInput(card);
  const side = drawingSide(input);
  if (!side) return null;
  const canvas = element("canvas", {
    width: SIDE, height: SIDE, id: "drawing", tabindex: 0, role: "application",
    "aria-label": "Drawing. Arrow keys move the pen, space lowers or lifts it, Escape clears.",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const seen = element("canvas", { width: side, height: side, id: "seen",
    "aria-label": `What the model sees, ${side} x ${side} pixels` });
  const centre = element("input", { type: "checkbox", id: "centre" });
  centre.checked = side === MNIST_SIDE;
  let pen = null; // the last place of a pointer that is down

  const clear = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.strokeStyle = "#fff";
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    seen.getContext("2d").clearRect(0, 0, side, side);
    answer(null);
  };
  const line = (from, to) => {
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(to[0] + 0.01, to[1]); // a dot for a tap
    context.stroke();
  };
  const ask = () => answer(async () => {
    const levels = shrunk(context.getImageData(0, 0, SIDE, SIDE).data, side, centre.checked);
    const rgba = new Uint8ClampedArray(side * side * 4).fill(255);
    levels.forEach((level, i) => rgba.fill(level, 4 * i, 4 * i + 3));
    seen.getContext("2d").putImageData(new ImageData(rgba, side, side), 0, 0);
    const { array, notes } = sampleOf({ height: side, width: side, rgba }, input, choices());
    return { given: { [input.spec.name]: array }, notes };
  });
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE,
      ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pen = place(event);
    line(pen, pen);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pen) return;
    const next = place(event);
    line(pen, next);
    pen = next;
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (pen) ask();
      pen = null;
    });
  }
  useKeys(canvas, line, ask, clear);
  centre.addEventListener("change", ask);
  clear();
  return {
    id: "draw",
    title: "Draw",
    element: element("div", {},
      element("p", { class: "hint" }, "Draw with finger, mouse, or the arrow keys and space."),
      element("div", { class: "drawing" }, canvas,
        element("figure", {}, seen, element("figcaption", {}, "what the model sees"))),
      element("div", { class: "row" },
        element("button", { type: "button", id: "clear", onclick: clear }, "Clear"),
        element("label", {}, centre, ` Centre and size it as MNIST's makers did`))),
  };
}

function useKeys(canvas, line, ask, clear) {
  const step = SIDE / 28;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step],
    ArrowDown: [0, step] };
  let at = [SIDE / 2, SIDE / 4];
  let isDown = false;
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (move) {
      const next = at.map((value, axis) => Math.min(Math.max(value + move[axis], 0), SIDE));
      if (isDown) line(at, next);
      at = next;
    } else if (event.key === " ") {
      isDown = !isDown;
      if (isDown) line(at, at);
      else ask();
    } else if (event.key === "Escape") {
      isDown = false;
      clear();
    } else return;
    event.preventDefault();
  });
}

// The drawing's levels, side x side, each the mean of what lies under it.
function shrunk(rgba, side, isCentred) {
  const source = Float64Array.from({ length: SIDE * SIDE }, (_, i) => rgba[4 * i]);
  const whole = { left: 0, top: 0, width: SIDE, height: SIDE };
  const found = isCentred ? boxOf(source) : null;
  if (!found) return averaged(source, whole, side, side);
  const inner = Math.round((MNIST_BOX / MNIST_SIDE) * side);
  const scale = inner / Math.max(found.width, found.height);
  const height = Math.max(1, Math.round(found.height * scale));
  const width = Math.max(1, Math.round(found.width * scale));
  const digit = averaged(source, found, height, width);
  let [mass, x, y] = [0, 0, 0];
  digit.forEach((level, i) => {
    mass += level;
    x += level * ((i % width) + 0.5);
    y += level * (Math.floor(i / width) + 0.5);
  });
  const clip = (value, most) => Math.min(Math.max(Math.round(value), 0), most);
  const left = clip(side / 2 - x / mass, side - width);
  const top = clip(side / 2 - y / mass, side - height);
  const levels = new Uint8Array(side * side);
  digit.forEach((level, i) => {
    levels[(top + Math.floor(i / width)) * side + left + (i % width)] = level;
  });
  return levels;
}

function boxOf(levels) {
  let [left, top, right, bottom] = [SIDE, SIDE, -1, -1];
  levels.forEach((level, i) => {
    if (level < 32) return;
    left = Math.min(left, i % SIDE);
    right = Math.max(right, i % SIDE);
    top = Math.min(top, Math.floor(i / SIDE));
    bottom = Math.max(bottom, Math.floor(i / SIDE));
  });
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function averaged(levels, box, height, width) {
  const found = new Uint8Array(height * width);
  const [stepY, stepX] = [box.height / height, box.width / width];
  const ends = (place, step) => [place * step, (place + 1) * step];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [y0, y1] = ends(row, stepY);
      const [x0, x1] = ends(column, stepX);
      let sum = 0;
      for (let y = Math.floor(y0); y < y1; y++) {
        const tall = Math.min(y + 1, y1) - Math.max(y, y0);
        for (let x = Math.floor(x0); x < x1; x++) {
          const wide = Math.min(x + 1, x1) - Math.max(x, x0);
          const at = Math.min(box.top + y, SIDE - 1) * SIDE + Math.min(box.left + x, SIDE - 1);
          sum += levels[at] * tall * wide;
        }
      }
      found[row * width + column] = Math.round(sum / (stepX * stepY));
    }
  }
  return found;
}
