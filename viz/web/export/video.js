// A video of canvases, recorded by the browser while it plays: WebM, or MP4 where the browser has no WebM.

import { FRAME, HOLD } from "./files.js";

const TYPES = { "video/webm;codecs=vp9": ".webm", "video/webm": ".webm", "video/mp4": ".mp4" };
const TICK = 100; // ms between the repaints that the recording is made of
const QUALITY = 8e6; // bits a second

// What the browser can record: [type, ending of the file]; null if nothing.
export function videoType() {
  if (typeof MediaRecorder === "undefined" || !HTMLCanvasElement.prototype.captureStream) return null;
  return Object.entries(TYPES).find(([type]) => MediaRecorder.isTypeSupported(type)) ?? null;
}

// How long the video of so many frames is, in seconds.
export const secondsOf = (frames) => ((frames - 1) * FRAME + HOLD) / 1000;

// A Blob with the video; the last frame is held. Throws an Error to show to the user if the browser cannot record.
export async function videoOf(canvases) {
  const [type] = videoType() ?? [];
  if (!type) throw new Error("This browser cannot record videos; save a GIF instead.");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [canvases[0].width, canvases[0].height];
  const context = canvas.getContext("2d");
  context.drawImage(canvases[0], 0, 0);
  const recorder = new MediaRecorder(canvas.captureStream(1000 / TICK), { mimeType: type, videoBitsPerSecond: QUALITY });
  const parts = [];
  recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
  const stopped = new Promise((done, fail) => {
    recorder.addEventListener("stop", done);
    recorder.addEventListener("error", () => fail(new Error("The browser stopped recording; save a GIF instead.")));
  });
  recorder.start();
  const began = performance.now();
  const end = 1000 * secondsOf(canvases.length) + TICK;
  for (let now = 0; now < end; now = performance.now() - began) {
    context.drawImage(canvases[Math.min(canvases.length - 1, Math.floor(now / FRAME))], 0, 0);
    await new Promise((done) => setTimeout(done, TICK));
  }
  recorder.stop();
  await stopped;
  return new Blob(parts, { type });
}
