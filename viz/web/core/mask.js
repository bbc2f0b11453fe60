// The brush: paints the masks of regions, one byte per pixel. Nothing here touches the DOM.

const BRUSH = 0.05; // the brush's radius, as a share of the longer side
const LARGEST = 64; // pixels per side, so that a mask fits into a link

// The [height, width] of a mask: the picture's own, or smaller if the picture is large.
export function maskGrid([height, width]) {
  const shrink = Math.max(1, Math.max(height, width) / LARGEST);
  return [height, width].map((side) => Math.max(1, Math.round(side / shrink)));
}

// Paints a round spot at a point: every pixel whose centre is inside, and the pixel at the point.
export function paintSpot(mask, [height, width], [down, across]) {
  const radius = BRUSH * Math.max(height, width);
  const [row, column] = [down * height, across * width];
  for (let y = Math.max(0, Math.floor(row - radius)); y < Math.min(height, row + radius); y++) {
    for (let x = Math.max(0, Math.floor(column - radius)); x < Math.min(width, column + radius); x++) {
      if (Math.hypot(y + 0.5 - row, x + 0.5 - column) <= radius) mask[y * width + x] = 1;
    }
  }
  mask[Math.min(height - 1, Math.floor(row)) * width + Math.min(width - 1, Math.floor(column))] = 1;
}

// Paints a line of spots from one point to another.
export function paintStroke(mask, grid, from, to) {
  const steps = Math.max(1, Math.ceil(Math.hypot((to[0] - from[0]) * grid[0], (to[1] - from[1]) * grid[1])));
  for (let i = 0; i <= steps; i++) paintSpot(mask, grid, from.map((v, axis) => v + ((to[axis] - v) * i) / steps));
}
