// All that runs in the Gradio page, in one script: viz/page/script.py serves it.

export { startLesson } from "./lesson.js";
export { startMenu } from "./menu.js";
export { startPlots } from "./plots.js";
export { startProgress } from "./progress.js";
export { startViewer } from "./viewer.js";
