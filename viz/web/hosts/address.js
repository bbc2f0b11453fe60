// The part of the address after "#": "how-4" is scene 4 of "How it works", "explore" or nothing is "Explore".
//
// A tab's components exist only once it has been opened, so this runs from the page's head.

export const ADDRESS = /^#how(?:-(\d))?$/;
export const EXPLORE = "#explore";

const findTab = (name) => [...document.querySelectorAll("[role=tab]")].find((one) => one.textContent.trim() === name);

// Opens a tab, unless it is open; false if there is none of this name yet.
export function pressTab(name) {
  const tab = findTab(name);
  if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
  return Boolean(tab);
}

// Opens the tab that the address names, now and whenever the visitor goes back or forward.
export function followAddress() {
  const open = () => {
    if (ADDRESS.test(location.hash)) return pressTab("How it works");
    return !["", EXPLORE].includes(location.hash) || pressTab("Explore");
  };
  addEventListener("popstate", open);
  addEventListener("hashchange", open);
  if (!ADDRESS.test(location.hash)) return;
  const waiting = new MutationObserver(() => open() && waiting.disconnect());
  waiting.observe(document, { childList: true, subtree: true });
}
