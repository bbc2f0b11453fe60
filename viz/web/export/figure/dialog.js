// The Export figure dialog: what is on show as a figure for a paper or a slide, the same as viz.figure draws in Python.
//
//   const dialog = new FigureDialog(root, viewer, { colormap, diverging }, button)   // `button` gets the focus when it closes
//   await dialog.open()

import { h, makeButton } from "../../dom.js";
import { download, viewName } from "../files.js";
import { Content } from "./content.js";
import { drawSheet, pixelsOf, pngFile, svgOf } from "./files.js";
import { FigureForm } from "./form.js";
import { DOTS, MILLIMETRE, hundredths } from "./items.js";
import { layOut } from "./layout.js";
import { pdfOf } from "./pdf.js";
import { BIBTEX, captionOf } from "./words.js";

const PREVIEW = [640, 460]; // CSS pixels
const TYPES = { png: "image/png", svg: "image/svg+xml", pdf: "application/pdf" };

export class FigureDialog {
  #viewer;
  #colors;
  #content = null; // of the view when the dialog was opened
  #form = new FigureForm(() => this.#draw());
  #canvas = h("canvas", { role: "img" });
  #preview = h("div", { class: "pg-figure-preview" }, this.#canvas);
  #status = h("p", { class: "pg-news", role: "status" });
  #text = h("textarea", { class: "pg-figure-text", readOnly: true, hidden: true, rows: 4 });
  #save = makeButton("Save", { class: "pg-toggle pg-figure-save", onclick: () => this.#attempt(() => this.#write()) });
  #latest = 0; // counts the drawings begun

  constructor(root, viewer, colors, button) {
    this.#viewer = viewer;
    this.#colors = colors;
    const id = `pg-${Math.random().toString(36).slice(2)}`;
    const copy = (text, make) => makeButton(text, { class: "pg-toggle", onclick: () => this.#copy(make(), text) });
    const buttons = h(
      "div",
      { class: "pg-figure-buttons" },
      this.#save,
      copy("Copy caption", () => captionOf(this.#content)),
      copy("Copy BibTeX", () => BIBTEX),
      makeButton("Close", { class: "pg-toggle", onclick: () => this.node.close() }),
    );
    const shown = h("div", { class: "pg-figure-shown" }, this.#preview, this.#status, this.#text);
    const body = h("div", { class: "pg-figure-body" }, shown, this.#form.node);
    this.node = h("dialog", { class: "pg-figure-dialog", "aria-labelledby": id }, h("h2", { id }, "Export figure"), body, buttons);
    this.node.addEventListener("keydown", (event) => event.stopPropagation()); // keys are not for the viewer
    this.node.addEventListener("close", () => {
      this.#content = null;
      button.focus();
    });
    viewer.onchange((change) => change === "open" && this.node.close());
    root.append(this.node);
  }

  async open() {
    this.#content = new Content(this.#viewer, this.#colors);
    this.#form.start(this.#content);
    this.#text.hidden = true;
    this.node.showModal();
    await this.#draw();
  }

  // The figure, once its maps are there.
  async #layOut() {
    const { options } = this.#form;
    const content = this.#content;
    await Promise.all(content.orders(options).map((order) => this.#viewer.order(...order)));
    return layOut(content, options);
  }

  // Draws the preview; a newer change makes it give up.
  async #draw() {
    const number = ++this.#latest;
    const isLatest = () => number === this.#latest && this.#content !== null;
    const waiting = setTimeout(() => isLatest() && this.#say("Computing the maps…"), 300);
    try {
      const sheet = await this.#layOut();
      if (!isLatest()) return;
      this.#show(sheet);
      this.#save.disabled = false;
    } catch (error) {
      if (!isLatest()) return;
      this.#say(error.message);
      this.#save.disabled = true;
    } finally {
      clearTimeout(waiting);
    }
  }

  #show(sheet) {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const room = Math.min(PREVIEW[0], this.#preview.clientWidth || PREVIEW[0]);
    const share = Math.min(room / sheet.width, PREVIEW[1] / sheet.height);
    drawSheet(this.#canvas, sheet, DOTS * share * ratio);
    this.#canvas.style.width = `${Math.round(sheet.width * share)}px`;
    this.#canvas.setAttribute("aria-label", `Preview. ${sheet.title}`);
    const { format, dpi } = this.#form;
    const pixels = format === "png" ? `; ${pixelsOf(sheet, dpi).join(" × ")} pixels` : "";
    const [width, height] = [sheet.width, sheet.height].map((side) => hundredths(side / MILLIMETRE).toFixed(0));
    this.#say(`${width} × ${height} mm${pixels}`);
  }

  async #write() {
    const { format, dpi } = this.#form;
    const sheet = await this.#layOut();
    const { trace, view, layer } = this.#content;
    const content = { png: () => pngFile(sheet, dpi), svg: () => svgOf(sheet), pdf: () => pdfOf(sheet) }[format]();
    const name = viewName(trace, { layer, step: view.step, head: view.head }, `.${format}`);
    download(name, TYPES[format], await content);
    return `Saved as ${name}`;
  }

  async #attempt(act) {
    this.#save.disabled = true;
    this.#say("One moment…");
    await new Promise((done) => setTimeout(done, 20)); // lets the message be painted first
    try {
      this.#say(await act());
    } catch (error) {
      this.#say(error.message);
    }
    this.#save.disabled = false;
    if (this.node.open) this.#save.focus();
  }

  // Where the browser does not allow copying, the text stands in a field, selected.
  async #copy(text, name) {
    const what = name.replace("Copy ", "");
    this.#text.hidden = true;
    try {
      await navigator.clipboard.writeText(text);
      this.#say(what === "caption" ? "Caption copied." : `${what} copied.`);
    } catch {
      Object.assign(this.#text, { value: text, hidden: false });
      this.#text.setAttribute("aria-label", `The ${what}`);
      this.#text.select();
      this.#say("The browser did not allow copying; here is the text.");
    }
  }

  #say(text) {
    this.#status.textContent = text;
  }
}
