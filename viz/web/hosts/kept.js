// Keeps in the tab what no address can hold, such as a visitor's own recording, so that a reload brings it back for as long as
// the server keeps its file.

const NAME = "pixelgaze-kept";

// Remembers a viewer's value, as viz/page/viewer.py describes it; with null, forgets the one before.
export const keep = (value) => keepAs(NAME, value);

// After a reload: { value, isThere: whether the server still has its file }; null if nothing was kept, or the address asks for
// something else.
export async function recall() {
  const value = keptAs(NAME);
  if (!value || performance.getEntriesByType("navigation")[0]?.type === "navigate") return null;
  if (new URLSearchParams(location.search).has("look")) return null;
  const response = await fetch(value.trace.url, { headers: { Range: "bytes=0-7" } }).catch(() => null);
  return { value, isThere: response?.ok === true };
}

// Remembers a value under a name of its own; with null, forgets the one before.
export function keepAs(name, value) {
  try {
    if (value) sessionStorage.setItem(name, JSON.stringify(value));
    else sessionStorage.removeItem(name);
  } catch {
    // a frame may have no storage
  }
}

// The value of that name; null if there is none.
export function keptAs(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null;
  }
}
