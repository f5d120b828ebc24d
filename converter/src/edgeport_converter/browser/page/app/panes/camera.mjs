// The camera: each picture becomes one sample, for as long as the pane is running.

import { pictureInput, pixelsOf, sampleOf } from "../pictures.mjs";
import { Refusal, element } from "../words.mjs";

const USUAL_WIDTH = 640;

export function cameraPane(card, answer, choices) {
  const input = pictureInput(card);
  if (!input) return null;
  const video = element("video", { muted: true, playsinline: true, "aria-label": "Camera" });
  const button = element("button", { type: "button", id: "camera" }, "Start the camera");
  let stream = null;
  let mayRun = false;

  const stop = () => {
    mayRun = false;
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.hidden = true;
    button.textContent = "Start the camera";
  };
  const once = async () => {
    const picture = pixelsOf(video, video.videoWidth, video.videoHeight, "the camera's picture");
    const { array, notes } = sampleOf(picture, input, choices());
    return { given: { [input.spec.name]: array }, notes };
  };
  const start = async () => {
    if (!navigator.mediaDevices) {
      throw new Refusal(
        "the browser gives the camera to pages from https or localhost alone, and this one is " +
          "neither: serve it so, or choose a photo",
      );
    }
    const [height, width] = input.frames?.size ?? [null, USUAL_WIDTH];
    const size = height ? { height: { exact: height }, width: { exact: width } }
      : { width: { ideal: width } };
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { ...size, facingMode: "environment" },
      });
    } catch (error) {
      throw new Refusal(
        `the camera cannot be used (${error.message || error.name}): allow it for this page, or ` +
          "choose a photo",
      );
    }
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
    button.textContent = "Stop the camera";
    mayRun = true;
  };
  button.addEventListener("click", async () => {
    if (stream) return stop();
    await answer(async () => {
      await start();
      return once();
    });
    while (mayRun) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      if (mayRun && !(await answer(once))) stop(); // one refusal is enough to read
    }
  });
  video.hidden = true;
  return {
    id: "camera",
    title: "Camera",
    stop,
    element: element("div", {},
      element("p", { class: "hint" }, "Nothing leaves this device: the model runs in the browser."),
      element("div", { class: "row" }, button), video),
  };
}
