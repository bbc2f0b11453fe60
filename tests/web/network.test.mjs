// The shape of a network, from its layers: viz/web/core/network.js.

import assert from "node:assert/strict";
import test from "node:test";
import { levelsOf, networkOf } from "../../viz/web/core/network.js";

const layer = (name, side) => ({ name, height: side, width: side });

test("grids are listed once, the finest first, whatever their shape", () => {
  assert.deepEqual(levelsOf([[8, 8], [4, 64], [8, 8], [16, 8]]), [[4, 64], [16, 8], [8, 8]]);
});

test("a U-Net has two arms and a middle, and skips between the arms", () => {
  const layers = [
    ...[["down_blocks.1.attentions.0", 32], ["down_blocks.2.attentions.0", 16], ["mid_block.attentions.0", 16]],
    ...[["up_blocks.0.attentions.0", 16], ["up_blocks.0.attentions.1", 16], ["up_blocks.1.attentions.0", 32]],
  ].map((entry) => layer(...entry));
  const { levels, depths, arms, skips } = networkOf(layers);
  assert.deepEqual(levels, [[32, 32], [16, 16]]);
  assert.deepEqual(depths, [0, 1, 1, 1, 1, 0]);
  assert.deepEqual(arms.map(({ name, from, count }) => [name, from, count]), [["Encoder", 0, 2], ["Middle", 2, 1], ["Decoder", 3, 3]]);
  assert.deepEqual(skips, [[0, 5], [1, 3]]);
});

test("other names of the same parts are known", () => {
  const layers = [layer("unet.input_blocks.4.1.attn1", 32), layer("middle_block.1.attn1", 16), layer("output_blocks.3.1.attn1", 32)];
  assert.deepEqual(networkOf(layers).arms.map(({ name }) => name), ["Encoder", "Middle", "Decoder"]);
  assert.deepEqual(networkOf([layer("down.2.attn.0", 8), layer("mid.attn_1", 8)]).arms.length, 2);
});

test("a network that is no U-Net is one column without arms", () => {
  const { levels, depths, arms, skips } = networkOf([0, 1, 2].map((i) => layer(`transformer_blocks.${i}.attn1`, 16)));
  assert.deepEqual([levels.length, depths, arms, skips], [1, [0, 0, 0], [], []]);
  assert.deepEqual(networkOf([layer("down_blocks.0.attentions.0", 8), layer("extra.attention", 8)]).arms, [], "one name says nothing");
});
