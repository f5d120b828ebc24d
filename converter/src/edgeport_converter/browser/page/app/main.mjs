// The page: loads the artifact with every check, then offers the panes that its card allows.

import { answerOf, answerText } from "./answers.mjs";
import { cameraPane } from "./panes/camera.mjs";
import { drawingPane } from "./panes/drawing.mjs";
import { genericPane } from "./panes/generic.mjs";
import { Model, engineVersion } from "./model.mjs";
import { photoPane, pictureChoices } from "./panes/photo.mjs";
import { soundPane } from "./panes/sound.mjs";
import { tablePane } from "./panes/table.mjs";
import { Refusal, digits, element, few, grouped, shapeText } from "./words.mjs";

const part = (id) => document.getElementById(id);

function state(kind, text) {
  part("state").dataset.state = kind;
  part("state").textContent = text;
}

const inWords = (error) =>
  error instanceof Refusal ? error.message : `the page failed (${error.message ?? error})`;

async function fetchArtifact() {
  // A server may say "not modified" of a file that is older than the one in the cache.
  const answer = await fetch("model.onnx", { cache: "no-store" });
  if (!answer.ok) {
    throw new Refusal(`model.onnx cannot be loaded (${answer.status}): serve the whole folder`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

// A function that shows the answer to what `make` returns, {given, notes, titles}; null clears.
function answering(model) {
  let newest = 0;
  return async (make) => {
    const turn = ++newest;
    if (make === null) {
      show([], "", "");
      return true;
    }
    try {
      const made = await make();
      if (!made) return true;
      const found = await model.predict(made.given);
      if (turn === newest) {
        const parts = answerOf(model.card, { ...found, notes: made.notes ?? [] }, made.titles);
        show(parts, answerText(found), "");
      }
      return true;
    } catch (error) {
      if (turn === newest) show([], "", inWords(error));
      return false;
    }
  };
}

function show(parts, whole, problem) {
  part("answer").replaceChildren(...parts);
  part("whole").textContent = whole;
  part("whole-box").hidden = !whole;
  part("problem").textContent = problem;
  part("problem").hidden = !problem;
}

function showPanes(model) {
  const { card } = model;
  const answer = answering(model);
  const choices = pictureChoices(card);
  const read = () => choices.read();
  const panes = [
    drawingPane(card, answer, read),
    photoPane(card, answer, read),
    cameraPane(card, answer, read),
    tablePane(card, answer),
    soundPane(card, answer),
    genericPane(card, answer),
  ].filter(Boolean);
  let open = null;
  // A drawing has the right size and no colours; only the scale may be in question.
  const isPicture = ({ id }) =>
    ["photo", "camera"].includes(id) || (id === "draw" && !choices.isKnown);
  const choose = (pane) => {
    open?.stop?.();
    open = pane;
    for (const each of panes) {
      each.element.hidden = each !== pane;
      each.button.setAttribute("aria-pressed", each === pane);
    }
    if (choices) choices.element.hidden = !isPicture(pane);
    answer(null);
  };
  for (const pane of panes) {
    pane.button = element("button", { type: "button", id: `show-${pane.id}`,
      onclick: () => choose(pane) }, pane.title);
    part("ways").append(pane.button);
    part("panes").append(pane.element);
  }
  if (choices) {
    choices.element.addEventListener("change", () => open.again?.());
    part("panes").append(choices.element);
  }
  part("ways").hidden = panes.length < 2;
  choose(panes[0]);
  takeDrops(panes, choose, answer);
}

function takeDrops(panes, choose, answer) {
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    const pane = panes.find((each) => each.takes?.(file));
    if (!pane) {
      answer(() => {
        throw new Refusal(`'${file.name}' is nothing that this model takes: see the ways above`);
      });
      return;
    }
    choose(pane);
    pane.open(file);
  });
}

function showCard({ card, sha256, selfTest }) {
  part("name").textContent = card.name;
  document.title = `${card.name} · edgeport`;
  const specs = (list) => list.map(({ name, dtype, shape }) =>
    `${name} ${dtype} ${shapeText(shape)}`).join(", ");
  const share = (value) => (card.accuracy.metric === "accuracy" ? `${few(100 * value)} %` : few(value));
  const facts = [
    ["takes", specs(card.inputs)],
    ["answers", specs(card.outputs)],
    ["in the graph", card.preprocessing?.join(", ")],
    ["classes", card.labels && `${card.labels.length}: ${card.labels.slice(0, 12).join(", ")}` +
      (card.labels.length > 12 ? ", …" : "")],
    [card.accuracy?.metric, card.accuracy && `${share(card.accuracy.artifact)} on ` +
      `${grouped(card.accuracy.samples)} samples (Keras: ${share(card.accuracy.keras)})`],
    ["quantized", card.quantization && `${card.quantization.recipe}: weights ` +
      `${card.quantization.weights}, activations ${card.quantization.activations}`],
    ["self-test", [...selfTest.worst].map(([name, { measured, allowed }]) =>
      `${name}: off by ${few(measured)}, allowed ${digits(allowed)}`).join("; ")],
    ["cannot be told", card.unproven?.join(" ")],
    ["digest", sha256],
    ["engine", `onnxruntime-web ${engineVersion}, one thread`],
  ];
  for (const [name, text] of facts) {
    if (text) part("facts").append(element("dt", {}, name), element("dd", {}, text));
  }
}

async function start() {
  try {
    state("loading", "Loading the model and checking it…");
    const model = await Model.load(await fetchArtifact());
    showCard(model);
    const { ran, total } = model.selfTest;
    const golden = `${ran} of ${total} golden samples hold.`;
    const none = "without golden samples, so that nothing tells whether this browser computes right.";
    state("ready", `The file is whole, ${total ? golden : none}`);
    part("state").classList.toggle("untested", !total);
    showPanes(model);
    part("ready").hidden = false;
  } catch (error) {
    state("refused", `Refused: ${inWords(error)}`);
  }
}

start();
