"""A recording of the bundled model with words, and the strip of words on the page."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import torch
from playwright.sync_api import Locator, Page

import models
from tests.support.chromium import VIEWER, VIEWER_ROOT, settle
from tests.support.traces import attention_of
from viz import Trace, record
from viz.page.viewer import pack
from viz.recording.run import previewer
from viz.words import Caption, Entry

TEXT = "a red round monster with a toothy mouth"
WORDS = TEXT.split()
LENGTH = 24  # keys of the bundled model's cross-attention
NOTE = "its map lands on its part in 93 % of 500 drawn pictures"
WORD = {"kind": "word", "text": "mouth"}
STRIP = f"{VIEWER_ROOT} .pg-strip"


def caption_of(words: list[str]) -> Caption:
    own: list[Entry] = [(word, "word", (i,)) for i, word in enumerate(words)]
    padding: list[Entry] = [("padding", "padding", tuple(range(len(words), LENGTH)))]
    return Caption.build(
        " ".join(words), [("", [*words, *[""] * (LENGTH - len(words))], [*own, *padding])], {"mouth": NOTE}
    )


def guided_trace(steps: int = 3) -> Trace:
    """Both halves of guidance."""
    pipeline = models.load("critters")
    with record(pipeline.unet, preview=previewer(pipeline), branch="both") as trace:
        picture = pipeline(TEXT, seed=2, num_inference_steps=steps).images[0]
    captions = {"unconditional": caption_of([]), "conditional": caption_of(WORDS)}
    recipe = {"caption": TEXT, "seed": 2}
    return replace(trace, words=captions, picture=np.asarray(picture), recipe=recipe).select(dtype=torch.float16)


def conditional_of(guided: Trace) -> Trace:
    """The conditional half alone."""
    stores = (
        {key: value for key, value in store.items() if key[0] == "conditional"}
        for store in (guided.queries, guided.keys)
    )
    queries, keys = stores
    words = {"conditional": guided.words["conditional"]}
    return replace(guided, branches=("conditional",), queries=queries, keys=keys, words=words, proofs={})


def show(page: Page, trace: Trace) -> None:
    path = pack(trace)
    page.evaluate(
        f"""(bytes) => {{
          const {{ buffer }} = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
          {VIEWER}.open(buffer, {{ pins: [], point: [0.4, 0.4], head: -1, step: {trace.steps[-1]} }});
        }}""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    path.unlink()
    settle(page)


def chip(page: Page, word: str) -> Locator:
    return page.locator(f"{STRIP} .pg-word").filter(has=page.get_by_text(word, exact=True)).first


def cross(trace: Trace, layer: str, step: int, branch: str | None = None) -> np.ndarray:
    """(H, N, keys), the plain formula."""
    return attention_of(trace, layer, step, branch).numpy()


def partner(page: Page) -> str:
    return page.evaluate(f"{VIEWER}.layerOf({{ kind: 'word' }}).name")
