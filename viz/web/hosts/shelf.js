// Names the gallery's thumbnails by their captions: Gradio calls them "Thumbnail 1 of 6".

// Runs from the page's head: the gallery comes later, and Gradio may write its own names again.
export function nameThumbnails() {
  const name = () => {
    for (const button of document.querySelectorAll("#shelf button.thumbnail-item")) {
      const caption = button.querySelector("img")?.alt;
      if (!caption || button.getAttribute("aria-label") === caption) continue;
      button.setAttribute("aria-label", caption);
      button.title = caption;
    }
  };
  const waiting = new MutationObserver(() => {
    const shelf = document.getElementById("shelf");
    if (!shelf) return;
    waiting.disconnect();
    new MutationObserver(name).observe(shelf, { childList: true, subtree: true, attributeFilter: ["aria-label"] });
    name();
  });
  waiting.observe(document, { childList: true, subtree: true });
}
