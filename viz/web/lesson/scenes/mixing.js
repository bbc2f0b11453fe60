// Scene 6: values are mixed by their weights, heads are joined, and the input is added.

import { formula, paragraph, percent, power, whole } from "../rich.js";
import { arrow, centreOf, cellBox, clamp01, drawCells, drawStrip, during, fill, fit, frame, heatOf, mix, panes, write } from "../ink.js";
import { cached, canvasOfCells, keyName, largestMagnitude, placeOf } from "../paint.js";
import { rowOf } from "../panels.js";

export const MIXING = {
  title: "Mixing: what arrives, and from where",
  seconds: 3.2,
  scrub: "value by value",

  tell(desk) {
    const { lesson, panels, state } = desk;
    const { heads, gamma, residual, out_weight: out } = lesson;
    const share = panels.top.reduce((sum, key) => sum + panels.row[key], 0);
    const what = lesson.words ? "words" : "cells";
    const parts = [
      `The results of ${heads > 1 ? `all ${heads} heads stand side by side` : "the one head"}`,
      gamma !== null && `times γ = ${gamma.toFixed(4)}`,
      out && "go through a last matrix, W_{out}",
      residual && "and are added to what the cell was before (the *residual*)",
    ];
    const end = state.temperature === 1 ? "" : ` At temperature ${state.temperature.toFixed(2)}, that is; at 1, only rounding remains.`;
    return [
      paragraph(
        `Every [v:value] is multiplied by its weight, and all are added. The five largest, ${lesson.words ? "" : "drawn as arrows, "}carry ` +
          `${percent(share)} of the *weight*${lesson.words ? "." : ". This is how something of a distant cell reaches ours."}`,
      ),
      formula(`[v:o_{i}] = Σ_{j} a_{ij} [v:v_{j}]   over ${whole(lesson.keys)} ${what}`),
      paragraph(`${parts.filter(Boolean).join(", ")}.`),
      paragraph(`Largest difference from the network’s own output: *${power(panels.difference)}*. Nothing here is made up.${end}`),
    ];
  },

  describe(desk) {
    const { panels } = desk;
    const list = panels.top.map((key) => `${percent(panels.row[key])} of the weight from ${keyName(desk, key)}`).join("; ");
    return `What arrives at ${placeOf(desk, desk.state.query)}: ${list}. The output differs from the network's own by ${power(panels.difference)}.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, tones } = desk;
    const { first, rest } = panes({ width: size.width, height: size.height - 20 }, 0.5);
    const box = lesson.words ? first : fit(first, lesson.width, lesson.height);
    if (lesson.words) drawColumn(desk, pen, first);
    else drawArrivals(desk, pen, box, t);
    const caption = lesson.words ? `how much each cell looks at ${keyName(desk, desk.panels.word)}` : "weights on the feature map: values travel to the asking cell";
    write(desk, pen, caption, first.x + first.width / 2, Math.min(size.height - 4, box.y + box.height + 17), { size: 12, color: tones.soft, align: "center", room: first.width });
    drawSums(desk, pen, rest, t);
  },
};

function drawColumn(desk, pen, box) {
  const { lesson, panels } = desk;
  const heat = (i) => heatOf(desk, panels.column[i]);
  drawCells(desk, pen, cached(panels, "column", () => canvasOfCells(lesson.width, lesson.height, heat)), fit(box, lesson.width, lesson.height));
}

// Arrows from the largest keys into the query's cell, as thick as their weight, with dots that travel along them.
function drawArrivals(desk, pen, box, t) {
  const { lesson, panels, state, bright } = desk;
  drawCells(desk, pen, lesson.cells.features, box, { dim: 0.25, marks: false });
  const others = panels.top.filter((key) => key !== state.query);
  const to = centreOf(lesson, state.query, box);
  others.forEach((key, i) => {
    if (t < 0.08 * i) return;
    const [from, weight] = [centreOf(lesson, key, box), panels.row[key] / panels.row[panels.top[0]]];
    const [down, right] = [to[1] - from[1], to[0] - from[0]];
    const length = Math.hypot(down, right);
    const short = Math.max(0, length - 5) / (length || 1);
    arrow(pen, from, [from[0] + right * short, from[1] + down * short], bright.v, 1.5 + 3 * Math.sqrt(weight), 5);
    frame(pen, cellBox(lesson, key, box), bright.k, 1.5);
    if (key === panels.far) label(desk, pen, percent(panels.row[key]), from, box);
    const way = clamp01((t - 0.08 * i) * 2.2) % 1;
    if (t < 1 && way > 0) {
      pen.fillStyle = "#fff";
      pen.beginPath();
      pen.arc(mix(from[0], to[0], way), mix(from[1], to[1], way), 4, 0, 7);
      pen.fill();
    }
  });
  desk.areas.push({ box, cellAt: (x, y) => Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width) });
  if (state.hover >= 0) frame(pen, cellBox(lesson, state.hover, box), "#fff", 1.5);
  frame(pen, cellBox(lesson, state.query, box), bright.q, 2.5);
}

// A share of the weight beside the cell that it comes from.
function label(desk, pen, text, [x, y], box) {
  const isLeft = x > box.x + 0.7 * box.width;
  const place = { x: isLeft ? x - 62 : x + 10, y: y + 12, width: 52, height: 20 };
  fill(pen, place, "rgb(0 0 0 / 75%)");
  write(desk, pen, text, place.x + 26, place.y + 15, { color: "#fff", bold: true, align: "center" });
}

// The sum as it grows, the heads side by side, and the way out.
function drawSums(desk, pen, box, t) {
  const { lesson, panels, state, tones } = desk;
  const { heads, gamma, residual, out_weight: out, dv } = lesson;
  const added = during(t, 0.05, 0.7);
  const scale = largestMagnitude(panels.own);
  const steps = [gamma !== null && "× γ", out && "through W out"].filter(Boolean).join(", ") || "unchanged";
  const lines = [
    [`head ${state.head}: Σ a·v`, growing(desk, added), "v", largestMagnitude(panels.attended), dv],
    ...(heads > 1 ? [[`all ${heads} heads, side by side`, panels.joined, "v", undefined, panels.joined.length]] : []),
    [steps, panels.contribution, "ink", scale, panels.contribution.length],
    ...(residual ? [["+ x, as it came in (residual)", panels.before, "ink", scale, panels.before.length]] : []),
    ["= output, computed here", panels.output, "ink", scale, panels.output.length],
    ["the network’s own output", panels.own, "ink", scale, panels.own.length],
  ];
  const shares = Math.min(5, panels.top.length);
  const bars = 17 * shares + 26;
  drawShares(desk, pen, { ...box, height: bars }, added);
  const line = Math.min(50, (box.height - bars - 6) / lines.length);
  lines.forEach(([label, numbers, tone, largest, length], i) => {
    const y = box.y + bars + i * line;
    pen.globalAlpha = i ? clamp01((t - 0.62 - 0.06 * i) * 12) : 1;
    write(desk, pen, label, box.x, y + 12, { size: 12, color: tone === "v" ? tones.v : tones.ink, room: box.width - 60 });
    write(desk, pen, `1 × ${length}`, box.x + box.width, y + 12, { size: 12, color: tones.soft, align: "right" });
    drawStrip(desk, pen, numbers, { x: box.x, y: y + 17, width: box.width, height: Math.max(5, line - 24) }, tone, largest);
    pen.globalAlpha = 1;
  });
}

// The sum over the keys of the largest weights, up to this share of all keys' weight.
function growing({ lesson, panels, state }, share) {
  if (share >= 1) return panels.attended;
  const sum = new Float64Array(lesson.dv);
  let done = 0;
  for (const key of panels.order) {
    if (done >= share) break;
    const part = Math.min(panels.row[key], share - done);
    const value = rowOf(lesson.value, state.head * lesson.keys + key, lesson.dv);
    for (let c = 0; c < sum.length; c++) sum[c] += part * value[c];
    done += part;
  }
  return sum;
}

// The largest keys' shares of the weight, and everything else, as bars.
function drawShares(desk, pen, box, added) {
  const { panels, tones, lesson, state } = desk;
  write(desk, pen, "share of the weight", box.x, box.y + 12, { size: 12, color: tones.soft });
  const label = Math.min(150, box.width * 0.45);
  const top = panels.row[panels.top[0]];
  panels.top.forEach((key, i) => {
    const y = box.y + 18 + i * 17;
    const own = !lesson.words && key === state.query;
    write(desk, pen, own ? "the cell itself" : keyName(desk, key), box.x, y + 12, { size: 12, color: key === panels.far ? tones.k : tones.ink, room: label - 8 });
    const width = Math.max(1, (box.width - label - 50) * (panels.row[key] / top) * Math.min(1, added * 4));
    fill(pen, { x: box.x + label, y: y + 3, width, height: 10 }, tones.v);
    write(desk, pen, percent(panels.row[key]), box.x + label + width + 6, y + 12, { size: 12 });
  });
}
