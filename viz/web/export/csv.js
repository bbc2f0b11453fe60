// Writes the numbers of a Plotly figure as CSV. Nothing here touches the DOM.

// `data` is a figure's list of Plotly traces: one heat map, or lines with the same x, null where they break off. `meta` is that of
// its layout: { timesteps, about: { name: text } }, which become columns of lines.
export function csvOf(data, { timesteps = [], about = {} } = {}) {
  const rows = data[0].type === "heatmap" ? data[0].z.map((row) => Array.from(row)) : rowsOf(data, timesteps, about);
  return rows.map((row) => row.map(cellOf).join(",")).join("\r\n") + "\r\n";
}

function rowsOf(data, timesteps, about) {
  const header = ["step", "timestep", ...Object.keys(about), ...data.map(({ meta }) => meta)];
  return [header, ...data[0].x.map((x, i) => [x, timesteps[i] ?? null, ...Object.values(about), ...data.map(({ y }) => y[i])])];
}

// Prefixes text that a spreadsheet might take for a formula with an apostrophe.
function cellOf(value) {
  if (value === null) return ""; // a gap
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return `"${text.replaceAll('"', '""')}"`;
}
