"""Pictures of maps."""

import io

import numpy as np
import pytest
from PIL import Image

from viz.colors import palette
from viz.draw import animation, colored, overlay, positions, sheet


def test_positions_on_every_scale():
    maps = np.array([[[0, 0.25], [1, 32]]])
    assert np.allclose(positions(maps), [[[0, 0], [2 / 7, 1]]])
    assert np.allclose(positions(maps, log=False), [[[0, 1 / 32], [1 / 8, 1]]])
    assert np.allclose(positions(maps, range="own", log=False), maps / 32)
    assert np.allclose(positions(maps, range="own"), [[[0, 0], [2 / 7, 1]]])
    differences = np.array([[-4, 0, 2]])
    assert np.allclose(positions(differences, special=True, log=False), [[0, 0.5, 0.75]])
    assert np.allclose(positions(differences, special=True, log=False, range="own"), [[0, 0.5, 0.75]])
    assert np.allclose(positions([[-31, 0, 1]], special=True), [[0, 0.5, 0.6]])


def test_colored_takes_its_colours_from_the_palette():
    assert palette().shape == (256, 3)
    shown = colored(np.array([[0, 32]]))
    assert shown.tolist() == [[palette()[0].tolist(), palette()[255].tolist()]]
    assert np.ptp(colored(np.zeros((1, 1)), special=True)) < 40  # the middle of the diverging map is grey


def test_overlay_draws_sharp_or_smooth_cells():
    picture = np.full((32, 48, 3), 200, np.uint8)
    shown = np.zeros((2, 3))
    shown[0, 2] = 32
    drawn = np.asarray(overlay(picture, shown, size=96))
    assert drawn.shape == (64, 96, 3) and (picture == 200).all()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2  # two kinds of cells, sharp at their edges
    assert drawn[10, 90].sum() > drawn[50, 10].sum()
    smooth = np.asarray(overlay(picture, shown, size=96, smooth=True))
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 10


def test_sheet_holds_every_map():
    maps = {"down 1": np.full((3, 4, 4), 32.0), "up <b>": np.zeros((3, 2, 2))}
    drawn = sheet(maps, [999.0, 500.0, None], title="a monster", cell=20)
    pixels = np.asarray(drawn)
    bright, dark = ((pixels == palette()[i]).all(-1).sum() for i in (255, 0))
    assert bright == dark == 3 * 20 * 20
    assert (np.asarray(sheet(maps, [1.0] * 3, cell=20)).shape[0]) < pixels.shape[0]


def test_sheet_frames_a_map_that_does_not_exist():
    maps = np.full((2, 2, 2), 32.0)
    maps[1] = np.nan
    pixels = np.asarray(sheet({"down 1": maps}, [999.0, 500.0], cell=20))
    assert (pixels == palette()[255]).all(-1).sum() == 20 * 20
    assert not (pixels == palette()[0]).all(-1).any()
    frame = (pixels == (0x56, 0x5D, 0x6B)).all(-1)  # as are the timesteps below
    assert frame[:33].sum() == 4 * 20 - 4


def test_overlay_without_a_map_is_the_dimmed_picture():
    picture = np.full((4, 4, 3), 200, np.uint8)
    dimmed = np.asarray(overlay(picture, None, size=8))
    assert dimmed.shape == (8, 8, 3) and (dimmed == np.round(200 * 0.65 + np.array([8, 6, 14]) * 0.35)).all()


def test_opacity_is_that_of_map_and_dimming():
    picture, values = np.full((4, 4, 3), 200, np.uint8), np.linspace(0, 40, 16).reshape(4, 4)
    shown = [np.asarray(overlay(picture, values, size=8, opacity=opacity), int) for opacity in (0, 0.5, 1)]
    assert (shown[0] == 200).all() and np.array_equal(shown[2], np.asarray(overlay(picture, values, size=8)))
    assert np.abs(shown[1] - 200).mean() < np.abs(shown[2] - 200).mean() and (shown[1] != 200).any()


def test_animation_repeats_and_rests_on_its_last_frame():
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "green", "blue")]
    gif = Image.open(io.BytesIO(animation(frames, milliseconds=100)))
    assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (8, 6), 0)
    durations = []
    for frame in range(3):
        gif.seek(frame)
        durations.append(gif.info["duration"])
    assert durations == [100, 100, 2000]
    assert gif.convert("RGB").getpixel((3, 3)) == pytest.approx((0, 0, 255), abs=3)
