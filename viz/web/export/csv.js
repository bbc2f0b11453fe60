// Writes the numbers of a Plotly figure as CSV. Nothing here touches the DOM.

// `data` is a figure's list of Plotly traces: one heat map, or lines with the same x, null where they break off.
export function csvOf(data) {
  const rows =
    data[0].type === "heatmap"
      ? data[0].z.map((row) => Array.from(row))
      : [["step", ...data.map(({ meta }) => meta)], ...data[0].x.map((x, i) => [x, ...data.map(({ y }) => y[i])])];
  return rows.map((row) => row.map(cellOf).join(",")).join("\r\n") + "\r\n";
}

// Prefixes text that a spreadsheet might take for a formula with an apostrophe.
function cellOf(value) {
  if (value === null) return ""; // a gap
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return `"${text.replaceAll('"', '""')}"`;
}
