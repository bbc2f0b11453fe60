// Everything that runs in the Gradio page; viz/page/script.py serves it as one script.

export { startKeptModel } from "./kept_model.js";
export { startLesson } from "./lesson.js";
export { startMenu } from "./menu.js";
export { startPlots } from "./plots.js";
export { startProgress } from "./progress.js";
export { startViewer } from "./viewer.js";
