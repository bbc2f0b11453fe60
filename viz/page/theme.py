"""The page's colours and type, for Gradio's own components; the viewer's own are in viz/web/styles/viewer.css."""

from __future__ import annotations

import gradio as gr


def theme() -> gr.themes.Base:
    """Quiet greys and one accent, four sizes of type, and fonts that no other host serves (`viz.page.identity`)."""
    fonts = ["Inter", "system-ui", "Segoe UI", "DejaVu Sans", "sans-serif"]
    sizes = gr.themes.Size("12px", "12px", "12px", "15px", "15px", "18px", "28px", name="pixelgaze")
    return gr.themes.Base(
        text_size=sizes,
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.gray,
        radius_size=gr.themes.sizes.radius_md,
        font=fonts,
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    ).set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#0f1116",
        body_text_color_subdued="#565d6b",
        body_text_color_subdued_dark="#9aa2b1",
        block_background_fill="#ffffff",
        block_background_fill_dark="#171a21",
        block_border_color="#dfe2e8",
        block_border_color_dark="#2a2f3a",
        button_primary_background_fill="#c2410c",
        button_primary_background_fill_hover="#9a3412",
        button_primary_text_color="#ffffff",
        button_primary_background_fill_dark="#ffa057",
        button_primary_background_fill_hover_dark="#ffb478",
        button_primary_text_color_dark="#1a1206",
    )
