// Which of many steps the atlas shows. Nothing here touches the DOM.

// `count` indices below `length`: evenly spaced, with each of `chosen` in place of its nearest neighbour.
export function spread(length, count, chosen) {
  const shown = Math.min(length, count);
  const columns = Array.from({ length: shown }, (_, i) => Math.round((i * (length - 1)) / Math.max(1, shown - 1)));
  const isTaken = (column) => chosen.includes(column);
  for (const wanted of chosen) {
    if (columns.includes(wanted)) continue;
    const distances = columns.map((column) => (isTaken(column) ? Infinity : Math.abs(column - wanted)));
    columns[distances.indexOf(Math.min(...distances))] = wanted;
  }
  return columns.sort((a, b) => a - b);
}
