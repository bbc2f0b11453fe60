"""The progress strip's values."""

import base64
import io

import numpy as np
from PIL import Image

from viz.page.progress import describe_progress


def test_describe_progress_holds_preview_as_png():
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    value = describe_progress(2, 5, picture)
    assert (value["step"], value["steps"]) == (2, 5)
    head, _, payload = value["preview"].partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(payload)))), picture)


def test_describe_progress_has_no_preview_of_latents():
    assert describe_progress(0, 5) == {"step": 0, "steps": 5, "preview": None}


def test_describe_progress_holds_note_for_what_is_waited_for():
    assert describe_progress(0, 5, note="Loading…") == {"step": 0, "steps": 5, "preview": None, "note": "Loading…"}
