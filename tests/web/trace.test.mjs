import assert from "node:assert/strict";
import test from "node:test";

import { layerLabel, openTrace, readSafetensors, toFloats } from "../../viz/web/core/trace.js";

function safetensors(entries, tail = new Uint8Array(0)) {
  const header = new TextEncoder().encode(typeof entries === "string" ? entries : JSON.stringify(entries));
  const file = new Uint8Array(8 + header.length + tail.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  file.set(tail, 8 + header.length);
  return file.buffer;
}

test("readSafetensors returns each tensor's own bytes", () => {
  const entries = {
    __metadata__: { format: "x" },
    a: { dtype: "U8", shape: [2], data_offsets: [0, 2] },
    b: { dtype: "U8", shape: [1], data_offsets: [2, 3] },
  };
  const { metadata, tensors } = readSafetensors(safetensors(entries, Uint8Array.of(7, 8, 9)));
  assert.deepEqual(metadata, { format: "x" });
  assert.deepEqual([...tensors.get("a").bytes], [7, 8]);
  assert.deepEqual([...tensors.get("b").bytes], [9]);
});

test("readSafetensors rejects incomplete files", () => {
  const short = { a: { dtype: "U8", shape: [2], data_offsets: [0, 2] } };
  assert.throws(() => readSafetensors(new ArrayBuffer(7)), /not a complete trace file/);
  assert.throws(() => readSafetensors(safetensors(short, Uint8Array.of(1))), /ends before “a”/);
  assert.throws(() => readSafetensors(safetensors("{")), /not JSON/);
  assert.throws(() => readSafetensors(safetensors("{}").slice(0, 9)), /inside its header/);
});

test("openTrace rejects other files", () => {
  for (const metadata of [{}, { format: "pixelgaze-trace", version: "3" }, { format: "other", version: "1" }]) {
    assert.throws(() => openTrace(safetensors({ __metadata__: metadata })), /version 1 or 2 trace of PixelGaze/);
  }
});

test("openTrace refuses a trace that keeps some queries only", () => {
  const trace = { layers: [], timesteps: [], branches: ["a"], gaps: {}, skipped: {}, size: [1, 1], recipe: {}, kept_queries: { a: [3] } };
  const metadata = { format: "pixelgaze-trace", version: "2", trace: JSON.stringify(trace) };
  for (const remote of [null, {}]) {
    assert.throws(() => openTrace(safetensors({ __metadata__: metadata }), remote), /keeps only the queries that were asked for/);
  }
  metadata.trace = JSON.stringify({ ...trace, kept_queries: {} });
  assert.throws(() => openTrace(safetensors({ __metadata__: metadata })), /no self-attention to show/);
});

test("toFloats reads F16, BF16 and F32", () => {
  const read = (dtype, ...bytes) => [...toFloats({ dtype, bytes: Uint8Array.from(bytes) })];
  assert.deepEqual(read("F16", 0, 0x3c, 0, 0xc0, 1, 0, 0, 0x7c), [1, -2, 2 ** -24, Infinity]);
  const odd = Uint8Array.of(9, 0, 0x3c, 0, 0xc0).subarray(1); // not aligned
  assert.deepEqual([...toFloats({ dtype: "F16", bytes: odd })], [1, -2]);
  assert.deepEqual(read("BF16", 0x80, 0x3f, 0, 0xc0), [1, -2]);
  assert.deepEqual(read("F32", 0, 0, 0x80, 0x3f), [1]);
  assert.throws(() => read("I8", 1, 2), /type I8; expected F16, BF16 or F32/);
});

test("layerLabel shortens diffusers' names and cuts others", () => {
  const attention = (block) => `${block}.attentions.1.transformer_blocks.0.attn1`;
  assert.equal(layerLabel(attention("up_blocks.2")), "up 2 · attention 1");
  assert.equal(layerLabel(attention("up_blocks.2"), ""), "up 2 · 1");
  assert.equal(layerLabel(attention("mid_block")), "middle · attention 1");
  assert.equal(layerLabel("down_blocks.1.attentions.0.transformer_blocks.2.attn1"), "down 1 · attention 0.2");
  assert.equal(layerLabel("transformer_blocks.12.attn"), "block 12");
  assert.equal(layerLabel("transformer_blocks.12.attn2", ""), "block 12 · attn2");
  assert.equal(layerLabel("layers.3.attention"), "layers.3.attention");
  assert.equal(layerLabel("a".repeat(40)).length, 26);
  assert.equal(layerLabel("a".repeat(40), "").length, 12);
});
