// A 3×3 convolution, and nine heads that each attend to one offset from the query, as in models/classic/convolution.py.
// Nothing here touches the DOM.

import { dot } from "./panels.js";

export const KERNELS = {
  "soft edges": [-1, -1, -1, -1, 8, -1, -1, -1, -1],
  blur: [1, 2, 1, 2, 4, 2, 1, 2, 1].map((x) => x / 16),
  "down to up": [1, 2, 1, 0, 0, 0, -1, -2, -1],
};
export const SHIFTS = Array.from({ length: 9 }, (_, i) => [Math.floor(i / 3) - 1, (i % 3) - 1]);

// Turns (h, w, 3) bytes into three planes in 0..1, each (h + 2)×(w + 2) with a border of zeros.
export function padPlanes(cells, height, width) {
  const planes = [0, 1, 2].map(() => new Float64Array((height + 2) * (width + 2)));
  for (let i = 0; i < height * width; i++) {
    const at = (Math.floor(i / width) + 1) * (width + 2) + (i % width) + 1;
    planes.forEach((plane, c) => (plane[at] = cells[3 * i + c] / 255));
  }
  return planes;
}

// The convolution of one padded plane: h·w numbers.
export function convolve(plane, height, width, kernel) {
  const out = new Float64Array(height * width);
  for (let i = 0; i < out.length; i++) {
    const at = (Math.floor(i / width) + 1) * (width + 2) + (i % width) + 1;
    SHIFTS.forEach(([down, right], k) => (out[i] += kernel[k] * plane[at + down * (width + 2) + right]));
  }
  return out;
}

// Softmax over positions j of −α (j − i − shift)², for queries i = 1 … size in a line of size + 2: rows that sum to 1.
export function weightsAlong(size, shift, alpha) {
  return Array.from({ length: size }, (_, i) => {
    const scores = Float64Array.from({ length: size + 2 }, (_, j) => -alpha * (j - i - 1 - shift) ** 2);
    const best = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - best));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  });
}

// The sum of nine heads, each with one entry of the kernel as its W_v. −α‖j − i − Δ‖² is a sum over rows and columns, so
// its softmax is the product of one along the rows and one along the columns: `weights` holds such a pair for each head.
export function attendNine(plane, height, width, kernel, weights) {
  const out = new Float64Array(height * width);
  const lines = new Map();
  weights.forEach(([rows, columns], h) => {
    if (kernel[h] === 0) return;
    if (!lines.has(columns)) lines.set(columns, mixColumns(plane, height, width, columns));
    const across = lines.get(columns);
    for (let r = 0; r < height; r++) {
      for (let c = 0; c < width; c++) {
        let sum = 0;
        for (let j = 0; j < height + 2; j++) sum += rows[r][j] * across[j * width + c];
        out[r * width + c] += kernel[h] * sum;
      }
    }
  });
  return out;
}

// What the queries of each column receive from each line of `plane`: (h + 2)·w numbers.
function mixColumns(plane, height, width, columns) {
  const across = new Float64Array((height + 2) * width);
  for (let r = 0; r < height + 2; r++) {
    const line = plane.subarray(r * (width + 2), (r + 1) * (width + 2));
    for (let c = 0; c < width; c++) across[r * width + c] = dot(columns[c], line);
  }
  return across;
}
