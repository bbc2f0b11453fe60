"""Layers whose extra keys belong to no pixel, in the viewer: the keys take a share of every row and are not shown."""

import base64

import numpy as np
import pytest
import torch

from tests.support import families
from tests.support.chromium import VIEWER, VIEWER_ROOT, settle, view
from viz import Trace, record
from viz.page.viewer import pack
from viz.query import Maps
from viz.view import View

BOX = {"kind": "box", "from": [0.2, 0.1], "to": [0.7, 0.8]}


@pytest.fixture
def trace(page):
    torch.manual_seed(4)
    network = families.Net(families.ConvolutionalAttention(32, memory=3)).eval()
    with torch.no_grad(), record(network) as recorded:
        for timestep in (7, 3):
            network(torch.randn(1, 32, 6, 4), timestep)
    path = pack(recorded)
    page.evaluate(
        f"(bytes) => {VIEWER}.open(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer)",
        base64.b64encode(path.read_bytes()).decode(),
    )
    yield Trace.load(path)
    path.unlink()


@pytest.mark.parametrize("pins", [[], [BOX]])
def test_viewer_maps_with_extra_keys_equal_python(page, trace, pins):
    assert trace.layers["attention"].first_key == 3
    for mode, special, head in (("row", False, -1), ("row", False, 2), ("row", True, 1), ("column", False, 3)):
        view(page, mode=mode, special=special, head=head, step=1, point=[0.6, 0.9], pins=pins, active=len(pins) - 1)
        settle(page)
        viewer_map = np.array(page.evaluate(f"Array.from({VIEWER}.map)"))
        expected = Maps(trace).of_view(View.from_json(page.evaluate(f"{VIEWER}.viewNow()"))).flatten()
        assert np.abs(viewer_map - expected).max() <= 1e-3 * max(1, np.abs(expected).max()), (mode, special, head)


def test_viewer_numbers_state_attention_on_extra_keys(page, trace):
    view(page, mode="row", special=False, head=0, step=0, point=[0.1, 0.1])
    settle(page)
    outside = 1 - trace.rows("attention", step=0, query=(0, 0), head=0).sum().item()
    assert outside > 0.02
    numbers = page.locator(f"{VIEWER_ROOT} .pg-numbers").inner_text()
    assert "on 3 registers" in numbers and f"{round(100 * outside)}%" in numbers
