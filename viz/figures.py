"""Figures for papers and slides: `viz.figure`. Imported as `viz.figure`, so this module has another name.

viz.figure(trace, "rows.pdf", view=View((0.4, 0.5), layer, step), parts=("picture", "atlas"), width="single")
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from viz.figure_content import Content, caption_of_figure
from viz.figure_files import to_picture, to_png, to_svg
from viz.figure_layout import lay_out
from viz.figure_options import FORMATS, RESOLUTIONS, FigureError, Options
from viz.figure_pdf import to_pdf
from viz.trace import Trace
from viz.view import Place, View

BIBTEX = """@software{pixelgaze,
  title = {PixelGaze: where a pixel looks in a diffusion network},
  version = {0.1.0},
  year = {2026}
}
"""


def figure(
    trace: Trace,
    path: str | Path | None = None,
    *,
    view: View | None = None,
    point: Place | None = None,
    layer: str | None = None,
    step: int | None = None,
    head: int | None = None,
    dpi: int = 300,
    **options: Any,
) -> Image.Image | Path:
    """Draw a view of a trace as a figure for a paper, a slide or a web page.

    Args:
        path: where to write it, as PNG with its resolution, SVG with its pictures, or PDF with real text, by the name's
            ending; by default nothing is written.
        view: what to show, such as `View.from_json` makes of a link's view; by default the middle of the picture in the
            last layer in which pixels look at pixels, at the last step, as the mean of its heads.
        point, layer, step, head: in place of the view's.
        dpi: of the PNG, and of what is returned.
        options: fields of `viz.figure_options.Options`: parts, layers, steps, width, theme, font, size, caption.

    Returns:
        The picture, RGB or RGBA; or `path`, once it is written.

    Raises:
        FigureError: for options that are not known, a file of another format, or maps that do not fit.
        KeyError, ViewError: for a layer or a branch that the trace lacks.
    """
    try:
        chosen = Options(**options)
    except TypeError:
        names = Options.__dataclass_fields__
        unknown = ", ".join(name for name in options if name not in names)
        raise FigureError(f"A figure's options are {', '.join(names)}; got {unknown}.") from None
    if not isinstance(dpi, int) or not RESOLUTIONS[0] <= dpi <= RESOLUTIONS[1]:
        raise FigureError(f"A figure's dpi must be {RESOLUTIONS[0]} to {RESOLUTIONS[1]}; got {dpi}.")
    kind = "png" if path is None else Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise FigureError(f"A figure's file must end in .{', .'.join(FORMATS)}; got “{Path(path or '').name[:60]}”.")
    shown = view or _first_view(trace)
    if point is not None:
        shown = replace(shown, point=point, active=-1)
    shown = replace(
        shown,
        layer=shown.layer if layer is None else layer,
        step=shown.step if step is None else step,
        head=shown.head if head is None else head,
    )
    sheet = lay_out(Content(trace, shown), chosen)
    if path is None:
        return to_picture(sheet, dpi)
    data = {"png": lambda: to_png(sheet, dpi), "svg": lambda: to_svg(sheet).encode(), "pdf": lambda: to_pdf(sheet)}
    Path(path).write_bytes(data[kind]())
    return Path(path)


def _first_view(trace: Trace) -> View:
    layers = [layer.name for layer in trace if layer.kind == "self"]
    if not layers or not trace.steps:
        raise FigureError("This trace has no layer in which pixels look at pixels; name a view of a word.")
    return View((0.5, 0.5), layers[-1], trace.steps_of(layers[-1])[-1])


__all__ = ["BIBTEX", "Options", "caption_of_figure", "figure"]
