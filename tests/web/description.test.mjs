// The line above the picture, from a recipe: viz/web/viewer/description.js.

import assert from "node:assert/strict";
import test from "node:test";
import { recipeParts } from "../../viz/web/viewer/description.js";

const parts = (recipe, recorded = 25, others = {}) =>
  recipeParts({ recipe, branch: "conditional", remote: null, steps: Array(recorded).fill(0), ...others });

test("it names model, recipe, and how many steps were recorded", () => {
  const recipe = { model: "critters", caption: "a monster", seed: 0, steps: 25, guidance: 1.5 };
  assert.deepEqual(parts(recipe, 9), ["critters", "seed 0", "9 of 25 steps recorded", "guidance 1.5"]);
  assert.deepEqual(parts(recipe), ["critters", "seed 0", "25 steps", "guidance 1.5"]);
  assert.deepEqual(parts({ ...recipe, steps: 1 }, 1)[2], "1 step");
});

test("it says what a sampler and a photo do, and leaves out what does not apply", () => {
  const own = { model: "my/ddpm", caption: "", negative: "", seed: 3, steps: 10, guidance: null, sampler: "PNDMScheduler" };
  assert.deepEqual(parts(own, 11), ["my/ddpm", "seed 3", "PNDM", "10 steps, 11 calls"]);
  const photo = { model: "my/ddpm", photo: "0123abcd", caption: "", seed: 3, steps: 10, sampler: "DDIMScheduler" };
  assert.deepEqual(parts(photo, 10), ["my/ddpm", "a photo at 10 noise levels", "seed 3", "DDIM"]);
  assert.deepEqual(parts({ ...own, negative: "ears" }, 10, { branch: "picture 2 of 2" }).slice(-2), ["negative prompt", "picture 2 of 2"]);
});

test("fields that are not what they should be are left out", () => {
  assert.deepEqual(parts({ model: {}, seed: [1], steps: "9", guidance: true, photo: 5, sampler: null }), []);
  assert.deepEqual(parts({}), []);
});
