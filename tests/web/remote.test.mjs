import assert from "node:assert/strict";
import test from "node:test";

import { RemoteAnswers } from "../../viz/web/core/remote_answers.js";

const grid = { height: 2, width: 2, tokens: 4 };
const layers = [0, 1].map((index) => ({ index, heads: 1, ...grid, keyGrid: grid, wordKeys: [] }));
const pixel = (place) => ({ kind: "pixel", point: [place, place] });
const column = { mode: "column", special: false };

// One repaint with the columns of a place in both layers at two steps; resolves once the server has nothing more to say.
async function repaint(answers, place) {
  answers.begin();
  const read = layers.flatMap((layer) => [0, 1].map((step) => answers.read(pixel(place), layer, step, 0, column, new Float32Array(4))));
  answers.work();
  await new Promise((done) => setTimeout(done, 20));
  return read;
}

test("maps that the server refuses are not asked for again, whatever the pixel and the step, and the others arrive", async () => {
  const asked = [];
  const told = [];
  const map = Buffer.from(new Uint16Array(4).fill(0x3c00).buffer).toString("base64"); // ones
  const ask = async ({ turn, maps }) => {
    asked.push(maps.map(([, layer, step]) => `${layer} ${step}`));
    return maps[0][1] === 0 ? { turn, error: "Too much.", refused: 0 } : { turn, done: 1, numbers: map };
  };
  const answers = new RemoteAnswers({}, { path: "a", ask }, () => {}, (text) => told.push(text));
  assert.deepEqual(await repaint(answers, 0.1), [false, false, false, false]);
  assert.deepEqual(told, ["Too much."]);
  await repaint(answers, 0.1);
  await repaint(answers, 0.1);
  assert.deepEqual(asked, [["0 0", "0 1", "1 0", "1 1"], ["1 0", "1 1"], ["1 1"]]);
  assert.deepEqual(await repaint(answers, 0.1), [false, false, true, true]);
  await repaint(answers, 0.9); // another pixel
  assert.deepEqual(asked.at(-1), ["1 0", "1 1"]);
  assert.deepEqual(told, ["Too much."]);
  assert.match(answers.refusal(pixel(0.3), layers[0], column), /more than the server computes/);
  assert.equal(answers.refusal(pixel(0.3), layers[0], { ...column, mode: "row" }), undefined);
  assert.equal(answers.refusal(pixel(0.3), layers[1], column), undefined);
  await assert.rejects(answers.order([[pixel(0.6), layers[0], 1, 0]], column), /Too much/);
  answers.begin(); // rows alone are on screen
  answers.read(pixel(0.9), layers[1], 0, 0, column, new Float32Array(4));
  answers.work();
  assert.deepEqual(told, ["Too much.", ""]);
});
