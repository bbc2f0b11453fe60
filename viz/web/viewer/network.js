// The network beside the atlas: a block for each row, farther to the right the coarser its grid, so that a U-Net is a U on its
// side; a line through them in the order in which they run, dashed lines where a U-Net skips, and the names of its arms.

import { networkOf } from "../core/network.js";
import { h, svg } from "../dom.js";

// Places of the drawing in CSS pixels, with room for the arms' names and without.
const WIDE = { arms: 17, first: 7, reach: 20, step: 10, sizes: [13, 7], text: 52 };
const NARROW = { arms: 0, first: 4, reach: 5, step: 2.5, sizes: [7, 4], text: 13 };
const LETTERS = 46; // height from which an arm's name fits beside its rows, and below which it is shortened

// A function that gives the middle and the side of a row's block, and the pitch of the rows.
function placesOf({ levels, depths }, look, pitch) {
  const last = Math.max(1, levels.length - 1);
  const step = Math.min(look.step, look.reach / last);
  const [largest, least] = look.sizes;
  return depths.map((depth, row) => ({
    x: look.arms + look.first + depth * step,
    y: (row + 0.5) * pitch,
    side: Math.min(pitch - 6, Math.round(largest - (depth * (largest - least)) / last)),
  }));
}

// From block to block: down, and around a corner where the grid changes.
function trunk(places) {
  return places.map(({ x, y }, i) => {
    if (!i) return `M${x},${y}`;
    const { x: before, y: above } = places[i - 1];
    const middle = (y + above) / 2;
    return before === x ? `V${y}` : `C${before},${middle} ${x},${middle} ${x},${y}`;
  });
}

// The arms' names, upright beside their rows, with a line along these.
function nameArms(arms, pitch) {
  return arms.map(({ name, from, count }) => {
    const arm = h("div", { class: "pg-arm", title: name }, count * pitch < LETTERS ? name.slice(0, 3) : name);
    Object.assign(arm.style, { top: `${from * pitch + 2}px`, height: `${count * pitch - 6}px` });
    return arm;
  });
}

// What lies behind the labels of the atlas's rows. `pitch` is that of the rows, in CSS pixels; `narrow` leaves the names out.
// Returns { node, blocks: a node for each label, indent: of their text }.
export function drawNetwork(rows, pitch, narrow) {
  const network = networkOf(rows);
  const look = narrow ? NARROW : WIDE;
  const places = placesOf(network, look, pitch);
  const isSeen = ([from, to]) => places.slice(from, to).some(({ x }) => x > places[from].x); // not along the line through the blocks
  const skips = network.skips.filter(isSeen).map(([from, to]) => `M${places[from].x},${places[from].y}V${places[to].y}`);
  const drawing = svg(
    "svg",
    { width: look.text, height: rows.length * pitch, "aria-hidden": "true" },
    svg("path", { class: "pg-skips", d: skips.join("") }),
    svg("path", { class: "pg-trunk", d: trunk(places).join("") }),
  );
  const node = h("div", { class: "pg-network" }, drawing, ...(narrow ? [] : nameArms(network.arms, pitch)));
  const blocks = places.map(({ x, side }) => {
    const block = h("span", { class: "pg-block" });
    Object.assign(block.style, { left: `${x - side / 2}px`, width: `${side}px`, height: `${side}px` });
    return block;
  });
  return { node, blocks, indent: look.text };
}
