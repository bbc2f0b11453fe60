// Finds the page's first viewer, which other components extend.

const PAUSE = 100; // ms between two looks

// The root of the first viewer once isReady(root) is true; null if `element` is removed from the page first.
export async function findViewer(element, isReady) {
  for (;;) {
    const root = document.querySelector("#viewer .pixelgaze");
    if (root && isReady(root)) return root;
    if (!element.isConnected) return null;
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}
