// Scene 1: the network as a map of its grids, with the attention blocks to choose from.

import { h } from "../../dom.js";
import { isCross, levelsOf } from "../../core/network.js";
import { layerLabel } from "../../core/trace.js";
import { paragraph, whole } from "../rich.js";
import { clamp01, during, fill, frame, mix, write } from "../ink.js";
import { cached } from "../paint.js";

const BLOCK = [37, 26]; // room for a block's button, in pixels

export const WHERE = {
  title: "Where are we?",
  rebuilds: true, // its buttons say which layer is on show
  scrub: "go through the network",

  tell(desk) {
    const { lesson } = desk;
    const [height, width] = [lesson.height, lesson.width];
    const levels = levelsWithLayers(lesson);
    const [picture] = lesson.tensors.get("picture").shape;
    const sizes = levels.map(([grid]) => grid[0]).join(" → ");
    const covers = picture / height;
    return [
      paragraph(
        levels.length > 1
          ? `A U-Net shrinks its feature maps step by step, ${sizes} cells a side, and enlarges them again. A *cell* is one place of such a map.`
          : "This network keeps one grid from its first layer to its last. A *cell* is one place of that grid.",
      ),
      paragraph(
        `Attention compares every cell with every cell: N cells cost N^{2} scores for each head. On this ${height}×${width} map, ` +
          `${whole(height * width)} cells make ${whole((height * width) ** 2)} scores.` +
          (covers > 1 ? ` One cell covers ${Math.round(covers)}×${Math.round(covers)} pixels.` : ""),
      ),
      paragraph(whyNotFiner(levels)),
      paragraph("We are in the lit block. Choose another to follow the story there."),
    ];
  },

  describe({ lesson }) {
    const levels = levelsWithLayers(lesson).map(([grid, layers]) => `${grid.join("×")} with ${layers.length} attention layers`);
    return `The network's grids, from the finest to the coarsest: ${levels.join(", ")}. This layer: ${lesson.layer.name}.`;
  },

  draw(desk, pen, size, t) {
    const { tones, lesson } = desk;
    const places = layout(desk.lesson, size);
    const done = t * places.length;
    placeBlocks(desk.overlay.children, places);
    places.forEach(({ box, stage }, i) => {
      pen.globalAlpha = clamp01(done - i);
      if (i) connect(pen, tones, places[i - 1].box, box);
      drawMosaic(desk, pen, box, stage.grid);
      pen.globalAlpha = 1;
    });
    drawCosts(desk, pen, size, during(t, 0.6, 1));
    if (t < 1) {
      const at = Math.min(places.length - 1, Math.floor(done));
      frame(pen, places[at].box, desk.bright.q, 2);
    }
    if (lesson.stages.every(({ layers }) => !layers.length)) write(desk, pen, "no attention", size.width / 2, 20, { align: "center" });
  },

  overlay(desk, { choose }) {
    const { lesson } = desk;
    return lesson.stages.flatMap((stage) =>
      stage.layers.map((name) => {
        const isHere = name === lesson.layer.name;
        const label = `${layerLabel(name)}${isCross(name) ? ", cross-attention" : ""}, ${stage.grid.join("×")}`;
        const button = h("button", { type: "button", class: "pl-block", title: `${label}\n${name}`, "aria-label": label, "aria-pressed": String(isHere) }, isCross(name) ? "text" : "self");
        button.addEventListener("click", () => choose(name));
        return button;
      }),
    );
  },
};

// The network's grids, finest first, with the layers on each: [grid, layers].
function levelsWithLayers(lesson) {
  return cached(lesson, "levels", () => {
    const { stages } = lesson;
    const isOn = (grid) => (stage) => stage.grid.join() === grid.join();
    return levelsOf(stages.map(({ grid }) => grid)).map((grid) => [grid, stages.filter(isOn(grid)).flatMap(({ layers }) => layers)]);
  });
}

function whyNotFiner(levels) {
  const scores = ([grid]) => (grid[0] * grid[1]) ** 2;
  const plain = levels.find(([, layers]) => !layers.length);
  const used = levels.filter(([, layers]) => layers.length);
  if (!plain || !used.length || scores(plain) < scores(used[0])) return "Halving the sides divides the cost by sixteen.";
  const [[height, width]] = plain;
  return (
    `Halving the sides divides that by sixteen. On the ${height}×${width} map it would be ${whole(scores(plain))} scores, ` +
    "so this network attends on its coarser grids only."
  );
}

// Where each stage stands, left to right in the order in which they run, and the deeper the coarser.
function layout(lesson, { width, height }) {
  const levels = levelsWithLayers(lesson);
  const count = lesson.stages.length;
  const costs = Math.min(150, width * 0.27);
  const column = (width - costs - 10) / count;
  const row = height / levels.length;
  const largest = Math.min(column - 8, row - 34);
  return lesson.stages.map((stage, i) => {
    const depth = levels.findIndex(([grid]) => grid.join() === stage.grid.join());
    const side = Math.max(14, largest * 0.8 ** depth);
    const y = depth * row + 6;
    return { stage, depth, box: { x: i * column + (column - side) / 2, y, width: side, height: side }, column, row };
  });
}

// Blocks stand in rows below their stage's map; a stage that has its level to itself has room for four in a row.
function placeBlocks(nodes, places) {
  let next = 0;
  for (const { stage, depth, box, column } of places) {
    const isAlone = places.filter((other) => other.depth === depth).length === 1;
    const across = isAlone ? 4 : Math.max(1, Math.floor(column / BLOCK[0]));
    const count = stage.layers.length;
    for (let j = 0; j < count; j++) {
      const inRow = Math.min(across, count - across * Math.floor(j / across));
      const left = box.x + box.width / 2 + ((j % across) - inRow / 2) * BLOCK[0];
      const top = box.y + box.height + 7 + Math.floor(j / across) * BLOCK[1];
      nodes[next].style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
      next += 1;
    }
  }
}

function connect(pen, tones, from, to) {
  pen.strokeStyle = tones.soft;
  pen.lineWidth = 1.5;
  pen.beginPath();
  const start = [from.x + from.width, from.y + from.height / 2];
  const end = [to.x, to.y + to.height / 2];
  const middle = mix(start[0], end[0], 0.5);
  pen.moveTo(...start);
  pen.bezierCurveTo(middle, start[1], middle, end[1], ...end);
  pen.stroke();
}

// The picture on a grid of this size, each cell the mean of its pixels, with the query's cell outlined.
function drawMosaic(desk, pen, box, [height, width]) {
  const { lesson, state } = desk;
  const cells = cached(lesson, `mosaic ${height}×${width}`, () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const small = canvas.getContext("2d");
    small.imageSmoothingQuality = "high";
    small.drawImage(lesson.cells.picture, 0, 0, width, height);
    return canvas;
  });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(cells, box.x, box.y, box.width, box.height);
  const [y, x] = [Math.floor(state.query / lesson.width) + 0.5, (state.query % lesson.width) + 0.5];
  const [row, column] = [Math.floor((y / lesson.height) * height), Math.floor((x / lesson.width) * width)];
  const [across, down] = [box.width / width, box.height / height];
  frame(pen, { x: box.x + column * across, y: box.y + row * down, width: across, height: down }, desk.bright.q, 1.5);
  if (height === lesson.height && width === lesson.width) {
    [pen.strokeStyle, pen.lineWidth] = [desk.tones.ink, 2];
    pen.strokeRect(box.x - 3, box.y - 3, box.width + 6, box.height + 6);
  }
}

// N and N² of each level, as bars on a log scale at the right.
function drawCosts(desk, pen, { width, height }, shown) {
  const levels = levelsWithLayers(desk.lesson);
  const costs = Math.min(150, width * 0.27);
  const left = width - costs;
  const largest = Math.log(Math.max(...levels.map(([grid]) => (grid[0] * grid[1]) ** 2)));
  levels.forEach(([grid, layers], i) => {
    const [count, y] = [grid[0] * grid[1], (i * height) / levels.length + 18];
    write(desk, pen, `${grid[0]}×${grid[1]}`, left, y, { bold: true, size: 15, room: costs });
    write(desk, pen, `N = ${whole(count)}`, left, y + 18, { size: 12, color: desk.tones.soft, room: costs });
    write(desk, pen, `N² = ${whole(count ** 2)}`, left, y + 35, { size: 12, room: costs });
    fill(pen, { x: left, y: y + 42, width: shown * costs * (Math.log(count ** 2) / largest), height: 5 }, layers.length ? desk.tones.ink : desk.tones.line);
  });
}
