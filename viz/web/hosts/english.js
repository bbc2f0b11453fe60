// The page is written in English. Gradio asks for the browser's language, writes its own texts in that, and declares the
// whole page to be in it.

// Runs from the page's head, before Gradio's scripts.
export function speakEnglish() {
  for (const [name, value] of [["language", "en"], ["languages", ["en"]]]) {
    Object.defineProperty(navigator, name, { get: () => value, configurable: true });
  }
}
