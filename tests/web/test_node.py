"""Runs the tests that are written in JavaScript, and checks the files that viz/web writes with Python's own readers."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.node import evaluate, run_node
from viz.web import WEB

TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_node_test_passes(path):
    run_node("--test", "--test-reporter=spec", str(path))


def test_run_node_fails_when_a_node_test_does(tmp_path):
    path = tmp_path / "broken.test.mjs"
    path.write_text('import test from "node:test";\ntest("a", () => { throw new Error("expected"); });\n')
    with pytest.raises(RuntimeError):
        run_node("--test", str(path))


def written_by(expression: str) -> bytes:
    """The bytes that an expression of export/files.js evaluates to."""
    source = f"import * as files from {json.dumps(str(WEB / 'export/files.js'))};\n"
    return base64.b64decode(evaluate(f'{source}answer(Buffer.from({expression}).toString("base64"));'))


def test_npz_is_read_by_numpy():
    content = written_by(
        """files.npz({
            rows: [Float32Array.of(1, 2.5, -3, 4, 5, 6), [2, 3]],
            steps: [Int32Array.of(-1, 7), [2]],
            exact: [Float64Array.of(0.1), [1, 1]],
            names: [["up 2 · 1", "π", "𝛼𝛽"], [3]],
            cut: [new Float32Array([9, 8, 7]).subarray(1), [2]],
        })"""
    )
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        assert file["rows"].dtype == np.float32
        assert file["rows"].tolist() == [[1, 2.5, -3], [4, 5, 6]]
        assert file["steps"].dtype == np.int32
        assert file["steps"].tolist() == [-1, 7]
        assert file["exact"].tolist() == [[0.1]]
        assert file["names"].tolist() == ["up 2 · 1", "π", "𝛼𝛽"]
        assert file["cut"].tolist() == [8, 7]


def test_gif_is_read_by_pillow():
    """Four frames of one colour each; the last is held for two seconds, and the GIF repeats for ever."""
    content = written_by(
        """await files.gif([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]].map((rgb) => {
            const data = Uint8ClampedArray.from({ length: 4 * 6 * 4 }, (_, i) => [...rgb, 255][i % 4]);
            const context = { getImageData: (x, y, width, height) => ({ data, width, height }) };
            return { width: 6, height: 4, getContext: () => context };
        }))"""
    )
    with Image.open(io.BytesIO(content)) as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append((gif.convert("RGB").getpixel((3, 2)), gif.info["duration"]))
        assert (gif.size, gif.info["loop"]) == ((6, 4), 0)
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    assert [duration for _, duration in frames] == [350, 350, 350, 2000]
    for (pixel, _), color in zip(frames, colors, strict=True):
        assert np.abs(np.subtract(pixel, color)).max() <= 8  # the palette has five or six bits a channel
