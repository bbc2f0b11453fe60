// Keeps in the tab what no address can hold, such as a visitor's own recording, so that a reload brings it back for as long as
// the server keeps its file.

const NAME = "pixelgaze-kept";

// Remembers a viewer's value, as viz/page/viewer.py describes it; with null, forgets the one before.
export function keep(value) {
  try {
    if (value) sessionStorage.setItem(NAME, JSON.stringify(value));
    else sessionStorage.removeItem(NAME);
  } catch {
    // a frame may have no storage
  }
}

// After a reload: { value, isThere: whether the server still has its file }; null if nothing was kept, or the address asks for
// something else.
export async function recall() {
  const value = kept();
  if (!value || performance.getEntriesByType("navigation")[0]?.type === "navigate") return null;
  if (new URLSearchParams(location.search).has("look")) return null;
  const response = await fetch(value.trace.url, { headers: { Range: "bytes=0-7" } }).catch(() => null);
  return { value, isThere: response?.ok === true };
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(NAME));
  } catch {
    return null;
  }
}
