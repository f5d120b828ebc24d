// A photo from a file, dropped or chosen; and the choices that all panes of pictures share.

import { SCALES, pictureInput, readPhoto, sampleOf } from "../pictures.mjs";
import { element, grouped } from "../words.mjs";

// What the user chose about pictures, {element, isKnown, read()}, or null where the model takes none.
// isKnown says whether the card tells the scale of the pixels.
export function pictureChoices(card) {
  const input = pictureInput(card);
  if (!input) return null;
  const rows = [];
  const box = (id, text) => {
    const made = element("input", { type: "checkbox", id });
    rows.push(element("label", {}, made, ` ${text}`));
    return made;
  };
  const isFixed = input.height !== null && !input.frames;
  const resize = isFixed ? box("resize", `Resize photos to ${input.height} x ${input.width}`) : null;
  const gray = input.channels === 1 ? box("gray", "Turn colours to gray") : null;
  let scale = null;
  if (input.mayScale) {
    scale = element("select", { id: "scale" });
    if (!input.scale) scale.append(element("option", { value: "" }, "choose"));
    for (const { id, text } of SCALES) scale.append(element("option", { value: id }, text));
    scale.value = input.scale ?? "";
    const why = input.scale ? " (by the card's range)" : "";
    rows.push(element("label", {}, "Pixels", element("span", { class: "quiet" }, why), " ", scale));
  }
  return {
    isKnown: input.scale !== null,
    element: element("div", { class: "choices" }, ...rows),
    read: () => ({ resize: resize?.checked ?? false, gray: gray?.checked ?? false,
      scale: scale ? scale.value : input.scale }),
  };
}

export function whatItTakes(input, card) {
  if (input.frames) {
    const size = input.frames.size?.join(" x ") ?? `up to ${grouped(input.frames.most_pixels)} pixels`;
    return `Photos of ${size} go into the model as they are; the graph itself does what the ` +
      `training did to them (${input.frames.training}).`;
  }
  const colours = input.channels === 1 ? "gray" : "colour";
  const steps = card.preprocessing?.length ? ` The graph does: ${card.preprocessing.join(", ")}.` : "";
  const sides = [input.height ?? "any", input.width ?? "any"].join(" x ");
  return `Takes ${colours} pictures of ${sides} (H x W).${steps}`;
}

export function photoPane(card, answer, choices) {
  const input = pictureInput(card);
  if (!input) return null;
  const shown = element("div", { class: "photo" });
  let newest = 0;
  const open = (file) => answer(async () => {
    const turn = ++newest;
    shown.replaceChildren();
    const picture = await readPhoto(file, input);
    if (turn !== newest) return null; // a photo that was chosen later must keep its own picture
    const view = element("canvas", { width: picture.width, height: picture.height,
      "aria-label": file.name });
    view.getContext("2d").drawImage(picture.source, 0, 0);
    shown.replaceChildren(view);
    const { array, notes } = sampleOf(picture, input, choices());
    return { given: { [input.spec.name]: array }, notes };
  });
  let last = null;
  const chooser = element("input", { type: "file", id: "photo-file",
    accept: "image/png,image/jpeg", onchange: () => {
      last = chooser.files[0] ?? last;
      if (last) open(last);
      chooser.value = ""; // so that the same file can be chosen again
    } });
  return {
    id: "photo",
    title: "Photo",
    takes: (file) => /\.(png|jpe?g)$/i.test(file.name),
    open: (file) => open((last = file)),
    again: () => last && open(last),
    element: element("div", {},
      element("p", { class: "hint" }, whatItTakes(input, card)),
      element("label", { class: "file" }, "Choose a photo, or drop one here", chooser),
      shown),
  };
}
